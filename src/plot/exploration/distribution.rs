//! The distribution of an exploration's measured quantity over its samples, one chart per construction.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::metrics::statistics::{mean, standard_deviation};
use crate::plot::Figure;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::caption::Caption;
use crate::plot::crowd::PointSubset;
use crate::plot::fonts::Face;
use crate::plot::page::{LEFT, Mark, Page};
use crate::plot::point_labels::PointLabels;
use crate::plot::text::{self, count, percent, significant};
use crate::plot::theme::{
    BLACK, GREY, GRID, LINE_HEIGHT, MARGIN, OURS, REPORTED, SMALL_SIZE, TEXT_SIZE, WIDTH,
};

/// Distributions of a fraction, one under another over the same axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplorationDistribution {
    /// The heading.
    pub title: String,
    /// How the caption begins: sizes, samples and seeds. What is drawn is added.
    pub caption: String,
    /// What was measured, a fraction.
    pub quantity: String,
    /// One chart each.
    pub series: Vec<SampledSeries>,
}

/// What the samples of one construction gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledSeries {
    /// What stands over its chart.
    pub label: String,
    /// Whether somebody else reported the construction.
    pub is_reported: bool,
    /// One per sample, 0 to 1.
    pub values: Vec<f64>,
}

/// One bar, a line of the figure's CSV.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    label: &'a str,
    is_reported: bool,
    quantity: &'a str,
    /// The bar's ends; a value on the border of two bars is in the upper one.
    low: f64,
    high: f64,
    /// Samples in the bar.
    number: usize,
    /// Fraction of all samples.
    share: f64,
    samples: usize,
    mean: Option<f64>,
    variance: Option<f64>,
}

/// Bars of a chart: odd, so that a half is in the middle of one.
const BINS: usize = 25;
/// Height of a chart, in px.
const HEIGHT: f64 = 132.0;
/// Over a chart for its heading, in px.
const HEADING: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 8.0;
/// Between a chart and the next one's heading, in px.
const GAP: f64 = 12.0;
/// Under the last chart for numbers and quantity, in px.
const BELOW: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 14.0;

impl SampledSeries {
    /// Samples in each bar.
    fn numbers(&self) -> [usize; BINS] {
        let mut numbers = [0; BINS];
        for value in self.values.iter().filter(|value| value.is_finite()) {
            let bin = (value * BINS as f64).clamp(0.0, BINS as f64 - 1.0);
            numbers[bin as usize] += 1;
        }
        numbers
    }

    fn shares(&self) -> impl Iterator<Item = f64> {
        let all = self.values.len().max(1) as f64;
        self.numbers()
            .into_iter()
            .map(move |number| number as f64 / all)
    }

    fn variance(&self) -> Option<f64> {
        standard_deviation(&self.values).map(|deviation| deviation * deviation)
    }

    /// `variance 0.0123, mean 0.463; 7.9 % of 20,000 samples below 0.25`.
    fn words(&self) -> String {
        let (Some(mean), Some(variance)) = (mean(&self.values), self.variance()) else {
            return "no samples".to_owned();
        };
        let samples = self.values.len();
        let below = self.values.iter().filter(|value| **value < 0.25).count();
        let above = self.values.iter().filter(|value| **value > 0.75).count();
        let share = |number: usize| percent(number as f64 / samples as f64);
        format!(
            "variance {}, mean {}; {} of {} samples below 0.25, {} above 0.75",
            significant(variance),
            significant(mean),
            share(below),
            count(samples),
            share(above)
        )
    }
}

