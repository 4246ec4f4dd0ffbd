//! Accuracy of the points of a sweep against what they cost, or against a number that was swept.

mod drawing;
mod key;
mod kind;
mod names;
mod quantity;

use serde::{Deserialize, Serialize};

use super::Figure;
use super::accuracy_bars::{SeedAccuracy, in_words};
use super::caption::{Caption, whiskers};
use crate::error::{Error, Result};
use crate::metrics::statistics::{AccuracyOverSeeds, accuracy_over_seeds};
use key::Naming;

/// One marker for each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyScatter {
    /// The heading.
    pub title: String,
    /// How the caption begins: split, where times were measured. What marks are is added.
    pub caption: String,
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
    /// One per seed; runs without questions are ignored.
    pub runs: Vec<SeedAccuracy>,
}

/// One line of the figure's CSV; fractions throughout.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `mean` or `seed`.
    kind: &'static str,
    label: &'a str,
    x: f64,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    accuracy: f64,
    low_95: Option<f64>,
    high_95: Option<f64>,
    /// `wilson` over questions, or `student-t` over seeds.
    interval: Option<&'static str>,
}

impl Spot {
    fn asked(&self) -> impl Iterator<Item = &SeedAccuracy> {
        self.runs.iter().filter(|run| run.questions > 0)
    }

    /// `None` where nothing was asked.
    fn height(&self) -> Option<AccuracyOverSeeds> {
        let runs: Vec<(usize, usize)> = self.asked().map(|r| (r.correct, r.questions)).collect();
        accuracy_over_seeds(&runs)
    }
}

/// The fraction that one run answered right.
fn fraction(run: &SeedAccuracy) -> f64 {
    run.correct as f64 / run.questions as f64
}

impl AccuracyScatter {
    fn check(&self) -> Result<()> {
        for Spot { label, x, runs } in &self.spots {
            if !x.is_finite() {
                return Err(Error::data(format!(
                    "`{label}` has x = {x}, which is not finite"
                )));
            }
            if let Some(run) = runs.iter().find(|run| run.correct > run.questions) {
                let (right, asked) = (run.correct, run.questions);
                let message = format!("`{label}` has {right} right answers to {asked} questions");
                return Err(Error::data(message));
            }
        }
        Ok(())
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let mut rows = vec![];
        for spot in &self.spots {
            let Some(height) = spot.height() else {
                continue;
            };
            rows.push(PlottedRow {
                kind: "mean",
                label: &spot.label,
                x: spot.x,
                seed: None,
                correct: None,
                questions: None,
                accuracy: height.mean,
                low_95: Some(height.low_95),
                high_95: Some(height.high_95),
                interval: Some(height.interval),
            });
            rows.extend(spot.asked().map(|run| PlottedRow {
                kind: "seed",
                label: &spot.label,
                x: spot.x,
                seed: Some(run.seed),
                correct: Some(run.correct),
                questions: Some(run.questions),
                accuracy: fraction(run),
                low_95: None,
                high_95: None,
                interval: None,
            }));
        }
        rows
    }

    /// The caller's caption, then n, seeds, and what every mark is.
    fn full_caption(&self, shifted: bool, naming: &Naming) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let runs = in_words(self.spots.iter().flat_map(Spot::asked));
        caption.say(runs.unwrap_or_else(|| "No run has answered a question.".to_owned()));
        let heights = self.spots.iter().filter_map(Spot::height);
        let intervals: Vec<&str> = heights.map(|height| height.interval).collect();
        let whiskers = whiskers("Disc", "small dot", &intervals);
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

/// Draws accuracy in per cent against a quantity, which is on a logarithmic axis where its values
/// are positive and span more than a decade.
///
/// # Errors
/// More right answers than questions, or an x that is not finite.
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
