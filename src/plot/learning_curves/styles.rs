//! Colours and dashes that distinguish the curves of different points, and which of many are highlighted.

use super::{Curve, Emphasis, LearningCurves};
use crate::plot::page::Mark;
use crate::plot::point_labels::PointLabels;
use crate::plot::text::{count, plural};
use crate::plot::theme::{DISTINCT, GREY, Ink, Stroke, distinct};

/// Number of curves highlighted at each end if there are many.
const PICKED: usize = 3;
/// The last part of a run, over which its final loss is a mean.
const FINAL: f64 = 0.1;
/// Prefixes of the highlighted curves in the legend, from the lowest loss to the highest.
const RANKS: [&str; 2 * PICKED] = [
    "best: ",
    "2nd best: ",
    "3rd best: ",
    "3rd worst: ",
    "2nd worst: ",
    "worst: ",
];
/// Width of what the reader should follow, in px.
const WIDTH: f64 = 2.4;

/// How the curves of one point are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SeriesStyle {
    /// Its own colour and stroke.
    Own(Ink, Stroke),
    /// One of a crowd.
    Grey,
}

/// The styles of all series of a figure.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesStyles {
    /// One for each series.
    pub(super) of_series: Vec<SeriesStyle>,
    /// Those with a name in the legend.
    named: Vec<Named>,
    /// Series that are grey.
    grey: usize,
}

/// An entry of the legend.
#[derive(Clone, Debug, Default)]
struct Named {
    series: usize,
    /// Text before the name.
    rank: &'static str,
    /// Other series with the same curve.
    alike: usize,
}

/// Series of one curve: points that differ in a later stage share what came before.
struct Alike {
    series: Vec<usize>,
    final_loss: f64,
}