impl ExplorationDistribution {
    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let mut rows = vec![];
        for series in &self.series {
            let (mean, variance) = (mean(&series.values), series.variance());
            let bars = series.numbers().into_iter().zip(series.shares());
            rows.extend(bars.enumerate().map(|(i, (number, share))| PlottedRow {
                label: &series.label,
                is_reported: series.is_reported,
                quantity: &self.quantity,
                low: i as f64 / BINS as f64,
                high: (i + 1) as f64 / BINS as f64,
                number,
                share,
                samples: series.values.len(),
                mean,
                variance,
            }));
        }
        rows
    }

    fn full_caption(&self, names: &PointLabels, shown: &PointSubset) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let width = 1.0 / BINS as f64;
        caption.say(format!(
            "Bars are {width} wide; their heights are shares of all samples."
        ));
        if self.series.iter().any(|series| series.is_reported) {
            caption
                .say("Another colour: a construction that was reported elsewhere, measured here.");
        }
        let caption = caption.draws([self.quantity.as_str()]);
        caption.shown(shown, "charts").labels(names).finish()
    }

    fn legend(&self) -> Vec<(Mark, String)> {
        let any = |reported: bool| self.series.iter().any(|one| one.is_reported == reported);
        let entries = [
            (OURS, "derived here", any(false) && any(true)),
            (REPORTED, "reported elsewhere", any(true)),
        ];
        let shown = entries.into_iter().filter(|(_, _, shown)| *shown);
        shown
            .map(|(ink, words, _)| (Mark::Square(ink), words.to_owned()))
            .collect()
    }
}

/// Draws a histogram of each construction, all over the same axes so that none hides another.
///
/// # Errors
/// None that the caller can cause; the renderer's own pass through.
pub fn draw_exploration_distribution(figure: &ExplorationDistribution) -> Result<Figure> {
    let row = HEADING + HEIGHT + GAP;
    let names = PointLabels::of(figure.series.iter().map(|series| series.label.as_str()));
    let shown = PointSubset::of_height(figure.series.len(), row);
    let caption = figure.full_caption(&names, &shown);
    let names = names
        .only(&shown.points)
        .fitted(TEXT_SIZE, WIDTH - MARGIN - LEFT);
    let all = shown.among(&figure.series);
    let page = Page {
        title: figure.title.clone(),
        caption: caption.clone(),
        legend: figure.legend(),
        vertical: "",
        right: 0.0,
        below: 0.0,
    };
    let layout = page.layout_of(all.len() as f64 * row - GAP + BELOW - 10.0);
    let highest = all.iter().flat_map(SampledSeries::shares);
    let up = Axis::rounded(0.0, highest.fold(0.0, f64::max), 4);
    let drawing = paint(layout.height, |canvas| {
        page.draw_words(canvas, &layout)?;
        for (i, (series, name)) in all.iter().zip(&names).enumerate() {
            let top = layout.top - 10.0 + i as f64 * row;
            draw_heading(canvas, name, &series.words(), top)?;
            let chart = Chart {
                top: top + HEADING,
                bottom: top + HEADING + HEIGHT,
                up: &up,
            };
            chart.draw(canvas, series)?;
            if i + 1 == all.len() {
                chart.draw_quantity(canvas, &figure.quantity)?;
            }
        }
        Ok(())
    })?;
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows())
}

fn draw_heading(canvas: &mut Canvas<'_>, name: &str, words: &str, top: f64) -> Result<()> {
    let words = text::shorten(Face::Text, SMALL_SIZE, words, WIDTH - MARGIN - LEFT);
    let mut baseline = top;
    for (line, size, ink) in [(name, TEXT_SIZE, BLACK), (&words, SMALL_SIZE, GREY)] {
        baseline += size * LINE_HEIGHT;
        canvas.text(line, (LEFT, baseline), Type::new(size, ink))?;
    }
    Ok(())
}

/// The plot area of one chart: its height in px, and the axis that all share.
struct Chart<'a> {
    top: f64,
    bottom: f64,
    up: &'a Axis,
}

