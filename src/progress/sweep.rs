//! The outer levels: an experiment of several runs, and the runs that are being worked on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use indicatif::ProgressBar;

use super::columns;
use super::line::{joined, printable, thousands, time_left, time_taken};
use super::output::Output;
use crate::labels::shorten_apart;

/// The progress of all runs of an experiment, on a line of its own if there is more than one run. It ends when the last
/// of the workers that share it drops it.
pub struct SweepProgress {
    output: Arc<Output>,
    name: String,
    runs: Vec<String>,
    /// Steps of all stages of all runs.
    work: u64,
    began: Instant,
    live: ProgressBar,
    tally: Mutex<Tally>,
}

/// Progress of all runs so far.
#[derive(Default)]
struct Tally {
    runs_done: usize,
    steps_done: u64,
    /// Of the steps done, those of an earlier session.
    steps_before: u64,
    at_work: usize,
    /// Whether lines have to name their run: once two were at work together.
    crowded: bool,
    begun: bool,
}

/// The progress of a run that is being worked on, one stage after the other. It ends when it and its stages are dropped,
/// or with [`RunProgress::done`].
pub struct RunProgress {
    pub(super) output: Arc<Output>,
    pub(super) sweep: Arc<SweepProgress>,
    name: String,
    /// Its shortened name.
    pub(super) live: ProgressBar,
    /// Whether its name has been printed.
    named: AtomicBool,
}

impl SweepProgress {
    pub(super) fn new(output: &Arc<Output>, name: &str, runs: &[String], work: u64) -> Self {
        let sweep = Self {
            output: output.clone(),
            name: printable(name),
            runs: runs.iter().map(|name| printable(name)).collect(),
            work,
            began: output.now(),
            live: match runs.len() {
                0 | 1 => ProgressBar::hidden(),
                _ => output.live(None, 0, Some(work)),
            },
            tally: Mutex::default(),
        };
        sweep.update(|_| {});
        sweep
    }

    /// Begins to work on the run of this number, from 0. Lines about its stages name it once several runs
    /// are at work together.
    pub fn run(self: &Arc<Self>, number: usize) -> Arc<RunProgress> {
        self.update(|tally| {
            tally.at_work += 1;
            tally.crowded |= tally.at_work > 1;
            tally.begun = true;
        });
        let fits = |name: &str| columns(name) + 2 <= self.output.width();
        let live = self.output.live(None, 2, None);
        live.set_message(shorten_apart(&self.runs, &fits).swap_remove(number));
        let run = RunProgress {
            output: self.output.clone(),
            sweep: self.clone(),
            name: self.runs[number].clone(),
            live,
            named: AtomicBool::new(false),
        };
        if self.output.is_plain() {
            run.print_name();
        }
        Arc::new(run)
    }

    /// Counts `runs` finished by an earlier session, with `steps` steps in total. The estimate of the
    /// time left ignores them.
    pub fn done_before(&self, runs: usize, steps: u64) {
        self.update(|tally| {
            tally.runs_done += runs;
            tally.steps_done += steps;
            tally.steps_before += steps;
        });
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // The counts are right even if a thread has panicked after it changed them.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally();
        change(&mut tally);
        self.live.set_position(tally.steps_done);
        self.live.set_message(self.line(&tally, false));
    }

    /// The progress line of all runs, while they run or at the end.
    fn line(&self, tally: &Tally, has_ended: bool) -> String {
        let elapsed = self.output.now() - self.began;
        let done = tally.steps_done - tally.steps_before;
        let to_do = self.work.saturating_sub(tally.steps_done);
        let time = match has_ended {
            true => time_taken(tally.runs_done >= self.runs.len(), elapsed),
            false => time_left(done, to_do, elapsed),
        };
        let [done, work] = [tally.steps_done, self.work].map(|steps| thousands(steps as usize));
        let (name, runs, all) = (&self.name, tally.runs_done, self.runs.len());
        joined(&[
            &format!("{name} {runs}/{all} runs  {done}/{work} steps"),
            &time,
        ])
    }
}

impl Drop for SweepProgress {
    fn drop(&mut self) {
        self.live.finish_and_clear();
        let tally = self.tally();
        if tally.begun && self.runs.len() > 1 {
            self.output.print(&self.line(&tally, true));
        }
    }
}

impl RunProgress {
    /// Counts `steps` finished steps of one of its stages.
    pub(super) fn advance(&self, steps: usize) {
        self.sweep.update(|tally| tally.steps_done += steps as u64);
    }

    /// Prints a line about a stage, with the run's name in it or on a line above it.
    pub(super) fn print(&self, line: &str) {
        if self.sweep.tally().crowded {
            self.named.store(true, Ordering::Relaxed);
            self.output.print(&format!("{}: {line}", self.name));
        } else {
            self.print_name();
            self.output.print(line);
        }
    }

    /// Prints the run's name, unless it has been printed.
    fn print_name(&self) {
        if !self.named.swap(true, Ordering::Relaxed) {
            self.output.print(&self.name);
        }
    }

    /// Prints its result: `accuracy 95.0 %`, and the parts of `detail`, two spaces apart.
    pub fn result(&self, name: &str, value: String, detail: String) {
        self.print(&joined(&[&format!("{name} {value}"), &detail]));
    }

    /// Counts the run as done; all of its stages have ended.
    pub fn done(self: Arc<Self>) {
        let sweep = self.sweep.clone();
        drop(self);
        sweep.update(|tally| tally.runs_done += 1);
        let tally = sweep.tally();
        // After the last run, the sweep prints its final line.
        if sweep.output.is_plain() && tally.runs_done < sweep.runs.len() {
            sweep.output.print(&sweep.line(&tally, false));
        }
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        self.live.finish_and_clear();
        // Even a run without a stage leaves its name in the log.
        self.print_name();
        self.sweep.update(|tally| tally.at_work -= 1);
    }
}
