//! A suite: several experiments in an order, run as one under a profile.
//!
//! A profile sets keys of every member to which they apply, so that the same pipeline takes minutes
//! or hours. In reading order: `file` (the file's contents), `settings` (which member gets which
//! setting), and here the layers of a member: its file, the profile, its own keys under the profile,
//! the environment, `--set`.

mod file;
mod settings;

use std::path::{Path, PathBuf};

use super::merged::Merged;
use super::overrides::{self, Override};
use super::{
    Environment, Experiment, environment, load_with, locate, name, resolve, tree, wording,
};
use crate::error::{Error, Problem, Result, sound};
use crate::metrics::explored::distinct;
use file::{MemberTable, Source};
use settings::{BaseMember, receivers};

/// A suite under one profile, with every member laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// The file's path below the `experiments` folder, without `.toml`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What the whole is called.
    pub title: String,
    /// The profile that its members have.
    pub profile: String,
    /// What that profile is, in words.
    pub about: String,
    /// Every profile that there is.
    pub profiles: Vec<String>,
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

/// The suite that an experiment is run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The suite's file.
    pub path: PathBuf,
    /// The profile.
    pub profile: String,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq)]
pub enum Loaded {
    /// One experiment.
    Experiment(Experiment),
    /// Several, under a profile.
    Suite(Suite),
}

impl Loaded {
    /// The experiment, or those of the suite, in order.
    pub fn into_experiments(self) -> Vec<Experiment> {
        match self {
            Self::Experiment(experiment) => vec![experiment],
            Self::Suite(suite) => {
                let members = suite.members.into_iter();
                members.map(|member| member.experiment).collect()
            }
        }
    }
}

/// Whether a file is a suite: it has `members`, which no experiment has.
pub fn is_suite(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    locate::locate(&text, &["members"]).is_some()
}

/// Reads an experiment, or a suite under `profile` or else the one that its file says.
///
/// # Errors
/// As [`load`](super::load) and [`load_suite`]; a profile for an experiment.
pub fn load_any(path: &Path, profile: Option<&str>, set: &[String]) -> Result<Loaded> {
    if is_suite(path) {
        return load_suite(path, profile, set).map(Loaded::Suite);
    }
    if let Some(profile) = profile {
        let shown = path.display();
        let message = format!("{shown} is not a suite, so it has no profile {profile:?}");
        return Err(Error::usage(message).help("leave --profile out, or name a suite"));
    }
    load_with(path, set, &environment()).map(Loaded::Experiment)
}

/// Reads a suite and its members under `profile`, or the one that the file says.
///
/// # Errors
/// [`Error::Problems`] with everything that is wrong in the suite, or else in all of its members.
pub fn load_suite(path: &Path, profile: Option<&str>, set: &[String]) -> Result<Suite> {
    load_suite_with(path, profile, set, &environment())
}

/// Reads a suite under each of its profiles; gives it under the one that the file says.
pub(super) fn load_every_profile(path: &Path, environment: &Environment) -> Result<Suite> {
    let suite = load_suite_with(path, None, &[], environment)?;
    let mut problems = vec![];
    for name in suite.profiles.iter().filter(|name| **name != suite.profile) {
        match load_suite_with(path, Some(name), &[], environment) {
            Err(Error::Problems(more)) => problems.extend(more),
            Err(other) => return Err(other),
            Ok(_) => {}
        }
    }
    sound(suite, problems)
}

/// [`load_suite`] with the environment as a parameter.
pub(super) fn load_suite_with(
    path: &Path,
    profile: Option<&str>,
    set: &[String],
    environment: &Environment,
) -> Result<Suite> {
    let source = Source::read(path)?;
    let profile = source.profile(profile)?;
    let plain = plain(&source)?;
    let laid_out = lay_out(&source, &profile, &plain, set, environment)?;
    let (name, path, file) = (name(path), path.to_owned(), source.file);
    let member = |(table, experiment): (MemberTable, Experiment)| Member {
        question: table.question,
        heading: table.heading,
        text: table.text,
        reported: table.reported,
        experiment: Experiment {
            name: format!("{name}/{profile}/{}", experiment.name),
            suite: Some(Membership {
                path: path.clone(),
                profile: profile.clone(),
            }),
            ..experiment
        },
    };
    Ok(Suite {
        members: file.members.into_iter().zip(laid_out).map(member).collect(),
        title: file.title,
        about: file.profiles[&profile].about.clone(),
        profiles: file.profiles.into_keys().collect(),
        name,
        path,
        profile,
    })
}

