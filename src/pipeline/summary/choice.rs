//! `choice.csv`: the candidates of each choice with their validations, and which of them is chosen. The dev score used for
//! selection is kept apart from the score of the chosen point.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::schema::KeptWeights;
use crate::config::{Candidates, Choice, Experiment, Point};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::files;
use crate::kinds::{Listed as _, joined};
use crate::metrics::artefacts::VALIDATION;
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::{ChoiceRow, ValidationRow};
use crate::metrics::statistics::mean;
use crate::metrics::steps::TrainingStage;
use crate::metrics::table;
use crate::pipeline::directory::{State, Status, of_point};

/// The file's name, in the experiment's folder.
pub const CHOICE_CSV: &str = "choice.csv";

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
    let path = measured.folder.join(CHOICE_CSV);
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
    let validations = measured
        .runs
        .iter()
        .map(|run| validation(run, measure, keep));
    let validations: Vec<f64> = validations.collect::<Result<_>>()?;
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

/// The validation of the weights with which a run left pretraining.
fn validation(run: &MeasuredRun, measure: &Measure, keep: KeptWeights) -> Result<f64> {
    let rows: Vec<ValidationRow> = run.read(&VALIDATION, "")?.unwrap_or_default();
    let of_pretraining = |row: &&ValidationRow| row.stage == TrainingStage::Pretrain.name();
    let mut values = rows.iter().filter(of_pretraining).map(|row| row.value);
    let best = |a: &f64, b: &f64| measure.better.cost(*a).total_cmp(&measure.better.cost(*b));
    let kept = match keep {
        KeptWeights::Best => values.min_by(best),
        KeptWeights::Last => values.next_back(),
    };
    kept.ok_or_else(|| {
        let path = run.path(&VALIDATION, "");
        Error::data(format!("{} has no validation to choose by", path.display()))
            .help("run the experiment with --again")
    })
}

/// How far a candidate is. One that failed when it was run again still has its earlier results.
fn state(experiment: &Experiment, point: &Point, results: &Path) -> &'static str {
    let statuses = of_point(experiment, point, results).map(|(_, run)| run.status());
    let has_results = |status: &Option<Status>| status.as_ref().is_some_and(Status::has_results);
    let lacking: Vec<Option<Status>> = statuses.filter(|status| !has_results(status)).collect();
    let mut states = lacking.iter().flatten().map(|status| status.state);
    match lacking.is_empty() {
        true => FINISHED,
        false if states.any(|state| state == State::Failed) => FAILED,
        false => UNFINISHED,
    }
}

/// The chosen points in place of their candidates, each called what these share. A group without a choice is a point
/// without runs, so that names and colours do not depend on what is finished.
pub(crate) fn chosen(
    choice: &Choice,
    rows: &[ChoiceRow],
    all: &[MeasuredPoint],
) -> Vec<MeasuredPoint> {
    let groups = choice.groups.iter().zip(by_group(rows));
    let point = |(group, rows): (&Candidates, &[ChoiceRow])| {
        let mut candidates = group.points.iter().map(|&i| &all[i]);
        let winner = winner(rows);
        let point = match winner {
            Some(row) => candidates.find(|point| point.folder == row.point).cloned(),
            None => candidates.next().map(|first| MeasuredPoint {
                folder: String::new(),
                runs: vec![],
                ..first.clone()
            }),
        };
        let mut point = point.expect("a group has candidates, and the winner is one of them");
        point.label.clone_from(&group.label);
        point.values.retain(|(key, _)| !choice.keys.contains(key));
        point
    };
    groups.map(point).collect()
}

/// `Each point is the best of 4 candidates that differ only in pretrain.learning_rate, chosen by token-accuracy on the dev
/// split.` Absent if no point has several.
pub(crate) fn in_words(choice: &Choice, rows: &[ChoiceRow]) -> Option<String> {
    let mut numbers: BTreeSet<usize> = by_group(rows).map(<[ChoiceRow]>::len).collect();
    numbers.remove(&1);
    let failed = match rows.iter().filter(|row| row.state == FAILED).count() {
        0 => String::new(),
        failed => format!("; {failed} candidates failed"),
    };
    let measure = &rows.first()?.measure;
    let is_choice = !numbers.is_empty();
    let (numbers, keys) = (joined(numbers, "or"), joined(&choice.keys, "and"));
    is_choice.then(|| {
        format!(
            "Each point is the best of {numbers} candidates that differ only in {keys}, chosen by {measure} on the dev \
             split{failed}."
        )
    })
}

