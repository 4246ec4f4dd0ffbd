//! A suite's file as it is written, and the rules that are not about its members' settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::Value;
use serde::Deserialize;

use crate::config::overrides::Override;
use crate::config::syntax::{self, Flaw};
use crate::config::{is_suite, layers, locate, nearby, tree, wording};
use crate::error::{Error, Kind, Problem, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) title: String,
    pub(super) profile: String,
    pub(super) profiles: BTreeMap<String, ProfileTable>,
    pub(super) members: Vec<MemberTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileTable {
    pub(super) about: String,
    /// Keys of every member that has a place for them.
    #[serde(default)]
    pub(super) set: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberTable {
    pub(super) question: String,
    pub(super) heading: String,
    pub(super) experiment: PathBuf,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) reported: String,
    /// Titles of its figures, by file name.
    #[serde(default)]
    pub(super) figures: BTreeMap<String, String>,
    /// Keys of this member alone, by profile.
    #[serde(default)]
    pub(super) profiles: BTreeMap<String, toml::Table>,
}

/// A suite's file: where it is, what it says, and what that means.
pub(super) struct Source {
    pub(super) path: PathBuf,
    text: String,
    pub(super) file: File,
}

impl Source {
    /// Reads the file and checks everything but settings.
    ///
    /// # Errors
    /// [`Error::Problems`], each with its place.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::io(Kind::Config, "read", path, cause))?;
        let flaws = syntax::flaws(&text, "");
        if !flaws.is_empty() {
            let one = |flaw: Flaw| Problem {
                help: flaw.help,
                ..problem(in_file(path, Some(flaw.position)), flaw.message)
            };
            return Err(Error::Problems(flaws.into_iter().map(one).collect()));
        }
        let file: File = toml::from_str(&text).map_err(|cause| {
            let position = cause.span().map(|span| locate::position(&text, span.start));
            let message = layers::one_line(cause.message()).replace(" field ", " key ");
            Error::Problems(vec![problem(in_file(path, position), message)])
        })?;
        let source = Self {
            path: path.to_owned(),
            text,
            file,
        };
        let mut problems = source.profiles();
        problems.extend(source.members());
        match problems.is_empty() {
            true => Ok(source),
            false => Err(Error::Problems(problems)),
        }
    }

    /// Where a key is written: `experiments/suite.toml:12:1`.
    pub(super) fn place(&self, key: &[String]) -> String {
        let found = locate::locate(&self.text, key);
        in_file(&self.path, found.map(|(position, _)| position))
    }

    pub(super) fn problem(&self, key: &[&str], message: String) -> Problem {
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        problem(self.place(&key), message)
    }

    /// The file of a member.
    pub(super) fn member(&self, number: usize) -> PathBuf {
        let named = &self.file.members[number].experiment;
        // A home directory that cannot be expanded is found not to exist.
        layers::beside(&self.path, named).unwrap_or_else(|_| named.clone())
    }

    /// The profile that is asked for, or else the file's own.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn profile(&self, asked: Option<&str>) -> Result<String> {
        let name = asked.unwrap_or(&self.file.profile);
        if self.file.profiles.contains_key(name) {
            return Ok(name.to_owned());
        }
        let place = match asked {
            Some(name) => format!("--profile {name}"),
            None => self.place(&["profile".to_owned()]),
        };
        Err(Error::Problems(vec![self.no_profile(place, name)]))
    }

    fn no_profile(&self, place: String, name: &str) -> Problem {
        let known: Vec<&str> = self.file.profiles.keys().map(String::as_str).collect();
        let message = format!("the suite has no profile {name:?}");
        match wording::nearest(name, &known) {
            Some(meant) => problem(place, format!("{message}; did you mean {meant:?}?")),
            None => Problem {
                help: Some(format!("its profiles are {}", wording::list(&known, "and"))),
                ..problem(place, message)
            },
        }
    }

    fn profiles(&self) -> Vec<Problem> {
        let mut problems = vec![];
        problems.extend(self.profile(None).err().map(first));
        for (name, table) in &self.file.profiles {
            // It is the name of a folder.
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                let message = format!("a profile has letters, digits, _ and -, not {name:?}");
                problems.push(self.problem(&["profiles", name], message));
            }
            let written = ["profiles", name, "set"];
            problems.extend(self.shapes(&table.set, &written));
        }
        problems
    }

    fn members(&self) -> Vec<Problem> {
        let mut problems = vec![];
        if self.file.members.is_empty() {
            let message = "a suite needs at least one member".to_owned();
            problems.push(self.problem(&["members"], message));
        }
        for (number, member) in self.file.members.iter().enumerate() {
            let index = number.to_string();
            let path = self.member(number);
            let wrong = match () {
                () if !path.is_file() => Some("does not exist"),
                () if is_suite(&path) => Some("is a suite itself"),
                () if (0..number).any(|other| layers::same_file(&self.member(other), &path)) => {
                    Some("is listed twice")
                }
                () => None,
            };
            problems.extend(wrong.map(|wrong| {
                let message = format!("the member {} {wrong}", path.display());
                let near = nearby::suggestion(&path).filter(|_| !path.exists());
                Problem {
                    help: near,
                    ..self.problem(&["members", &index, "experiment"], message)
                }
            }));
            for (name, set) in &member.profiles {
                let written = ["members", &index, "profiles", name];
                if !self.file.profiles.contains_key(name) {
                    let place = self.place(&written.map(str::to_owned));
                    problems.push(self.no_profile(place, name));
                }
                problems.extend(self.shapes(set, &written));
            }
        }
        problems
    }

    /// The settings of a table, each with its place; tables in it are taken apart.
    pub(super) fn settings(&self, table: &toml::Table, written: &[&str]) -> Vec<Override> {
        let mut found = vec![];
        let written: Vec<String> = written.iter().map(|part| (*part).to_owned()).collect();
        self.collect(table, &written, &[], &mut found);
        found
    }

    fn collect(
        &self,
        table: &toml::Table,
        written: &[String],
        above: &[String],
        found: &mut Vec<Override>,
    ) {
        for (name, value) in table {
            let written = [written, std::slice::from_ref(name)].concat();
            let key = [above, &tree::split(name)].concat();
            match value {
                toml::Value::Table(inner) if !inner.is_empty() => {
                    self.collect(inner, &written, &key, found);
                }
                _ => {
                    let value = Value::serialize(value).expect("TOML is text, numbers and tables");
                    found.push(Override::new(self.place(&written), key, value));
                }
            }
        }
    }

    /// What of a profile decides shapes, which no profile may.
    fn shapes(&self, table: &toml::Table, written: &[&str]) -> Vec<Problem> {
        let settings = self.settings(table, written).into_iter();
        let shapes = settings.filter(|one| is_shape(&one.key));
        let refused = shapes.map(|one| {
            let key = tree::dotted(&one.key);
            let message = format!(
                "a profile cannot set `{key}`: shapes are compiled from the experiments' files"
            );
            problem(one.place, message)
        });
        refused.collect()
    }
}

fn first(error: Error) -> Problem {
    let message = error.message();
    match error {
        Error::Problems(problems) => problems.into_iter().next(),
        Error::Failure { .. } => None,
    }
    .unwrap_or_else(|| problem(String::new(), message))
}

fn in_file(path: &Path, position: Option<locate::Position>) -> String {
    match position {
        Some((line, column)) => format!("{}:{line}:{column}", path.display()),
        None => path.display().to_string(),
    }
}

pub(super) fn problem(place: String, message: String) -> Problem {
    Problem {
        place,
        message,
        help: None,
    }
}

/// Whether a key decides what has to be compiled.
fn is_shape(key: &[String]) -> bool {
    let apart = ["dropout", "initial_deviation"];
    let inner = key.get(1).map(String::as_str);
    key.first().is_some_and(|first| first == "model")
        && !inner.is_some_and(|inner| apart.contains(&inner))
}
