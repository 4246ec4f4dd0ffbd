//! The distribution of an exploration's measured quantity over its samples, one chart per construction.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::metrics::artefacts::SAMPLES;
use crate::metrics::explored::{constructions, read};
use crate::metrics::measured::Measured;
use crate::metrics::rows::SampleRow;
use crate::metrics::statistics::{mean, standard_deviation};
use crate::plot::text::{count, percent, significant};
use crate::plot::theme::{
    BLACK, LINE_HEIGHT, MARGIN, OURS, REPORTED, SMALL_SIZE, TEXT_SIZE, WIDTH,
};
use crate::plot::{
    Axis, Canvas, Caption, Chart, Figure, Gathered, LEFT, Mark, Need, NoKeys, Page, Plot,
    PointLabels, PointSubset, draw_heading,
};

/// Distributions of a fraction, one under another over the same axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplorationDistribution {
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

impl Plot for ExplorationDistribution {
    type Keys = NoKeys;

    const NAME: &'static str = "exploration-distribution";
    const SHOWS: &'static str =
        "explorations only: the distribution of the measured quantity over the samples";
    const NEEDS: Need = Need::Samples;
    const IS_OF_EXPLORATION: bool = true;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn gather(_: &NoKeys, measured: &Measured) -> Result<Gathered<Self>> {
        let points = read::<SampleRow>(measured, &SAMPLES)?;
        let Some(first) = points.iter().flat_map(|point| &point.rows).next() else {
            return Ok(Gathered::Nothing("no run has drawn samples".into()));
        };
        let all = constructions(&points, |row| Some((&row.series, row.is_reported)));
        let series = all.into_iter().map(|own| SampledSeries {
            label: own.label,
            is_reported: own.is_reported,
            values: own.rows.iter().map(|row| row.value).collect(),
        });
        Ok(Gathered::Figure(Self {
            quantity: first.quantity.clone(),
            series: series.collect(),
        }))
    }

    /// A histogram of each construction, all over the same axes so that none hides another.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let row = HEADING + HEIGHT + GAP;
        let names = PointLabels::of(self.series.iter().map(|series| series.label.as_str()));
        let shown = PointSubset::of_height(self.series.len(), row);
        let caption = self.explained(caption, &names, &shown);
        let page = Page::new(caption, self.legend());
        let width = WIDTH - MARGIN - LEFT;
        let names = names.only(&shown).fitted(TEXT_SIZE, width);
        let all = shown.among(&self.series);
        let highest = all.iter().flat_map(SampledSeries::shares);
        let up = Axis::rounded(0.0, highest.fold(0.0, f64::max), 4);
        let height = all.len() as f64 * row - GAP + Chart::BELOW - 10.0;
        page.figure(height, &self.rows(), |canvas, area| {
            for (i, (series, name)) in all.iter().zip(&names).enumerate() {
                let head = area.top - 10.0 + i as f64 * row;
                draw_heading(canvas, (name, &series.words()), (LEFT, head), width)?;
                let top = head + HEADING;
                let chart = Chart {
                    top,
                    bottom: top + HEIGHT,
                    right: area.right - 12.0,
                    ..*area
                };
                series.draw(canvas, &chart, &up)?;
                if i + 1 == all.len() {
                    self.draw_axis(canvas, &chart)?;
                }
            }
            Ok(())
        })
    }
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

    fn draw(&self, canvas: &mut Canvas<'_>, chart: &Chart, up: &Axis) -> Result<()> {
        chart.draw_up(canvas, &up.ticks(100.0))?;
        let ink = if self.is_reported { REPORTED } else { OURS };
        let bars = self.shares().enumerate();
        for (i, share) in bars.filter(|(_, share)| *share > 0.0) {
            let (low, high) = (i as f64 / BINS as f64, (i + 1) as f64 / BINS as f64);
            let (from, to) = (chart.at(low, up.share(share)), chart.at(high, 0.0));
            // A single sample is still seen.
            let from = (from.0 + 0.6, from.1.min(to.1 - 1.0));
            canvas.rectangle(from, (to.0 - 0.6, to.1), ink)?;
        }
        chart.draw_ground(canvas)?;
        chart.quantity_before(canvas, MARGIN, ("samples (%)", SMALL_SIZE))
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

    fn explained(&self, mut caption: Caption, names: &PointLabels, shown: &PointSubset) -> Caption {
        let width = 1.0 / BINS as f64;
        caption.say(format!(
            "Bars are {width} wide; their heights are shares of all samples."
        ));
        if self.series.iter().any(|series| series.is_reported) {
            caption
                .say("Another colour: a construction that was reported elsewhere, measured here.");
        }
        let caption = caption.draws([self.quantity.as_str()]);
        caption.shown(shown, "charts").labels(names)
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

    /// The horizontal axis of all charts, under the last one.
    fn draw_axis(&self, canvas: &mut Canvas<'_>, chart: &Chart) -> Result<()> {
        for (x, label) in Axis::new(0.0, 1.0, 5).ticks(1.0) {
            let foot = chart.at(x, 0.0);
            canvas.polyline(&[foot, (foot.0, foot.1 + 4.0)], 1.0, BLACK)?;
            chart.number_below(canvas, x, &label)?;
        }
        chart.quantity_below(canvas, &self.quantity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::drawn;
    use crate::plot::tests::gallery::{Label, chance};

    /// A figure of made-up values.
    pub fn made_up(points: usize, label: Label<'_>) -> Figure {
        let series = |i: usize| SampledSeries {
            label: label(i),
            is_reported: i == 1,
            values: (0..200).map(|j| chance(i, j)).collect(),
        };
        let distribution = ExplorationDistribution {
            quantity: "weight".to_owned(),
            series: (0..points).map(series).collect(),
        };
        drawn(&distribution, "A figure of samples")
    }

    fn figure() -> ExplorationDistribution {
        let series = |label: &str, is_reported, values: &[f64]| SampledSeries {
            label: label.to_owned(),
            is_reported,
            values: values.to_vec(),
        };
        ExplorationDistribution {
            quantity: "weight".to_owned(),
            series: vec![
                series("one", false, &[0.0, 1.0, 1.0, 0.02]),
                series("two", true, &[0.5, 0.5]),
            ],
        }
    }

    #[test]
    fn the_table_holds_every_bar() {
        let drawn = figure().draw(Caption::default()).expect("drawn");
        let text = String::from_utf8(drawn.csv.clone()).expect("text");
        assert_eq!(text.lines().count(), 1 + 2 * BINS);
        let mut lines = text.lines().skip(1);
        let first = "one,false,weight,0.0,0.04,2,0.5,4,0.505,";
        assert!(lines.next().expect("a bar").starts_with(first), "{text}");
        assert!(lines.next().expect("a bar").contains(",0.04,0.08,0,0.0,"));
        assert!(text.contains(",0.96,1.0,2,0.5,4,"));
        assert_eq!(drawn, figure().draw(Caption::default()).expect("drawn"));
    }

    #[test]
    fn the_heading_has_variance_and_both_ends() {
        let says = "variance 0.327, mean 0.505; 50.0 % of 4 samples below 0.25, 50.0 % above 0.75";
        assert_eq!(figure().series[0].words(), says);
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        ExplorationDistribution::default()
            .draw(Caption::default())
            .expect("nothing");
        let mut figure = figure();
        figure.series.push(SampledSeries::default());
        figure.series[0].values = vec![f64::NAN, f64::INFINITY, -3.0];
        let drawn = figure.draw(Caption::default()).expect("drawn");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
    }
}
