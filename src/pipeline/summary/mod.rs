//! Tables and figures of an experiment, made from the files of its finished runs: `summary.csv` here, the others in
//! modules of their own.

pub(crate) mod calibration;
pub(crate) mod draws;
pub(crate) mod figures;
pub mod findings;
pub(crate) mod groups;
mod measured;

use crate::config::{Experiment, Point};
use crate::data::Split;
use crate::error::Result;
use crate::eval::measures::EXACT_MATCH;
use crate::kinds::Listed as _;
use crate::metrics::artefacts::{PREDICTIONS, predictions_of};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::MeasureRow;
use crate::metrics::statistics::Interval;
use crate::metrics::table;
use crate::pipeline::directory::RunDirectory;

pub use measured::{any_finished, measured};

/// Writes `summary.csv` and returns its [`rows`].
pub(crate) fn write(experiment: &Experiment, measured: &Measured) -> Result<Vec<MeasureRow>> {
    let rows = rows(experiment, measured)?;
    table::write(&measured.folder.join("summary.csv"), &rows)?;
    Ok(rows)
}

/// The rows of `summary.csv`, from the predictions of all finished runs.
pub fn rows(experiment: &Experiment, measured: &Measured) -> Result<Vec<MeasureRow>> {
    let points = experiment.points.iter().zip(&measured.points);
    let rows = points.map(|(point, measured)| of_point(point, measured));
    Ok(rows.collect::<Result<Vec<_>>>()?.concat())
}

fn of_point(point: &Point, measured: &MeasuredPoint) -> Result<Vec<MeasureRow>> {
    let evaluate = point.settings.training().map(|one| &one.evaluate);
    let Some(Some(spec)) = evaluate else {
        return Ok(vec![]);
    };
    let split = spec.split.name();
    let mut answers = vec![];
    for run in &measured.runs {
        let by_model = run.read(&PREDICTIONS, &predictions_of(split, "model"))?;
        answers.extend(by_model.map(|rows| ("model", Some(run.seed), None, rows)));
    }
    // The constant answer does not depend on the seed.
    if let Some(run) = measured.runs.first() {
        let constant = run.read(&PREDICTIONS, &predictions_of(split, "constant"))?;
        let answer = spec.constant_answer.clone();
        answers.extend(constant.map(|rows| ("constant", None, answer, rows)));
    }
    let mut rows = vec![];
    for measure in spec.measures.iter().map(|one| one.0) {
        let row = |subject: &str, seed, detail| MeasureRow {
            point: measured.folder.clone(),
            label: measured.label.clone(),
            seed,
            split: split.to_owned(),
            subject: subject.to_owned(),
            detail,
            measure: measure.name().to_owned(),
            unit: measure.unit.name().to_owned(),
            better: measure.better.name().to_owned(),
            ..MeasureRow::default()
        };
        for (subject, seed, detail, answers) in &answers {
            // There is no row where no answer has a value.
            let scored = measure.score(answers, seed.unwrap_or_default());
            rows.extend(scored.map(|scored| {
                let estimate = scored.estimate;
                let (low_95, high_95, interval) = Interval::columns(estimate.interval);
                MeasureRow {
                    correct: scored.right,
                    questions: Some(scored.answers),
                    accuracy: measure.is_exact_match().then_some(estimate.value),
                    low_95,
                    high_95,
                    value: estimate.value,
                    interval,
                    ..row(subject, *seed, detail.clone())
                }
            }));
        }
        let reported = spec.reported.as_ref().filter(|_| measure.is_exact_match());
        rows.extend(reported.map(|reported| MeasureRow {
            accuracy: Some(reported.accuracy),
            value: reported.accuracy,
            ..row("reported", None, Some(reported.source.clone()))
        }));
    }
    Ok(rows)
}

/// Split, number of correct answers and number of questions of a run: the model's or, if no model was asked,
/// the constant answer's. `None` if no answer can be scored.
pub(crate) fn counted(run: &RunDirectory) -> Option<(&'static str, usize, usize)> {
    let splits = [Split::Dev, Split::Test, Split::Train].map(Split::name);
    splits.into_iter().find_map(|split| {
        let count = |subject| {
            let rows = table::read(&run.predictions_tsv(split, subject)).ok()?;
            let scored = EXACT_MATCH.score(&rows, 0)?;
            Some((split, scored.right?, scored.answers))
        };
        count("model").or_else(|| count("constant"))
    })
}
