//! A run's lock, status, provenance and, at its end, results folder.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assemble::assemble;
use super::origin;
use crate::config;
use crate::error::{Error, Result};
use crate::files;
use crate::metrics::artefacts::PROVENANCE;
use crate::metrics::statistics::wilson_95;
use crate::pipeline::directory::{RunDirectory, State, Status};
use crate::pipeline::finished::{self, FinishedStage};
use crate::pipeline::lock::{self, Held, Lock};
use crate::pipeline::plan::{Action, Plan, PlannedRun, PlannedStage};
use crate::pipeline::provenance::Provenance;
use crate::pipeline::stage::store::StageFolder;
use crate::pipeline::summary::{self, Counted};
use crate::progress::{Progress, RunProgress, SweepProgress};
use crate::stop::Stop;

/// Records the state of every run of a plan in its folder.
pub(super) struct RunRecorder<'a> {
    plan: &'a Plan<'a>,
    progress: &'a Progress,
    sweep: Arc<SweepProgress>,
    origin: Provenance,
    /// The status of each run before anything was done.
    statuses_before: Vec<Option<Status>>,
}

/// A run in progress; its folder is locked until this is dropped.
pub(super) struct OpenRun {
    /// Where its stages show their progress.
    pub(super) shown: Arc<RunProgress>,
    lock: Lock,
}

/// Number of steps of these stages, not counting reused stages.
fn steps_to_do<'a>(stages: impl IntoIterator<Item = &'a PlannedStage<'a>>) -> u64 {
    let stages = stages.into_iter().filter(|one| one.action != Action::Reuse);
    stages.map(|one| one.steps as u64).sum()
}

impl<'a> RunRecorder<'a> {
    pub(super) fn new(plan: &'a Plan<'a>, progress: &'a Progress, stages_at_once: usize) -> Self {
        let names: Vec<String> = (0..plan.runs.len()).map(|run| plan.name(run)).collect();
        // Each stage once, however many runs share it.
        let steps = plan.stages.iter().map(|one| one.steps as u64).sum();
        let sweep = progress.sweep(&plan.experiment.name, &names, steps);
        let done = plan.runs.iter().filter(|run| run.is_done).count();
        sweep.done_before(done, steps - steps_to_do(&plan.stages));
        for (name, run) in names.iter().zip(&plan.runs) {
            if run.is_done {
                progress.say(&format!("{name}: already finished (`--again` reruns it)"));
            }
        }
        let statuses = plan.runs.iter().map(|run| run.directory.status());
        Self {
            plan,
            progress,
            sweep,
            origin: origin::of_command(plan.experiment, stages_at_once),
            statuses_before: statuses.collect(),
        }
    }

