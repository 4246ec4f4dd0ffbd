//! State shared by all workers: the progress of every stage and run.

use std::sync::Arc;

use super::recorder::OpenRun;
use crate::error::Error;
use crate::pipeline::plan::Plan;

/// The state of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageState {
    Waiting,
    AtWork,
    /// Its results are there.
    Settled,
    /// It failed, or none of its runs could begin.
    Failed,
}

/// The state of a run.
pub(super) enum RunState {
    /// Not started.
    Queued,
    /// A worker is starting it.
    Busy,
    /// In progress; this process has locked its folder.
    Open(Arc<OpenRun>),
    /// Another process is running it; waited for at the end.
    Elsewhere,
    /// All its stages are done; its folder may still have to be assembled.
    Done,
    /// Failed, interrupted, or run by another process.
    Ended,
}

/// A stage that failed, or a run that could not begin.
pub struct Failure {
    /// The runs that cannot finish because of it.
    pub runs: Vec<usize>,
    /// What went wrong.
    pub error: Error,
}

/// Everything that changes while a plan is carried out.
pub(super) struct Board {
    pub(super) stages: Vec<StageState>,
    pub(super) runs: Vec<RunState>,
    pub(super) failures: Vec<Failure>,
}

/// What a worker does next.
pub(super) enum Next {
    /// This stage.
    Stage(usize),
    /// Wait until something has changed.
    Wait,
    /// Nothing is left that could be done.
    Nothing,
}

impl Board {
    pub(super) fn new(plan: &Plan<'_>) -> Self {
        let runs = plan.runs.iter().map(|run| match run.is_done {
            true => RunState::Done,
            false => RunState::Queued,
        });
        Self {
            runs: runs.collect(),
            stages: vec![StageState::Waiting; plan.stages.len()],
            failures: vec![],
        }
    }

    /// Takes the first waiting stage whose input is ready and which a queued, starting or open run needs.
    pub(super) fn take_next(&mut self, plan: &Plan<'_>) -> Next {
        let ready = |&stage: &usize| {
            let input = plan.stages[stage].needs;
            self.stages[stage] == StageState::Waiting
                && input.is_none_or(|input| self.stages[input] == StageState::Settled)
                && plan.users(stage).any(|run| self.is_open(run))
        };
        match (0..self.stages.len()).find(ready) {
            Some(stage) => {
                self.stages[stage] = StageState::AtWork;
                Next::Stage(stage)
            }
            None if self.stages.contains(&StageState::AtWork) => Next::Wait,
            None => Next::Nothing,
        }
    }

    /// Whether this process still has work to do for a run.
    pub(super) fn is_open(&self, run: usize) -> bool {
        let state = &self.runs[run];
        !matches!(
            state,
            RunState::Elsewhere | RunState::Done | RunState::Ended
        )
    }

    /// The first run that another process is running.
    pub(super) fn elsewhere(&self) -> Option<usize> {
        let is_elsewhere = |run: &RunState| matches!(run, RunState::Elsewhere);
        self.runs.iter().position(is_elsewhere)
    }

    /// Puts a run back into the queue, with those of its stages that are not settled.
    pub(super) fn requeue(&mut self, plan: &Plan<'_>, run: usize) {
        self.runs[run] = RunState::Queued;
        for &stage in &plan.runs[run].stages {
            if self.stages[stage] != StageState::Settled {
                self.stages[stage] = StageState::Waiting;
            }
        }
    }

    /// Takes a run whose stages are all settled: those that are at work, or that need no work.
    pub(super) fn take_complete(&mut self, plan: &Plan<'_>) -> Option<(usize, RunState)> {
        let complete = |&run: &usize| {
            let settled = |&stage: &usize| self.stages[stage] == StageState::Settled;
            matches!(self.runs[run], RunState::Queued | RunState::Open(_))
                && plan.runs[run].stages.iter().all(settled)
        };
        let run = (0..self.runs.len()).find(complete)?;
        let state = match self.runs[run] {
            RunState::Queued => RunState::Queued,
            _ => std::mem::replace(&mut self.runs[run], RunState::Done),
        };
        Some((run, state))
    }

    /// Ends every run that needs a stage, and returns them as they were.
    pub(super) fn end_users(&mut self, plan: &Plan<'_>, stage: usize) -> Vec<(usize, RunState)> {
        let users: Vec<usize> = plan.users(stage).filter(|&run| self.is_open(run)).collect();
        let end = |run: usize| {
            let before = std::mem::replace(&mut self.runs[run], RunState::Ended);
            (run, before)
        };
        users.into_iter().map(end).collect()
    }

    /// Whether every run has its results.
    pub(super) fn is_complete(&self) -> bool {
        self.runs.iter().all(|run| matches!(run, RunState::Done))
    }
}
