//! Where lines go: nowhere, into a file or pipe, or to a terminal with live lines at its bottom.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// One place for the lines of all threads. What cannot be written is lost: a closed pipe or a
/// terminal that has gone is no reason to stop a run.
pub(super) struct Output {
    pub(super) sink: Sink,
    /// A monotonic clock; tests replace it.
    pub(super) clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

pub(super) enum Sink {
    Silent,
    /// Whole lines, one write each.
    Plain(Mutex<Box<dyn Write + Send>>),
    Screen(MultiProgress, IgnoreErrors),
}

/// A terminal whose errors are ignored: it may close at any time, and that must not fail a run.
#[derive(Clone, Debug)]
pub(super) struct IgnoreErrors(Arc<dyn TermLike>);

impl Sink {
    /// A terminal, on which `target` draws the live lines.
    pub(super) fn screen(
        terminal: impl TermLike + 'static,
        target: impl FnOnce(Box<dyn TermLike>) -> ProgressDrawTarget,
    ) -> Self {
        let terminal = IgnoreErrors(Arc::new(terminal));
        let target = target(Box::new(terminal.clone()));
        Self::Screen(MultiProgress::with_draw_target(target), terminal)
    }
}

impl Output {
    pub(super) fn new(sink: Sink) -> Self {
        let clock = Box::new(Instant::now);
        Self { sink, clock }
    }

    /// Standard error: a screen if it is a terminal that can move its cursor.
    pub(super) fn standard_error() -> Self {
        let terminal = Term::buffered_stderr();
        // Standard output may be a pipe while this is a terminal.
        console::set_colors_enabled(console::colors_enabled_stderr());
        let twenty_a_second = |terminal| ProgressDrawTarget::term_like_with_hz(terminal, 20);
        Self::new(match terminal.is_term() && !console::is_dumb() {
            true => Sink::screen(terminal, twenty_a_second),
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

    /// Width of the screen, in columns; unlimited without one.
    pub(super) fn width(&self) -> usize {
        match &self.sink {
            Sink::Screen(_, terminal) => usize::from(terminal.width()),
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
            Sink::Screen(bars, terminal) => bars.suspend(|| {
                // `MultiProgress::println` would pad the line with spaces up to the screen's edge instead of
                // ending it.
                let _ = line.lines().try_for_each(|line| terminal.write_line(line));
                let _ = terminal.flush();
            }),
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

/// Methods that forward to the terminal and ignore its errors.
macro_rules! attempts {
    ($($method:ident($($what:ident: $type:ty)?)),*) => {$(
        fn $method(&self $(, $what: $type)?) -> io::Result<()> {
            let _ = self.0.$method($($what)?);
            Ok(())
        }
    )*};
}

impl TermLike for IgnoreErrors {
    fn width(&self) -> u16 {
        self.0.width().max(1)
    }
    fn height(&self) -> u16 {
        self.0.height().max(1)
    }
    attempts!(
        move_cursor_up(n: usize),
        move_cursor_down(n: usize),
        move_cursor_right(n: usize),
        move_cursor_left(n: usize),
        write_line(line: &str),
        write_str(text: &str),
        clear_line(),
        flush()
    );
}