impl Chart<'_> {
    fn at(&self, x: f64, share: f64) -> Point {
        let right = WIDTH - MARGIN - 12.0;
        (
            LEFT + x * (right - LEFT),
            self.up.pixel(share, self.bottom, self.top),
        )
    }

    fn draw(&self, canvas: &mut Canvas<'_>, series: &SampledSeries) -> Result<()> {
        let numbers = Type::new(SMALL_SIZE, GREY).anchored(Anchor::End);
        for number in self.up.numbers() {
            let foot = self.at(0.0, number);
            canvas.polyline(&[foot, self.at(1.0, number)], 1.0, GRID)?;
            let before = (foot.0 - 8.0, foot.1 + SMALL_SIZE * 0.34);
            canvas.text(&self.up.label(number, 100.0), before, numbers)?;
        }
        let ink = if series.is_reported { REPORTED } else { OURS };
        for (i, share) in series
            .shares()
            .enumerate()
            .filter(|(_, share)| *share > 0.0)
        {
            let (low, high) = (i as f64 / BINS as f64, (i + 1) as f64 / BINS as f64);
            let (from, to) = (self.at(low, share), self.at(high, 0.0));
            // A single sample is still seen.
            let from = (from.0 + 0.6, from.1.min(to.1 - 1.0));
            canvas.rectangle(from, (to.0 - 0.6, to.1), ink)?;
        }
        canvas.polyline(&[self.at(0.0, 0.0), self.at(1.0, 0.0)], 1.2, BLACK)?;
        let quantity = Type::new(SMALL_SIZE, BLACK).anchored(Anchor::Middle);
        let middle = (self.top + self.bottom) / 2.0;
        canvas.upward_text("samples (%)", (MARGIN + TEXT_SIZE * 0.7, middle), quantity)
    }

    fn draw_quantity(&self, canvas: &mut Canvas<'_>, quantity: &str) -> Result<()> {
        let axis = Axis::new(0.0, 1.0, 5);
        let numbers = Type::new(SMALL_SIZE, GREY).anchored(Anchor::Middle);
        for number in axis.numbers() {
            let foot = self.at(number, 0.0);
            canvas.polyline(&[foot, (foot.0, foot.1 + 4.0)], 1.0, BLACK)?;
            let under = (foot.0, foot.1 + 6.0 + SMALL_SIZE);
            canvas.text(&axis.label(number, 1.0), under, numbers)?;
        }
        let baseline = self.bottom + 8.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE;
        let style = Type::new(TEXT_SIZE, BLACK).anchored(Anchor::Middle);
        canvas.text(quantity, (self.at(0.5, 0.0).0, baseline), style)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::plot::gallery::{Label, chance};

    /// A figure of made-up values.
    pub fn made_up(points: usize, label: Label<'_>) -> Figure {
        let series = |i: usize| SampledSeries {
            label: label(i),
            is_reported: i == 1,
            values: (0..200).map(|j| chance(i, j)).collect(),
        };
        let distribution = ExplorationDistribution {
            title: "A figure of samples".to_owned(),
            caption: "made-up values.".to_owned(),
            quantity: "weight".to_owned(),
            series: (0..points).map(series).collect(),
        };
        draw_exploration_distribution(&distribution).expect("drawn")
    }

    fn figure() -> ExplorationDistribution {
        let series = |label: &str, is_reported, values: &[f64]| SampledSeries {
            label: label.to_owned(),
            is_reported,
            values: values.to_vec(),
        };
        ExplorationDistribution {
            title: "Swing".to_owned(),
            caption: "lab".to_owned(),
            quantity: "weight".to_owned(),
            series: vec![
                series("one", false, &[0.0, 1.0, 1.0, 0.02]),
                series("two", true, &[0.5, 0.5]),
            ],
        }
    }

    #[test]
    fn the_table_holds_every_bar() {
        let drawn = draw_exploration_distribution(&figure()).expect("drawn");
        let text = String::from_utf8(drawn.csv.clone()).expect("text");
        assert_eq!(text.lines().count(), 1 + 2 * BINS);
        let mut lines = text.lines().skip(1);
        let first = "one,false,weight,0.0,0.04,2,0.5,4,0.505,";
        assert!(lines.next().expect("a bar").starts_with(first), "{text}");
        assert!(lines.next().expect("a bar").contains(",0.04,0.08,0,0.0,"));
        assert!(text.contains(",0.96,1.0,2,0.5,4,"));
        assert_eq!(
            drawn,
            draw_exploration_distribution(&figure()).expect("drawn")
        );
    }

    #[test]
    fn the_heading_has_variance_and_both_ends() {
        let says = "variance 0.327, mean 0.505; 50.0 % of 4 samples below 0.25, 50.0 % above 0.75";
        assert_eq!(figure().series[0].words(), says);
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        draw_exploration_distribution(&ExplorationDistribution::default()).expect("nothing");
        let mut figure = figure();
        figure.series.push(SampledSeries::default());
        figure.series[0].values = vec![f64::NAN, f64::INFINITY, -3.0];
        let drawn = draw_exploration_distribution(&figure).expect("drawn");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
    }
}