/// The rows of each group of candidates.
pub fn by_group(rows: &[ChoiceRow]) -> impl Iterator<Item = &[ChoiceRow]> {
    rows.chunk_by(|a, b| a.group == b.group)
}

/// The chosen one of a group of candidates.
pub fn winner(candidates: &[ChoiceRow]) -> Option<&ChoiceRow> {
    candidates.iter().find(|row| row.is_chosen == Some(true))
}

/// `4 candidates`, `4 candidates, 1 of which failed`, or `1 candidate`.
pub fn tried(candidates: &[ChoiceRow]) -> String {
    let failed = candidates.iter().filter(|row| row.state == FAILED).count();
    match failed {
        0 if candidates.len() == 1 => "1 candidate".to_owned(),
        0 => format!("{} candidates", candidates.len()),
        failed => format!("{} candidates, {failed} of which failed", candidates.len()),
    }
}

/// Why none of a group of candidates is chosen.
pub fn why_undecided(candidates: &[ChoiceRow]) -> String {
    let unfinished = candidates
        .iter()
        .filter(|row| row.state == UNFINISHED)
        .count();
    match unfinished {
        0 => "all candidates failed".to_owned(),
        unfinished => format!("{unfinished} of {} candidates unfinished", candidates.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(measure: &str, state: &str, validation: Option<f64>) -> ChoiceRow {
        ChoiceRow {
            measure: measure.to_owned(),
            state: state.to_owned(),
            validation,
            ..ChoiceRow::default()
        }
    }

    #[test]
    fn the_best_is_the_first_with_the_lowest_cost_among_the_finished() {
        let finished = |value| row("token-accuracy", FINISHED, Some(value));
        let failed = row("token-accuracy", FAILED, Some(1.0));
        let of = |rows: &[ChoiceRow]| best(rows);
        assert_eq!(of(&[finished(0.5), finished(0.7), finished(0.7)]), Some(1));
        assert_eq!(of(&[failed.clone(), finished(0.2)]), Some(1));
        assert_eq!(of(&[failed]), None);
        let loss = |value| row("loss", FINISHED, Some(value));
        assert_eq!(of(&[loss(0.5), loss(0.4), loss(0.6)]), Some(1));
    }

    #[test]
    fn a_group_without_a_choice_is_a_point_without_runs() {
        let point = |label: &str, kind: &str, rate: &str| MeasuredPoint {
            folder: label.to_owned(),
            label: label.to_owned(),
            values: [("kind", kind), ("rate", rate)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec(),
            runs: vec![MeasuredRun {
                seed: 1,
                folder: label.into(),
            }],
            ..MeasuredPoint::default()
        };
        let all = [
            point("a1", "a", "1"),
            point("a2", "a", "2"),
            point("b1", "b", "1"),
            point("b2", "b", "2"),
        ];
        let group = |label: &str, points: [usize; 2]| Candidates {
            label: label.to_owned(),
            points: points.to_vec(),
        };
        let choice = Choice {
            split: crate::data::Split::Dev,
            keys: vec!["rate".to_owned()],
            groups: vec![group("a", [0, 1]), group("b", [2, 3])],
        };
        let row = |group: &str, point: &str, is_chosen| ChoiceRow {
            group: group.to_owned(),
            point: point.to_owned(),
            is_chosen,
            ..ChoiceRow::default()
        };
        let rows = [
            row("a", "a1", Some(false)),
            row("a", "a2", Some(true)),
            row("b", "b1", None),
            row("b", "b2", None),
        ];
        let chosen = chosen(&choice, &rows, &all);
        let told: Vec<_> = chosen
            .iter()
            .map(|one| (&*one.label, &*one.folder, one.runs.len()))
            .collect();
        assert_eq!(told, [("a", "a2", 1), ("b", "", 0)]);
        assert_eq!(chosen[0].values, [("kind".to_owned(), "a".to_owned())]);
    }
}
