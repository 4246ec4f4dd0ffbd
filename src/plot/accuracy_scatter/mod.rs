//! A measure of the points of a sweep against what they cost, or against a number that was swept.

mod drawing;
mod key;
mod kind;
mod names;
mod quantity;

use serde::{Deserialize, Serialize};

use super::Figure;
use super::caption::Caption;
use super::seed_values::{self, SeedValue, direction, in_words, whiskers};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::kinds::{Listed as _, Named};
use crate::metrics::statistics::{IntervalKind, OverSeeds};
use key::Naming;

/// One marker for each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyScatter {
    /// The heading.
    pub title: String,
    /// How the caption begins: split, where times were measured. What marks are is added.
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

/// One line of the figure's CSV; fractions throughout.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `mean` or `seed`.
    kind: &'static str,
    label: &'a str,
    x: f64,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    /// The value of an exact match; empty for other measures.
    accuracy: Option<f64>,
    low_95: Option<f64>,
    high_95: Option<f64>,
    interval: Option<IntervalKind>,
    measure: &'static str,
    value: f64,
}

impl AccuracyScatter {
    /// The height of a disc and its whisker; `None` where nothing was asked.
    fn height(&self, spot: &Spot) -> Option<OverSeeds> {
        seed_values::mean(&spot.runs, self.measure.0)
    }

    fn check(&self) -> Result<()> {
        for Spot { label, x, runs } in &self.spots {
            if !x.is_finite() {
                return Err(Error::data(format!(
                    "`{label}` has x = {x}, which is not finite"
                )));
            }
            let values = runs.iter().map(|run| run.estimate.value);
            seed_values::check(label, values, self.measure.0)?;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let measure = self.measure.0;
        let mut rows = vec![];
        for spot in &self.spots {
            let Some(height) = self.height(spot) else {
                continue;
            };
            let row = |kind, value: f64| PlottedRow {
                kind,
                label: &spot.label,
                x: spot.x,
                accuracy: measure.is_exact_match().then_some(value),
                measure: measure.name(),
                value,
                ..PlottedRow::default()
            };
            rows.push(PlottedRow {
                low_95: height.interval.map(|one| one.low),
                high_95: height.interval.map(|one| one.high),
                interval: height.interval.map(|one| one.kind),
                ..row("mean", height.mean)
            });
            rows.extend(spot.runs.iter().map(|run| PlottedRow {
                seed: Some(run.seed),
                correct: run.correct,
                questions: Some(run.questions),
                ..row("seed", run.estimate.value)
            }));
        }
        rows
    }

    /// The caller's caption, then n, seeds, and what every mark is.
    fn full_caption(&self, shifted: bool, naming: &Naming) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let runs = in_words(self.spots.iter().flat_map(|spot| &spot.runs));
        caption.say(runs.unwrap_or_else(|| "No run has answered a question.".to_owned()));
        direction(self.measure.0)
            .into_iter()
            .for_each(|words| caption.say(words));
        let heights = self.spots.iter().filter_map(|spot| self.height(spot));
        let whiskers = whiskers("Disc", "small dot", &heights.collect::<Vec<_>>());
        whiskers
            .into_iter()
            .for_each(|whiskers| caption.say(whiskers));
        if shifted {
            caption.say(
                "Markers that would overlap are moved sideways: the tick on the axis marks the true value.",
            );
        }
        let caption = caption.draws([self.horizontal.as_str()]);
        caption.labels(&naming.names).finish()
    }
}

/// Draws a measure against a quantity, which is on a logarithmic axis where its values
/// are positive and span more than a decade.
///
/// # Errors
/// A value that the measure cannot have, or an x that is not finite.
pub fn draw_accuracy_scatter(figure: &AccuracyScatter) -> Result<Figure> {
    figure.check()?;
    let shifted = drawing::Places::of(figure).shifted();
    let naming = Naming::of(figure);
    let caption = figure.full_caption(shifted, &naming);
    let drawing = drawing::draw(figure, &naming, &caption)?;
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows())
}

#[cfg(test)]
mod tests;
