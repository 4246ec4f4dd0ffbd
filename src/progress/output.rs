//! Where lines go: nowhere, into a file or pipe, or to a terminal with live lines at its bottom.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// One place for the lines of all threads. What cannot be written is lost: a closed pipe or a
/// terminal that has gone is no reason to stop a run.
pub(super) struct Output {
    pub(super) sink: Sink,
    /// Never the calendar's time, which jumps.
    pub(super) clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

pub(super) enum Sink {
    Silent,
    /// Whole lines, one write each.
    Plain(Mutex<Box<dyn Write + Send>>),
    /// Live lines, and how many columns there are.
    Screen(MultiProgress, usize),
}

impl Output {
    pub(super) fn new(sink: Sink) -> Self {
        let clock = Box::new(Instant::now);
        Self { sink, clock }
    }

    /// Standard error: a screen if it is a terminal that can move its cursor.
    pub(super) fn standard_error() -> Self {
        let terminal = Term::stderr();
        Self::new(match terminal.is_term() && !console::is_dumb() {
            true => Sink::Screen(MultiProgress::new(), usize::from(terminal.size().1)),
            false => Sink::Plain(Mutex::new(Box::new(io::stderr()))),
        })
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.sink, Sink::Silent)
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.sink, Sink::Plain(_))
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// The columns of a line on the screen.
    pub(super) fn width(&self) -> usize {
        match self.sink {
            Sink::Screen(_, width) => width,
            _ => usize::MAX,
        }
    }

    /// Prints a line to stay, above all that is live.
    pub(super) fn print(&self, line: &str) {
        match &self.sink {
            Sink::Silent => {}
            Sink::Plain(to) => {
                let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = to.write_all(format!("{line}\n").as_bytes());
            }
            Sink::Screen(bars, _) => drop(bars.println(line)),
        }
    }

    /// A live line, indented by `indent` columns, at the bottom of the screen or below `above`; a hidden one without
    /// a screen. With a `length` a bar stands before its message. It is cleared when it is dropped.
    pub(super) fn live(
        &self,
        above: Option<&ProgressBar>,
        indent: usize,
        length: Option<u64>,
    ) -> ProgressBar {
        let Sink::Screen(bars, _) = &self.sink else {
            return ProgressBar::hidden();
        };
        let bar = length.map_or("", |_| "{bar:12.cyan/dim} ");
        let template = format!("{}{bar}{{wide_msg}}", " ".repeat(indent));
        let style = ProgressStyle::with_template(&template).expect("a fixed, valid template");
        let line = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let line = line.with_style(style);
        match above {
            Some(above) => bars.insert_after(above, line),
            None => bars.add(line),
        }
    }
}
