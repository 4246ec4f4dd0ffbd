//! Turns faults into problems with a place: `experiments/x.toml:12:1`, `--set KEY`, `--device` or
//! `environment ATTNLAB_KEY`.

use std::path::{Path, PathBuf};

use super::layers::{About, Fault, Suggestion};
use super::locate::{self, Position};
use super::syntax::{self, Flaw};
use super::{advice, nearby};
use crate::error::{Error, Problem};

/// A problem and where it sorts: files before everything else, then by line and column.
pub(super) type Placed = (Option<(PathBuf, Position)>, Problem);

/// The most syntax errors that are reported for one file.
const SYNTAX_ERRORS: usize = 3;

/// The problems of a fault that names its file. A file that is not TOML has one for each mistake.
pub(super) fn refused(fault: Fault) -> Error {
    let file = fault.file.clone().map(PathBuf::from).unwrap_or_default();
    Error::Problems(sorted(match fault.about {
        About::Syntax => syntax_problems(&file, &fault.message),
        About::Key | About::Absence | About::Value => {
            let position = find(&file, &fault.key).map(|(position, _)| position);
            vec![in_file(&file, position, fault)]
        }
    }))
}

fn syntax_problems(file: &Path, refusal: &str) -> Vec<Placed> {
    let whole = |message: String| vec![in_file(file, None, Fault::new(message))];
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(cause) => return whole(format!("the file cannot be read: {cause}")),
    };
    let text = match str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(cause) => {
            let good = String::from_utf8_lossy(&bytes[..cause.valid_up_to()]);
            let position = locate::position(&good, good.len());
            let fault = Fault::new("the file is not UTF-8 text").help("save it as UTF-8");
            return vec![in_file(file, Some(position), fault)];
        }
    };
    let flaws = syntax::flaws(text, refusal);
    if flaws.is_empty() {
        return whole(format!("this is not TOML 1.0: {refusal}"));
    }
    // Errors after the first few are mostly caused by them.
    let more = flaws.len().saturating_sub(SYNTAX_ERRORS);
    let one = |(position, fault): Flaw| in_file(file, Some(position), fault);
    let mut placed: Vec<Placed> = flaws.into_iter().take(SYNTAX_ERRORS).map(one).collect();
    if let Some((_, problem)) = placed.last_mut().filter(|_| more > 0) {
        let help = format!("{more} more mistakes follow; fix the first ones and check again");
        problem.help = Some(help);
    }
    placed
}

/// In order, each once.
pub(super) fn sorted(mut placed: Vec<Placed>) -> Vec<Problem> {
    placed.sort_by(|(a, x), (b, y)| {
        (a.is_none(), a, &x.place, &x.message).cmp(&(b.is_none(), b, &y.place, &y.message))
    });
    let mut problems: Vec<Problem> = placed.into_iter().map(|(_, problem)| problem).collect();
    problems.dedup();
    problems
}

/// The position of a key in a file, and whether the file has the whole key; see [`locate::locate`].
pub(super) fn find(file: &Path, path: &[String]) -> Option<(Position, bool)> {
    locate::locate(&std::fs::read_to_string(file).ok()?, path)
}

/// `experiments/x.toml:12:1`
pub(super) fn shown(file: &Path, position: Option<Position>) -> String {
    match position {
        Some((line, column)) => format!("{}:{line}:{column}", file.display()),
        None => file.display().to_string(),
    }
}

/// A problem in a file.
pub(super) fn in_file(file: &Path, position: Option<Position>, fault: Fault) -> Placed {
    let instead = match fault.instead.as_deref() {
        Some(Suggestion::Value(value)) => Some(advice::in_file(&fault.key, value)),
        Some(Suggestion::FileLike(missing)) => nearby::suggestion(missing),
        Some(Suggestion::Key(_)) | None => None,
    };
    let problem = Problem {
        place: shown(file, position),
        message: fault.message,
        help: instead.or(fault.help),
    };
    let sorts = (file.to_owned(), position.unwrap_or_default());
    (Some(sorts), problem)
}

/// A problem with what `--set`, an option or a variable sets at `path`.
pub(super) fn outside(place: String, path: &[String], fault: Fault) -> Problem {
    let variable = advice::variable(&place).filter(|_| fault.about == About::Key);
    let help = match (variable, fault.instead.as_deref()) {
        (Some(_), Some(Suggestion::Key(key))) => Some(advice::variable_for(key)),
        (Some(name), _) => Some(advice::unset(name)),
        (None, Some(Suggestion::Value(value))) => Some(advice::outside(&place, path, value)),
        _ => None,
    };
    Problem {
        message: fault.message,
        // Listing the allowed keys does not help if the variable was not meant for attnlab.
        help: match variable {
            Some(_) => help,
            None => fault.help.or(help),
        },
        place,
    }
}
