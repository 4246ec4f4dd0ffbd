//! From predictions to accuracies: `summary.csv`, made of files alone.

mod attention;
pub(crate) mod confidence;
mod content;
mod costs;
pub(crate) mod draws;
mod exploration;
pub(crate) mod figures;
pub mod findings;
pub(crate) mod groups;
mod paired;
mod scatter;

use std::path::Path;

use crate::config::Experiment;
use crate::config::schema::Split;
use crate::error::Result;
use crate::metrics::rows::{AccuracyRow, PredictionRow};
use crate::metrics::statistics::wilson_95;
use crate::metrics::table;
use crate::pipeline::directory::{RunDirectory, finished};

/// Whether any run of the experiment has results.
pub(crate) fn any_results(experiment: &Experiment, results: &Path) -> bool {
    let mut points = experiment.points.iter();
    points.any(|point| !finished(experiment, point, results).is_empty())
}

/// Writes `summary.csv` and returns its [`rows`].
///
/// # Errors
/// Predictions that cannot be read, or the file cannot be written.
pub(crate) fn write(
    experiment: &Experiment,
    results: &Path,
    folder: &Path,
) -> Result<Vec<AccuracyRow>> {
    let rows = rows(experiment, results)?;
    table::write(&folder.join("summary.csv"), &rows)?;
    Ok(rows)
}

/// What `summary.csv` has to say, from the predictions of all finished runs.
///
/// # Errors
/// Predictions that cannot be read.
pub fn rows(experiment: &Experiment, results: &Path) -> Result<Vec<AccuracyRow>> {
    let mut rows = vec![];
    for point in &experiment.points {
        let evaluate = point.settings.training().map(|one| &one.evaluate);
        let Some(Some(spec)) = evaluate else {
            continue;
        };
        let row = |subject: &str, seed, detail, counted: Option<(usize, usize)>, reported: f64| {
            let interval = counted.map(|(correct, questions)| wilson_95(correct, questions));
            AccuracyRow {
                point: point.folder(),
                label: point.label.clone(),
                seed,
                split: spec.split.name().to_owned(),
                subject: subject.to_owned(),
                detail,
                correct: counted.map(|c| c.0),
                questions: counted.map(|c| c.1),
                accuracy: counted.map_or(reported, |(c, n)| c as f64 / n as f64),
                low_95: interval.map(|i| i.0),
                high_95: interval.map(|i| i.1),
            }
        };
        let done = finished(experiment, point, results);
        for (seed, run) in &done {
            if let Some(counted) = count(run, spec.split.name(), "model")? {
                rows.push(row("model", Some(*seed), None, Some(counted), 0.0));
            }
        }
        if let Some((_, run)) = done.first()
            && let Some(counted) = count(run, spec.split.name(), "constant")?
        {
            rows.push(row(
                "constant",
                None,
                spec.constant_answer.clone(),
                Some(counted),
                0.0,
            ));
        }
        if let Some(reported) = &spec.reported {
            rows.push(row(
                "reported",
                None,
                Some(reported.source.clone()),
                None,
                reported.accuracy,
            ));
        }
    }
    Ok(rows)
}

/// The split that a run was asked about, right answers and questions: the model's or, where none was asked,
/// the constant answer's. Absent if no answer can be judged.
pub(crate) fn counted(run: &RunDirectory) -> Option<(&'static str, usize, usize)> {
    let of = |split: Split| {
        let count = |subject| count(run, split.name(), subject).ok().flatten();
        let (correct, questions) = count("model").or_else(|| count("constant"))?;
        Some((split.name(), correct, questions))
    };
    [Split::Dev, Split::Test, Split::Train]
        .into_iter()
        .find_map(of)
}

/// Right answers and questions; absent if the split has no answers to compare with.
pub(crate) fn count(
    run: &RunDirectory,
    split: &str,
    subject: &str,
) -> Result<Option<(usize, usize)>> {
    let path = run.predictions_tsv(split, subject);
    if !path.is_file() {
        return Ok(None);
    }
    let rows: Vec<PredictionRow> = table::read(&path)?;
    let judged: Vec<bool> = rows.iter().filter_map(|row| row.correct).collect();
    let correct = judged.iter().filter(|&&correct| correct).count();
    Ok((!judged.is_empty()).then_some((correct, judged.len())))
}
