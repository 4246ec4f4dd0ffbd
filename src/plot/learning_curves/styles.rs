//! Colours and dashes that distinguish the curves of different points, and which of many are highlighted.

use super::{Curve, Emphasis, LearningCurves};
use crate::metrics::statistics::mean;
use crate::plot::text::{count, plural};
use crate::plot::theme::{DISTINCT, GREY, Pen, Stroke, distinct};
use crate::plot::{Mark, PointLabels};

/// Number of curves highlighted at each end if there are many.
pub(super) const PICKED: usize = 3;
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

/// The pen of a grey curve, one of many.
pub(super) const CROWDED: Pen = Pen {
    ink: GREY.fade(0.3),
    width: 1.2,
    stroke: Stroke::Whole,
};

/// The styles of all series of a figure.
#[derive(Clone, Debug)]
pub(super) struct SeriesStyles {
    /// One for each series.
    pub(super) of_series: Vec<Pen>,
    /// The entries of the legend: a prefix of the name, and the series that share the curve.
    named: Vec<(&'static str, Vec<usize>)>,
    /// Number of series that are grey.
    grey: usize,
}

/// The curves that the reader should follow, each once, with the series that have it: points that differ in a
/// later stage share what came before.
fn alike(curves: &[Curve]) -> Vec<(&Curve, Vec<usize>)> {
    let mut groups: Vec<(&Curve, Vec<usize>)> = vec![];
    let followed = |curve: &&Curve| curve.weight == Emphasis::Thick;
    for curve in curves.iter().filter(followed) {
        let mut others = groups.iter_mut();
        match others.find(|(first, _)| first.samples == curve.samples) {
            Some((_, series)) => series.push(curve.series),
            None => groups.push((curve, vec![curve.series])),
        }
    }
    groups
}

impl SeriesStyles {
    pub(super) fn of(figure: &LearningCurves, curves: &[Curve]) -> Self {
        let all = 0..figure.series.len();
        let is_shown = |series: &usize| !figure.series[*series].traces.is_empty();
        let shown: Vec<usize> = all.clone().filter(is_shown).collect();
        let mut ranks: &[&str] = &[];
        let groups: Vec<Vec<usize>> = if all.len() <= DISTINCT {
            // A colour belongs to a point, in all figures of an experiment, as long as there are enough.
            all.clone().map(|series| vec![series]).collect()
        } else if shown.len() <= DISTINCT {
            shown.iter().map(|&series| vec![series]).collect()
        } else {
            let mut groups = alike(curves);
            if groups.len() > DISTINCT {
                groups.sort_by(|(a, _), (b, _)| final_loss(a).total_cmp(&final_loss(b)));
                groups.drain(PICKED..groups.len() - PICKED);
                ranks = &RANKS;
            }
            groups.into_iter().map(|(_, series)| series).collect()
        };
        let mut of_series = vec![CROWDED; all.len()];
        for (i, group) in groups.iter().enumerate() {
            let (ink, stroke) = distinct(i);
            let width = 2.4;
            for &series in group {
                of_series[series] = Pen { ink, width, stroke };
            }
        }
        let is_grey = |series: &&usize| of_series[**series] == CROWDED;
        let grey = shown.iter().filter(is_grey).count();
        let ranks = ranks.iter().copied().chain(std::iter::repeat(""));
        let named = ranks.zip(groups).filter(|(_, group)| is_shown(&group[0]));
        Self {
            named: named.collect(),
            of_series,
            grey,
        }
    }

    /// Whether some curves are picked out of a crowd.
    pub(super) fn is_crowd(&self) -> bool {
        self.grey > 0
    }

    /// Whether a curve is drawn; of a crowd, only the thick ones are.
    pub(super) fn draws(&self, curve: &Curve) -> bool {
        curve.weight == Emphasis::Thick || !self.is_crowd()
    }

    pub(super) fn legend(&self, names: &PointLabels) -> Vec<(Mark, String)> {
        let names: Vec<&String> = names.iter().collect();
        let entry = |(rank, group): &(&str, Vec<usize>)| {
            let name = names[group[0]];
            let others = match group.len() - 1 {
                0 => String::new(),
                others => format!(
                    " and {} with the same losses",
                    plural(others, "point", "points")
                ),
            };
            let mark = Mark::Line(self.of_series[group[0]]);
            let is_named = !name.trim().is_empty();
            is_named.then(|| (mark, format!("{rank}{name}{others}")))
        };
        let named = self.named.iter().filter_map(entry);
        let words = format!("the other {}", count(self.grey));
        let rest = (Mark::Line(CROWDED), words);
        named.chain(self.is_crowd().then_some(rest)).collect()
    }
}

/// The pen of a curve that overlaps those of `seeds` seeds; `crowded` if there are many points.
pub(super) fn emphasised(pen: Pen, weight: Emphasis, seeds: usize, crowded: bool) -> Pen {
    let (width, opacity) = match weight {
        // Overlapping seeds add up to a darker line.
        Emphasis::Faint => (0.7, 0.22 / seeds.max(1) as f64),
        Emphasis::Thin => (0.9, if crowded { 0.35 } else { 0.6 }),
        Emphasis::Thick => return pen,
    };
    Pen {
        ink: pen.ink.fade(pen.ink.opacity * opacity),
        width,
        stroke: Stroke::Whole,
    }
}

/// The mean over the end of a curve that has samples.
fn final_loss(curve: &Curve) -> f64 {
    let samples = &curve.samples;
    let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
    let from = last - FINAL * (last - first);
    let end = samples.iter().filter(|(step, _)| *step >= from);
    let losses: Vec<f64> = end.map(|(_, loss)| *loss).collect();
    mean(&losses).unwrap_or(f64::INFINITY)
}
