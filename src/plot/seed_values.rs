//! A measure of one point for each seed, and the mean over seeds: what bar charts and scatter plots show.

use std::collections::BTreeSet;

use super::text::{self, count, plural};
use super::{Caption, Points};
use crate::error::{Error, Result};
use crate::eval::measures::{Better, Measure};
use crate::kinds::{BrokenRule, Listed as _, Named};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::MeasureRow;
use crate::metrics::statistics::{Estimate, IntervalKind, over_seeds};
use crate::metrics::table;

/// The value of a measure for one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeedValue {
    /// Seed of the run.
    pub seed: u64,
    /// Number of answers scored, at least one.
    pub questions: usize,
    /// How many of them are right; `None` for measures that do not count right answers.
    pub correct: Option<usize>,
    /// The value with its interval over the questions.
    pub estimate: Estimate,
}

impl SeedValue {
    /// Reads a row of `summary.csv`, with `seed` if the row has none; `None` if nothing was scored.
    pub fn of(row: &MeasureRow, seed: u64) -> Option<Self> {
        Some(Self {
            seed: row.seed.unwrap_or(seed),
            questions: row.questions.filter(|&questions| questions > 0)?,
            correct: row.correct,
            estimate: row.estimate(),
        })
    }
}

/// The rows of `summary.csv` about a measure.
pub(super) fn rows_of(measure: &Measure, measured: &Measured) -> Result<Vec<MeasureRow>> {
    let mut rows: Vec<MeasureRow> = table::read(&measured.folder.join("summary.csv"))?;
    rows.retain(|row| row.measure == measure.name());
    Ok(rows)
}

/// The rows about a subject, such as `model`, at a point.
pub(super) fn own<'a>(
    rows: &'a [MeasureRow],
    subject: &'static str,
    point: &MeasuredPoint,
) -> impl Iterator<Item = &'a MeasureRow> {
    let folder = point.folder.clone();
    rows.iter()
        .filter(move |row| row.subject == subject && row.point == folder)
}

/// The mean over seeds with its interval; `None` without seeds.
pub(super) fn mean(runs: &[SeedValue], measure: &Measure) -> Option<Estimate> {
    let estimates: Vec<Estimate> = runs.iter().map(|run| run.estimate).collect();
    Some(over_seeds(&estimates, &measure.unit.range())?.mean)
}

/// Says in a caption of how many questions and seeds the runs of all points are, which values are better if a reader
/// would not guess that, and what the whiskers mean; `mark` shows the mean over seeds and `seed` one of them.
pub(super) fn explain<'a>(
    caption: &mut Caption,
    measure: &Measure,
    [mark, seed]: [&str; 2],
    points: impl Iterator<Item = &'a [SeedValue]> + Clone,
) {
    let runs = in_words(measure, "", points.clone().flatten());
    caption.say(runs.unwrap_or_else(|| "No run has been scored.".to_owned()));
    if measure.better == Better::Lower {
        caption.say("Lower is better.");
    }
    let means: Vec<Estimate> = points.filter_map(|runs| mean(runs, measure)).collect();
    let whiskers = whiskers(mark, seed, &means);
    whiskers.into_iter().for_each(|words| caption.say(words));
}

/// The caption's `n = 60 questions a run, seeds 1, 2, 3.`, with what else the numbers are of after `a run`; `None` without
/// runs.
pub(super) fn in_words<'a>(
    measure: &Measure,
    further: &str,
    runs: impl Iterator<Item = &'a SeedValue>,
) -> Option<String> {
    let (asked, seeds): (Vec<usize>, BTreeSet<u64>) = runs.map(|r| (r.questions, r.seed)).unzip();
    let (few, many) = (*asked.iter().min()?, *asked.iter().max()?);
    let questions = match few == many {
        true => measure.counted(few),
        false => format!("{} to {}", count(few), measure.counted(many)),
    };
    let seeds: Vec<u64> = seeds.into_iter().collect();
    Some(format!(
        "n = {questions} a run{further}, {}.",
        text::seeds(&seeds)
    ))
}

/// The text after a point's value, the number of questions or seeds behind it: `12/60`, `n = 60`, `3 × 60`, `3 seeds`.
pub(super) fn tally(runs: &[SeedValue]) -> String {
    match runs {
        [] => "no runs".to_owned(),
        [run] => match run.correct {
            Some(correct) => format!("{}/{}", count(correct), count(run.questions)),
            None => format!("n = {}", count(run.questions)),
        },
        [first, rest @ ..] if rest.iter().all(|r| r.questions == first.questions) => {
            format!("{} × {}", runs.len(), count(first.questions))
        }
        _ => plural(runs.len(), "seed", "seeds"),
    }
}

/// What the whiskers mean, given the kinds of their intervals; absent without intervals.
fn whiskers(mark: &str, seed: &str, means: &[Estimate]) -> Option<String> {
    let kinds = means.iter().filter_map(|one| Some(one.interval?.kind));
    let kinds: Vec<IntervalKind> = kinds.collect();
    let of_run = match kinds.contains(&IntervalKind::Bootstrap) {
        true => "the bootstrap's 95 % interval",
        false => "Wilson's 95 % interval",
    };
    let is_of_seeds = |kind: &IntervalKind| *kind == IntervalKind::StudentT;
    let several = format!("{mark}: mean over seeds; {seed}: one seed; whisker: ");
    match (kinds.iter().any(is_of_seeds), kinds.iter().all(is_of_seeds)) {
        _ if kinds.is_empty() => None,
        (true, true) => Some(format!("{several}95 % t-interval of the mean, over seeds.")),
        (true, false) => Some(format!(
            "{several}with one seed, or where all agree, {of_run}, over questions, else the 95 % t-interval of the \
             mean, over seeds."
        )),
        (false, _) => Some(format!("Whisker: {of_run} of the run, over questions.")),
    }
}

/// Fails if a value is outside the range of the measure.
pub(super) fn check(label: &str, runs: &[SeedValue], measure: &Measure) -> Result<()> {
    let range = measure.unit.range();
    let mut values = runs.iter().map(|run| run.estimate.value);
    let Some(value) = values.find(|value| !range.contains(value)) else {
        return Ok(());
    };
    let (name, low, high) = (measure.name(), range.start(), range.end());
    Err(Error::data(format!(
        "`{label}` has {name} = {value}, which is not from {low} to {high}"
    )))
}

/// The broken rule if a point lacks the figure's measure in `evaluate.measures`.
pub(super) fn check_measure(
    measure: Option<Named<Measure>>,
    points: &Points<'_>,
) -> Option<BrokenRule> {
    let name = measure?.0.name();
    let is_measured = points.measures.is_empty() || points.measures.contains(name);
    (!is_measured).then(|| BrokenRule {
        key: "measure",
        reads: &[],
        message: format!("= {name:?} is not in `evaluate.measures`"),
        help: Some(format!(
            "add {name:?} there: measures are computed from the answers, and no run is repeated"
        )),
    })
}
