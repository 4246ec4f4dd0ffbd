//! What a long run says while it works: a bar with its end in sight on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain lines of the same task.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Speaks on standard error; standard output is for results.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    terminal: bool,
}

/// One task with a known number of steps.
#[derive(Debug)]
pub struct Task {
    name: String,
    bar: Option<ProgressBar>,
    /// Where plain lines are wanted: when the task began and when it last spoke.
    plain: Option<(Instant, Instant)>,
    steps: usize,
}

impl Progress {
    /// Bars if standard error is a terminal; nothing at all if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says one line.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            // A closed pipe is no reason to stop a run.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Says one line to those who want to know more.
    pub fn detail(&self, _line: &str) {}

    /// Begins a task of `steps`.
    pub fn begin(&self, name: &str, steps: usize) -> Task {
        let shown = !self.quiet && steps > 0;
        let bar = (shown && self.terminal).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
            bar.set_style(style("{eta_precise} left"));
            bar.set_prefix(name.to_owned());
            bar
        });
        let now = Instant::now();
        let plain = (shown && !self.terminal).then_some((now, now));
        Task {
            name: name.to_owned(),
            bar,
            plain,
            steps,
        }
    }
}

impl Task {
    /// Stands at `step`; `message` says how it goes.
    pub fn at(&mut self, step: usize, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            bar.set_message(message.to_owned());
        }
        if let Some((began, spoke)) = &mut self.plain
            && (spoke.elapsed() >= LINE_EVERY || step == self.steps)
        {
            *spoke = Instant::now();
            let elapsed = began.elapsed();
            let left =
                elapsed.mul_f64((self.steps - step.min(self.steps)) as f64 / step.max(1) as f64);
            let (name, steps) = (&self.name, self.steps);
            let time = if step == self.steps {
                format!("took {}", in_words(elapsed))
            } else {
                format!("{} left", in_words(left))
            };
            let _ = writeln!(
                std::io::stderr(),
                "{name} {step}/{steps}  {message}  {time}"
            );
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("took {elapsed_precise}"));
            bar.abandon();
        }
    }
}

/// A bar that ends with `time`.
fn style(time: &str) -> ProgressStyle {
    let template =
        format!("{{prefix:>10}} {{wide_bar:.cyan/dim}} {{pos}}/{{len}}  {{msg}}  {time}");
    ProgressStyle::with_template(&template).expect("a fixed, valid template")
}

/// `8 s`, `2 min 5 s`, `3 h 20 min`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) if duration < Duration::from_secs(10) => {
            format!("{:.1} s", duration.as_secs_f64())
        }
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let words = |seconds| in_words(Duration::from_secs_f64(seconds));
        assert_eq!(words(0.42), "0.4 s");
        assert_eq!(words(42.4), "42 s");
        assert_eq!(words(125.0), "2 min 5 s");
        assert_eq!(words(12_000.0), "3 h 20 min");
    }
}
