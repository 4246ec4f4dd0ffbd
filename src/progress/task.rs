//! The innermost level: a task with a known number of steps.

use std::sync::Arc;
use std::time::Instant;

use super::line::{self, Line};
use super::name::printable;
use super::output::{Live, Output};
use super::pace::{Throttle, time_left};
use super::shared::AtWork;

/// A task with a known number of steps.
///
/// Its last step ends it; one that is dropped before is said to have stopped.
pub struct Task {
    output: Arc<Output>,
    name: String,
    steps: usize,
    /// What the steps are, where a count of them could be taken for something else.
    unit: &'static str,
    /// Done before this task began.
    already: usize,
    step: usize,
    message: String,
    began: Instant,
    throttle: Throttle,
    place: Place,
    shown: bool,
}

/// Where a task is shown.
enum Place {
    Alone(Option<Live>),
    Stage(Arc<AtWork>),
}

impl Task {
    pub(super) fn alone(output: &Arc<Output>, name: &str, steps: usize) -> Self {
        let live = if steps > 0 { output.live() } else { None };
        Self::new(output, name, steps, 0, Place::Alone(live))
    }

    pub(super) fn stage(run: &Arc<AtWork>, name: &str, steps: usize, already: usize) -> Self {
        let place = Place::Stage(run.clone());
        Self::new(run.output(), name, steps, already, place)
    }

    fn new(output: &Arc<Output>, name: &str, steps: usize, already: usize, place: Place) -> Self {
        let task = Self {
            output: output.clone(),
            name: printable(name),
            steps,
            unit: "",
            already,
            step: already,
            message: String::new(),
            began: output.now(),
            throttle: Throttle::default(),
            place,
            shown: steps > already && !output.is_silent(),
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
        if let Place::Stage(run) = &self.place {
            run.advance(step.min(self.steps).saturating_sub(self.step));
        }
        self.step = step.min(self.steps);
        self.message = printable(message);
        if self.step == self.steps {
            self.end();
        } else if self.output.is_plain() {
            if self.throttle.lets_pass(self.output.now() - self.began) {
                self.print(self.line());
            }
        } else {
            self.show();
        }
    }

    fn count(&self, aligned: bool) -> String {
        let count = line::count(self.step as u64, self.steps as u64, aligned);
        format!("{count} {}", self.unit).trim_end().to_owned()
    }

    /// How it goes.
    fn line(&self) -> Line<'_> {
        let elapsed = self.output.now() - self.began;
        let (done, to_do) = (self.step - self.already, self.steps - self.step);
        let left = time_left(done as u64, to_do as u64, elapsed);
        Line {
            name: &self.name,
            count: self.count(false),
            message: self.message.clone(),
            time: left.and_then(line::time_to_come),
            ..Line::default()
        }
    }

    /// Shows how it goes at the bottom of the screen.
    fn show(&self) {
        if !self.shown {
            return;
        }
        let line = Line {
            bar: Some(self.step as f64 / self.steps as f64),
            count: self.count(true),
            ..self.line()
        };
        match &self.place {
            Place::Alone(Some(live)) => live.show(&[line]),
            Place::Alone(None) => {}
            Place::Stage(run) => run.show(Some(line)),
        }
    }

    fn print(&self, line: Line<'_>) {
        match &self.place {
            Place::Alone(_) => self.output.print_fitted(&line),
            Place::Stage(run) => run.print(line),
        }
    }

    /// Puts a line that stays in place of the live one.
    fn end(&mut self) {
        self.shown = false;
        match &mut self.place {
            Place::Alone(live) => *live = None,
            Place::Stage(run) => run.show(None),
        }
        if self.step == self.already {
            return;
        }
        let parts = self.message.split("  ");
        let lasting: Vec<&str> = parts.filter(|part| !part.ends_with("/s")).collect();
        let elapsed = self.output.now() - self.began;
        self.print(Line {
            message: lasting.join("  "),
            time: Some(line::time_taken(self.step == self.steps, elapsed)),
            ..self.line()
        });
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.shown {
            self.end();
        }
    }
}
