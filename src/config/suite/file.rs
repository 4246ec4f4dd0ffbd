//! A suite's file as it is written, and the rules that are not about its members' settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::Value;
use serde::Deserialize;

use crate::config::layers::Fault;
use crate::config::overrides::Override;
use crate::config::place::{self, shown};
use crate::config::{is_suite, layers, locate, nearby, syntax, tree, wording};
use crate::error::{Error, Kind, Problem, Result, sound};

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
    /// Another profile, whose settings it has but for its own.
    pub(super) base: Option<String>,
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
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::io(Kind::Config, "read", path, cause))?;
        if !syntax::flaws(&text, "").is_empty() {
            return Err(place::refused(Fault::not_toml(path, "")));
        }
        let file: File = toml::from_str(&text).map_err(|cause| {
            let position = cause.span().map(|span| locate::position(&text, span.start));
            let message = layers::one_line(cause.message()).replace(" field ", " key ");
            Error::Problems(vec![Problem::at(shown(path, position), message)])
        })?;
        let path = path.to_owned();
        let source = Self { path, text, file };
        let problems = [source.profiles(), source.members()].concat();
        sound(source, problems)
    }

    /// Where a key is written: `experiments/suite.toml:12:1`.
    pub(super) fn place(&self, key: &[&str]) -> String {
        let found = locate::locate(&self.text, key);
        shown(&self.path, found.map(|(position, _)| position))
    }

    pub(super) fn problem(&self, key: &[&str], message: impl Into<String>) -> Problem {
        Problem::at(self.place(key), message)
    }

    /// The file of a member.
    pub(super) fn member(&self, number: usize) -> PathBuf {
        let named = &self.file.members[number].experiment;
        // A home directory that cannot be expanded is found not to exist.
        layers::beside(&self.path, named).unwrap_or_else(|_| named.clone())
    }

    /// The profile that is asked for, or else the file's own.
    pub(super) fn profile(&self, asked: Option<&str>) -> Result<String> {
        let name = asked.unwrap_or(&self.file.profile);
        match asked.and_then(|name| self.no_profile(format!("--profile {name}"), name)) {
            Some(problem) => Err(Error::Problems(vec![problem])),
            None => Ok(name.to_owned()),
        }
    }

    /// The problem with a name that is not one of the profiles.
    fn no_profile(&self, place: String, name: &str) -> Option<Problem> {
        let known: Vec<&String> = self.file.profiles.keys().collect();
        let message = format!("the suite has no profile {name:?}");
        let problem = match wording::nearest(name, &known) {
            Some(meant) => Problem::at(place, format!("{message}; did you mean {meant:?}?")),
            None => {
                let known = wording::list(&known, "and");
                Problem::at(place, message).help(format!("its profiles are {known}"))
            }
        };
        (!self.file.profiles.contains_key(name)).then_some(problem)
    }

    /// A profile behind its base, if it has one: the order in which their settings apply.
    pub(super) fn lineage<'a>(&'a self, profile: &'a str) -> impl Iterator<Item = &'a str> {
        let base = self.file.profiles[profile].base.as_deref();
        base.into_iter().chain([profile])
    }

    fn profiles(&self) -> Vec<Problem> {
        let mut problems = vec![];
        problems.extend(self.no_profile(self.place(&["profile"]), &self.file.profile));
        for (name, table) in &self.file.profiles {
            if let Some(base) = &table.base {
                let key = ["profiles", name, "base"];
                let has_base = |base: &ProfileTable| base.base.is_some();
                problems.extend(self.no_profile(self.place(&key), base));
                if self.file.profiles.get(base).is_some_and(has_base) {
                    let message = format!("the profile {base:?} has a base, so it cannot be one");
                    problems.push(self.problem(&key, message));
                }
            }
            // It is the name of a folder.
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                let message = format!("a profile has letters, digits, _ and -, not {name:?}");
                problems.push(self.problem(&["profiles", name], message));
            }
        }
        problems
    }

    fn members(&self) -> Vec<Problem> {
        let mut problems = vec![];
        if self.file.members.is_empty() {
            problems.push(self.problem(&["members"], "a suite needs at least one member"));
        }
        for (number, member) in self.file.members.iter().enumerate() {
            let index = number.to_string();
            let path = self.member(number);
            let mut before = (0..number).map(|other| self.member(other));
            let wrong = if !path.is_file() {
                Some("does not exist")
            } else if is_suite(&path) {
                Some("is a suite itself")
            } else {
                let is_listed = before.any(|other| layers::same_file(&other, &path));
                is_listed.then_some("is listed twice")
            };
            problems.extend(wrong.map(|wrong| {
                let message = format!("the member {} {wrong}", path.display());
                let problem = self.problem(&["members", &index, "experiment"], message);
                let help = nearby::suggestion(&path).filter(|_| !path.exists());
                Problem { help, ..problem }
            }));
            for name in member.profiles.keys() {
                let written = ["members", &index, "profiles", name];
                problems.extend(self.no_profile(self.place(&written), name));
            }
        }
        problems
    }

    /// The settings of a table, each with its place; tables in it are taken apart.
    pub(super) fn settings(&self, table: &toml::Table, written: &[&str]) -> Vec<Override> {
        self.below(table, written, &[])
    }

    fn below(&self, table: &toml::Table, written: &[&str], above: &[String]) -> Vec<Override> {
        let one = |(name, value): (&String, &toml::Value)| {
            let written = [written, &[name]].concat();
            let key = [above, &tree::split(name)].concat();
            match value {
                toml::Value::Table(inner) if !inner.is_empty() => self.below(inner, &written, &key),
                _ => {
                    let value = Value::serialize(value).expect("TOML is text, numbers and tables");
                    vec![Override::new(self.place(&written), key, value)]
                }
            }
        };
        table.iter().flat_map(one).collect()
    }
}
