//! Errors as values: what went wrong, where, what is allowed, what to do.
//!
//! Every message is lower case, has no full stop and at most one `help` line. `main` prints it
//! once and exits with [`Error::exit_code`].

// What a name says needs no comment.
#![allow(missing_docs)]

use std::fmt;
use std::path::Path;

/// The kind of failure; its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run stopped: a non-finite loss, a full disk, a device that failed.
    Run = 1,
    /// The command line asks for something that does not exist.
    Usage = 2,
    /// The experiment file is not valid.
    Config = 3,
    /// Some points of a sweep failed and the others finished.
    Partly = 4,
    /// Data is missing, unreadable or has the wrong checksum.
    Data = 5,
    /// Stopped by the user, as shells report Ctrl-C, or because another run failed; finished work is kept.
    Interrupted = 130,
}

/// One problem, with the place where the user wrote it if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `experiments/x.toml:12:1`, `--set model.embed`, `environment ATTNLAB_MODEL__EMBED`, or empty.
    pub place: String,
    /// What is wrong, with the value and the rule.
    pub message: String,
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

    pub fn help(self, text: impl Into<String>) -> Self {
        let help = Some(text.into());
        Self { help, ..self }
    }
}

#[derive(Debug)]
pub enum Error {
    /// All problems of a configuration.
    Problems(Vec<Problem>),
    /// Any other failure: its message says which file or value is concerned.
    Failure(Kind, Problem),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The value, unless there are problems with it.
pub fn sound<T>(value: T, problems: Vec<Problem>) -> Result<T> {
    match problems.is_empty() {
        true => Ok(value),
        false => Err(Error::Problems(problems)),
    }
}

impl Error {
    /// A failure of any kind; the usual kinds have constructors of their own.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::Failure(kind, Problem::at("", message))
    }

    pub fn run(message: impl Into<String>) -> Self {
        Self::new(Kind::Run, message)
    }

    /// A command line that cannot be carried out.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A configuration that passed its own checks but cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Data that is missing or damaged.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// A file that could not be read or written: `cannot ACTION PATH: CAUSE`.
    pub fn io(kind: Kind, action: &str, path: &Path, cause: impl fmt::Display) -> Self {
        Self::new(kind, format!("cannot {action} {}: {cause}", path.display()))
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Failure(_, problem) = &mut self {
            problem.help = Some(text.into());
        }
        self
    }

    /// Prefixes the file concerned: `PATH: MESSAGE`.
    pub fn in_file(self, path: &Path) -> Self {
        self.after(path.display())
    }

    /// Prefixes the file being read: `cannot read PATH: MESSAGE`.
    pub fn reading(self, path: &Path) -> Self {
        self.after(format!("cannot read {}", path.display()))
    }

    fn after(mut self, prefix: impl fmt::Display) -> Self {
        if let Self::Failure(_, problem) = &mut self {
            problem.message = format!("{prefix}: {}", problem.message);
        }
        self
    }

    fn problems(&self) -> &[Problem] {
        match self {
            Self::Problems(problems) => problems,
            Self::Failure(_, problem) => std::slice::from_ref(problem),
        }
    }

    /// The message without help.
    pub fn message(&self) -> String {
        let messages = self.problems().iter().map(|one| one.message.as_str());
        messages.collect::<Vec<_>>().join("; ")
    }

    pub fn what_to_do(&self) -> Option<&str> {
        match self {
            Self::Failure(_, problem) => problem.help.as_deref(),
            Self::Problems(_) => None,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Problems(_) => Kind::Config,
            Self::Failure(kind, _) => *kind,
        }
    }

    /// Whether the run was interrupted.
    pub fn is_interruption(&self) -> bool {
        self.kind() == Kind::Interrupted
    }

    pub fn exit_code(&self) -> u8 {
        self.kind() as u8
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: ")?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}", self.message)?;
        let mut help = self.help.iter();
        help.try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems().iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Error {}
