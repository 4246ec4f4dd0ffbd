//! What vertical and horizontal bars have in common.

use super::{AccuracyBars, Bar};
use crate::metrics::statistics::Estimate;
use crate::plot::page::Mark;
use crate::plot::theme::{BASELINE, OURS, REPORTED};

/// Radius of a reported number's diamond, in px.
pub(super) const DIAMOND: f64 = 6.5;
/// Opacity of a bar's body, on which its whisker and dots are drawn.
pub(super) const BODY: f64 = 0.45;

/// What the marks are; the baseline is called `constant`.
pub(super) fn legend(figure: &AccuracyBars, constant: &str) -> Vec<(Mark, String)> {
    let several = figure.bars.iter().any(|bar| bar.runs.len() > 1);
    let bars = if several {
        "ours, mean over seeds"
    } else {
        "ours, one run"
    };
    let mut legend = vec![(Mark::Square(OURS.fade(BODY)), bars.to_owned())];
    if several {
        legend.push((Mark::Dot(OURS), "one seed".to_owned()));
    }
    let mut sources: Vec<&str> = figure
        .bars
        .iter()
        .filter_map(Bar::reported)
        .map(|r| r.1)
        .collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        let label = if source.is_empty() {
            "reported".to_owned()
        } else {
            format!("reported ({source})")
        };
        legend.push((Mark::Diamond(REPORTED), label));
    }
    if figure.baseline.is_some() {
        legend.push((Mark::Dashes(BASELINE), constant.to_owned()));
    }
    legend
}

/// The highest value shown in the figure, above 0.
pub(super) fn highest(figure: &AccuracyBars) -> f64 {
    let reported = figure.bars.iter().filter_map(Bar::reported).map(|r| r.0);
    let heights = figure.bars.iter().filter_map(|bar| figure.height(bar));
    let means = heights.map(|height| height.interval.map_or(height.mean, |one| one.high));
    let seeds = figure.bars.iter().flat_map(|bar| &bar.runs);
    let seeds = seeds.map(|run| run.estimate.value);
    let baseline = figure.baseline.iter().map(|one| {
        let Estimate { value, interval } = one.run.estimate;
        interval.map_or(value, |one| one.high)
    });
    let all = means.chain(reported).chain(seeds).chain(baseline);
    all.fold(0.01, f64::max)
}
