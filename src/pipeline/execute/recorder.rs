//! A run's lock, status, provenance and, at its end, results folder.

use super::assemble::{StageAndFolder, assemble};
use super::origin::Origin;
use crate::config;
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::artefacts::PROVENANCE;
use crate::metrics::statistics::wilson_95;
use crate::pipeline::directory::{RunDirectory, State, Status};
use crate::pipeline::finished::{Finished, FinishedStage};
use crate::pipeline::lock::{self, Held, Lock};
use crate::pipeline::plan::{self, Action, Plan, PlannedRun, PlannedStage, keys};
use crate::pipeline::provenance::Provenance;
use crate::pipeline::summary;
use crate::progress::{self, Progress, Sweep};
use crate::stop::Stop;

/// Records the state of every run of a plan in its folder.
pub(super) struct RunRecorder<'a> {
    plan: &'a Plan<'a>,
    progress: &'a Progress,
    sweep: Sweep,
    origin: Origin,
    /// The status of each run before anything was done.
    statuses_before: Vec<Option<Status>>,
}

/// A run in progress; its folder is locked until this is dropped.
pub(super) struct OpenRun {
    /// Where its stages show their progress.
    pub(super) shown: progress::Run,
    lock: Lock,
}

impl<'a> RunRecorder<'a> {
    pub(super) fn new(plan: &'a Plan<'a>, progress: &'a Progress, stages_at_once: usize) -> Self {
        // Each stage once, however many runs share it.
        let steps = |reused: bool| -> u64 {
            let stages = plan.stages.iter();
            let stages = stages.filter(|one| !reused || one.action == Action::Reuse);
            stages.map(|one| one.steps as u64).sum()
        };
        let names: Vec<String> = (0..plan.runs.len()).map(|run| plan.name(run)).collect();
        let sweep = progress.sweep(&plan.experiment.name, &names, steps(false));
        let done: Vec<usize> = (0..plan.runs.len())
            .filter(|&run| plan.runs[run].is_done)
            .collect();
        sweep.done_before(done.len(), steps(true));
        for run in done {
            let name = &names[run];
            progress.say(&format!("{name}: already finished (`--again` reruns it)"));
        }
        let statuses = plan.runs.iter().map(|run| run.directory.status().ok());
        Self {
            plan,
            progress,
            sweep,
            origin: Origin::here(plan.experiment, stages_at_once),
            statuses_before: statuses.collect(),
        }
    }

    /// Puts every run that has no results yet in the queue, for others to see.
    pub(super) fn queue(&self) {
        for run in self.plan.runs.iter().filter(|run| !run.directory.is_done()) {
            // A folder that cannot be written is reported when its run starts.
            if let Ok(Ok(_lock)) = lock::take(run.directory.path()) {
                let _ = self
                    .describe(run)
                    .and_then(|()| self.note(run, State::Queued));
            }
        }
    }

    /// Restores stages whose results are only in the folders of runs to the cache. If that fails, they are
    /// run again when a run needs them.
    pub(super) fn restore(&self, stop: &Stop) {
        let mut restored: Vec<&RunDirectory> = vec![];
        for planned in &self.plan.stages {
            let Some(run) = &planned.held_by else {
                continue;
            };
            let kind = planned.stage.kind.name();
            let waiting = |holder: &str| {
                let folder = run.path().display();
                self.progress.say(&format!(
                    "{folder}: waiting for {holder}, which is using the same {kind}"
                ));
            };
            match restore(planned, run, stop, waiting) {
                Ok(true) if !restored.contains(&run) => restored.push(run),
                Ok(_) => {}
                Err(error) => {
                    let message = error.message();
                    let line = format!("{kind} cannot be restored to the cache: {message}");
                    self.progress.say(&line);
                }
            }
        }
        for run in restored {
            let folder = run.path().display();
            let line = format!(
                "{folder}: stages missing or damaged in the cache were restored from this run"
            );
            self.progress.say(&line);
        }
    }

    /// Waits for the process that holds a run's folder; `true` if it has finished the run since this
    /// command began. A run that was only looked at is as it was before.
    ///
    /// # Errors
    /// As [`lock::wait`].
    pub(super) fn wait_for(&self, number: usize, stop: &Stop) -> Result<bool> {
        let run = &self.plan.runs[number];
        let waiting = |holder: &str| {
            let name = self.plan.name(number);
            self.progress.say(&format!(
                "{name}: waiting for {holder}, which is running it"
            ));
        };
        drop(lock::wait(run.directory.path(), stop, waiting)?);
        let is_new = run.directory.status().ok() != self.statuses_before[number];
        let is_finished = is_new && plan::says_done(run, &self.plan.stages);
        if is_finished {
            let steps = run.stages.iter().map(|&stage| &self.plan.stages[stage]);
            let steps = steps.filter(|one| one.action != Action::Reuse);
            self.sweep
                .done_before(1, steps.map(|one| one.steps as u64).sum());
        }
        Ok(is_finished)
    }

