//! One experiment from its file to its figures.
//!
//! In reading order: [`stage`] (what a result depends on, and so its key), [`plan`] (which stages
//! there are and why each runs or is reused), `execute` (runs them, several at once), `work` (runs
//! one) with its `journal` (rows and checkpoints), `store` (results by key), `assemble` (a run's
//! folder from its stages), [`summary`] (tables and figures, from files alone), [`suite`] (several experiments).

// What a name says needs no comment.
#![allow(missing_docs)]

pub mod clean;
pub mod compare;
pub mod directory;
mod execute;
mod finished;
mod lock;
pub mod plan;
pub mod preflight;
pub mod provenance;
pub mod runs;
pub mod stage;
pub mod suite;
pub mod summary;

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::config::{Experiment, to_toml};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::measured::Measured;
use crate::metrics::rows::{ChoiceRow, FindingRow, GroupRow, MeasureRow};
use crate::progress::Progress;
use crate::stop::{Stop, StopReason};
use directory::{State, Status, experiment_folder, of_point};
use execute::{Failure, PlanOutcome, execute};
use plan::{Action, Plan};
use summary::{calibration, choice, draws, figures, findings, groups};

/// Command-line options of a run, besides the experiment itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The results folder, with one subfolder per experiment.
    pub results: PathBuf,
    /// Where fetched data is; see [`crate::data::cs224n::locate`].
    pub data: Option<PathBuf>,
    /// Rerun stages that are already done.
    pub again: bool,
    /// Finish the other runs when one fails.
    pub keep_going: bool,
    /// Number of stages to run in parallel, each with an equal share of the threads.
    pub jobs: usize,
}

/// Tables and figures of an experiment, and what failed.
#[derive(Debug, Default, Serialize)]
pub struct ExperimentResults {
    /// The rows of `summary.csv`; JSON keeps the name `accuracies` from when accuracy was the only measure.
    #[serde(rename = "accuracies")]
    pub measures: Vec<MeasureRow>,
    pub groups: Vec<GroupRow>,
    /// The rows of `choice.csv`, if points are chosen by validation.
    pub choice: Vec<ChoiceRow>,
    /// The rows of `findings.csv`, of an exploration.
    pub findings: Vec<FindingRow>,
    /// The figures, as SVG, PNG and CSV.
    pub figures: Vec<PathBuf>,
    /// Figures that have nothing to show, each with the reason.
    pub left_out: figures::LeftOut,
    /// The runs that failed while others were finished.
    #[serde(serialize_with = "message")]
    pub failed: Option<Error>,
}

fn message<S: Serializer>(error: &Option<Error>, into: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(Error::message).serialize(into)
}

/// Runs the unfinished stages of every point and seed, then writes tables and figures from the files.
///
/// # Errors
/// Data, model shape or device is missing, training diverges, a file cannot be written, or the user
/// stops it. Finished work is kept, and a rerun resumes from it.
pub fn run(
    experiment: &Experiment,
    options: &Options,
    progress: &Progress,
    stop: &Stop,
) -> Result<ExperimentResults> {
    // Rejected checkpoints are reported when their stage runs.
    let plan = plan::make(experiment, options, &mut |_| {})?;
    let notes = experiment.notes.iter().cloned();
    let notes = notes.chain(preflight::auto_device_note(experiment));
    for note in notes.chain(plan.notes.iter().cloned()) {
        progress.note(&note);
    }
    write_draws(experiment, &options.results, progress, stop)?;
    let outcome = execute(&plan, options, progress, stop);
    let failed = resolve_failures(&plan, outcome, options, stop)?;
    let results = finish(experiment, &options.results, progress, stop)?;
    Ok(ExperimentResults { failed, ..results })
}

/// Turns the failures of a plan into one error to return now, or one to report at the end.
fn resolve_failures(
    plan: &Plan<'_>,
    outcome: PlanOutcome,
    options: &Options,
    stop: &Stop,
) -> Result<Option<Error>> {
    let failures = outcome.failures.into_iter();
    let (stopped, mut failed): (Vec<Failure>, Vec<Failure>) =
        failures.partition(|one| one.error.is_interruption());
    let is_interrupted = stop.wanted() == Some(StopReason::User) && !outcome.is_complete;
    if failed.is_empty() {
        if !is_interrupted {
            return Ok(None);
        }
        let error = stopped.into_iter().map(|one| one.error).next();
        let error = error.unwrap_or_else(|| StopReason::User.error("between two stages"));
        let again = if options.again {
            " without --again"
        } else {
            ""
        };
        return Err(error.help(format!("rerun the same command{again} to resume")));
    }
    let lines = failed.iter().flat_map(|Failure { runs, error }| {
        runs.iter()
            .map(|&run| format!("{}: {}", plan.name(run), error.message()))
    });
    let lines: Vec<String> = lines.collect();
    let (number, all) = (lines.len(), plan.runs.len());
    if number == 1 && (all == 1 || !options.keep_going) {
        return Err(failed.remove(0).error);
    }
    let help = failed.iter().find_map(|failure| failure.error.what_to_do());
    // If no run finished, there is nothing to summarise.
    let is_total = number == all || !options.keep_going || is_interrupted;
    let error = failures_error(&lines, all, "runs", help, is_total);
    if is_total {
        Err(error)
    } else {
        Ok(Some(error))
    }
}

