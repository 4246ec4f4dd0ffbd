//! What vertical and horizontal bars have in common.

use super::{AccuracyBars, Bar, SeedAccuracy};
use crate::plot::page::Mark;
use crate::plot::theme::{BASELINE, OURS, REPORTED};

/// Radius of a reported number's diamond, in px.
pub(super) const DIAMOND: f64 = 6.5;
/// Opacity of a bar's body, on which its whisker and dots are drawn.
pub(super) const BODY: f64 = 0.45;

/// What the marks are; the baseline is called `constant`.
pub(super) fn legend(figure: &AccuracyBars, constant: &str) -> Vec<(Mark, String)> {
    let several = figure.bars.iter().any(|bar| bar.asked().count() > 1);
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
        .filter_map(|b| b.reported())
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
    if figure.baseline_height().is_some() {
        legend.push((Mark::Dashes(BASELINE), constant.to_owned()));
    }
    legend
}

/// The highest accuracy shown in the figure, a fraction above 0.
pub(super) fn highest(figure: &AccuracyBars) -> f64 {
    let reported = figure.bars.iter().filter_map(|b| b.reported()).map(|r| r.0);
    let heights = figure.bars.iter().filter_map(Bar::height).map(|h| h.high);
    let seeds = figure.bars.iter().flat_map(Bar::asked);
    let seeds = seeds.map(SeedAccuracy::fraction);
    let baseline = figure.baseline_height().map(|(_, h)| h.high);
    let all = heights.chain(reported).chain(seeds).chain(baseline);
    all.fold(0.01, f64::max)
}
