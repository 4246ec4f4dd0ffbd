//! The innermost level: a task with a known number of steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::line::{joined, printable, thousands, time_left, time_taken};
use super::output::Output;
use super::sweep::RunProgress;

/// Time between two plain lines of the same task.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// A task with a known number of steps.
///
/// Its last step ends it; a task that is dropped earlier is reported as stopped.
pub struct Task {
    output: Arc<Output>,
    /// The run of which it is a stage.
    run: Option<Arc<RunProgress>>,
    live: ProgressBar,
    name: String,
    steps: usize,
    /// What the steps are, where a count of them could be taken for something else.
    unit: &'static str,
    /// Done before this task began.
    already: usize,
    step: usize,
    message: String,
    began: Instant,
    /// When the last plain line was printed.
    printed: Instant,
    shown: bool,
}

impl RunProgress {
    /// Begins a stage of `steps` steps, `already` of which were done in an earlier session. A run has one stage at a
    /// time.
    pub fn begin(self: &Arc<Self>, stage: &str, steps: usize, already: usize) -> Task {
        self.sweep.done_before(0, already as u64);
        Task::new(&self.output, Some(self.clone()), stage, steps, already)
    }
}

impl Task {
    pub(super) fn new(
        output: &Arc<Output>,
        run: Option<Arc<RunProgress>>,
        name: &str,
        steps: usize,
        already: usize,
    ) -> Self {
        let shown = steps > already && !output.is_silent();
        let task = Self {
            live: match &run {
                _ if !shown => ProgressBar::hidden(),
                Some(run) => output.live(Some(&run.live), 4, Some(steps as u64)),
                None => output.live(None, 0, Some(steps as u64)),
            },
            run,
            name: printable(name),
            steps,
            unit: "",
            already,
            step: already,
            message: String::new(),
            began: output.now(),
            printed: output.now(),
            shown,
            output: output.clone(),
        };
        task.show();
        task
    }

    /// Says what is counted: `60/60 questions asked`.
    pub fn counting(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self.show();
        self
    }

    /// Sets the number of finished steps, including those of earlier sessions, and the message.
    ///
    /// The parts of a message are two spaces apart, the most important first. One that ends in `/s` is
    /// the current speed, which is left out once the task has ended.
    pub fn at(&mut self, step: usize, message: &str) {
        if !self.shown {
            return;
        }
        let before = std::mem::replace(&mut self.step, step.min(self.steps));
        if let Some(run) = &self.run {
            run.advance(self.step.saturating_sub(before));
        }
        self.message = printable(message);
        self.show();
        let now = self.output.now();
        if self.step == self.steps {
            self.end();
        } else if self.output.is_plain() && now - self.printed >= LINE_EVERY {
            self.printed = now;
            self.print(&joined(&[&self.count(), &self.message, &self.time_left()]));
        }
    }

    /// `evaluate 60/60 questions asked`.
    fn count(&self) -> String {
        let [step, steps] = [self.step, self.steps].map(thousands);
        let count = format!("{} {step}/{steps} {}", self.name, self.unit);
        count.trim_end().to_owned()
    }

    fn time_left(&self) -> String {
        let (done, to_do) = (self.step - self.already, self.steps - self.step);
        time_left(done as u64, to_do as u64, self.output.now() - self.began)
    }

    /// Updates the live line at the bottom of the screen; a long line is cut.
    fn show(&self) {
        self.live.set_position(self.step as u64);
        let line = joined(&[&self.count(), &self.time_left(), &self.message]);
        self.live.set_message(line);
    }

    fn print(&self, line: &str) {
        match &self.run {
            Some(run) => run.print(line),
            None => self.output.print(line),
        }
    }

    /// Puts a line that stays in place of the live one.
    fn end(&mut self) {
        self.shown = false;
        self.live.finish_and_clear();
        if self.step > self.already {
            let parts = self.message.split("  ");
            let lasting: Vec<&str> = parts.filter(|part| !part.ends_with("/s")).collect();
            let time = time_taken(self.step == self.steps, self.output.now() - self.began);
            self.print(&joined(&[&self.count(), &lasting.join("  "), &time]));
        }
        // The run may end while this is still held.
        self.run = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.shown {
            self.end();
        }
    }
}
