//! State shared by all workers: the progress of every stage and run.

use std::sync::Arc;

use super::recorder::OpenRun;
use crate::error::Error;
use crate::pipeline::plan::Plan;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageState {
    Waiting,
    AtWork,
    /// Its results are there.
    Settled,
    /// It failed, or none of its runs could begin.
    Failed,
}

pub(super) enum RunState {
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
    pub error: Error,
}

/// Everything that changes while a plan is carried out.
pub(super) struct Board {
    pub(super) stages: Vec<StageState>,
    pub(super) runs: Vec<RunState>,
    pub(super) failures: Vec<Failure>,
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
    pub(super) fn take_stage(&mut self, plan: &Plan<'_>) -> Option<usize> {
        let is_ready = |&stage: &usize| {
            let input = plan.stages[stage].needs;
            self.stages[stage] == StageState::Waiting
                && input.is_none_or(|input| self.stages[input] == StageState::Settled)
                && plan.users(stage).any(|run| self.is_open(run))
        };
        let stage = (0..self.stages.len()).find(is_ready)?;
        self.stages[stage] = StageState::AtWork;
        Some(stage)
    }

    /// Whether this process still has work to do for a run.
    pub(super) fn is_open(&self, run: usize) -> bool {
        use RunState::{Busy, Open, Queued};
        matches!(self.runs[run], Queued | Busy | Open(_))
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

    /// The first queued or open run whose stages are all settled; an open one is marked as done.
    pub(super) fn take_complete(&mut self, plan: &Plan<'_>) -> Option<(usize, RunState)> {
        let is_complete = |&run: &usize| {
            let is_settled = |&stage: &usize| self.stages[stage] == StageState::Settled;
            matches!(self.runs[run], RunState::Queued | RunState::Open(_))
                && plan.runs[run].stages.iter().all(is_settled)
        };
        let run = (0..self.runs.len()).find(is_complete)?;
        let state = match self.runs[run] {
            RunState::Queued => RunState::Queued,
            _ => std::mem::replace(&mut self.runs[run], RunState::Done),
        };
        Some((run, state))
    }

    /// Ends every run that needs a stage, and returns them as they were.
    pub(super) fn end_users(&mut self, plan: &Plan<'_>, stage: usize) -> Vec<(usize, RunState)> {
        let users: Vec<usize> = plan.users(stage).filter(|&run| self.is_open(run)).collect();
        let end = |run| (run, std::mem::replace(&mut self.runs[run], RunState::Ended));
        users.into_iter().map(end).collect()
    }
}
