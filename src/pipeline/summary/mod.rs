//! Tables and figures of an experiment, made from the files of its finished runs: `summary.csv` here, the others in
//! modules of their own.

pub(crate) mod calibration;
pub(crate) mod draws;
pub(crate) mod figures;
pub mod findings;
pub(crate) mod groups;
mod measured;
mod parameters;

use std::path::Path;

use crate::config::{Experiment, Point};
use crate::data::Split;
use crate::error::Result;
use crate::metrics::artefacts::{PREDICTIONS, predictions_of};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::{AccuracyRow, PredictionRow};
use crate::metrics::statistics::wilson_95;
use crate::metrics::table;
use crate::pipeline::directory::RunDirectory;

pub use measured::{any_finished, measured};

/// Writes `summary.csv` and returns its [`rows`].
///
/// # Errors
/// Predictions that cannot be read, or the file cannot be written.
pub(crate) fn write(experiment: &Experiment, measured: &Measured) -> Result<Vec<AccuracyRow>> {
    let rows = rows(experiment, measured)?;
    table::write(&measured.folder.join("summary.csv"), &rows)?;
    Ok(rows)
}

/// The rows of `summary.csv`, from the predictions of all finished runs.
///
/// # Errors
/// Predictions that cannot be read.
pub fn rows(experiment: &Experiment, measured: &Measured) -> Result<Vec<AccuracyRow>> {
    let points = experiment.points.iter().zip(&measured.points);
    let rows = points.map(|(point, measured)| of_point(point, measured));
    Ok(rows.collect::<Result<Vec<_>>>()?.concat())
}

fn of_point(point: &Point, measured: &MeasuredPoint) -> Result<Vec<AccuracyRow>> {
    let evaluate = point.settings.training().map(|one| &one.evaluate);
    let Some(Some(spec)) = evaluate else {
        return Ok(vec![]);
    };
    let split = spec.split.name();
    let row = |subject: &str, seed, detail| AccuracyRow {
        point: measured.folder.clone(),
        label: measured.label.clone(),
        seed,
        split: split.to_owned(),
        subject: subject.to_owned(),
        detail,
        correct: None,
        questions: None,
        accuracy: 0.0,
        low_95: None,
        high_95: None,
    };
    let mut rows = vec![];
    for run in &measured.runs {
        let counted = count(&run.path(&PREDICTIONS, &predictions_of(split, "model")))?;
        rows.extend(counted.map(|counted| judged(row("model", Some(run.seed), None), counted)));
    }
    // The constant answer does not depend on the seed.
    if let Some(run) = measured.runs.first() {
        let counted = count(&run.path(&PREDICTIONS, &predictions_of(split, "constant")))?;
        let row = row("constant", None, spec.constant_answer.clone());
        rows.extend(counted.map(|counted| judged(row, counted)));
    }
    rows.extend(spec.reported.as_ref().map(|reported| AccuracyRow {
        accuracy: reported.accuracy,
        ..row("reported", None, Some(reported.source.clone()))
    }));
    Ok(rows)
}

/// Fills in counts, accuracy and confidence interval of a row.
fn judged(row: AccuracyRow, (correct, questions): (usize, usize)) -> AccuracyRow {
    let (low, high) = wilson_95(correct, questions);
    AccuracyRow {
        correct: Some(correct),
        questions: Some(questions),
        accuracy: correct as f64 / questions as f64,
        low_95: Some(low),
        high_95: Some(high),
        ..row
    }
}

/// Split, number of correct answers and number of questions of a run: the model's or, if no model was asked,
/// the constant answer's. `None` if no answer can be scored.
pub(crate) fn counted(run: &RunDirectory) -> Option<(&'static str, usize, usize)> {
    let of = |split: Split| {
        let path = |subject| run.predictions_tsv(split.name(), subject);
        let count = |subject| count(&path(subject)).ok().flatten();
        let (correct, questions) = count("model").or_else(|| count("constant"))?;
        Some((split.name(), correct, questions))
    };
    [Split::Dev, Split::Test, Split::Train]
        .into_iter()
        .find_map(of)
}

/// Right answers and questions of a table of predictions; absent if there is none, or nothing to compare with.
fn count(predictions: &Path) -> Result<Option<(usize, usize)>> {
    if !predictions.is_file() {
        return Ok(None);
    }
    let rows: Vec<PredictionRow> = table::read(predictions)?;
    let judged: Vec<bool> = rows.iter().filter_map(|row| row.correct).collect();
    let correct = judged.iter().filter(|&&correct| correct).count();
    Ok((!judged.is_empty()).then_some((correct, judged.len())))
}
