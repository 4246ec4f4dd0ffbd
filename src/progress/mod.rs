//! Progress of a long run: nested bars on a terminal, plain lines elsewhere.
//!
//! Three levels: a [`SweepProgress`] of runs, a [`RunProgress`] of stages, a [`Task`] of steps. On a terminal each
//! has a live line at the bottom of the screen; what ends is printed above, where it stays. Into a
//! file or a pipe go whole lines without any control character.

mod line;
mod output;
mod sweep;
mod task;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

pub use console::measure_text_width as columns;
pub use line::{format_duration, thousands};
use output::{Output, Sink};
pub use sweep::{RunProgress, SweepProgress};
pub use task::Task;

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing at all.
    Quiet,
    /// Progress and notes.
    Normal,
    /// Details as well.
    Verbose,
}

/// Prints progress on standard error, from any thread; standard output is for results.
///
/// Nothing here can fail: if standard error is closed, lines are lost.
pub struct Progress {
    output: Arc<Output>,
    verbose: bool,
    /// Notes that have been printed.
    notes: Mutex<BTreeSet<String>>,
}

/// How wide standard output is, in columns; no limit where it is a file or a pipe.
pub fn output_width() -> usize {
    let output = console::Term::stdout();
    match output.is_term() {
        true => usize::from(output.size().1),
        false => usize::MAX,
    }
}

impl Progress {
    /// Live lines if standard error is a terminal that can draw them, plain lines if not.
    pub fn new(verbosity: Verbosity) -> Self {
        let output = match verbosity {
            Verbosity::Quiet => Output::new(Sink::Silent),
            Verbosity::Normal | Verbosity::Verbose => Output::standard_error(),
        };
        Self {
            output: Arc::new(output),
            verbose: verbosity == Verbosity::Verbose,
            notes: Mutex::default(),
        }
    }

    /// Prints a line above the live ones. A long line is not cut.
    pub fn say(&self, line: &str) {
        self.output.print(line);
    }

    /// Prints `note: …`, each text only once, even if it applies to several runs or experiments.
    pub fn note(&self, text: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.insert(text.to_owned()) {
            self.say(&format!("note: {text}"));
        }
    }

    /// Prints a line if the user wants details.
    pub fn detail(&self, line: &str) {
        if self.verbose {
            self.say(line);
        }
    }

    /// Begins a task of `steps` steps outside of any run; a task without steps is not shown.
    pub fn begin(&self, name: &str, steps: usize) -> Task {
        Task::new(&self.output, None, name, steps, 0)
    }

    /// Begins an experiment of runs with these names. `work` is the number of steps of all their stages.
    pub fn sweep(&self, name: &str, runs: &[String], work: u64) -> Arc<SweepProgress> {
        Arc::new(SweepProgress::new(&self.output, name, runs, work))
    }
}
