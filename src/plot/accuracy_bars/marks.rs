//! What vertical and horizontal bars have in common: their marks, and what those mean.

use super::{AccuracyBars, Bar};
use crate::error::Result;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Canvas, Point};
use crate::plot::chart::Chart;
use crate::plot::page::Mark;
use crate::plot::theme::{BASELINE, BLACK, OURS, Pen, WHITE};

/// Radius of a reported number's diamond, in px.
pub(super) const DIAMOND: f64 = 6.5;
/// Opacity of a bar's body, on which its whisker and dots are drawn.
const BODY: f64 = 0.45;

/// The plot area of bars that stand, or lie, on an axis from 0.
pub(super) struct Ground<'a> {
    pub(super) figure: &'a AccuracyBars,
    pub(super) chart: Chart,
    pub(super) axis: Axis,
    /// Whether values go up; otherwise they go to the right.
    pub(super) is_upright: bool,
}

/// The middle of a bar and half its thickness, across the direction of its value, in px.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) middle: f64,
    pub(super) half: f64,
}

impl<'a> Ground<'a> {
    /// The axis from 0 to `high`, without numbers beyond the possible ones.
    pub(super) fn new(figure: &'a AccuracyBars, chart: Chart, high: f64, is_upright: bool) -> Self {
        let mut axis = Axis::new(0.0, high, 6);
        axis.last_number = *figure.measure.0.unit.range().end();
        Self {
            figure,
            chart,
            axis,
            is_upright,
        }
    }

    /// Where `value` is, at a place across.
    pub(super) fn at(&self, across: f64, value: f64) -> Point {
        let share = self.axis.share(value);
        let (x, y) = self.chart.at(share, share);
        match self.is_upright {
            true => (across, y),
            false => (x, across),
        }
    }

    /// Both ends of the plot area across.
    fn ends(&self) -> [f64; 2] {
        match self.is_upright {
            true => [self.chart.left, self.chart.right],
            false => [self.chart.top, self.chart.bottom],
        }
    }

    /// A line across at a value.
    fn across(&self, [from, to]: [f64; 2], value: f64) -> [Point; 2] {
        [self.at(from, value), self.at(to, value)]
    }

    /// The upper left and lower right corners of a box.
    fn corners(&self, [from, to]: [f64; 2], [low, high]: [f64; 2]) -> (Point, Point) {
        match self.is_upright {
            true => (self.at(from, high), self.at(to, low)),
            false => (self.at(from, low), self.at(to, high)),
        }
    }

    /// The interval of the constant answer.
    pub(super) fn draw_band(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let baseline = self.figure.baseline.as_ref();
        let Some(interval) = baseline.and_then(|one| one.run.estimate.interval) else {
            return Ok(());
        };
        let (from, to) = self.corners(self.ends(), [interval.low, interval.high]);
        canvas.rectangle(from, to, BASELINE.fade(0.16))
    }

    /// The line at the value of the constant answer.
    pub(super) fn draw_baseline(&self, canvas: &mut Canvas<'_>, value: f64) -> Result<()> {
        let [from, to] = self.across(self.ends(), value);
        canvas.dashes(from, to, 1.5, BASELINE)
    }

    pub(super) fn draw_body(&self, canvas: &mut Canvas<'_>, bar: &Bar, at: &Place) -> Result<()> {
        let Some(height) = self.figure.height(bar) else {
            return Ok(());
        };
        let sides = [at.middle - at.half, at.middle + at.half];
        let (from, to) = self.corners(sides, [0.0, height.value]);
        canvas.rectangle(from, to, WHITE)?;
        canvas.rectangle(from, to, OURS.fade(BODY))?;
        canvas.polyline(&self.across(sides, height.value), 2.0, OURS)
    }

    /// Whisker, and the dots of several seeds side by side, so that equal ones stay visible.
    pub(super) fn draw_marks(&self, canvas: &mut Canvas<'_>, bar: &Bar, at: &Place) -> Result<()> {
        let middle = at.middle;
        // Half the width of a whisker's ends, the room of the dots, and the radius of one with and without its rim.
        let (cap, spread, [rim, dot]) = match self.is_upright {
            true => (6.0, 1.5 * at.half, [4.5, 3.5]),
            false => (4.0, 2.0 * at.half, [3.4, 2.6]),
        };
        let height = self.figure.height(bar);
        if let Some(interval) = height.and_then(|height| height.interval) {
            let ends = [interval.low, interval.high];
            canvas.polyline(&ends.map(|end| self.at(middle, end)), 1.6, BLACK)?;
            for end in ends {
                let cap = self.across([middle - cap, middle + cap], end);
                canvas.polyline(&cap, 1.6, BLACK)?;
            }
        }
        if bar.runs.len() > 1 {
            for (i, run) in bar.runs.iter().enumerate() {
                let aside = (i as f64 + 0.5) / bar.runs.len() as f64 - 0.5;
                let place = self.at(middle + aside * spread, run.estimate.value);
                canvas.dot(place, rim, WHITE)?;
                canvas.dot(place, dot, OURS)?;
            }
        }
        Ok(())
    }
}

/// What the marks are; the baseline is called `constant`.
pub(super) fn legend(figure: &AccuracyBars, constant: &str) -> Vec<(Mark, String)> {
    let bar = |words: &str| (Mark::Square(OURS.fade(BODY)), words.to_owned());
    let mut legend = match figure.bars.iter().any(|bar| bar.runs.len() > 1) {
        true => vec![
            bar("ours, mean over seeds"),
            (Mark::Dot(OURS), "one seed".to_owned()),
        ],
        false => vec![bar("ours, one run")],
    };
    let sources = figure.reported().map(|(_, source)| source);
    legend.extend(Mark::reported(sources.collect()));
    let baseline = figure.baseline.iter();
    legend.extend(baseline.map(|_| (Mark::Line(Pen::dashed(BASELINE)), constant.to_owned())));
    legend
}

/// The highest value shown in the figure, above 0.
pub(super) fn highest(figure: &AccuracyBars) -> f64 {
    let heights = figure.bars.iter().filter_map(|bar| figure.height(bar));
    let seeds = figure.bars.iter().flat_map(|bar| &bar.runs);
    let seeds = seeds.map(|run| run.estimate.value);
    let baseline = figure.baseline.iter().map(|one| one.run.estimate);
    let tops = heights.chain(baseline).map(|one| one.ends().1);
    let reported = figure.reported().map(|(value, _)| value);
    tops.chain(reported).chain(seeds).fold(0.01, f64::max)
}
