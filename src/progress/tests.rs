//! What a reader sees, on a screen and in a file.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{InMemoryTerm, ProgressDrawTarget, TermLike};

use super::*;

/// Time that passes when a test says so.
#[derive(Clone)]
pub(crate) struct Time(Arc<Mutex<Instant>>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn pass(&self, seconds: u64) {
        *self.0.lock().expect("no test panics here") += Duration::from_secs(seconds);
    }
}

/// A file in memory.
#[derive(Clone, Default)]
pub(crate) struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics here").write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn on(sink: Sink) -> (Progress, Time) {
    let time = Time::new();
    let now = time.0.clone();
    let output = Output {
        sink,
        clock: Box::new(move || *now.lock().expect("no test panics here")),
    };
    let progress = Progress {
        output: Arc::new(output),
        ..Progress::new(Verbosity::Quiet)
    };
    (progress, time)
}

fn screen(terminal: impl TermLike + 'static) -> Sink {
    Sink::screen(terminal, ProgressDrawTarget::term_like)
}

fn plain(to: impl Write + Send + 'static) -> Sink {
    Sink::Plain(Mutex::new(Box::new(to)))
}

fn on_screen(columns: u16) -> (Progress, InMemoryTerm, Time) {
    let terminal = InMemoryTerm::new(12, columns);
    let (progress, time) = on(screen(terminal.clone()));
    (progress, terminal, time)
}

pub(crate) fn in_file() -> (Progress, File, Time) {
    let file = File::default();
    let (progress, time) = on(plain(file.clone()));
    (progress, file, time)
}

#[track_caller]
fn assert_screen(terminal: &InMemoryTerm, lines: &[&str]) {
    let contents = terminal.contents();
    let shown: Vec<&str> = contents.lines().map(str::trim_end).collect();
    assert_eq!(shown, lines, "the screen shows\n{contents}");
}

#[track_caller]
fn assert_file(file: &File, lines: &[&str]) {
    let text = file.text();
    assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{text}");
    assert!(!text.contains(['\r', '\x1b']), "{text:?}");
}

/// Names of the first `runs` of a sweep of seeds.
fn seeds(start: &str, runs: usize) -> Vec<String> {
    (1..=runs)
        .map(|seed| format!("{start}seed {seed}"))
        .collect()
}

const MESSAGE: &str = "epoch 2  loss 1.500 nats  6,512 tokens/s";

#[test]
fn two_runs_at_work_stand_below_the_whole_and_leave_lines_that_name_them() {
    let (progress, terminal, time) = on_screen(100);
    let sweep = progress.sweep("quickstart", &seeds("quickstart / plain / ", 4), 4000);
    let one = sweep.run(0);
    let two = sweep.run(1);
    let mut first = one.begin("finetune", 200, 0);
    let mut second = two.begin("pretrain", 800, 0);
    time.pass(30);
    first.at(100, "epoch 1  loss 2.500 nats  5,000 tokens/s");
    second.at(200, MESSAGE);
    assert_screen(
        &terminal,
        &[
            "░░░░░░░░░░░░ quickstart 0/4 runs  300/4,000 steps  6 min 10 s left",
            "  quickstart / plain / seed 1",
            "    ██████░░░░░░ finetune 100/200  30 s left  epoch 1  loss 2.500 nats  5,000 tokens/s",
            "  quickstart / plain / seed 2",
            "    ███░░░░░░░░░ pretrain 200/800  1 min 30 s left  epoch 2  loss 1.500 nats  6,512 tokens/s",
        ],
    );

    progress.say("something worth saying");
    time.pass(30);
    first.at(200, MESSAGE);
    drop(first);
    one.done();
    assert_screen(
        &terminal,
        &[
            "something worth saying",
            "quickstart / plain / seed 1: finetune 200/200  epoch 2  loss 1.500 nats  took 1 min 0 s",
            "█░░░░░░░░░░░ quickstart 1/4 runs  400/4,000 steps  9 min 0 s left",
            "  quickstart / plain / seed 2",
            "    ███░░░░░░░░░ pretrain 200/800  1 min 30 s left  epoch 2  loss 1.500 nats  6,512 tokens/s",
        ],
    );

    drop((second, two, sweep));
    assert_screen(
        &terminal,
        &[
            "something worth saying",
            "quickstart / plain / seed 1: finetune 200/200  epoch 2  loss 1.500 nats  took 1 min 0 s",
            "quickstart / plain / seed 2: pretrain 200/800  epoch 2  loss 1.500 nats  stopped after 1 min 0 s",
            "quickstart 1/4 runs  400/4,000 steps  stopped after 1 min 0 s",
        ],
    );
}