/// The curves that the reader should follow, each once.
fn alike(curves: &[Curve]) -> Vec<Alike> {
    let mut groups: Vec<(&Curve, Alike)> = vec![];
    for curve in curves
        .iter()
        .filter(|curve| curve.weight == Emphasis::Thick)
    {
        let same = groups
            .iter_mut()
            .find(|(first, _)| first.samples == curve.samples);
        match (same, final_loss(curve)) {
            (Some((_, group)), _) => group.series.push(curve.series),
            (None, Some(final_loss)) => {
                let series = vec![curve.series];
                groups.push((curve, Alike { series, final_loss }));
            }
            (None, None) => {}
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

impl SeriesStyles {
    pub(super) fn of(figure: &LearningCurves, curves: &[Curve]) -> Self {
        let all = figure.series.len();
        let is_shown = |series: &usize| !figure.series[*series].traces.is_empty();
        let shown: Vec<usize> = (0..all).filter(is_shown).collect();
        let in_order = |series: &[usize]| {
            let mut of_series = vec![SeriesStyle::Grey; all];
            for (i, &series) in series.iter().enumerate() {
                let (ink, stroke) = distinct(i);
                of_series[series] = SeriesStyle::Own(ink, stroke);
            }
            of_series
        };
        if shown.len() <= DISTINCT {
            // A colour belongs to a point, in all figures of an experiment, as long as there are enough.
            let every: Vec<usize> = (0..all).collect();
            let named = shown.iter().map(|&series| Named {
                series,
                ..Named::default()
            });
            return Self {
                of_series: in_order(if all <= DISTINCT { &every } else { &shown }),
                named: named.collect(),
                grey: 0,
            };
        }
        let mut groups = alike(curves);
        let words: &[&str] = if groups.len() <= DISTINCT {
            &[]
        } else {
            groups.sort_by(|a, b| a.final_loss.total_cmp(&b.final_loss));
            groups.drain(PICKED..groups.len() - PICKED);
            &RANKS
        };
        let mut of_series = vec![SeriesStyle::Grey; all];
        for (i, group) in groups.iter().enumerate() {
            let (ink, stroke) = distinct(i);
            for &series in &group.series {
                of_series[series] = SeriesStyle::Own(ink, stroke);
            }
        }
        let coloured: usize = groups.iter().map(|group| group.series.len()).sum();
        let words = words.iter().copied().chain(std::iter::repeat(""));
        let named = groups.iter().zip(words);
        Self {
            of_series,
            named: named
                .map(|(group, rank)| Named {
                    series: group.series[0],
                    rank,
                    alike: group.series.len() - 1,
                })
                .collect(),
            grey: shown.len().saturating_sub(coloured),
        }
    }

    /// Whether some curves are picked out of a crowd.
    pub(super) fn is_crowd(&self) -> bool {
        self.grey > 0
    }

    /// Whether a curve is drawn: of a crowd only what the reader should follow.
    pub(super) fn draws(&self, curve: &Curve) -> bool {
        curve.weight == Emphasis::Thick || !self.is_crowd()
    }

    pub(super) fn legend(&self, names: &PointLabels) -> Vec<(Mark, String)> {
        let names: Vec<&String> = names.iter().collect();
        let entry = |named: &Named| {
            let name = names[named.series];
            let mark = match self.of_series[named.series] {
                SeriesStyle::Own(ink, Stroke::Whole) => Mark::Line(ink, WIDTH),
                SeriesStyle::Own(ink, Stroke::Dashed) => Mark::Dashed(ink, WIDTH),
                SeriesStyle::Grey => return None,
            };
            let others = match named.alike {
                0 => String::new(),
                others => format!(
                    " and {} with the same losses",
                    plural(others, "point", "points")
                ),
            };
            let is_named = !name.trim().is_empty();
            is_named.then(|| (mark, format!("{}{name}{others}", named.rank)))
        };
        let named = self.named.iter().filter_map(entry);
        let rest = (
            Mark::Line(GREY.fade(SeriesStyle::GREY_OPACITY), 1.2),
            format!("the other {}", count(self.grey)),
        );
        named.chain(self.is_crowd().then_some(rest)).collect()
    }

    /// The sentence of a caption about a crowd; empty where there is none.
    pub(super) fn note(&self) -> Option<String> {
        self.is_crowd().then(|| {
            format!(
                "Coloured: the {PICKED} curves with the lowest and the {PICKED} with the highest loss, averaged \
                 over the last tenth of their steps."
            )
        })
    }
}

impl SeriesStyle {
    pub(super) const GREY_OPACITY: f64 = 0.3;

    pub(super) fn ink(self) -> Ink {
        match self {
            Self::Own(ink, _) => ink,
            Self::Grey => GREY.fade(Self::GREY_OPACITY),
        }
    }

    /// Width in px, opacity and stroke of a curve that overlaps those of `seeds` seeds; `crowded` if there are
    /// many points.
    pub(super) fn pen(self, weight: Emphasis, seeds: usize, crowded: bool) -> (f64, f64, Stroke) {
        match (weight, self) {
            // Overlapping seeds add up to a darker line.
            (Emphasis::Faint, _) => (0.7, 0.22 / seeds.max(1) as f64, Stroke::Whole),
            (Emphasis::Thin, _) => (0.9, if crowded { 0.35 } else { 0.6 }, Stroke::Whole),
            (Emphasis::Thick, Self::Own(_, stroke)) => (WIDTH, 1.0, stroke),
            (Emphasis::Thick, Self::Grey) => (1.2, 1.0, Stroke::Whole),
        }
    }
}

/// The mean over the end of a curve; `None` of an empty one.
fn final_loss(curve: &Curve) -> Option<f64> {
    let (first, last) = (curve.samples.first()?.0, curve.samples.last()?.0);
    let from = last - FINAL * (last - first);
    let end = curve.samples.iter().filter(|(step, _)| *step >= from);
    let losses: Vec<f64> = end.map(|(_, loss)| *loss).collect();
    crate::metrics::statistics::mean(&losses)
}
