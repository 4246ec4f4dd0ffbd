//! From a fault at a key to a problem at a place: `experiments/x.toml:12:1`, `--set KEY`, `--device` or
//! `environment ATTNLAB_KEY`.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::{Dict, Value};

use super::layers::{About, Fault, Suggestion};
use super::locate::{self, Position};
use super::sweep::PointValues;
use super::syntax::{self, Flaw};
use super::{advice, nearby, tree, wording};
use crate::error::Problem;

/// A problem and where it sorts: files before everything else, then by line and column.
pub(super) type Placed = (Option<(PathBuf, Position)>, Problem);

/// Knows where every key of one experiment was written.
pub(super) struct Places<'a> {
    figment: &'a Figment,
    root: &'a Value,
    /// The files, the experiment's own last.
    files: &'a [PathBuf],
}

impl<'a> Places<'a> {
    pub(super) fn new(figment: &'a Figment, root: &'a Value, files: &'a [PathBuf]) -> Self {
        Self {
            figment,
            root,
            files,
        }
    }

    /// Turns a fault at a point into a problem; `point` is empty for keys that all points share.
    pub(super) fn problem(&self, fault: Fault, point: &PointValues) -> Placed {
        let path = written(&fault, point, self.root);
        // The deepest part of the key that is set anywhere says who set it.
        let depth = (0..=path.len())
            .rev()
            .find(|n| tree::get(self.root, &path[..*n]).is_some());
        let path = &path[..depth.unwrap_or(0)];
        if path.is_empty() {
            return in_file(self.own(), None, fault);
        }
        match self.source(path) {
            Source::File(file, position) => {
                let key = path.to_vec();
                in_file(&file, position, Fault { key, ..fault })
            }
            Source::Outside(name) => (None, outside(name, path, fault)),
        }
    }

    /// Where a key was set, as shown to the user: `experiments/x.toml:12`, `--set KEY`, `--device` or `environment
    /// ATTNLAB_KEY`. Absent if it was not set.
    pub(super) fn origin(&self, path: &[String]) -> Option<String> {
        tree::get(self.root, path)?;
        Some(match self.source(path) {
            Source::File(file, Some((line, _))) => format!("{}:{line}", file.display()),
            Source::File(file, None) => file.display().to_string(),
            Source::Outside(name) => name,
        })
    }

    /// The file that set a key last; absent if none did.
    pub(super) fn file(&self, path: &[String]) -> Option<PathBuf> {
        tree::get(self.root, path)?;
        match self.source(path) {
            Source::File(file, _) => Some(file),
            Source::Outside(_) => None,
        }
    }

