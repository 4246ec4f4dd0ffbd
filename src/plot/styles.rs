//! Colours, dashes and widths that distinguish curves by their names.

use crate::plot::theme::{DISTINCT, GREY, Pen, REPORTED, Stroke, distinct};
use crate::plot::{Mark, PointLabels, PointSubset};

/// Widths of the curves, in px: they get thinner, so that a curve does not hide the one beneath it.
const WIDEST: f64 = 3.6;
const NARROWEST: f64 = 1.6;

/// How the curves of one name look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) pen: Pen,
    pub(super) is_reported: bool,
    /// Whether it has a style of its own; otherwise it is narrow, and grey unless reported.
    pub(super) is_own: bool,
}

/// Each colour solid, then each dashed, except the one reserved for reported numbers; from the widest to
/// the narrowest. Curves that are not `shown` are grey.
pub(super) fn styles(names: &[(&str, bool)], shown: &PointSubset) -> Vec<Style> {
    let mut ours = (0..DISTINCT)
        .map(distinct)
        .filter(|(ink, _)| *ink != REPORTED)
        .cycle();
    let steps = (names.len().max(2) - 1) as f64;
    let style = |(i, &(_, is_reported)): (usize, &(&str, bool))| {
        let is_own = shown.points.contains(&i);
        let (ink, stroke) = match (is_reported, is_own) {
            (true, _) => (REPORTED, Stroke::Whole),
            (false, true) => ours.next().expect("a cycle has no end"),
            (false, false) => (GREY.fade(0.3), Stroke::Whole),
        };
        let width = match is_own {
            true => WIDEST - (WIDEST - NARROWEST) * i as f64 / steps,
            false => NARROWEST,
        };
        Style {
            pen: Pen { ink, width, stroke },
            is_reported,
            is_own,
        }
    };
    names.iter().enumerate().map(style).collect()
}

/// The legend of curves with a style of their own, and of reported ones; a blank name has no entry.
pub(super) fn legend(names: &PointLabels, styles: &[Style]) -> Vec<(Mark, String)> {
    let entry = |(name, style): (&String, &Style)| {
        let width = style.pen.width.max(2.0);
        let mark = match style.is_reported {
            true => Mark::Diamond(style.pen.ink),
            false => Mark::Line(Pen { width, ..style.pen }),
        };
        let is_shown = (style.is_own || style.is_reported) && !name.trim().is_empty();
        is_shown.then(|| (mark, name.clone()))
    };
    names.iter().zip(styles).filter_map(entry).collect()
}

/// The sentence of a caption about curves without a style of their own; absent if all have one.
pub(super) fn coloured(shown: &PointSubset, all: usize) -> Option<String> {
    let own_look = shown.points.len();
    (own_look < all).then(|| {
        format!(
            "Coloured: {own_look} of {all} curves, evenly spread over the sweep; grey: the others."
        )
    })
}

/// Which curves get a style of their own: all, or as many as there are styles.
pub(super) fn told_apart(names: usize) -> PointSubset {
    PointSubset::of(names, DISTINCT - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_curves_alone_have_their_colour() {
        let names = [("a", false), ("b", true), ("c", false), ("d", false)];
        let styles = styles(&names, &told_apart(names.len()));
        for (style, (name, is_reported)) in styles.iter().zip(names) {
            assert_eq!(style.pen.ink == REPORTED, is_reported, "{name}");
        }
        assert!(
            styles
                .windows(2)
                .all(|pair| pair[0].pen.width > pair[1].pen.width)
        );
    }

    #[test]
    fn no_two_curves_look_alike_and_of_a_crowd_some_are_grey() {
        let names: Vec<(&str, bool)> = vec![("a curve", false); 40];
        let few = styles(&names[..12], &told_apart(12));
        for (i, one) in few.iter().enumerate() {
            let mut others = few[i + 1..].iter();
            assert!(others.all(|other| (other.pen.ink, other.pen.stroke) != (one.pen.ink, one.pen.stroke)));
        }
        let many = styles(&names, &told_apart(40));
        assert_eq!(many.iter().filter(|style| style.is_own).count(), 12);
        assert!(many[0].is_own && many[39].is_own);
    }
}