/// The error for failed runs or members, one line each; a partial failure unless `is_total`.
fn failures_error(
    lines: &[String],
    all: usize,
    parts: &str,
    help: Option<&str>,
    is_total: bool,
) -> Error {
    let number = lines.len();
    let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    let message = format!("{number} of {all} {parts} failed{lines}");
    let error = match is_total {
        true => Error::run(message),
        false => Error::new(Kind::Partly, message),
    };
    error.help(help.unwrap_or("rerun the same command to retry them"))
}

/// Writes `draws.csv` of a random search before its first run.
fn write_draws(
    experiment: &Experiment,
    results: &Path,
    progress: &Progress,
    stop: &Stop,
) -> Result<()> {
    if experiment.points.iter().all(|point| point.draw.is_none()) {
        return Ok(());
    }
    let folder = experiment_folder(experiment, results);
    let _lock = wait(&folder, progress, stop)?;
    draws::write(experiment, &folder)
}

/// Locks an experiment's folder: of several processes that finish its runs, one at a time writes tables and
/// figures.
fn wait(folder: &Path, progress: &Progress, stop: &Stop) -> Result<lock::Lock> {
    let waiting = |holder: &str| progress.say(&format!("waiting for {holder}, which is drawing"));
    lock::wait(folder, stop, waiting)
}

/// Writes tables and figures from the files of finished runs; needs no model, data or GPU.
///
/// # Errors
/// No run is done, a run's files are missing or damaged, the figures cannot be written, or the user
/// stops it while another process draws.
pub fn finish(
    experiment: &Experiment,
    results: &Path,
    progress: &Progress,
    stop: &Stop,
) -> Result<ExperimentResults> {
    let folder = experiment_folder(experiment, results);
    if !summary::any_finished(experiment, results) {
        let (name, command) = (
            &experiment.name,
            format!("attnlab run {}", experiment.argument()),
        );
        let help = match is_cached(experiment, results) {
            true => format!("`{command}` assembles its runs from the cache without training"),
            false => {
                format!(
                    "`{command}` makes one; a run with --set or --results is found with the same"
                )
            }
        };
        let results = results.display();
        return Err(Error::usage(format!("{name} has no finished run in {results}")).help(help));
    }
    let _lock = wait(&folder, progress, stop)?;
    let figures = folder.join("figures");
    files::remove_unfinished(&folder, |one| one == folder || one.starts_with(&figures));
    draws::write(experiment, &folder)?;
    describe_anew(experiment, results);
    let measured = summary::measured(experiment, results);
    let mut made = ExperimentResults::default();
    // Tables from before the experiment file was changed no longer apply.
    let others: &[&str] = if experiment.explores() {
        made.findings = findings::write(&measured)?;
        &["summary.csv", "groups.csv", "choice.csv", "calibration.csv"]
    } else {
        made.measures = summary::write(experiment, &measured)?;
        made.groups = groups::write(&made.measures, &measured.points, &folder)?;
        made.choice = choice::write(experiment, &measured, results)?;
        calibration::write(&measured)?;
        &["findings.csv"]
    };
    for table in others {
        files::remove(&folder.join(table))?;
    }
    let chosen = experiment.choice.as_ref().map(|choice| Measured {
        points: choice::chosen(choice, &made.choice, &measured.points),
        choice: choice::in_words(choice, &made.choice),
        ..measured.clone()
    });
    (made.figures, made.left_out) = figures::draw(experiment, &measured, chosen.as_ref())?;
    Ok(made)
}

/// Whether the cache holds the results of all stages, as for a copy of an experiment file.
fn is_cached(experiment: &Experiment, results: &Path) -> bool {
    let options = Options {
        results: results.to_owned(),
        ..Options::default()
    };
    let plan = plan::make(experiment, &options, &mut |_| {});
    plan.is_ok_and(|plan| plan.stages.iter().all(|one| one.action == Action::Reuse))
}

/// Updates labels and settings of finished runs to those in the experiment file: it may name points and measures anew,
/// on which no result depends. A run that another process has locked is skipped, and what cannot be written stays as it
/// was.
fn describe_anew(experiment: &Experiment, results: &Path) {
    for point in &experiment.points {
        for (seed, run) in of_point(experiment, point, results) {
            let settings = to_toml(&point.settings, seed);
            let outdated = || {
                let is_described = std::fs::read(run.resolved_toml())
                    .is_ok_and(|found| found == settings.as_bytes());
                run.status().filter(|status| {
                    let is_labelled = status.label.as_ref() == Some(&point.label);
                    status.state == State::Done && !(is_labelled && is_described)
                })
            };
            if outdated().is_some()
                && let Ok(Ok(_lock)) = lock::take(run.path())
                && let Some(status) = outdated()
            {
                let _ = files::write(&run.resolved_toml(), settings.as_bytes());
                let label = Some(point.label.clone());
                let _ = run.set_status(&Status { label, ..status });
            }
        }
    }
}