    /// Puts every run that has no results yet in the queue, for others to see.
    pub(super) fn queue(&self) {
        for run in self.plan.runs.iter().filter(|run| !run.directory.is_done()) {
            // A folder that cannot be written is reported when its run starts.
            if let Ok(Ok(_lock)) = lock::take(run.directory.path()) {
                let described = self.describe(run);
                let _ = described.and_then(|()| self.note(run, State::Queued));
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
            match self.restore_stage(&planned.folder, run, stop) {
                Ok(true) if !restored.contains(&run) => restored.push(run),
                Ok(_) => {}
                Err(error) => {
                    let (kind, message) = (planned.stage.kind.name(), error.message());
                    let line = format!("{kind} cannot be restored to the cache: {message}");
                    self.progress.say(&line);
                }
            }
        }
        for run in restored {
            let what = "stages missing or damaged in the cache were restored from this run";
            self.say(run.path().display(), what);
        }
    }

    /// Restores a stage to the cache from the folder of a run; `false` if another process already has.
    fn restore_stage(&self, stage: &StageFolder, run: &RunDirectory, stop: &Stop) -> Result<bool> {
        let doing = format!("is using the same {}", stage.kind.name());
        let _lock = self.wait(stage.path(), stop, run.path().display(), &doing)?;
        let held = FinishedStage::find(run, stage);
        match held.filter(|_| stage.integrity() != Some(Ok(()))) {
            Some(held) => held.restore(run, stage).map(|()| true),
            None => Ok(false),
        }
    }

    fn say(&self, of: impl Display, what: &str) {
        self.progress.say(&format!("{of}: {what}"));
    }

    /// Locks a folder for a run. If it has to wait, a message names the run and what the holder is `doing`.
    pub(super) fn wait(
        &self,
        folder: &Path,
        stop: &Stop,
        run: impl Display,
        doing: &str,
    ) -> Result<Lock> {
        lock::wait(folder, stop, |holder| {
            self.say(run, &format!("waiting for {holder}, which {doing}"));
        })
    }

    /// Waits for the process that holds a run's folder; `true` if it has finished the run since this
    /// command began. A run that was only looked at is as it was before.
    pub(super) fn wait_for(&self, number: usize, stop: &Stop) -> Result<bool> {
        let run = &self.plan.runs[number];
        let name = self.plan.name(number);
        drop(self.wait(run.directory.path(), stop, name, "is running it")?);
        let is_new = run.directory.status() != self.statuses_before[number];
        let is_finished = is_new && self.plan.says_done(run);
        if is_finished {
            let steps = steps_to_do(self.plan.stages_of(run));
            self.sweep.done_before(1, steps);
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
    pub(super) fn open(&self, number: usize, stop: &Stop) -> Result<Result<OpenRun, Held>> {
        let run = &self.plan.runs[number];
        let folder = run.directory.path();
        let name = self.plan.name(number);
        let watching = |holder: &str| {
            let what = format!("checking for up to a minute whether {holder} is still running it");
            self.say(&name, &what);
        };
        let lock = match lock::take_soon(folder, stop, watching)? {
            Ok(lock) => lock,
            Err(held) => return Ok(Err(held)),
        };
        files::remove_unfinished(folder, |_| true);
        let shown = self.sweep.run(number);
        let line = format!("{name}: in {}", folder.display());
        self.progress.detail(&line);
        self.describe(run)?;
        let stages: Vec<_> = self.plan.stages_of(run).collect();
        let settings = &run.point.settings;
        let provenance = self.origin.of_run((settings, run.seed), &stages);
        add_provenance(&run.directory, &provenance)?;
        if let Some(reason) = &self.origin.commit_unknown {
            self.progress.note(&format!("commit unknown: {reason}"));
        }
        self.note(run, State::Running)?;
        Ok(Ok(OpenRun { shown, lock }))
    }

    /// Adds the provenance of a stage to its folder; `anew` if none of its earlier work is kept.
    pub(super) fn begin_stage(&self, number: usize, anew: bool) -> Result<()> {
        let planned = &self.plan.stages[number];
        let folder = &planned.folder;
        if anew {
            folder.clear()?;
            folder.describe(planned.stage.ingredients.clone())?;
        }
        let run = (&planned.point.settings, planned.seed);
        let provenance = self.origin.of_run(run, &[planned]);
        provenance.add_to(&folder.file(&PROVENANCE))
    }

    /// Counts the steps of a stage that another process has run since the plan was made.
    pub(super) fn found_done(&self, stage: usize) {
        let steps = steps_to_do([&self.plan.stages[stage]]);
        self.sweep.done_before(0, steps);
    }

    /// Fills the folder of a run whose stages are all done. The run fails if results have disappeared.
    pub(super) fn finish(&self, number: usize, opened: &OpenRun) -> Result<()> {
        let run = &self.plan.runs[number];
        let folders = self.plan.folders(run);
        let finished = match folders.iter().find(|folder| !folder.is_marked_done()) {
            Some(gone) => {
                let message = format!("another process is rerunning {}", gone.path().display());
                Err(Error::run(message).help("run again when it has ended"))
            }
            None => {
                let ours = opened.lock.taken_over().check();
                ours.and_then(|()| fill(&run.directory, &folders))
            }
        };
        finished
            .and_then(|()| self.note(run, State::Done))
            .inspect(|()| show_accuracy(run, opened))
            .inspect_err(|error| self.end(number, error, None, Some(opened)))
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
        let lock = opened.is_none().then(|| lock::take(run.directory.path()));
        let taken_over = opened.map(|opened| opened.lock.taken_over().check());
        if matches!(taken_over, Some(Err(_))) || matches!(lock, Some(Ok(Err(_)) | Err(_))) {
            return;
        }
        // The error is reported in any case; a failure to record it is not a second one.
        let status = run.directory.status();
        let holds_earlier = status.is_some_and(|status| status.holds_earlier_results);
        if opened.is_some() && !holds_earlier {
            let _ = finished::remove(&run.directory)
                .and_then(|()| assemble(&run.directory, &self.plan.folders(run)));
        }
        let stage = stage.map(|stage| self.plan.stages[stage].stage.kind.name());
        let _ = run.directory.set_status(&Status {
            reason: Some(error.message()),
            failed_stage: stage.map(str::to_owned),
            ..self.status(run, state)
        });
    }

    fn describe(&self, run: &PlannedRun<'_>) -> Result<()> {
        let text = config::to_toml(&run.point.settings, run.seed);
        files::write(&run.directory.resolved_toml(), text.as_bytes())
    }

    fn note(&self, run: &PlannedRun<'_>, state: State) -> Result<()> {
        run.directory.set_status(&self.status(run, state))
    }

    /// The status of a run that is in this state from now on.
    fn status(&self, run: &PlannedRun<'_>, state: State) -> Status {
        let now = Some(jiff::Timestamp::now().to_string());
        let before = run.directory.status();
        let has_results = before.as_ref().is_some_and(Status::has_results);
        Status {
            state,
            reason: None,
            failed_stage: None,
            label: Some(run.point.label.clone()),
            holds_earlier_results: state != State::Done && has_results,
            stages: self.plan.keys(run),
            started: match state {
                State::Queued => None,
                State::Running => now.clone(),
                _ => before.and_then(|status| status.started),
            },
            ended: now.filter(|_| !matches!(state, State::Queued | State::Running)),
        }
    }
}

/// Replaces the contents of a run's folder with the results of its finished stages.
fn fill(run: &RunDirectory, stages: &[&StageFolder]) -> Result<()> {
    // From here until all new results are written, the folder counts as having none.
    finished::remove(run)?;
    if let Some(mut status) = run.status()
        && status.holds_earlier_results
    {
        status.holds_earlier_results = false;
        run.set_status(&status)?;
    }
    adopt_attempt(run)?;
    assemble(run, stages)?;
    finished::write(run, stages)
}

/// Shows the accuracy, if it is known. Predictions that cannot be read now are an error when the
/// results are summarised.
fn show_accuracy(run: &PlannedRun<'_>, opened: &OpenRun) {
    if let Some(counted) = summary::counted(&run.directory) {
        let Counted {
            split,
            measure,
            right,
            count,
        } = counted;
        let (low, high) = wilson_95(right, count);
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let value = format!("{} %", percent(right as f64 / count as f64));
        let (low, high, counts) = (percent(low), percent(high), measure.counts);
        let detail =
            format!("{right} of {count} {split} {counts} right  95 % CI {low} to {high} %");
        opened.shown.result("accuracy", value, detail);
    }
}

/// Writes the provenance of a run. Results of an earlier run keep their own until they are replaced.
fn add_provenance(run: &RunDirectory, provenance: &Provenance) -> Result<()> {
    let (own, attempt) = (run.provenance_json(), attempt_json(run));
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

/// The provenance of a finished run plus the attempts to rerun it.
fn attempt_json(run: &RunDirectory) -> PathBuf {
    run.path().join("attempt.json")
}

/// Replaces the run's provenance with that of the attempt, whose results are now those of the run.
fn adopt_attempt(run: &RunDirectory) -> Result<()> {
    let attempt = attempt_json(run);
    if attempt.is_file() {
        files::share(&attempt, &run.provenance_json())?;
    }
    files::remove(&attempt)
}