    /// The error of a run that another process is running.
    pub(super) fn is_run_by(&self, number: usize, holder: &str) -> Error {
        let folder = self.plan.runs[number].directory.path().display();
        Error::run(format!("{folder} is being run by {holder}"))
            .help("wait until it has ended, or give this run another folder with --results")
    }

    /// Locks a run's folder and writes what is known before the first step, or says who holds it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn open(&self, number: usize, stop: &Stop) -> Result<Result<OpenRun, Held>> {
        let run = &self.plan.runs[number];
        let folder = run.directory.path();
        let name = self.plan.name(number);
        let watching = |holder: &str| {
            let line =
                format!("{name}: checking for up to a minute whether {holder} is still running it");
            self.progress.say(&line);
        };
        let lock = match lock::take_soon(folder, stop, watching)? {
            Ok(lock) => lock,
            Err(held) => return Ok(Err(held)),
        };
        files::remove_unfinished(folder, |_| true);
        let shown = self.sweep.run(number);
        self.progress
            .detail(&format!("{name}: in {}", folder.display()));
        self.describe(run)?;
        let planned = run.stages.iter();
        let stages: Vec<_> = planned
            .map(|&stage| &self.plan.stages[stage].stage)
            .collect();
        let settings = &self.plan.experiment.points[run.point].settings;
        let provenance = self
            .origin
            .of(self.plan.experiment, (settings, run.seed), &stages);
        add_provenance(&run.directory, &provenance)?;
        if let Some(reason) = self.origin.commit_unknown() {
            self.progress.note(&format!("commit unknown: {reason}"));
        }
        self.note(run, State::Running)?;
        Ok(Ok(OpenRun { shown, lock }))
    }

    /// Adds the provenance of a stage to its folder; `anew` if none of its earlier work is kept.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn begin_stage(&self, number: usize, anew: bool) -> Result<()> {
        let planned = &self.plan.stages[number];
        if anew {
            planned.folder.begin(&planned.stage)?;
        }
        let settings = &self.plan.experiment.points[planned.point].settings;
        let run = (settings, planned.seed);
        let provenance = self.origin.of(self.plan.experiment, run, &[&planned.stage]);
        provenance.add_to(&planned.folder.file(&PROVENANCE))
    }

    /// Counts the steps of a stage that another process has run since the plan was made.
    pub(super) fn found_done(&self, stage: usize) {
        let planned = &self.plan.stages[stage];
        if planned.action != Action::Reuse {
            self.sweep.done_before(0, planned.steps as u64);
        }
    }

    /// Fills the folder of a run whose stages are all done.
    ///
    /// # Errors
    /// The folder cannot be written, or results have disappeared; the run has then failed.
    pub(super) fn finish(&self, number: usize, opened: &OpenRun) -> Result<()> {
        let run = &self.plan.runs[number];
        let gone = |&&stage: &&usize| !self.plan.stages[stage].folder.is_marked_done();
        let finished = match run.stages.iter().find(gone) {
            Some(&stage) => {
                let folder = self.plan.stages[stage].folder.path().display();
                let message = format!("another process is rerunning {folder}");
                Err(Error::run(message).help("run again when it has ended"))
            }
            None => {
                let ours = opened.lock.taken_over().check();
                ours.and_then(|()| self.fill(run))
            }
        };
        finished
            .and_then(|()| self.note(run, State::Done))
            .inspect(|()| self.show_accuracy(run, opened))
            .inspect_err(|error| self.end(number, error, None, Some(opened)))
    }

    /// Replaces the contents of a run's folder with the results of its finished stages.
    fn fill(&self, run: &PlannedRun) -> Result<()> {
        // From here on it has neither the earlier results nor the new ones, until all of them are written.
        self.forget_earlier(run)?;
        assemble(&run.directory, &self.made(run))?;
        let stages = self.made(run).into_iter();
        let stages = stages.map(|(stage, folder)| (stage.kind, stage.key.as_str(), folder));
        Finished::write(&run.directory, stages)
    }

    fn forget_earlier(&self, run: &PlannedRun) -> Result<()> {
        Finished::remove(&run.directory)?;
        if let Ok(status) = run.directory.status()
            && status.holds_earlier_results
        {
            run.directory.set_status(&Status {
                holds_earlier_results: false,
                ..status
            })?;
        }
        adopt_attempt(&run.directory)
    }

    /// Shows the accuracy, if it is known. Predictions that cannot be read now are an error when the
    /// results are summarised.
    fn show_accuracy(&self, run: &PlannedRun, opened: &OpenRun) {
        if let Some((split, correct, questions)) = summary::counted(&run.directory) {
            let (low, high) = wilson_95(correct, questions);
            let percent = |share: f64| format!("{:.1}", 100.0 * share);
            let value = format!("{} %", percent(correct as f64 / questions as f64));
            let (low, high) = (percent(low), percent(high));
            let detail = format!(
                "{correct} of {questions} {split} questions right  95 % CI {low} to {high} %"
            );
            opened.shown.result("accuracy", value, detail);
        }
    }

    /// Records that a run has ended with an error, and in which stage, if in one. Partial results of an open
    /// run are put in its folder if it has no earlier ones. A run that never started, or was taken over, may belong
    /// to another process.
    pub(super) fn end(
        &self,
        number: usize,
        error: &Error,
        stage: Option<usize>,
        opened: Option<&OpenRun>,
    ) {
        let run = &self.plan.runs[number];
        let state = match error.is_interruption() {
            true => State::Interrupted,
            false => State::Failed,
        };
        let folder = run.directory.path();
        let lock = opened.is_none().then(|| lock::take(folder));
        let taken_over = opened.map(|opened| opened.lock.taken_over().check());
        if matches!(taken_over, Some(Err(_))) || matches!(lock, Some(Ok(Err(_)) | Err(_))) {
            return;
        }
        // The error is reported in any case; a failure to record it is not a second one.
        let status = run.directory.status();
        let holds_earlier = status.is_ok_and(|status| status.holds_earlier_results);
        if opened.is_some() && !holds_earlier {
            let _ = Finished::remove(&run.directory)
                .and_then(|()| assemble(&run.directory, &self.made(run)));
        }
        let stage = stage.map(|stage| self.plan.stages[stage].stage.kind.name());
        let _ = run.directory.set_status(&Status {
            reason: Some(error.message()),
            failed_stage: stage.map(str::to_owned),
            ..self.status(run, state)
        });
    }

    fn describe(&self, run: &PlannedRun) -> Result<()> {
        let settings = &self.plan.experiment.points[run.point].settings;
        let text = config::to_toml(settings, run.seed);
        files::write(&run.directory.resolved_toml(), text.as_bytes())
    }

    fn note(&self, run: &PlannedRun, state: State) -> Result<()> {
        run.directory.set_status(&self.status(run, state))
    }

    /// The status of a run that is in this state from now on.
    fn status(&self, run: &PlannedRun, state: State) -> Status {
        let now = Some(jiff::Timestamp::now().to_string());
        let before = run.directory.status().ok();
        let has_results = before.as_ref().is_some_and(Status::has_results);
        Status {
            state,
            reason: None,
            failed_stage: None,
            label: Some(run.label.clone()),
            holds_earlier_results: state != State::Done && has_results,
            stages: keys(run.stages.iter().map(|&stage| &self.plan.stages[stage])),
            started: match state {
                State::Queued => None,
                State::Running => now.clone(),
                _ => before.and_then(|status| status.started),
            },
            ended: now.filter(|_| !matches!(state, State::Queued | State::Running)),
        }
    }

    fn made(&self, run: &PlannedRun) -> Vec<StageAndFolder<'_>> {
        let planned = run.stages.iter().map(|&stage| &self.plan.stages[stage]);
        planned.map(|one| (&one.stage, &one.folder)).collect()
    }
}

