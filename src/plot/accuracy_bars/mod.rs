//! Accuracy of every point of a sweep with its confidence interval: the numbers behind the bars.

mod horizontal;
mod kind;
mod marks;
mod vertical;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Figure;
use super::caption::{Caption, whiskers};
use super::point_labels::PointLabels;
use super::text::{self, count, plural};
use crate::error::{Error, Result};
use crate::metrics::rows::AccuracyRow;
use crate::metrics::statistics::{WILSON, accuracy_over_seeds, wilson_95};

/// Accuracy of the points of a sweep beside a constant answer and beside what others reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyBars {
    /// The heading.
    pub title: String,
    /// How the caption begins: split, profile. What bars and whiskers are is added.
    pub caption: String,
    /// One per point of the sweep, from left to right.
    pub bars: Vec<Bar>,
    /// The constant answer, which needs no model.
    pub baseline: Option<Baseline>,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    /// Label of the bar.
    pub label: String,
    /// One per seed; runs without questions are ignored.
    pub runs: Vec<SeedAccuracy>,
    /// A fraction that somebody else reported for this point, and where.
    pub reported: Option<(f64, String)>,
}

/// How many questions one run answered right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedAccuracy {
    /// Seed of the run.
    pub seed: u64,
    /// Questions answered right.
    pub correct: usize,
    /// Questions asked.
    pub questions: usize,
}

/// The same answer to every question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Its label, for instance `always "London"`.
    pub label: String,
    /// Questions answered right.
    pub correct: usize,
    /// Questions asked; a baseline without one is not drawn.
    pub questions: usize,
}

/// One line of the figure's CSV; fractions throughout.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `bar`, `seed`, `baseline` or `reported`.
    kind: &'static str,
    label: &'a str,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    accuracy: Option<f64>,
    low_95: Option<f64>,
    high_95: Option<f64>,
    /// `wilson` over questions, or `student-t` over seeds.
    interval: Option<&'static str>,
    source: Option<&'a str>,
}

/// A bar's height and whisker, as fractions.
#[derive(Clone, Debug, PartialEq)]
struct Height {
    accuracy: f64,
    low: f64,
    high: f64,
    /// `wilson` or `student-t`.
    interval: &'static str,
}

impl SeedAccuracy {
    /// A row of `summary.csv`, of this seed if it names none; absent where nothing was counted.
    pub fn of(row: &AccuracyRow, seed: u64) -> Option<Self> {
        Some(Self {
            seed: row.seed.unwrap_or(seed),
            correct: row.correct?,
            questions: row.questions?,
        })
    }
}

/// `n = 60 questions a run, seeds 1, 2, 3.`; absent where no run was asked.
pub(super) fn in_words<'a>(runs: impl Iterator<Item = &'a SeedAccuracy>) -> Option<String> {
    let (asked, seeds): (Vec<usize>, BTreeSet<u64>) = runs.map(|r| (r.questions, r.seed)).unzip();
    let (few, many) = (*asked.iter().min()?, *asked.iter().max()?);
    let questions = match few == many {
        true => plural(few, "question", "questions"),
        false => format!("{} to {} questions", count(few), count(many)),
    };
    let seeds: Vec<u64> = seeds.into_iter().collect();
    Some(format!("n = {questions} a run, {}.", text::seeds(&seeds)))
}

impl Bar {
    fn asked(&self) -> impl Iterator<Item = &SeedAccuracy> {
        self.runs.iter().filter(|run| run.questions > 0)
    }

    /// `None` where nothing was asked.
    fn height(&self) -> Option<Height> {
        let runs: Vec<(usize, usize)> = self.asked().map(|r| (r.correct, r.questions)).collect();
        let over_seeds = accuracy_over_seeds(&runs)?;
        Some(Height {
            accuracy: over_seeds.mean,
            low: over_seeds.low_95,
            high: over_seeds.high_95,
            interval: over_seeds.interval,
        })
    }

    /// The text after a bar's percentage: counts of answers, questions or seeds.
    fn tally(&self) -> String {
        let asked: Vec<&SeedAccuracy> = self.asked().collect();
        match asked.as_slice() {
            [] => "no runs".to_owned(),
            [run] => format!("{}/{}", count(run.correct), count(run.questions)),
            [first, rest @ ..] if rest.iter().all(|r| r.questions == first.questions) => {
                format!("{} × {}", asked.len(), count(first.questions))
            }
            _ => plural(asked.len(), "seed", "seeds"),
        }
    }

    /// The reported fraction, where it is a number.
    fn reported(&self) -> Option<(f64, &str)> {
        self.reported
            .as_ref()
            .filter(|r| r.0.is_finite())
            .map(|r| (r.0, r.1.as_str()))
    }
}

impl SeedAccuracy {
    fn fraction(&self) -> f64 {
        self.correct as f64 / self.questions as f64
    }
}

