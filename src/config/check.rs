//! `attnlab check`: reports all problems of many files without running anything.

use std::collections::BTreeSet;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use super::place::{Placed, file_problems};
use super::suite::load_every_profile;
use super::{
    Environment, Experiment, Suite, environment, is_suite, layers, load_with, nearby, place,
};
use crate::error::{Error, Kind, Problem, Result};

/// A file without problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The file.
    pub path: PathBuf,
    /// Its experiment; absent for a suite, and for a file in a folder named `base`, which other files build on and
    /// which only has to be TOML.
    pub experiment: Option<Experiment>,
    /// The suite under its default profile, if the file is one; all its other profiles are valid too.
    pub suite: Option<Suite>,
}

/// The given files and every `*.toml` below the given folders, sorted, without duplicates; and the problems of the
/// other paths.
fn found(paths: &[PathBuf]) -> (BTreeSet<PathBuf>, Vec<Problem>) {
    let (mut files, mut problems) = (BTreeSet::new(), vec![]);
    for path in paths {
        let (message, help) = match layers::toml_files(path) {
            Ok(found) if !found.is_empty() => {
                files.extend(found);
                continue;
            }
            Ok(_) => ("there is no *.toml file in this folder".to_owned(), None),
            Err(cause) if cause.kind() == NotFound => (
                "no such file or folder".to_owned(),
                nearby::suggestion(path),
            ),
            Err(cause) => (format!("it cannot be read: {cause}"), None),
        };
        problems.push(Problem {
            place: path.display().to_string(),
            message,
            help,
        });
    }
    (files, problems)
}

/// The given files and every `*.toml` below the given folders, sorted, without duplicates.
///
/// # Errors
/// A path that is not there, or no file at all.
fn toml_files(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for path in paths {
        let found = layers::toml_files(path);
        files.extend(found.map_err(|cause| {
            let near = nearby::suggestion(path).filter(|_| cause.kind() == NotFound);
            let error = Error::io(Kind::Config, "read", path, cause);
            match near {
                Some(near) => error.help(near),
                None => error,
            }
        })?);
    }
    if files.is_empty() {
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(
            Error::config(format!("no *.toml file in {}", names.join(", ")))
                .help("name an experiment file, or a folder that contains some"),
        );
    }
    Ok(files)
}

/// The experiment files at and below `paths`, in that order and without duplicates. Files in a folder named `base`,
/// which other files build on, are left out, and so are suites that `paths` does not name.
///
/// # Errors
/// A path that is not there, or below which there is no `*.toml`.
pub fn experiment_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in paths {
        for file in toml_files(std::slice::from_ref(path))? {
            // A folder stands for its experiments; those of a suite are among them.
            let is_other = layers::is_base(&file) || (file != *path && is_suite(&file));
            if !is_other && !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Checks the given files and every `*.toml` below the given folders.
///
/// # Errors
/// [`Error::Problems`] with the problems of all files, and of paths that lead to none.
pub fn check(paths: &[PathBuf]) -> Result<Vec<Checked>> {
    let environment = environment();
    let (files, mut problems) = found(paths);
    let mut checked = Vec::new();
    for path in files {
        let found = if is_suite(&path) {
            load_every_profile(&path, &environment).map(|suite| (None, Some(suite)))
        } else {
            check_file(&path, &environment).map(|experiment| (experiment, None))
        };
        match found {
            Ok((experiment, suite)) => {
                let members = suite.iter().flat_map(|suite| &suite.members);
                let members = members.map(|member| &member.experiment);
                for experiment in experiment.iter().chain(members) {
                    problems.extend(experiment.blockers.iter().cloned());
                }
                checked.push(Checked {
                    path,
                    experiment,
                    suite,
                });
            }
            Err(Error::Problems(more)) => problems.extend(more),
            Err(other) => return Err(other),
        }
    }
    // A base file's problems come with each file that is built on it.
    let mut seen = Vec::new();
    problems.retain(|problem| {
        let new = !seen.contains(problem);
        seen.push(problem.clone());
        new
    });
    if problems.is_empty() {
        Ok(checked)
    } else {
        Err(Error::Problems(problems))
    }
}

/// The question that an experiment file asks: its first comment line.
pub fn question(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut comments = text.lines().filter(|line| !line.starts_with("#:"));
    let first = comments.next()?.strip_prefix("# ")?.trim();
    (!first.is_empty()).then(|| first.to_owned())
}

fn check_file(path: &Path, environment: &Environment) -> Result<Option<Experiment>> {
    if !layers::is_base(path) {
        return load_with(path, &[], environment).map(Some);
    }
    let problems = |placed: Vec<Placed>| Error::Problems(place::sorted(placed));
    layers::read(path)
        .map(|_| None)
        .map_err(|fault| problems(file_problems(fault)))
}