/// Writes the provenance of a run. Results of an earlier run keep their own until they are replaced.
fn add_provenance(run: &RunDirectory, provenance: &Provenance) -> Result<()> {
    let (own, attempt) = (run.provenance_json(), run.attempt_json());
    if !run.has_results() {
        // A process that was killed may have been about to do this.
        adopt_attempt(run)?;
        return provenance.add_to(&own);
    }
    if own.is_file() && !attempt.is_file() {
        files::share(&own, &attempt)?;
    }
    provenance.add_to(&attempt)
}

/// Replaces the run's provenance with that of the attempt, whose results are now those of the run.
fn adopt_attempt(run: &RunDirectory) -> Result<()> {
    let attempt = run.attempt_json();
    if attempt.is_file() {
        files::share(&attempt, &run.provenance_json())?;
    }
    files::remove(&attempt)
}

/// Restores a stage to the cache from the folder of a run; `false` if another process already has.
/// `waiting` is called with the name of the process that holds the stage's folder.
fn restore(
    planned: &PlannedStage<'_>,
    run: &RunDirectory,
    stop: &Stop,
    waiting: impl FnOnce(&str),
) -> Result<bool> {
    let (kind, folder) = (planned.stage.kind, &planned.folder);
    let _lock = lock::wait(folder.path(), stop, waiting)?;
    let held = FinishedStage::find(run, kind, &planned.stage.key);
    match held.filter(|_| !folder.is_whole()) {
        Some(held) => held.restore(run, kind, folder).map(|()| true),
        None => Ok(false),
    }
}
