//! Whether a run should stop, and why: a signal, or another run that failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// The exit code after Ctrl-C, as the shell has it.
const INTERRUPTED: i32 = 130;

/// Requests to stop, by Ctrl-C or `kill`: repeating one ends the program.
const REQUESTS: [i32; 2] = [SIGINT, SIGTERM];

/// Warning signals: schedulers send USR1 or USR2 before the time limit of a job (the user chooses
/// which), the kernel sends XCPU every second past the limit of CPU time, a terminal that closes sends
/// HUP. They may be repeated, so a second one does not end the program.
#[cfg(unix)]
const WARNINGS: [i32; 4] = [SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP];

/// Two requests within this count as one: `kill` and Ctrl-C may reach a process twice, by itself and
/// as a member of its group.
#[cfg(unix)]
const MOMENT: Duration = Duration::from_millis(300);

/// How soon a wish to stop is answered.
const SOON: Duration = Duration::from_millis(50);

/// A wish to stop, shared by all threads; whoever works looks at it between two steps.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    user: Arc<AtomicBool>,
    failure: Arc<AtomicBool>,
    taken_over: TakenOver,
}

/// Whether another process has taken over a folder that this one works in, shared by all threads.
#[derive(Clone, Debug, Default)]
pub struct TakenOver(Arc<OnceLock<String>>);

/// Who wants to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user.
    User,
    /// Another run has failed, and the rest is not to go on without it.
    Failure,
}

/// Sets `user` at the first signal and ends the program at a later request. A warning that was ignored
/// when the program started, as `nohup` has it for HUP, stays ignored.
#[cfg(unix)]
fn listen(user: Arc<AtomicBool>) -> std::io::Result<()> {
    let ignored = ignored_signals();
    let warnings = WARNINGS.iter().filter(|&&signal| match &ignored {
        Some(mask) => mask & (1 << (signal - 1)) == 0,
        // HUP ends the program where the system does not say whether `nohup` started it.
        None => signal != SIGHUP,
    });
    let mut signals = signal_hook::iterator::Signals::new(REQUESTS.iter().chain(warnings))?;
    std::thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            if REQUESTS.contains(&signal) {
                if first.is_some_and(|first| first.elapsed() > MOMENT) {
                    std::process::exit(INTERRUPTED);
                }
                first.get_or_insert_with(Instant::now);
            }
            user.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// The signals that this process ignores, a bit each from signal 1 on; `None` where there is no `/proc`.
#[cfg(unix)]
fn ignored_signals() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// The same where signals come one at a time.
#[cfg(not(unix))]
fn listen(user: Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in REQUESTS {
        // In this order: the second signal finds what the first has set.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, user.clone())?;
        signal_hook::flag::register(signal, user.clone())?;
    }
    Ok(())
}

impl Stop {
    /// Listens to signals. Any of INT (Ctrl-C), TERM, USR1, USR2, HUP and XCPU asks to stop after the
    /// current step; a second INT or TERM ends the program at once. One that comes twice in a moment,
    /// to the process and to its group, counts once.
    ///
    /// # Errors
    /// The system refuses.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        listen(stop.user.clone())
            .map_err(|e| Error::run(format!("cannot listen to signals: {e}")))?;
        Ok(stop)
    }

    /// Calls `answer` once the user wants to stop, from a thread of its own, so that he is answered
    /// while a long step goes on.
    pub fn answer(&self, answer: impl Fn() + Send + 'static) {
        let user = self.user.clone();
        std::thread::spawn(move || {
            while !user.load(Ordering::Relaxed) {
                std::thread::sleep(SOON);
            }
            answer();
        });
    }

    /// Asks everybody to stop because a run has failed.
    pub fn after_failure(&self) {
        self.failure.store(true, Ordering::Relaxed);
    }

    /// The same for work in a folder that may be taken over.
    pub fn in_folder(&self, taken_over: &TakenOver) -> Self {
        Self {
            taken_over: taken_over.clone(),
            ..self.clone()
        }
    }

    /// An error if the folder that is worked in has been taken over: nothing may be written there
    /// then, not even a checkpoint.
    ///
    /// # Errors
    /// That of [`TakenOver::check`].
    pub fn check_folder(&self) -> Result<()> {
        self.taken_over.check()
    }

    /// Who wants to stop, if anybody does. The user's wish is the stronger one.
    pub fn wanted(&self) -> Option<Why> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        match (is_set(&self.user), is_set(&self.failure)) {
            (true, _) => Some(Why::User),
            (false, true) => Some(Why::Failure),
            (false, false) => None,
        }
    }

    /// An error if anybody wants to stop; `done` says what is kept.
    ///
    /// # Errors
    /// [`Error::interrupted`], or that of [`Stop::check_folder`].
    pub fn check(&self, done: impl FnOnce() -> String) -> Result<()> {
        self.check_folder()?;
        match self.wanted() {
            None => Ok(()),
            Some(why) => Err(why.error(&done())),
        }
    }
}

impl TakenOver {
    /// Notes who has taken the folder over: `process 4711 on node7`.
    pub fn note(&self, by: String) {
        // The first one counts.
        let _ = self.0.set(by);
    }

    /// An error if the folder has been taken over.
    ///
    /// # Errors
    /// Says by whom.
    pub fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(by) => Err(Error::run(format!(
                "{by} has taken over the folder, because this process was suspended or cut off from \
                 its file system for a long time"
            ))
            .help("run again once the other process has ended")),
        }
    }
}

impl Why {
    /// The error with which the work ends; `done` says where: `in finetune after step 3 of 8`.
    pub fn error(self, done: &str) -> Error {
        Error::interrupted(match self {
            Self::User => format!("interrupted {done}"),
            Self::Failure => format!("stopped {done}, because another run failed"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_wish_stands_above_a_failure() {
        let stop = Stop::default();
        assert!(stop.check(String::new).is_ok());
        stop.after_failure();
        assert_eq!(stop.wanted(), Some(Why::Failure));
        stop.user.store(true, Ordering::Relaxed);
        stop.after_failure();
        assert_eq!(stop.wanted(), Some(Why::User));
        let error = stop.check(|| "at step 3".to_owned()).expect_err("stopped");
        assert_eq!(
            (error.exit_code(), error.message().as_str()),
            (130, "interrupted at step 3")
        );
    }

    #[test]
    fn a_folder_that_is_taken_over_stops_the_work_in_it_and_no_other() {
        let (stop, taken_over) = (Stop::default(), TakenOver::default());
        let inside = stop.in_folder(&taken_over);
        inside.check_folder().expect("ours");
        taken_over.note("process 7 on elsewhere".to_owned());
        let error = inside.check(String::new).expect_err("taken over");
        assert!(error.message().starts_with("process 7 on elsewhere has"));
        assert!(!error.is_interruption(), "there is nothing to go on from");
        stop.check(String::new).expect("others go on");
        stop.after_failure();
        assert_eq!(inside.wanted(), Some(Why::Failure));
    }
}