/// Every member without the settings of the suite.
fn plain(source: &Source) -> Result<Vec<BaseMember>> {
    let (mut plain, mut problems) = (Vec::<BaseMember>::new(), vec![]);
    for number in 0..source.file.members.len() {
        match BaseMember::read(&source.member(number)) {
            Err(Error::Problems(more)) => problems.extend(more),
            Err(other) => return Err(other),
            Ok(member) => {
                let index = number.to_string();
                let here = |message| source.problem(&["members", &index, "experiment"], message);
                let (path, name) = (member.path.display(), &member.name);
                if let Some(other) = plain.iter().find(|other| other.name == *name) {
                    let both = format!("{} and {path}", other.path.display());
                    let message = format!("the results of {both} would share the folder {name}");
                    problems.push(here(message));
                }
                if name == "report" {
                    problems.push(here(format!("the suite's report has the folder of {path}")));
                }
                plain.push(member);
            }
        }
    }
    sound(plain, problems)
}

/// Every member with the settings that go to it.
fn lay_out(
    source: &Source,
    profile: &str,
    plain: &[BaseMember],
    set: &[String],
    environment: &Environment,
) -> Result<Vec<Experiment>> {
    let mut problems = vec![];
    let mut layers: Vec<Vec<Override>> = vec![vec![]; plain.len()];
    let shared = source.lineage(profile).flat_map(|profile| {
        let table = &source.file.profiles[profile].set;
        source.settings(table, &["profiles", profile, "set"])
    });
    let own = |member| own(source, profile, member, &mut problems);
    let own: Vec<Vec<Override>> = plain.iter().enumerate().map(own).collect();
    for setting in shared {
        for number in receivers(&setting, plain, &mut problems) {
            match plain[number].swept(&setting.key) {
                None => layers[number].push(setting.clone()),
                // The member says itself what its sweep is under this profile.
                Some(_) if own[number].iter().any(Override::is_axis) => {}
                Some(axis) => {
                    let path = plain[number].path.display();
                    let message = format!("the sweep of {path} sets `{axis}` itself");
                    problems.push(Problem::at(&setting.place, message).help(format!(
                        "give that member its own: profiles.{profile} = {{ \"sweep.…\" = […] }}"
                    )));
                }
            }
        }
    }
    for (layers, own) in layers.iter_mut().zip(own) {
        layers.extend(own);
    }
    let (outside, wrong) = overrides::read(set, environment);
    problems.extend(wrong);
    for setting in outside.into_iter().flat_map(Override::flat) {
        for number in receivers(&setting, plain, &mut problems) {
            layers[number].push(setting.clone());
        }
    }
    let (mut experiments, mut of_members) = (vec![], Vec::<(usize, Problem)>::new());
    for (number, (member, layers)) in plain.iter().zip(layers).enumerate() {
        let merged = Merged::with(&member.path, layers)?;
        match resolve(&member.path, &merged) {
            Err(Error::Problems(more)) => {
                of_members.extend(more.into_iter().map(|one| (number, one)));
            }
            Err(other) => return Err(other),
            Ok(experiment) => experiments.push(experiment),
        }
    }
    problems.extend(named(of_members, plain));
    sound(experiments, problems)
}

/// What the suite sets for one member alone: titles of figures, and the member's own settings under the profile.
fn own(
    source: &Source,
    profile: &str,
    (number, member): (usize, &BaseMember),
    problems: &mut Vec<Problem>,
) -> Vec<Override> {
    let (index, table) = (number.to_string(), &source.file.members[number]);
    let mut found = vec![];
    for (figure, title) in &table.figures {
        let written = ["members", &index, "figures", figure];
        if member.figures.contains(figure) {
            let (place, title) = (source.place(&written), title.clone().into());
            let key = tree::path(&["figures", figure, "title"]);
            found.push(Override::new(place, key, title));
            continue;
        }
        let mut message = format!("{} has no figure `{figure}`", member.path.display());
        if let Some(meant) = wording::nearest(figure, &member.figures) {
            message += &format!("; did you mean `{meant}`?");
        }
        problems.push(source.problem(&written, message));
    }
    for profile in source.lineage(profile) {
        if let Some(set) = table.profiles.get(profile) {
            let written = ["members", &index, "profiles", profile];
            found.extend(source.settings(set, &written));
        }
    }
    found
}

/// Problems of members, each once; one of a single member that is not in its file names it.
fn named(of_members: Vec<(usize, Problem)>, plain: &[BaseMember]) -> Vec<Problem> {
    let once = |problem: &Problem| of_members.iter().filter(|(_, one)| one == problem).count() == 1;
    distinct(of_members.iter().map(|(number, problem)| {
        let path = plain[*number].path.display().to_string();
        let mut problem = problem.clone();
        if once(&problem) && plain.len() > 1 && !problem.place.starts_with(&path) {
            problem.message = format!("{path}: {}", problem.message);
        }
        problem
    }))
}
