//! Tables and figures of an experiment, made from the files of its finished runs: `summary.csv` here, the others in
//! modules of their own.

pub(crate) mod calibration;
pub mod choice;
pub(crate) mod draws;
pub(crate) mod figures;
pub mod findings;
pub(crate) mod groups;
mod measured;

use crate::config::{Experiment, Point};
use crate::data::Split;
use crate::error::Result;
use crate::eval::measures::{EXACT_MATCH, Evaluated, Measure, TOKEN_ACCURACY};
use crate::kinds::Listed as _;
use crate::metrics::artefacts::{HELD_OUT, PREDICTIONS, predictions_of};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::{HeldOutRow, MeasureRow, PredictionRow};
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
    let Some(settings) = point.settings.training() else {
        return Ok(vec![]);
    };
    let Some(spec) = &settings.evaluate else {
        return Ok(vec![]);
    };
    let split = spec.split.name();
    let mut subjects = vec![];
    for run in &measured.runs {
        let answers = run.read(&PREDICTIONS, &predictions_of(split, "model"))?;
        let evaluated = Evaluated {
            answers: answers.unwrap_or_default(),
            held_out: run.read(&HELD_OUT, split)?.unwrap_or_default(),
        };
        subjects.push(("model", Some(run.seed), None, evaluated));
    }
    // The constant answer does not depend on the seed.
    if let Some(run) = measured.runs.first() {
        let constant = run.read(&PREDICTIONS, &predictions_of(split, "constant"))?;
        let constant = constant.map(|rows: Vec<PredictionRow>| Evaluated::from(rows));
        let answer = spec.constant_answer.clone();
        subjects.extend(constant.map(|evaluated| ("constant", None, answer, evaluated)));
    }
    let mut rows = vec![];
    for measure in settings.measures().into_iter().map(|one| one.0) {
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
        for (subject, seed, detail, evaluated) in &subjects {
            // There is no row where nothing has a value.
            let scored = measure.score(evaluated, seed.unwrap_or_default());
            rows.extend(scored.map(|scored| {
                let estimate = scored.estimate;
                let (low_95, high_95, interval) = Interval::columns(estimate.interval);
                MeasureRow {
                    correct: scored.right,
                    questions: Some(scored.count),
                    accuracy: measure.is_exact_match().then_some(estimate.value),
                    low_95,
                    high_95,
                    value: estimate.value,
                    interval,
                    ..row(subject, *seed, detail.clone())
                }
            }));
        }
        let reported = spec.reported.as_ref();
        let value = reported.and_then(|reported| reported.of(measure));
        rows.extend(reported.zip(value).map(|(reported, value)| MeasureRow {
            accuracy: measure.is_exact_match().then_some(value),
            value,
            ..row("reported", None, Some(reported.source.clone()))
        }));
    }
    Ok(rows)
}

/// What a run got right, if its files count that.
pub(crate) struct Counted {
    pub split: &'static str,
    /// Exact match, or token accuracy if no question was asked.
    pub measure: &'static Measure,
    pub right: usize,
    pub count: usize,
}

/// What a run got right: the answers of the model or, if no model was asked, the constant answer; otherwise the scored tokens
/// of what is held out. `None` if nothing can be counted.
pub(crate) fn counted(run: &RunDirectory) -> Option<Counted> {
    let splits = [Split::Dev, Split::Test, Split::Train, Split::Validate].map(Split::name);
    let of = |split, measure: &'static Measure, evaluated: &Evaluated| {
        let scored = measure.score(evaluated, 0)?;
        Some(Counted {
            split,
            measure,
            right: scored.right?,
            count: scored.count,
        })
    };
    splits.into_iter().find_map(|split| {
        let answers = |subject| {
            let rows: Vec<PredictionRow> =
                table::read(&run.predictions_tsv(split, subject)).ok()?;
            of(split, &EXACT_MATCH, &rows.into())
        };
        let held_out = || {
            let path = run.of_stage(&HELD_OUT, "", split);
            let held_out: Vec<HeldOutRow> = table::read(&path).ok()?;
            let answers = vec![];
            of(split, &TOKEN_ACCURACY, &Evaluated { answers, held_out })
        };
        answers("model")
            .or_else(|| answers("constant"))
            .or_else(held_out)
    })
}
