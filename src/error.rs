//! Errors as values: what went wrong, where, what is allowed, what to do.
//!
//! Every message is lower case, has no full stop and at most one `help` line. `main` prints it
//! once and exits with [`Error::exit_code`].

use std::fmt;
use std::path::Path;

/// The kind of failure, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run stopped: a non-finite loss, a full disk, a device that failed. Exit code 1.
    Run,
    /// The command line asks for something that does not exist. Exit code 2.
    Usage,
    /// The experiment file is not valid. Exit code 3.
    Config,
    /// Some points of a sweep failed and the others finished. Exit code 4.
    Partly,
    /// Data is missing, unreadable or has the wrong checksum. Exit code 5.
    Data,
    /// Stopped by the user, or because another run failed; finished work is kept. Exit code 130, as shells
    /// report Ctrl-C.
    Interrupted,
}

/// One problem in a configuration, and where the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `experiments/x.toml:12:1`, `--set model.embed`, `ATTNLAB_MODEL__EMBED`, or empty.
    pub place: String,
    /// What is wrong, with the value and the rule.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

impl Problem {
    /// A problem without a help line.
    pub fn at(place: impl Into<String>, message: impl Into<String>) -> Self {
        let (place, message, help) = (place.into(), message.into(), None);
        Self {
            place,
            message,
            help,
        }
    }

    /// Adds a help line.
    pub fn help(self, text: impl Into<String>) -> Self {
        let help = Some(text.into());
        Self { help, ..self }
    }
}

/// The crate's error type.
#[derive(Debug)]
pub enum Error {
    /// All problems of a configuration.
    Problems(Vec<Problem>),
    /// Any other failure.
    Failure {
        /// Decides the exit code.
        kind: Kind,
        /// What went wrong, with the file or value concerned.
        message: String,
        /// How to fix it.
        help: Option<String>,
    },
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A value if there are no problems with it.
///
/// # Errors
/// [`Error::Problems`] if there are.
pub fn sound<T>(value: T, problems: Vec<Problem>) -> Result<T> {
    match problems.is_empty() {
        true => Ok(value),
        false => Err(Error::Problems(problems)),
    }
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, help) = (message.into(), None);
        Self::Failure {
            kind,
            message,
            help,
        }
    }

    /// A failed run (exit code 1).
    pub fn run(message: impl Into<String>) -> Self {
        Self::new(Kind::Run, message)
    }

    /// A command line that cannot be carried out (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A configuration that passed its own checks but cannot be used (exit code 3).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Data that is missing or damaged (exit code 5).
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// Some points of a sweep failed and the others finished (exit code 4).
    pub fn partly(message: impl Into<String>) -> Self {
        Self::new(Kind::Partly, message)
    }

    /// A run stopped by a signal or by another run's failure (exit code 130).
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// A file that could not be read or written: `cannot ACTION PATH: CAUSE`.
    pub fn io(kind: Kind, action: &str, path: &Path, cause: impl fmt::Display) -> Self {
        Self::new(kind, format!("cannot {action} {}: {cause}", path.display()))
    }

    /// Adds a help line.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Failure { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// Prefixes the file concerned: `PATH: MESSAGE`.
    pub fn in_file(mut self, path: &Path) -> Self {
        if let Self::Failure { message, .. } = &mut self {
            *message = format!("{}: {message}", path.display());
        }
        self
    }

    /// Prefixes the file being read: `cannot read PATH: MESSAGE`.
    pub fn reading(mut self, path: &Path) -> Self {
        if let Self::Failure { message, .. } = &mut self {
            *message = format!("cannot read {}: {message}", path.display());
        }
        self
    }

    /// The message without help.
    pub fn message(&self) -> String {
        match self {
            Self::Failure { message, .. } => message.clone(),
            Self::Problems(problems) => {
                let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
                messages.join("; ")
            }
        }
    }

    /// How to fix it.
    pub fn what_to_do(&self) -> Option<&str> {
        match self {
            Self::Failure { help, .. } => help.as_deref(),
            Self::Problems(_) => None,
        }
    }

    /// Whether the run was interrupted.
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