    fn own(&self) -> &Path {
        self.files.last().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Where a key that is set was set last.
    fn source(&self, path: &[String]) -> Source {
        let value = tree::get(self.root, path);
        // Dates come as tables.
        let is_table = |dict: &Dict| !dict.keys().any(|key| wording::is_date(key));
        if value.and_then(Value::as_dict).is_some_and(is_table) {
            // Every layer may have added to a table: name the topmost file that has it.
            let whole = |file: &PathBuf| find(file, path).filter(|(_, whole)| *whole);
            let found = self
                .files
                .iter()
                .rev()
                .find_map(|file| Some((file, whole(file)?.0)));
            if let Some((file, position)) = found {
                return Source::File(file.clone(), Some(position));
            }
        }
        let metadata = value.and_then(|value| self.figment.get_metadata(value.tag()));
        let Some(metadata) = metadata else {
            return Source::File(self.own().to_owned(), None);
        };
        let file = metadata
            .source
            .as_ref()
            .and_then(figment::Source::file_path);
        match file {
            Some(file) => Source::File(
                file.to_owned(),
                find(file, path).map(|(position, _)| position),
            ),
            None => Source::Outside(metadata.name.to_string()),
        }
    }
}

/// Where a value was written.
enum Source {
    File(PathBuf, Option<Position>),
    /// `--set KEY`, `--device` or `environment ATTNLAB_KEY`.
    Outside(String),
}

/// The most syntax errors that are reported for one file.
const SYNTAX_ERRORS: usize = 3;

/// The problems of a fault that names its file. A file that is not TOML has one for each mistake.
pub(super) fn file_problems(fault: Fault) -> Vec<Placed> {
    let file = fault.file.clone().unwrap_or_default();
    if fault.about == About::Syntax {
        return syntax_problems(&file, &fault.message);
    }
    let position = find(&file, &fault.key).map(|(position, _)| position);
    vec![in_file(&file, position, fault)]
}

fn syntax_problems(file: &Path, refusal: &str) -> Vec<Placed> {
    let one = |flaw: Flaw| {
        let fault = Fault::at_key(&[], flaw.message);
        let help = flaw.help;
        in_file(file, Some(flaw.position), Fault { help, ..fault })
    };
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(cause) => {
            let message = format!("the file cannot be read: {cause}");
            return vec![in_file(file, None, Fault::at_key(&[], message))];
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(cause) => {
            let good = &cause.as_bytes()[..cause.utf8_error().valid_up_to()];
            let good = String::from_utf8_lossy(good);
            return vec![one(Flaw {
                position: locate::position(&good, good.len()),
                message: "the file is not UTF-8 text".to_owned(),
                help: Some("save it as UTF-8".to_owned()),
            })];
        }
    };
    let flaws = syntax::flaws(&text, refusal);
    if flaws.is_empty() {
        let message = format!("this is not TOML 1.0: {refusal}");
        return vec![in_file(file, None, Fault::at_key(&[], message))];
    }
    // Errors after the first few are mostly caused by them.
    let more = flaws.len().saturating_sub(SYNTAX_ERRORS);
    let mut placed: Vec<Placed> = flaws.into_iter().take(SYNTAX_ERRORS).map(one).collect();
    if more > 0
        && let Some((_, problem)) = placed.last_mut()
    {
        problem.help = Some(format!(
            "{more} more mistakes follow; fix the first ones and check again"
        ));
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

/// The path under which a key was written: below `sweep` if an axis sets it.
fn written(fault: &Fault, point: &PointValues, root: &Value) -> Vec<String> {
    let key = &fault.key;
    let sweep = ["sweep".to_owned()];
    for assignment in &point.values {
        let axis = tree::split(&assignment.key);
        if let Some(rest) = key.strip_prefix(&axis[..]) {
            // An axis under a wrong key is one mistake, not one for each of its values.
            let is_key = fault.about == About::Key && rest.is_empty();
            let written = match is_key {
                true => assignment.key_written(),
                false => &assignment.written,
            };
            return [&sweep, written, rest].concat();
        }
        if axis.starts_with(key) && tree::get(root, key).is_none() {
            return [&sweep, assignment.axis_written()].concat();
        }
    }
    key.clone()
}

fn find(file: &Path, path: &[String]) -> Option<(Position, bool)> {
    locate::locate(&std::fs::read_to_string(file).ok()?, path)
}

fn in_file(file: &Path, position: Option<Position>, fault: Fault) -> Placed {
    let place = match position {
        Some((line, column)) => format!("{}:{line}:{column}", file.display()),
        None => file.display().to_string(),
    };
    let instead = match fault.instead.as_deref() {
        Some(Suggestion::Value(value)) => Some(advice::in_file(&fault.key, value)),
        Some(Suggestion::FileLike(missing)) => nearby::suggestion(missing),
        Some(Suggestion::Key(_)) | None => None,
    };
    let problem = Problem {
        place,
        message: fault.message,
        help: instead.or(fault.help),
    };
    (
        Some((file.to_owned(), position.unwrap_or_default())),
        problem,
    )
}

/// A problem with what `--set`, an option or a variable sets at `path`.
fn outside(place: String, path: &[String], fault: Fault) -> Problem {
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
