//! The papers of a run: its lock, its status, its provenance, and its folder at the end.

use super::assemble::{Made, assemble};
use super::lock::{self, Held, Lock};
use super::provenance::Origin;
use crate::config;
use crate::error::{Error, Result};
use crate::files;
use crate::pipeline::directory::{State, Status};
use crate::pipeline::plan::{Action, Plan, PlannedRun, keys};
use crate::pipeline::stage::store::write_json;
use crate::progress::{self, Progress, Sweep};

/// Writes what is to be known about the runs of a plan.
pub(super) struct Desk<'a> {
    plan: &'a Plan<'a>,
    progress: &'a Progress,
    sweep: Sweep,
    origin: Origin,
}

/// A run that is at work; its folder is ours until this is dropped.
pub(super) struct Opened {
    /// Where its stages show how far they are.
    pub(super) shown: progress::Run,
    _lock: Lock,
}

impl<'a> Desk<'a> {
    pub(super) fn new(plan: &'a Plan<'a>, progress: &'a Progress) -> Self {
        // Each stage once, however many runs share it.
        let steps = |reused: bool| -> u64 {
            let stages = plan.stages.iter();
            let stages = stages.filter(|one| !reused || one.action == Action::Reuse);
            stages.map(|one| one.steps as u64).sum()
        };
        let sweep = progress.sweep(&plan.experiment.name, plan.runs.len(), steps(false));
        let done: Vec<usize> = (0..plan.runs.len())
            .filter(|&run| plan.runs[run].is_done)
            .collect();
        sweep.done_before(done.len(), steps(true));
        for run in done {
            let name = plan.name(run);
            progress.say(&format!(
                "{name}: done before (`--again` runs it once more)"
            ));
        }
        Self {
            plan,
            progress,
            sweep,
            origin: Origin::here(plan.experiment),
        }
    }

    /// Puts every run that is not done in the queue, for others to see.
    pub(super) fn queue(&self) {
        for run in self.plan.runs.iter().filter(|run| !run.is_done) {
            // A folder that cannot be written is told when its run begins.
            if let Ok(Ok(_lock)) = lock::take(run.directory.path()) {
                let _ = self
                    .describe(run)
                    .and_then(|()| self.note(run, State::Queued, None));
            }
        }
    }

    /// Takes a run's folder and writes what is known before the first step.
    ///
    /// # Errors
    /// Another process has the folder, or it cannot be written.
    pub(super) fn open(&self, number: usize) -> Result<Opened> {
        let run = &self.plan.runs[number];
        let folder = run.directory.path();
        let lock = match lock::take(folder)? {
            Ok(lock) => lock,
            Err(Held(holder)) => {
                let message = format!("{} is being run by {holder}", folder.display());
                let help =
                    "wait until it has ended, or give this run another folder with --results";
                return Err(Error::run(message).help(help));
            }
        };
        files::remove_unfinished(folder);
        let name = self.plan.name(number);
        let shown = self.sweep.run(&name);
        self.progress
            .detail(&format!("{name}: in {}", folder.display()));
        self.describe(run)?;
        let settings = &self.plan.experiment.points[run.point].settings;
        let planned = run
            .stages
            .iter()
            .map(|&stage| &self.plan.stages[stage].stage);
        let stages: Vec<_> = planned.collect();
        let provenance = self
            .origin
            .of(self.plan.experiment, (settings, run.seed), &stages);
        write_json(&run.directory.provenance_json(), &provenance)?;
        self.note(run, State::Running, None)?;
        Ok(Opened { shown, _lock: lock })
    }

    /// Counts the steps of a stage that somebody else has done since the plan was made.
    pub(super) fn found_done(&self, stage: usize) {
        let planned = &self.plan.stages[stage];
        if planned.action != Action::Reuse {
            self.sweep.done_before(0, planned.steps as u64);
        }
    }

    /// Fills the folder of a run whose stages are all there.
    ///
    /// # Errors
    /// The folder cannot be written; the run has failed then.
    pub(super) fn finish(&self, number: usize) -> Result<()> {
        let run = &self.plan.runs[number];
        let finished = assemble(&run.directory, &self.made(run))
            .and_then(|()| self.note(run, State::Done, None));
        finished.inspect_err(|error| self.end(number, error, false))
    }

    /// Notes that a run has ended with an error. `at_work`: then what it made so far is worth a look.
    pub(super) fn end(&self, number: usize, error: &Error, at_work: bool) {
        let run = &self.plan.runs[number];
        let state = if error.is_interruption() {
            State::Interrupted
        } else {
            State::Failed
        };
        // The error is told in any case, so what cannot be written here is no second one.
        if at_work {
            let _ = assemble(&run.directory, &self.made(run));
        }
        let _ = self.note(run, state, Some(error.message()));
    }

    fn describe(&self, run: &PlannedRun) -> Result<()> {
        let settings = &self.plan.experiment.points[run.point].settings;
        let text = config::to_toml(settings, run.seed);
        files::write(&run.directory.resolved_toml(), text.as_bytes())
    }

    /// Writes `status.json`.
    fn note(&self, run: &PlannedRun, state: State, reason: Option<String>) -> Result<()> {
        let now = Some(jiff::Timestamp::now().to_string());
        let started = match state {
            State::Queued => None,
            State::Running => now.clone(),
            _ => run
                .directory
                .status()
                .ok()
                .and_then(|status| status.started),
        };
        let ended = now.filter(|_| !matches!(state, State::Queued | State::Running));
        let stages = keys(run.stages.iter().map(|&stage| &self.plan.stages[stage]));
        run.directory.set_status(&Status {
            state,
            reason,
            stages,
            started,
            ended,
        })
    }

    fn made(&self, run: &PlannedRun) -> Vec<Made<'_>> {
        let planned = run.stages.iter().map(|&stage| &self.plan.stages[stage]);
        planned.map(|one| (&one.stage, &one.folder)).collect()
    }
}