#[test]
fn a_single_run_has_no_line_for_the_whole_and_its_stages_stand_below_its_name() {
    let (progress, terminal, time) = on_screen(80);
    let sweep = progress.sweep("london", &seeds("london / always / ", 1), 2000);
    let run = sweep.run(0);
    assert_screen(&terminal, &["  london / always / seed 1"]);
    let mut stage = run.begin("pretrain", 1500, 0);
    time.pass(32);
    stage.at(1500, "epoch 100  loss 1.234 nats  6,512 tokens/s");
    let stage = run.begin("evaluate", 500, 0);
    let mut stage = stage.counting("questions asked");
    time.pass(1);
    stage.at(250, "dev");
    assert_screen(
        &terminal,
        &[
            "london / always / seed 1",
            "pretrain 1,500/1,500  epoch 100  loss 1.234 nats  took 32 s",
            "  london / always / seed 1",
            "    ██████░░░░░░ evaluate 250/500 questions asked  1 s left  dev",
        ],
    );
    stage.at(500, "dev");
    let detail = "57 of 60 dev questions right  95 % CI 86.3 to 98.3 %";
    run.result("accuracy", "95.0 %".to_owned(), detail.to_owned());
    run.done();
    drop(sweep);
    assert_screen(
        &terminal,
        &[
            "london / always / seed 1",
            "pretrain 1,500/1,500  epoch 100  loss 1.234 nats  took 32 s",
            "evaluate 500/500 questions asked  dev  took 1.0 s",
            "accuracy 95.0 %  57 of 60 dev questions right  95 % CI 86.3 to 98.3 %",
        ],
    );
}

#[test]
fn a_narrow_screen_and_long_names_wrap_nothing_that_is_live_and_tell_runs_apart() {
    let (progress, terminal, time) = on_screen(40);
    let sweep = progress.sweep(
        "birthplace/does_a_longer_context_help_much",
        &seeds("birthplace/does_it / a very long label of a point / ", 2),
        2000,
    );
    let one = sweep.run(0);
    let two = sweep.run(1);
    let mut first = one.begin("pretrain", 1500, 0);
    let mut second = two.begin("finetune", 500, 0);
    time.pass(65);
    first.at(750, MESSAGE);
    second.at(250, MESSAGE);
    progress.say("a line that is said is not cut but may go on below");
    assert_screen(
        &terminal,
        &[
            "a line that is said is not cut but may g",
            "o on below",
            "██████░░░░░░ birthplace/does_a_longer_co",
            "  …a very long label of a point / seed 1",
            "    ██████░░░░░░ pretrain 750/1,500  1 m",
            "  …a very long label of a point / seed 2",
            "    ██████░░░░░░ finetune 250/500  1 min",
        ],
    );
}

#[test]
fn a_file_gets_one_line_for_a_stage_and_few_in_between() {
    let (progress, file, time) = in_file();
    let sweep = progress.sweep("quickstart", &seeds("quickstart / pretrained / ", 1), 100);
    let run = sweep.run(0);
    let mut stage = run.begin("pretrain", 100, 0);
    for step in 1..=100 {
        time.pass(1);
        if step % 10 == 0 {
            stage.at(step, MESSAGE);
        }
    }
    run.done();
    drop(sweep);
    assert_file(
        &file,
        &[
            "quickstart / pretrained / seed 1",
            "pretrain 20/100  epoch 2  loss 1.500 nats  6,512 tokens/s  1 min 20 s left",
            "pretrain 40/100  epoch 2  loss 1.500 nats  6,512 tokens/s  1 min 0 s left",
            "pretrain 60/100  epoch 2  loss 1.500 nats  6,512 tokens/s  40 s left",
            "pretrain 80/100  epoch 2  loss 1.500 nats  6,512 tokens/s  20 s left",
            "pretrain 100/100  epoch 2  loss 1.500 nats  took 1 min 40 s",
        ],
    );
}

#[test]
fn late_lines_do_not_pile_up() {
    let (progress, file, time) = in_file();
    let mut task = progress.begin("wiki.txt", 100);
    for step in 1..100 {
        time.pass(1);
        if !(31..50).contains(&step) {
            task.at(step, "");
        }
    }
    let text = file.text();
    let steps: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split([' ', '/']).nth(1))
        .collect();
    assert_eq!(steps, ["15", "30", "50", "65", "80", "95"], "{text}");
}

