//! The outer levels: an experiment of several runs, and the runs that are being worked on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::line::{self, Line, thousands};
use super::name::printable;
use super::output::{Live, Output};
use super::pace::time_left;
use super::run_name::RunName;
use super::task::Task;

/// An experiment of several runs, shared by all who work on it. It ends when it is dropped.
///
/// It has a line of its own if there is more than one run.
pub struct Sweep(Arc<Whole>);

/// A run that is being worked on, one stage after the other. It ends when it is dropped, or
/// with [`Run::done`].
pub struct Run(Arc<AtWork>);

/// All runs together.
struct Whole {
    output: Arc<Output>,
    name: String,
    runs: Vec<RunName>,
    /// Steps of all stages of all runs.
    work: u64,
    began: Instant,
    tally: Mutex<Tally>,
}

/// What has come of the runs so far.
#[derive(Default)]
struct Tally {
    runs_done: usize,
    steps_done: u64,
    /// Of the steps done, those of an earlier session.
    steps_before: u64,
    at_work: usize,
    /// Whether lines have to name their run: once two were at work together.
    crowded: bool,
    /// Whether any run was worked on.
    begun: bool,
    live: Option<Live>,
}

/// What a run shares with its stages.
pub(super) struct AtWork {
    sweep: Arc<Whole>,
    /// Its place in the sweep, from 0.
    number: usize,
    live: Mutex<Option<Live>>,
    /// Whether a line that stays has named it.
    named: AtomicBool,
}

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

    /// Counts `runs` of `steps` in all that an earlier session has done. They are no measure of
    /// how long the others take.
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

impl Whole {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // The counts are right even if a thread has panicked after it changed them.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally();
        change(&mut tally);
        if let Some(live) = &tally.live {
            let share = match self.work {
                0 => tally.runs_done as f64 / self.runs.len() as f64,
                work => tally.steps_done as f64 / work as f64,
            };
            let bar = Some(share);
            let line = self.line(&tally);
            live.show(&[Line { bar, ..line }]);
        }
    }

    fn elapsed(&self) -> Duration {
        self.output.now() - self.began
    }

    /// How far all runs are.
    fn line(&self, tally: &Tally) -> Line<'_> {
        let done = tally.steps_done - tally.steps_before;
        let to_do = self.work.saturating_sub(tally.steps_done);
        let (steps, work) = (
            thousands(tally.steps_done as usize),
            thousands(self.work as usize),
        );
        Line {
            name: &self.name,
            count: format!("{}/{} runs", tally.runs_done, self.runs.len()),
            message: format!("{steps}/{work} steps"),
            time: time_left(done, to_do, self.elapsed()).and_then(line::time_to_come),
            ..Line::default()
        }
    }
}

impl AtWork {
    pub(super) fn output(&self) -> &Arc<Output> {
        &self.sweep.output
    }

    fn name(&self) -> &RunName {
        &self.sweep.runs[self.number]
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the whole along by so many steps of one of its stages.
    pub(super) fn advance(&self, steps: usize) {
        self.sweep.update(|tally| tally.steps_done += steps as u64);
    }

    /// Shows the run's name at the bottom of the screen, and below it how its stage goes.
    pub(super) fn show(&self, stage: Option<Line<'_>>) {
        let live = self.live();
        let Some(live) = live.as_ref() else { return };
        let indent = if self.sweep.runs.len() > 1 { 2 } else { 0 };
        let name = Line {
            indent,
            run: Some(self.name()),
            ..Line::default()
        };
        let stage = stage.map(|line| Line {
            indent: indent + 2,
            ..line
        });
        let lines: Vec<Line<'_>> = [Some(name), stage].into_iter().flatten().collect();
        live.show(&lines);
    }

    /// Prints a line about a stage to stay, with the run's name in it or somewhere above it.
    pub(super) fn print(&self, stage: Line<'_>) {
        let crowded = self.sweep.tally().crowded;
        if crowded {
            self.named.store(true, Ordering::Relaxed);
        } else {
            self.print_name();
        }
        let run = crowded.then_some(self.name());
        self.output().print_fitted(&Line { run, ..stage });
    }

    /// Prints the run's name to stay, unless that was done.
    fn print_name(&self) {
        if !self.named.swap(true, Ordering::Relaxed) {
            self.output().print_fitted(&Line {
                run: Some(self.name()),
                ..Line::default()
            });
        }
    }
}
