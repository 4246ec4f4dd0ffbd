//! `choice.csv`: the candidates of each choice with their validations, and which of them is chosen. Tables and figures
//! tell the validation, which the choice is made by, from the score of the chosen one, which it had no part in.

use std::path::Path;

use crate::config::schema::KeptWeights;
use crate::config::{Candidates, Choice, Experiment, Point};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::files;
use crate::kinds::{Listed as _, joined};
use crate::metrics::artefacts::VALIDATION;
use crate::metrics::explored::distinct;
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::{ChoiceRow, ValidationRow};
use crate::metrics::statistics::mean;
use crate::metrics::table;
use crate::pipeline::directory::{State, of_point};

/// States of a candidate.
const FINISHED: &str = "finished";
const FAILED: &str = "failed";
const UNFINISHED: &str = "unfinished";

/// Writes `choice.csv` and returns its [`rows`]; an experiment without a choice has no such file.
pub(crate) fn write(
    experiment: &Experiment,
    measured: &Measured,
    results: &Path,
) -> Result<Vec<ChoiceRow>> {
    let path = measured.folder.join("choice.csv");
    if experiment.choice.is_none() {
        files::remove(&path)?;
        return Ok(vec![]);
    }
    let rows = rows(experiment, measured, results)?;
    table::write(&path, &rows)?;
    Ok(rows)
}

/// The rows of `choice.csv`: every candidate, group by group. One is chosen once every candidate of its group is finished or
/// has failed; of equals it is the first.
///
/// # Errors
/// A table of validations cannot be read.
pub fn rows(
    experiment: &Experiment,
    measured: &Measured,
    results: &Path,
) -> Result<Vec<ChoiceRow>> {
    let Some(choice) = &experiment.choice else {
        return Ok(vec![]);
    };
    let mut rows = vec![];
    for group in &choice.groups {
        let row = |&i: &usize| {
            let state = state(experiment, &experiment.points[i], results);
            candidate(
                choice,
                group,
                &experiment.points[i],
                &measured.points[i],
                state,
            )
        };
        let mut own: Vec<ChoiceRow> = group.points.iter().map(row).collect::<Result<_>>()?;
        if own.iter().all(|row| row.state != UNFINISHED) {
            let best = best(&own);
            let numbered = own.iter_mut().enumerate();
            numbered.for_each(|(i, row)| row.is_chosen = Some(best == Some(i)));
        }
        rows.extend(own);
    }
    Ok(rows)
}

/// The candidate with the best validation; `None` if all have failed.
fn best(rows: &[ChoiceRow]) -> Option<usize> {
    let cost = |row: &ChoiceRow| Some(Measure::named(&row.measure)?.better.cost(row.validation?));
    let finished = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.state == FINISHED);
    let costs = finished.filter_map(|(i, row)| Some((i, cost(row)?)));
    let best = costs.min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(i, _)| i)
}

fn candidate(
    choice: &Choice,
    group: &Candidates,
    point: &Point,
    measured: &MeasuredPoint,
    state: &str,
) -> Result<ChoiceRow> {
    let pretrain = point.settings.training().and_then(|settings| {
        let validate = settings.pretrain.as_ref()?.validate.as_ref()?;
        Some((settings.validated_by(validate), validate.keep))
    });
    let (measure, keep) = pretrain.expect("candidates are validated, as `Choice::faults` checks");
    let validations: Vec<Option<f64>> = (measured.runs.iter())
        .map(|run| validation(run, measure, keep))
        .collect::<Result<_>>()?;
    let validations: Vec<f64> = validations.into_iter().flatten().collect();
    let of_choice = |(key, _): &&(String, String)| choice.keys.contains(key);
    let values = point.values().filter(of_choice);
    let values: Vec<String> = values
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    Ok(ChoiceRow {
        group: group.label.clone(),
        point: measured.folder.clone(),
        label: measured.label.clone(),
        values: values.join(", "),
        measure: measure.name().to_owned(),
        seeds: measured.runs.len(),
        state: state.to_owned(),
        validation: mean(&validations),
        is_chosen: None,
    })
}

/// The validation of the weights that a run was evaluated with.
fn validation(run: &MeasuredRun, measure: &Measure, keep: KeptWeights) -> Result<Option<f64>> {
    let rows: Vec<ValidationRow> = run.read(&VALIDATION, "")?.unwrap_or_default();
    let values = rows.iter().map(|row| row.value);
    let best = |a: &f64, b: &f64| measure.better.cost(*a).total_cmp(&measure.better.cost(*b));
    Ok(match keep {
        KeptWeights::Best => values.min_by(best),
        KeptWeights::Last => values.last(),
    })
}

fn state(experiment: &Experiment, point: &Point, results: &Path) -> &'static str {
    let statuses = of_point(experiment, point, results).map(|(_, run)| run.status());
    let statuses: Vec<_> = statuses.collect();
    let failed = |state| state == State::Failed;
    match () {
        () if statuses.iter().flatten().any(|status| failed(status.state)) => FAILED,
        () if statuses
            .iter()
            .all(|status| status.as_ref().is_some_and(|one| one.has_results())) =>
        {
            FINISHED
        }
        () => UNFINISHED,
    }
}

/// The chosen points in place of their candidates, each called what these share.
pub(crate) fn chosen(choice: &Choice, rows: &[ChoiceRow], mut measured: Measured) -> Measured {
    let points = std::mem::take(&mut measured.points);
    let is_chosen = |point: &MeasuredPoint| {
        let mut own = rows.iter().filter(|row| row.is_chosen == Some(true));
        own.find(|row| row.point == point.folder)
            .map(|row| row.group.clone())
    };
    for mut point in points {
        if let Some(label) = is_chosen(&point) {
            point.label = label;
            point.values.retain(|(key, _)| !choice.keys.contains(key));
            measured.points.push(point);
        }
    }
    measured.choice = Some(in_words(choice, rows));
    measured
}

/// `Each point is the best of 4 candidates that differ in pretrain.learning_rate, by token-accuracy on the dev split.`
fn in_words(choice: &Choice, rows: &[ChoiceRow]) -> String {
    let mut numbers: Vec<usize> = choice
        .groups
        .iter()
        .map(|group| group.points.len())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let measures = distinct(rows.iter().map(|row| &row.measure));
    let (numbers, keys) = (joined(numbers, "or"), joined(&choice.keys, "and"));
    let measures = joined(measures, "or");
    format!(
        "Each point is the best of {numbers} candidates that differ in {keys}, by {measures} on the dev split."
    )
}

/// Why none of a group of candidates is chosen.
pub fn undecided(candidates: &[ChoiceRow]) -> String {
    let are = |state: &str| candidates.iter().filter(|row| row.state == state).count();
    match (are(FINISHED), are(FAILED), candidates.len()) {
        (_, failed, all) if failed == all => "all candidates failed".to_owned(),
        (finished, 0, all) => format!("{finished} of {all} candidates are finished"),
        (finished, failed, all) => {
            format!("{finished} of {all} candidates are finished, {failed} failed")
        }
    }
}
