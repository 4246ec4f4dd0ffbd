//! Whether a run should stop, and why: Ctrl-C, or another run that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result};

/// The exit code after Ctrl-C, as the shell has it.
const INTERRUPTED: i32 = 130;

const GO: u8 = 0;
const USER: u8 = 1;
const FAILURE: u8 = 2;

/// A wish to stop, shared by all threads; whoever works looks at it between two steps.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicU8>);

/// Who wants to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user.
    User,
    /// Another run has failed, and the rest is not to go on without it.
    Failure,
}

impl Stop {
    /// Listens to Ctrl-C, SIGTERM and SIGHUP: the first asks to stop, the second ends the program.
    /// `heard` is called at the first, from another thread.
    ///
    /// # Errors
    /// The system refuses, or it was asked before in this process.
    pub fn on_signals(heard: impl Fn() + Send + 'static) -> Result<Self> {
        let stop = Self::default();
        let wanted = stop.clone();
        ctrlc::set_handler(move || {
            if wanted.0.swap(USER, Ordering::Relaxed) == USER {
                std::process::exit(INTERRUPTED);
            }
            heard();
        })
        .map_err(|e| Error::run(format!("cannot listen to Ctrl-C: {e}")))?;
        Ok(stop)
    }

    /// Asks everybody to stop because a run has failed.
    pub fn after_failure(&self) {
        // The user's wish is the stronger one: it decides the exit code.
        let _ = self
            .0
            .compare_exchange(GO, FAILURE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Who wants to stop, if anybody does.
    pub fn wanted(&self) -> Option<Why> {
        match self.0.load(Ordering::Relaxed) {
            GO => None,
            FAILURE => Some(Why::Failure),
            _ => Some(Why::User),
        }
    }

    /// An error if anybody wants to stop; `done` says what is kept.
    ///
    /// # Errors
    /// [`Error::interrupted`].
    pub fn check(&self, done: impl FnOnce() -> String) -> Result<()> {
        match self.wanted() {
            None => Ok(()),
            Some(why) => Err(why.error(&done())),
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
        stop.0.store(USER, Ordering::Relaxed);
        stop.after_failure();
        assert_eq!(stop.wanted(), Some(Why::User));
        let error = stop.check(|| "at step 3".to_owned()).expect_err("stopped");
        assert_eq!(
            (error.exit_code(), error.message().as_str()),
            (130, "interrupted at step 3")
        );
    }
}
