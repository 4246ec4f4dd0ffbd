//! A measure of the points of a sweep against what they cost, or against a number that was swept.

mod drawing;
mod key;
mod kind;
mod names;
mod quantity;

use serde::{Deserialize, Serialize};

use super::Caption;
use super::seed_values::{self, SeedValue};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::kinds::{Listed as _, Named};
use crate::metrics::statistics::{Estimate, Interval, IntervalKind};
use key::Naming;

/// One marker for each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyScatter {
    /// The heading.
    pub title: String,
    /// Start of the caption: split, where times were measured. The explanation of the marks is appended.
    pub caption: String,
    /// What the vertical axis shows.
    pub measure: Named<Measure>,
    /// Quantity and unit of the horizontal axis.
    pub horizontal: String,
    /// One marker and colour each.
    pub spots: Vec<Spot>,
    /// Whether the markers are labelled; if not, the swept number identifies each point.
    pub named: bool,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spot {
    /// What it is called.
    pub label: String,
    /// Position on the horizontal axis; finite.
    pub x: f64,
    /// One per seed.
    pub runs: Vec<SeedValue>,
}

/// One line of the figure's CSV; accuracies are fractions, other values are in the unit of the measure.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `mean` or `seed`.
    kind: &'static str,
    label: &'a str,
    x: f64,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    /// The value of exact match; empty for other measures.
    accuracy: Option<f64>,
    low_95: Option<f64>,
    high_95: Option<f64>,
    interval: Option<IntervalKind>,
    measure: &'static str,
    value: f64,
}

impl AccuracyScatter {
    /// The height of a disc and its whisker; `None` if nothing was asked.
    fn height(&self, spot: &Spot) -> Option<Estimate> {
        seed_values::mean(&spot.runs, self.measure.0)
    }

    fn check(&self) -> Result<()> {
        for Spot { label, x, runs } in &self.spots {
            if !x.is_finite() {
                let message = format!("`{label}` has x = {x}, which is not finite");
                return Err(Error::data(message));
            }
            seed_values::check(label, runs, self.measure.0)?;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let measure = self.measure.0;
        let mut rows = vec![];
        for spot in &self.spots {
            let row = |kind, of: Estimate| {
                let (low_95, high_95, interval) = Interval::columns(of.interval);
                PlottedRow {
                    kind,
                    label: &spot.label,
                    x: spot.x,
                    accuracy: measure.is_exact_match().then_some(of.value),
                    low_95,
                    high_95,
                    interval,
                    measure: measure.name(),
                    value: of.value,
                    ..PlottedRow::default()
                }
            };
            rows.extend(self.height(spot).map(|height| row("mean", height)));
            rows.extend(spot.runs.iter().map(|run| PlottedRow {
                seed: Some(run.seed),
                correct: run.correct,
                questions: Some(run.questions),
                ..row("seed", Estimate::exact(run.estimate.value))
            }));
        }
        rows
    }

    /// The caller's caption, then n, seeds, and what every mark is.
    fn full_caption(&self, shifted: bool, naming: &Naming) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let runs = self.spots.iter().map(|spot| &spot.runs[..]);
        seed_values::explain(&mut caption, self.measure.0, ["Disc", "small dot"], runs);
        if shifted {
            caption.say(
                "Markers that would overlap are moved sideways: the tick on the axis marks the true value.",
            );
        }
        let caption = caption.draws([self.horizontal.as_str()]);
        caption.labels(&naming.names).finish()
    }
}

#[cfg(test)]
mod tests;
