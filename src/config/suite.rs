//! A suite: several experiments in an order, run as one under a profile.
//!
//! A profile sets keys of every member that has their table, so that the same pipeline takes
//! minutes or hours. A member's own settings of a profile come on top, `--set` last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Experiment, environment, layers, load_with, locate, name, wording};
use crate::error::{Error, Kind, Problem, Result};

/// A suite under one profile, with every member laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// The file's path below the `experiments` folder, without `.toml`.
    pub name: String,
    /// What the whole is called.
    pub title: String,
    /// The profile that its members have.
    pub profile: String,
    /// The members, in order.
    pub members: Vec<Member>,
}

/// One experiment of a suite.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which question it answers, as the assignment counts them, such as `2 f`.
    pub question: String,
    /// Its heading in a report.
    pub heading: String,
    /// What a reader has to know first; may be empty.
    pub text: String,
    /// What others reported, in words; may be empty. Numbers are in the experiment's `reported`.
    pub reported: String,
    /// The experiment; its results go below those of the suite and profile.
    pub experiment: Experiment,
}

/// Keys, dotted, and their values.
type Set = BTreeMap<String, toml::Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    profile: String,
    profiles: BTreeMap<String, ProfileTable>,
    members: Vec<MemberTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileTable {
    /// For people who read the file.
    #[serde(rename = "about")]
    _about: Option<String>,
    #[serde(default)]
    set: Set,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    question: String,
    heading: String,
    experiment: PathBuf,
    #[serde(default)]
    text: String,
    #[serde(default)]
    reported: String,
    #[serde(default)]
    profiles: BTreeMap<String, Set>,
}

/// Whether a file is a suite: it has `members`, which no experiment has.
pub fn is_suite(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    locate::locate(&text, &["members".to_owned()]).is_some()
}

/// Reads a suite and its members under `profile`, or the one that the file says.
///
/// # Errors
/// [`Error::Problems`] with everything that is wrong in the suite, or else in all of its members.
pub fn load_suite(path: &Path, profile: Option<&str>, set: &[String]) -> Result<Suite> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Error::io(Kind::Config, "read", path, cause))?;
    let file: File = toml::from_str(&text).map_err(|cause| {
        let at = cause.span().map(|span| locate::position(&text, span.start));
        let message = layers::one_line(cause.message());
        Error::Problems(vec![problem(path, at, message)])
    })?;
    let source = Source { path, text: &text };
    let profile = profile.unwrap_or(&file.profile).to_owned();
    let problems = source.check(&file, &profile);
    if !problems.is_empty() {
        return Err(Error::Problems(problems));
    }
    let (name, mut problems, mut members) = (name(path), vec![], vec![]);
    for (number, table) in file.members.into_iter().enumerate() {
        let own = table.profiles.get(&profile);
        let settings = [Some(&file.profiles[&profile].set), own];
        let settings: Vec<(&String, &toml::Value)> =
            settings.into_iter().flatten().flatten().collect();
        match source.member(number, &table.experiment, &settings, set) {
            Err(Error::Problems(more)) => problems.extend(more),
            Err(other) => return Err(other),
            Ok(mut experiment) => {
                experiment.name = format!("{name}/{profile}/{}", experiment.name);
                experiment.profile = Some(profile.clone());
                members.push(Member {
                    question: table.question,
                    heading: table.heading,
                    text: table.text,
                    reported: table.reported,
                    experiment,
                });
            }
        }
    }
    if !problems.is_empty() {
        return Err(Error::Problems(problems));
    }
    Ok(Suite {
        name,
        title: file.title,
        profile,
        members,
    })
}

/// Reads a suite under each of its profiles; gives it under the one that the file says.
pub(super) fn load_every_profile(path: &Path) -> Result<Suite> {
    let suite = load_suite(path, None, &[])?;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let file: Option<File> = toml::from_str(&text).ok();
    let names = file.into_iter().flat_map(|file| file.profiles.into_keys());
    for name in names.filter(|name| *name != suite.profile) {
        load_suite(path, Some(&name), &[])?;
    }
    Ok(suite)
}