#[test]
fn lines_in_a_file_name_their_run_once_two_are_at_work() {
    let (progress, file, time) = in_file();
    let sweep = progress.sweep("quickstart", &seeds("", 2), 20);
    let one = sweep.run(0);
    one.begin("pretrain", 5, 0).at(5, "");
    let two = sweep.run(1);
    time.pass(20);
    one.begin("finetune", 5, 0).at(5, "");
    one.done();
    two.begin("pretrain", 10, 0).at(10, "");
    two.done();
    drop(sweep);
    assert_file(
        &file,
        &[
            "seed 1",
            "pretrain 5/5  took 0.0 s",
            "seed 2",
            "seed 1: finetune 5/5  took 0.0 s",
            "quickstart 1/2 runs  10/20 steps  20 s left",
            "seed 2: pretrain 10/10  took 0.0 s",
            "quickstart 2/2 runs  20/20 steps  took 20 s",
        ],
    );
}

#[test]
fn steps_of_an_earlier_session_do_not_count_towards_speed() {
    let (progress, file, time) = in_file();
    let sweep = progress.sweep("quickstart", &seeds("", 3), 3000);
    sweep.done_before(1, 1000);
    let run = sweep.run(1);
    let mut stage = run.begin("pretrain", 1000, 900);
    time.pass(20);
    stage.at(950, "");
    time.pass(20);
    stage.at(1000, "");
    run.done();
    drop(sweep);
    assert_file(
        &file,
        &[
            "seed 2",
            "pretrain 950/1,000  20 s left",
            "pretrain 1,000/1,000  took 40 s",
            "quickstart 2/3 runs  2,000/3,000 steps  6 min 40 s left",
            "quickstart 2/3 runs  2,000/3,000 steps  stopped after 40 s",
        ],
    );
}

#[test]
fn what_was_done_before_or_has_nothing_to_do_says_nothing() {
    let (progress, file, _) = in_file();
    let sweep = progress.sweep("quickstart", &seeds("", 2), 20);
    sweep.done_before(2, 20);
    drop(sweep);
    progress.begin("of unknown length", 0).at(7, "bytes");
    drop(progress.begin("never begun", 9));
    progress.detail("only with -v");
    assert_eq!(file.text(), "");
}

#[test]
fn quiet_says_nothing_and_verbose_says_details() {
    let (progress, file, _) = in_file();
    let progress = Progress {
        verbose: true,
        ..progress
    };
    progress.detail("a detail");
    assert_file(&file, &["a detail"]);

    let quiet = Progress::new(Verbosity::Quiet);
    assert!(quiet.output.is_silent() && !quiet.verbose);
}

/// A terminal or pipe whose other end has gone.
#[derive(Debug)]
struct Gone;

const GONE: io::ErrorKind = io::ErrorKind::BrokenPipe;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(GONE.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(GONE.into())
    }
}

impl TermLike for Gone {
    fn width(&self) -> u16 {
        0
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Err(GONE.into())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Err(GONE.into())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Err(GONE.into())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Err(GONE.into())
    }
    fn write_line(&self, _: &str) -> io::Result<()> {
        Err(GONE.into())
    }
    fn write_str(&self, _: &str) -> io::Result<()> {
        Err(GONE.into())
    }
    fn clear_line(&self) -> io::Result<()> {
        Err(GONE.into())
    }
    fn flush(&self) -> io::Result<()> {
        Err(GONE.into())
    }
}

/// Everything that is said, from several threads at once.
fn speak(sink: Sink) {
    let progress = Progress {
        verbose: true,
        ..on(sink).0
    };
    let sweep = progress.sweep("quickstart", &seeds("", 4), 40);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (progress, sweep) = (&progress, &sweep);
            scope.spawn(move || {
                let run = sweep.run(worker);
                let mut stage = run.begin("pretrain", 10, 0);
                for step in 1..=10 {
                    stage.at(step, MESSAGE);
                    progress.detail("a detail");
                }
                run.done();
            });
        }
    });
}

#[test]
fn a_closed_terminal_or_pipe_is_not_a_failure() {
    speak(plain(Gone));
    speak(screen(Gone));
}

#[test]
fn threads_do_not_tear_each_others_lines() {
    let file = File::default();
    speak(plain(file.clone()));
    let terminal = InMemoryTerm::new(80, 80);
    speak(screen(terminal.clone()));
    for text in [file.text(), terminal.contents()] {
        let count = |wanted: &dyn Fn(&str) -> bool| text.lines().filter(|l| wanted(l)).count();
        assert_eq!(count(&|line| line == "a detail"), 40, "{text}");
        let stage = "pretrain 10/10  epoch 2  loss 1.500 nats  took 0.0 s";
        assert_eq!(count(&|line| line.ends_with(stage)), 4, "{text}");
        let end = "quickstart 4/4 runs  40/40 steps  took 0.0 s";
        assert_eq!(text.lines().last(), Some(end), "{text}");
    }
}

#[test]
fn a_note_is_given_once_however_many_runs_it_is_about() {
    let (progress, file, _) = in_file();
    for text in ["one", "another", "one"] {
        progress.note(text);
    }
    assert_eq!(file.text(), "note: one\nnote: another\n");
}
