//! The outer levels: an experiment of several runs, and the runs that are being worked on.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::line::{self, Line};
use super::name::printable;
use super::output::Output;
use super::run_name::RunName;
use super::shared::{AtWork, Tally, Whole};
use super::task::Task;

/// An experiment of several runs, shared by all who work on it. It ends when it is dropped.
///
/// It has a line of its own if there is more than one run.
pub struct Sweep(Arc<Whole>);

/// A run that is being worked on, one stage after the other. It ends when it is dropped, or
/// with [`Run::done`].
pub struct Run(Arc<AtWork>);

impl Sweep {
    pub(super) fn new(output: &Arc<Output>, name: &str, runs: &[String], work: u64) -> Self {
        let live = if runs.len() > 1 { output.live() } else { None };
        let tally = Tally {
            live,
            ..Tally::default()
        };
        let whole = Whole {
            output: output.clone(),
            name: printable(name),
            runs: RunName::of_all(runs),
            work,
            began: output.now(),
            tally: Mutex::new(tally),
        };
        whole.update(|_| {});
        Self(Arc::new(whole))
    }

    /// Begins to work on the run of this number, from 0. Lines about its stages name it once several runs
    /// are at work together.
    pub fn run(&self, number: usize) -> Run {
        self.0.update(|tally| {
            tally.at_work += 1;
            tally.crowded |= tally.at_work > 1;
            tally.begun = true;
        });
        let at_work = AtWork {
            sweep: self.0.clone(),
            number,
            live: Mutex::new(self.0.output.live()),
            named: AtomicBool::new(false),
        };
        at_work.show(None);
        if self.0.output.is_plain() {
            at_work.print_name();
        }
        Run(Arc::new(at_work))
    }

    /// Counts `runs` finished by an earlier session, with `steps` steps in total. The estimate of the
    /// time left ignores them.
    pub fn done_before(&self, runs: usize, steps: u64) {
        self.0.update(|tally| {
            tally.runs_done += runs;
            tally.steps_done += steps;
            tally.steps_before += steps;
        });
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        let whole = &self.0;
        let live = whole.tally().live.take();
        drop(live);
        let tally = whole.tally();
        if tally.begun && whole.runs.len() > 1 {
            let finished = tally.runs_done >= whole.runs.len();
            let time = Some(line::time_taken(finished, whole.elapsed()));
            let line = Line {
                time,
                ..whole.line(&tally)
            };
            whole.output.print_fitted(&line);
        }
    }
}

impl Run {
    /// Begins a stage of so many `steps`, `already` of which an earlier session has done. One stage
    /// of a run at a time.
    pub fn begin(&self, stage: &str, steps: usize, already: usize) -> Task {
        self.0.sweep.update(|tally| {
            tally.steps_done += already as u64;
            tally.steps_before += already as u64;
        });
        Task::stage(&self.0, stage, steps, already)
    }

    /// Says what came of it, to stay: `accuracy 95.0 %`, and the parts of `detail`, two spaces apart.
    pub fn result(&self, name: &str, value: String, detail: String) {
        self.0.print(Line {
            name,
            count: value,
            message: detail,
            ..Line::default()
        });
    }

    /// Counts the run as done.
    pub fn done(self) {
        let whole = self.0.sweep.clone();
        drop(self);
        whole.update(|tally| tally.runs_done += 1);
        let tally = whole.tally();
        // The last is told by the end of the sweep.
        if whole.output.is_plain() && tally.runs_done < whole.runs.len() {
            whole.output.print_fitted(&whole.line(&tally));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Even a stage that is still held leaves the screen.
        *self.0.live() = None;
        // Even a run without a stage leaves its name in the log.
        self.0.print_name();
        self.0.sweep.update(|tally| tally.at_work -= 1);
    }
}