impl AccuracyBars {
    /// The baseline's accuracy and its Wilson interval.
    fn baseline_height(&self) -> Option<(&Baseline, Height)> {
        let baseline = self.baseline.as_ref().filter(|b| b.questions > 0)?;
        let (low, high) = wilson_95(baseline.correct, baseline.questions);
        let accuracy = baseline.correct as f64 / baseline.questions as f64;
        Some((
            baseline,
            Height {
                accuracy,
                low,
                high,
                interval: WILSON,
            },
        ))
    }

    fn check(&self) -> Result<()> {
        let counts = self
            .bars
            .iter()
            .flat_map(|b| b.runs.iter().map(|r| (&b.label, r.correct, r.questions)));
        let baseline = self
            .baseline
            .iter()
            .map(|b| (&b.label, b.correct, b.questions));
        for (label, correct, questions) in counts.chain(baseline) {
            if correct > questions {
                let message =
                    format!("`{label}` has {correct} right answers to {questions} questions");
                return Err(Error::data(message));
            }
        }
        for bar in &self.bars {
            if let Some((accuracy, source)) = bar.reported().filter(|r| !(0.0..=1.0).contains(&r.0))
            {
                let message =
                    format!("reported accuracy {accuracy} ({source}) is not a fraction of 0 to 1");
                return Err(Error::data(message).help("write 21 % as 0.21"));
            }
        }
        Ok(())
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let empty = |kind, label| PlottedRow {
            kind,
            label,
            seed: None,
            correct: None,
            questions: None,
            accuracy: None,
            low_95: None,
            high_95: None,
            interval: None,
            source: None,
        };
        let mut rows = vec![];
        for bar in &self.bars {
            let height = bar.height();
            rows.push(PlottedRow {
                accuracy: height.as_ref().map(|h| h.accuracy),
                low_95: height.as_ref().map(|h| h.low),
                high_95: height.as_ref().map(|h| h.high),
                interval: height.as_ref().map(|h| h.interval),
                ..empty("bar", bar.label.as_str())
            });
            rows.extend(bar.asked().map(|run| PlottedRow {
                seed: Some(run.seed),
                correct: Some(run.correct),
                questions: Some(run.questions),
                accuracy: Some(run.fraction()),
                ..empty("seed", bar.label.as_str())
            }));
            rows.extend(bar.reported().map(|(accuracy, source)| PlottedRow {
                accuracy: Some(accuracy),
                source: Some(source),
                ..empty("reported", bar.label.as_str())
            }));
        }
        rows.extend(self.baseline_height().map(|(baseline, height)| PlottedRow {
            correct: Some(baseline.correct),
            questions: Some(baseline.questions),
            accuracy: Some(height.accuracy),
            low_95: Some(height.low),
            high_95: Some(height.high),
            interval: Some(height.interval),
            ..empty("baseline", baseline.label.as_str())
        }));
        rows
    }

    /// The caller's caption, then n, seeds, and what every mark is.
    fn full_caption(&self, names: &PointLabels) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let runs = in_words(self.bars.iter().flat_map(Bar::asked));
        runs.into_iter().for_each(|runs| caption.say(runs));
        let heights = self.bars.iter().filter_map(Bar::height);
        let intervals: Vec<&str> = heights.map(|height| height.interval).collect();
        let whiskers = whiskers("Bar", "dot", &intervals);
        caption.say(whiskers.unwrap_or_else(|| "No run has answered a question.".to_owned()));
        if self.baseline_height().is_some() {
            caption.say("Band: Wilson's 95 % interval of the constant answer.");
        }
        if self.bars.iter().any(|b| b.reported().is_some()) {
            caption.say("Diamond: reported by others, not measured here.");
        }
        let reported = self.bars.iter().filter_map(|bar| bar.reported.as_ref());
        let sources = reported.map(|(_, source)| source.as_str());
        let constant = self.baseline.iter().map(|baseline| baseline.label.as_str());
        caption
            .labels(names)
            .draws(sources.chain(constant))
            .finish()
    }
}

/// Draws accuracy in per cent as bars with whiskers, horizontal ones if names or numbers would collide.
///
/// One run gets Wilson's interval over its questions; several get dots and their mean's t-interval.
///
/// # Errors
/// More right answers than questions, or a reported accuracy outside 0 to 1.
pub fn draw_accuracy_bars(figure: &AccuracyBars) -> Result<Figure> {
    figure.check()?;
    let names = PointLabels::of(figure.bars.iter().map(|bar| bar.label.as_str()));
    let caption = figure.full_caption(&names);
    let drawing = match vertical::have_room(figure, &names) {
        true => vertical::draw(figure, &names, &caption)?,
        false => horizontal::draw(figure, &names, &caption)?,
    };
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows())
}

#[cfg(test)]
mod tests;
