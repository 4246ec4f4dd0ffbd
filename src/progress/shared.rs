//! What the runs of a sweep and their stages share: counts, and lines on the screen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::line::{self, Line, thousands};
use super::output::{Live, Output};
use super::pace::time_left;
use super::run_name::RunName;

/// All runs together.
pub struct Whole {
    pub output: Arc<Output>,
    pub name: String,
    pub runs: Vec<RunName>,
    /// Steps of all stages of all runs.
    pub work: u64,
    pub began: Instant,
    pub tally: Mutex<Tally>,
}

/// Progress of all runs so far.
#[derive(Default)]
pub struct Tally {
    pub runs_done: usize,
    pub steps_done: u64,
    /// Of the steps done, those of an earlier session.
    pub steps_before: u64,
    pub at_work: usize,
    /// Whether lines have to name their run: once two were at work together.
    pub crowded: bool,
    /// Whether any run was worked on.
    pub begun: bool,
    pub live: Option<Live>,
}

/// What a run shares with its stages.
pub struct AtWork {
    pub sweep: Arc<Whole>,
    /// Its place in the sweep, from 0.
    pub number: usize,
    pub live: Mutex<Option<Live>>,
    /// Whether a line that stays has named it.
    pub named: AtomicBool,
}

impl Whole {
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        // The counts are right even if a thread has panicked after it changed them.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn update(&self, change: impl FnOnce(&mut Tally)) {
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

    pub fn elapsed(&self) -> Duration {
        self.output.now() - self.began
    }

    /// How far all runs are.
    pub fn line(&self, tally: &Tally) -> Line<'_> {
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
    pub fn output(&self) -> &Arc<Output> {
        &self.sweep.output
    }

    pub fn name(&self) -> &RunName {
        &self.sweep.runs[self.number]
    }

    pub fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the whole along by so many steps of one of its stages.
    pub fn advance(&self, steps: usize) {
        self.sweep.update(|tally| tally.steps_done += steps as u64);
    }

    /// Shows the run's name at the bottom of the screen, and below it how its stage goes.
    pub fn show(&self, stage: Option<Line<'_>>) {
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
    pub fn print(&self, stage: Line<'_>) {
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
    pub fn print_name(&self) {
        if !self.named.swap(true, Ordering::Relaxed) {
            self.output().print_fitted(&Line {
                run: Some(self.name()),
                ..Line::default()
            });
        }
    }
}
