//! `attnlab check`: reports all problems of many files without running anything.

use std::collections::BTreeSet;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use super::suite::load_every_profile;
use super::{
    Environment, Experiment, Suite, environment, is_suite, layers, load_with, nearby, place,
};
use crate::error::{Error, Problem, Result, sound};
use crate::metrics::explored::distinct;

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

/// The file of a path, or every `*.toml` below its folder, sorted; at least one.
fn files(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let wrong = |message: String| Problem::at(path.display().to_string(), message);
    match layers::toml_files(path) {
        Ok(found) if found.is_empty() => {
            let problem = wrong("there is no *.toml file in this folder".to_owned());
            Err(problem.help("name an experiment file, or a folder that contains some"))
        }
        Ok(found) => Ok(found),
        Err(cause) if cause.kind() == NotFound => Err(Problem {
            help: nearby::suggestion(path),
            ..wrong("no such file or folder".to_owned())
        }),
        Err(cause) => Err(wrong(format!("it cannot be read: {cause}"))),
    }
}

/// The experiment files at and below `paths`, in that order and without duplicates. Files in a folder named `base`,
/// which other files build on, are left out, and so are suites that `paths` does not name.
///
/// # Errors
/// A path does not exist, or contains no `*.toml`.
pub fn experiment_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for path in paths {
        for file in files(path).map_err(|problem| Error::Problems(vec![problem]))? {
            // A folder stands for its experiments; those of a suite are among them.
            let is_other = layers::is_base(&file) || (file != *path && is_suite(&file));
            if !is_other && !found.contains(&file) {
                found.push(file);
            }
        }
    }
    Ok(found)
}

/// Checks the given files and every `*.toml` below the given folders.
///
/// # Errors
/// [`Error::Problems`] with the problems of all files, and of paths that lead to none.
pub fn check(paths: &[PathBuf]) -> Result<Vec<Checked>> {
    let environment = environment();
    let (mut found, mut problems) = (BTreeSet::new(), vec![]);
    for path in paths {
        match files(path) {
            Ok(files) => found.extend(files),
            Err(problem) => problems.push(problem),
        }
    }
    let mut checked = Vec::new();
    for path in found {
        match check_file(path, &environment) {
            Ok(one) => {
                let members = one.suite.iter().flat_map(|suite| &suite.members);
                let members = members.map(|member| &member.experiment);
                let experiments = one.experiment.iter().chain(members);
                problems.extend(experiments.flat_map(|one| one.blockers.iter().cloned()));
                checked.push(one);
            }
            Err(Error::Problems(more)) => problems.extend(more),
            Err(other) => return Err(other),
        }
    }
    // A base file's problems come with each file that is built on it.
    sound(checked, distinct(problems.into_iter()))
}

/// The question that an experiment file asks: its first comment line.
pub fn question(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut comments = text.lines().filter(|line| !line.starts_with("#:"));
    let first = comments.next()?.strip_prefix("# ")?.trim();
    (!first.is_empty()).then(|| first.to_owned())
}

fn check_file(path: PathBuf, environment: &Environment) -> Result<Checked> {
    let (experiment, suite) = if is_suite(&path) {
        (None, Some(load_every_profile(&path, environment)?))
    } else if layers::is_base(&path) {
        layers::read(&path).map_err(place::refused)?;
        (None, None)
    } else {
        (Some(load_with(&path, &[], environment)?), None)
    };
    Ok(Checked {
        path,
        experiment,
        suite,
    })
}
