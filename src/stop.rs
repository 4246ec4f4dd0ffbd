//! Requests to stop a run: a signal, or the failure of another run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Kind, Result};

/// The exit code after Ctrl-C, as shells report it.
const INTERRUPTED: i32 = 130;

/// Ctrl-C and `kill`: a second one ends the program at once.
const REQUESTS: [i32; 2] = [SIGINT, SIGTERM];

/// Warning signals: schedulers send USR1 or USR2 before a job's time limit (the user chooses which), the
/// kernel sends XCPU every second past the CPU time limit, and a closing terminal sends HUP. They may be
/// repeated, so a second one does not end the program.
#[cfg(unix)]
const WARNINGS: [i32; 4] = [SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP];

/// Signals within this time count as one: `kill` and Ctrl-C may reach a process twice, once directly and once
/// as a member of its group.
#[cfg(unix)]
const DUPLICATE_SIGNAL_WINDOW: Duration = Duration::from_millis(300);

/// How often a thread checks whether it has to answer a request to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A request to stop, shared by all threads and checked between steps.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    user: Arc<AtomicBool>,
    failure: Arc<AtomicBool>,
    taken_over: TakenOver,
}

/// Whether another process has taken over a folder that this one is writing to; shared by all threads.
#[derive(Clone, Debug, Default)]
pub struct TakenOver(Arc<OnceLock<String>>);

/// The reason for stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The user.
    User,
    /// Another run failed, and the remaining runs must stop.
    Failure,
}

/// Sets `user` at the first signal and ends the program at a later Ctrl-C or `kill`. A warning that was
/// ignored when the program started, as HUP is under `nohup`, stays ignored.
#[cfg(unix)]
fn listen(user: Arc<AtomicBool>) -> std::io::Result<()> {
    let ignored = ignored_signals();
    let warnings = WARNINGS.iter().filter(|&&signal| match &ignored {
        Some(mask) => mask & (1 << (signal - 1)) == 0,
        // If it is unknown whether `nohup` is in effect, HUP keeps its default action and ends the program.
        None => signal != SIGHUP,
    });
    let mut signals = signal_hook::iterator::Signals::new(REQUESTS.iter().chain(warnings))?;
    std::thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            if REQUESTS.contains(&signal) {
                if first.is_some_and(|first| first.elapsed() > DUPLICATE_SIGNAL_WINDOW) {
                    std::process::exit(INTERRUPTED);
                }
                first.get_or_insert_with(Instant::now);
            }
            user.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// The signals that this process ignores, one bit each from signal 1 on; `None` without `/proc`.
#[cfg(unix)]
fn ignored_signals() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// The same where signals come one at a time.
#[cfg(not(unix))]
fn listen(user: Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in REQUESTS {
        // The order matters: the second signal checks the flag that the first one sets.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, user.clone())?;
        signal_hook::flag::register(signal, user.clone())?;
    }
    Ok(())
}

impl Stop {
    /// Installs the signal handlers. INT (Ctrl-C), TERM, USR1, USR2, HUP and XCPU ask to stop after the
    /// current step; a second INT or TERM ends the program at once. Signals that arrive twice in quick
    /// succession, for the process and its group, count once.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        listen(stop.user.clone())
            .map_err(|e| Error::run(format!("cannot install signal handlers: {e}")))?;
        Ok(stop)
    }

    /// Calls `answer` once the user asks to stop, from a separate thread, so that the answer does not wait for
    /// a long step.
    pub fn answer(&self, answer: impl Fn() + Send + 'static) {
        let user = self.user.clone();
        std::thread::spawn(move || {
            while !user.load(Ordering::Relaxed) {
                std::thread::sleep(POLL_INTERVAL);
            }
            answer();
        });
    }

    /// Asks all threads to stop because a run has failed.
    pub fn after_failure(&self) {
        self.failure.store(true, Ordering::Relaxed);
    }

    /// The same request for work in a folder that may be taken over.
    pub fn in_folder(&self, taken_over: &TakenOver) -> Self {
        Self {
            taken_over: taken_over.clone(),
            ..self.clone()
        }
    }

    /// Fails if the folder has been taken over: then nothing may be written to it, not even a checkpoint.
    pub fn check_folder(&self) -> Result<()> {
        self.taken_over.check()
    }

    /// The reason to stop, if there is one; the user's request takes precedence.
    pub fn wanted(&self) -> Option<StopReason> {
        if self.user.load(Ordering::Relaxed) {
            return Some(StopReason::User);
        }
        let failed = self.failure.load(Ordering::Relaxed);
        failed.then_some(StopReason::Failure)
    }

    /// Fails if the run should stop; `done` says how far it got: `in evaluate after question 5`.
    pub fn check(&self, done: impl FnOnce() -> String) -> Result<()> {
        self.check_folder()?;
        self.wanted().map_or(Ok(()), |why| Err(why.error(&done())))
    }
}

impl TakenOver {
    /// Records who has taken the folder over: `process 4711 on node7`.
    pub fn note(&self, by: String) {
        // The first one counts.
        let _ = self.0.set(by);
    }

    /// Fails if the folder has been taken over, and says by whom.
    pub fn check(&self) -> Result<()> {
        let Some(by) = self.0.get() else {
            return Ok(());
        };
        let why =
            "because this process was suspended or cut off from its file system for a long time";
        let error = Error::run(format!("{by} has taken over the folder, {why}"));
        Err(error.help("run again once the other process has ended"))
    }
}

impl StopReason {
    /// The error that ends the work; `done` says where: `in finetune after step 3 of 8`.
    pub fn error(self, done: &str) -> Error {
        let message = match self {
            Self::User => format!("interrupted {done}"),
            Self::Failure => format!("stopped {done}, because another run failed"),
        };
        Error::new(Kind::Interrupted, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_request_takes_precedence_over_a_failure() {
        let stop = Stop::default();
        assert!(stop.check(String::new).is_ok());
        stop.after_failure();
        assert_eq!(stop.wanted(), Some(StopReason::Failure));
        stop.user.store(true, Ordering::Relaxed);
        stop.after_failure();
        assert_eq!(stop.wanted(), Some(StopReason::User));
        let error = stop.check(|| "at step 3".to_owned()).expect_err("stopped");
        assert_eq!(
            (error.exit_code(), error.message().as_str()),
            (130, "interrupted at step 3")
        );
    }

    #[test]
    fn taking_over_a_folder_stops_only_the_work_in_it() {
        let (stop, taken_over) = (Stop::default(), TakenOver::default());
        let inside = stop.in_folder(&taken_over);
        inside.check_folder().expect("ours");
        taken_over.note("process 7 on elsewhere".to_owned());
        let error = inside.check(String::new).expect_err("taken over");
        assert!(error.message().starts_with("process 7 on elsewhere has"));
        assert!(!error.is_interruption(), "there is nothing to resume from");
        stop.check(String::new).expect("others continue");
        stop.after_failure();
        assert_eq!(inside.wanted(), Some(StopReason::Failure));
    }
}
