//! Errors as values: what went wrong, where, what is allowed, what to do.
//!
//! Every message is lower case, has no full stop and at most one `help` line. `main` prints it
//! once and exits with [`Error::exit_code`].

use std::fmt;
use std::path::Path;

/// What kind of failure it was; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run stopped: a non-finite loss, a full disk, a device that failed. Exit code 1.
    Run,
    /// The command line asks for something that is not there. Exit code 2.
    Usage,
    /// The experiment file is not valid. Exit code 3.
    Config,
    /// Some points of a sweep failed and the others were finished. Exit code 4.
    Partly,
    /// Data is missing, unreadable or has the wrong checksum. Exit code 5.
    Data,
    /// The user stopped it, or another run's failure did; what was done is kept. Exit code 130, as
    /// the shell has it for Ctrl-C.
    Interrupted,
}

/// One problem in a configuration, with the place where the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `experiments/x.toml:12:1`, `--set model.embed`, `ATTNLAB_MODEL__EMBED`, or empty.
    pub place: String,
    /// What is wrong, with the value and the rule.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// The one error type of the crate.
#[derive(Debug)]
pub enum Error {
    /// Everything that is wrong with a configuration, in one go.
    Problems(Vec<Problem>),
    /// Any other failure: one line, and perhaps what to do.
    Failure {
        /// Decides the exit code.
        kind: Kind,
        /// What went wrong, with the file or value concerned.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, help) = (message.into(), None);
        Self::Failure {
            kind,
            message,
            help,
        }
    }

    /// A run that stopped (exit code 1).
    pub fn run(message: impl Into<String>) -> Self {
        Self::new(Kind::Run, message)
    }

    /// A command line that cannot be carried out (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A configuration that cannot be used, found after its own checks (exit code 3).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Data that is missing or damaged (exit code 5).
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// Some points of a sweep that failed while others were finished (exit code 4).
    pub fn partly(message: impl Into<String>) -> Self {
        Self::new(Kind::Partly, message)
    }

    /// A run that was stopped from outside (exit code 130).
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// A file that could not be read or written: `cannot ACTION PATH: CAUSE`.
    pub fn io(kind: Kind, action: &str, path: &Path, cause: impl fmt::Display) -> Self {
        Self::new(kind, format!("cannot {action} {}: {cause}", path.display()))
    }

    /// Adds the line that says what to do.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Failure { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// Names the file that the failure is about: `PATH: what went wrong`.
    pub fn in_file(mut self, path: &Path) -> Self {
        if let Self::Failure { message, .. } = &mut self {
            *message = format!("{}: {message}", path.display());
        }
        self
    }

    /// Says that this came of reading a file: `cannot read PATH: what went wrong`.
    pub fn reading(mut self, path: &Path) -> Self {
        if let Self::Failure { message, .. } = &mut self {
            *message = format!("cannot read {}: {message}", path.display());
        }
        self
    }

    /// What went wrong, without what to do about it.
    pub fn message(&self) -> String {
        match self {
            Self::Failure { message, .. } => message.clone(),
            Self::Problems(problems) => {
                let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
                messages.join("; ")
            }
        }
    }

    /// What to do about it.
    pub fn what_to_do(&self) -> Option<&str> {
        match self {
            Self::Failure { help, .. } => help.as_deref(),
            Self::Problems(_) => None,
        }
    }

    /// Whether it was stopped from outside.
    pub fn is_interruption(&self) -> bool {
        matches!(
            self,
            Self::Failure {
                kind: Kind::Interrupted,
                ..
            }
        )
    }

    /// The process exit code: 1 run, 2 usage, 3 configuration, 4 some points, 5 data, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problems(_) => 3,
            Self::Failure { kind, .. } => match kind {
                Kind::Run => 1,
                Kind::Usage => 2,
                Kind::Config => 3,
                Kind::Partly => 4,
                Kind::Data => 5,
                Kind::Interrupted => 130,
            },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: ")?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}", self.message)?;
        self.help
            .iter()
            .try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => {
                for (i, problem) in problems.iter().enumerate() {
                    if i > 0 {
                        writeln!(f)?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
            Self::Failure { message, help, .. } => {
                write!(f, "error: {message}")?;
                help.iter()
                    .try_for_each(|help| write!(f, "\n  help: {help}"))
            }
        }
    }
}

impl std::error::Error for Error {}
