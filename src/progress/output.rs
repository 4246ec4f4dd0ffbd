//! Where lines go: nowhere, into a file or pipe, or to a terminal with live lines at its bottom.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::line::Line;

/// How often live lines are drawn, at most.
const TIMES_A_SECOND: u8 = 20;

/// One place for the lines of all threads. What cannot be written is lost: a closed pipe or a
/// terminal that has gone is no reason to stop a run.
pub(super) struct Output {
    sink: Sink,
    clock: Clock,
}

/// What time it is. Never the calendar's, which jumps.
pub(super) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

enum Sink {
    Silent,
    Plain(Mutex<Box<dyn Write + Send>>),
    Screen(Screen),
}

struct Screen {
    bars: MultiProgress,
    terminal: IgnoreErrors,
    coloured: bool,
}

impl Output {
    /// Says nothing.
    pub(super) fn silent() -> Self {
        let (sink, clock) = (Sink::Silent, Box::new(Instant::now));
        Self { sink, clock }
    }

    /// Standard error: a screen if it is a terminal that can move its cursor, without colour if
    /// `NO_COLOR` is set (<https://no-color.org>).
    pub(super) fn standard_error() -> Self {
        let (terminal, clock) = (Term::buffered_stderr(), Box::new(Instant::now));
        if !terminal.is_term() || console::is_dumb() {
            return Self::plain(io::stderr(), clock);
        }
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::screen(terminal, !no_colour, clock)
    }

    /// Whole lines, one write each.
    pub(super) fn plain(to: impl Write + Send + 'static, clock: Clock) -> Self {
        let sink = Sink::Plain(Mutex::new(Box::new(to)));
        Self { sink, clock }
    }

    /// A terminal.
    pub(super) fn screen(terminal: impl TermLike + 'static, coloured: bool, clock: Clock) -> Self {
        let terminal = IgnoreErrors(Arc::new(terminal));
        let target = Box::new(terminal.clone());
        let target = ProgressDrawTarget::term_like_with_hz(target, TIMES_A_SECOND);
        let sink = Sink::Screen(Screen {
            bars: MultiProgress::with_draw_target(target),
            terminal,
            coloured,
        });
        Self { sink, clock }
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

    /// Prints a line to stay, above all that is live.
    pub(super) fn print(&self, line: &str) {
        match &self.sink {
            Sink::Silent => {}
            Sink::Plain(to) => {
                let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = to.write_all(format!("{line}\n").as_bytes());
            }
            Sink::Screen(Screen { bars, terminal, .. }) => bars.suspend(|| {
                // `MultiProgress::println` would pad the line with spaces up to the screen's edge,
                // which then is copied with it and wraps when the window is made narrower.
                line.lines()
                    .for_each(|line| drop(terminal.write_line(line)));
                let _ = terminal.flush();
            }),
        }
    }

    /// Prints a line to stay, fitted to the screen if there is one.
    pub(super) fn print_fitted(&self, line: &Line<'_>) {
        let width = match &self.sink {
            Sink::Screen(screen) => screen.width(),
            Sink::Silent | Sink::Plain(_) => usize::MAX,
        };
        self.print(&line.fit(width, false));
    }

    /// A place at the bottom of the screen, below those that are there; none without a screen.
    pub(super) fn live(self: &Arc<Self>) -> Option<Live> {
        let Sink::Screen(screen) = &self.sink else {
            return None;
        };
        let bar = screen.bars.add(ProgressBar::no_length());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("a fixed, valid template"));
        let output = self.clone();
        Some(Live { bar, output })
    }
}

impl Screen {
    fn width(&self) -> usize {
        usize::from(self.terminal.width())
    }
}

/// Lines at the bottom of the screen, drawn again and again until they are dropped.
pub(super) struct Live {
    bar: ProgressBar,
    output: Arc<Output>,
}

impl Live {
    /// Shows these lines in place of those before.
    pub(super) fn show(&self, lines: &[Line<'_>]) {
        if let Sink::Screen(screen) = &self.output.sink {
            let (width, coloured) = (screen.width(), screen.coloured);
            let lines: Vec<String> = lines.iter().map(|line| line.fit(width, coloured)).collect();
            self.bar.set_message(lines.join("\n"));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Sink::Screen(screen) = &self.output.sink {
            screen.bars.remove(&self.bar);
        }
    }
}

/// A terminal that may go away at any time: then nothing more is seen, and nothing fails.
#[derive(Clone, Debug)]
struct IgnoreErrors(Arc<dyn TermLike>);

impl IgnoreErrors {
    /// Tries, and does not mind.
    fn attempt(&self, write: impl FnOnce(&dyn TermLike) -> io::Result<()>) -> io::Result<()> {
        let _ = write(self.0.as_ref());
        Ok(())
    }
}

impl TermLike for IgnoreErrors {
    fn width(&self) -> u16 {
        self.0.width().max(1)
    }
    fn height(&self) -> u16 {
        self.0.height().max(1)
    }
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.attempt(|terminal| terminal.move_cursor_up(n))
    }
    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.attempt(|terminal| terminal.move_cursor_down(n))
    }
    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.attempt(|terminal| terminal.move_cursor_right(n))
    }
    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.attempt(|terminal| terminal.move_cursor_left(n))
    }
    fn write_line(&self, line: &str) -> io::Result<()> {
        self.attempt(|terminal| terminal.write_line(line))
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.attempt(|terminal| terminal.write_str(text))
    }
    fn clear_line(&self) -> io::Result<()> {
        self.attempt(|terminal| terminal.clear_line())
    }
    fn flush(&self) -> io::Result<()> {
        self.attempt(|terminal| terminal.flush())
    }
}