/// A suite's file and what is in it.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn problem(&self, key: &[&str], message: String) -> Problem {
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        let at = locate::locate(self.text, &key).map(|(position, _)| position);
        problem(self.path, at, message)
    }

    /// The rules of a suite that are not about its members' settings.
    fn check(&self, file: &File, profile: &str) -> Vec<Problem> {
        let mut problems = vec![];
        let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
        if !known.contains(&profile) {
            let message = format!(
                "no profile is called {profile:?}: there is {}",
                wording::list(&known, "and")
            );
            problems.push(self.problem(&["profile"], message));
        }
        if file.members.is_empty() {
            let message = "a suite needs at least one member".to_owned();
            problems.push(self.problem(&["members"], message));
        }
        for (name, table) in &file.profiles {
            // It is the name of a folder.
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                let message = format!("a profile has letters, digits, _ and -, not {name:?}");
                problems.push(self.problem(&["profiles", name], message));
            }
            for key in table.set.keys().filter(|key| is_shape(key)) {
                problems.push(self.problem(&["profiles", name, "set", key], shape_message(key)));
            }
        }
        for (number, member) in file.members.iter().enumerate() {
            let index = number.to_string();
            for (name, set) in &member.profiles {
                if !known.contains(&name.as_str()) {
                    let message = format!("the suite has no profile {name:?}");
                    problems.push(self.problem(&["members", &index, "profiles", name], message));
                }
                for key in set.keys().filter(|key| is_shape(key)) {
                    let place = ["members", &index, "profiles", name, key];
                    problems.push(self.problem(&place, shape_message(key)));
                }
            }
        }
        problems
    }

    fn member(
        &self,
        number: usize,
        file: &Path,
        settings: &[(&String, &toml::Value)],
        set: &[String],
    ) -> Result<Experiment> {
        let path = self.path.parent().unwrap_or(Path::new("")).join(file);
        let path = layers::tidy(&path);
        let index = number.to_string();
        if !path.is_file() {
            let message = format!("the member {} does not exist", path.display());
            let key = ["members", &index, "experiment"];
            return Err(Error::Problems(vec![self.problem(&key, message)]));
        }
        if is_suite(&path) {
            let message = format!("the member {} is a suite itself", path.display());
            let key = ["members", &index, "experiment"];
            return Err(Error::Problems(vec![self.problem(&key, message)]));
        }
        let environment = environment();
        let plain = load_with(&path, &[], &environment)?;
        let from_profile = settings.iter().filter(|(key, _)| applies(&plain, key));
        let mut all: Vec<String> = from_profile
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let given = set.iter().filter(|one| {
            let key = one.split('=').next().unwrap_or_default();
            applies(&plain, key.trim())
        });
        all.extend(given.cloned());
        load_with(&path, &all, &environment).map_err(|error| match error {
            Error::Problems(problems) => Error::Problems(
                problems
                    .into_iter()
                    .map(|one| Problem {
                        message: format!("member {}: {}", file.display(), one.message),
                        ..one
                    })
                    .collect(),
            ),
            other => other,
        })
    }
}

/// Whether an experiment has the table of a key. A stage of no epochs is none: a profile never
/// trains what the file leaves untrained.
fn applies(experiment: &Experiment, key: &str) -> bool {
    let Some((table, _)) = key.split_once('.') else {
        return true;
    };
    experiment.points.iter().any(|point| {
        let settings = serde_json::json!(point.settings);
        let table = settings.get(table);
        table.is_some_and(|table| !table.is_null() && table.get("epochs") != Some(&0.into()))
    })
}

/// Whether a key decides what has to be compiled.
fn is_shape(key: &str) -> bool {
    let counts = [
        "layers",
        "embed",
        "heads",
        "head_dim",
        "hidden",
        "vocabulary",
        "context",
    ];
    key == "model"
        || key.strip_prefix("model.").is_some_and(|rest| {
            counts.contains(&rest) || rest == "attention" || rest.starts_with("attention.")
        })
}

fn shape_message(key: &str) -> String {
    format!("a profile cannot set `{key}`: model shapes are compiled from the experiments' files")
}

fn problem(path: &Path, at: Option<locate::Position>, message: String) -> Problem {
    let place = match at {
        Some((line, column)) => format!("{}:{line}:{column}", path.display()),
        None => path.display().to_string(),
    };
    Problem {
        place,
        message,
        help: None,
    }
}
