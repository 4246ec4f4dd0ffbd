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
use super::{Environment, Experiment, environment, load_with, locate, name, resolve, wording};
use crate::error::{Error, Problem, Result};
use file::{MemberTable, Source, problem};
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
            Self::Suite(suite) => suite
                .members
                .into_iter()
                .map(|one| one.experiment)
                .collect(),
        }
    }
}

/// Whether a file is a suite: it has `members`, which no experiment has.
pub fn is_suite(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    locate::locate(&text, &["members".to_owned()]).is_some()
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
    match problems.is_empty() {
        true => Ok(suite),
        false => Err(Error::Problems(problems)),
    }
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
    let (name, membership) = (
        name(path),
        Membership {
            path: path.to_owned(),
            profile: profile.clone(),
        },
    );
    let member = |(table, experiment): (&MemberTable, Experiment)| Member {
        question: table.question.clone(),
        heading: table.heading.clone(),
        text: table.text.clone(),
        reported: table.reported.clone(),
        experiment: Experiment {
            name: format!("{name}/{profile}/{}", experiment.name),
            suite: Some(membership.clone()),
            ..experiment
        },
    };
    let members = source.file.members.iter().zip(laid_out).map(member);
    Ok(Suite {
        members: members.collect(),
        path: path.to_owned(),
        title: source.file.title.clone(),
        about: source.file.profiles[&profile].about.clone(),
        profiles: source.file.profiles.keys().cloned().collect(),
        name,
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
                let same = plain.iter().find(|other| other.name == member.name);
                problems.extend(same.map(|other| {
                    here(format!(
                        "the results of {} and {} would share the folder {}",
                        other.path.display(),
                        member.path.display(),
                        member.name
                    ))
                }));
                if member.name == "report" {
                    let path = member.path.display();
                    problems.push(here(format!("the suite's report has the folder of {path}")));
                }
                plain.push(member);
            }
        }
    }
    match problems.is_empty() {
        true => Ok(plain),
        false => Err(Error::Problems(problems)),
    }
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
    let table = &source.file.profiles[profile].set;
    let shared = source.settings(table, &["profiles", profile, "set"]);
    let own = own(source, profile, plain, &mut problems);
    for setting in shared {
        for number in receivers(&setting, plain, &mut problems) {
            match plain[number].swept(&setting.key) {
                None => layers[number].push(setting.clone()),
                // The member says itself what its sweep is under this profile.
                Some(_) if own[number].iter().any(Override::is_axis) => {}
                Some(axis) => problems.push(swept(&setting, axis, &plain[number], profile)),
            }
        }
    }
    for (layers, own) in layers.iter_mut().zip(own) {
        layers.extend(own);
    }
    let (variables, wrong) = overrides::from_environment(environment);
    problems.extend(wrong);
    let (from_set, wrong) = overrides::from_set(set);
    problems.extend(wrong);
    let outside = variables.into_iter().chain(from_set);
    for setting in outside.flat_map(Override::flat) {
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
    match problems.is_empty() {
        true => Ok(experiments),
        false => Err(Error::Problems(problems)),
    }
}

/// A profile would set what the sweep of a member sets.
fn swept(setting: &Override, axis: &str, member: &BaseMember, profile: &str) -> Problem {
    let path = member.path.display();
    let help = format!("give that member its own: profiles.{profile} = {{ \"sweep.…\" = […] }}");
    Problem {
        help: Some(help),
        ..problem(
            setting.place.clone(),
            format!("the sweep of {path} sets `{axis}` itself"),
        )
    }
}

/// What each member sets for itself: titles of figures, and its own of the profile.
fn own(
    source: &Source,
    profile: &str,
    plain: &[BaseMember],
    problems: &mut Vec<Problem>,
) -> Vec<Vec<Override>> {
    let one = |(number, table): (usize, &MemberTable)| {
        let index = number.to_string();
        let mut found = vec![];
        for (figure, title) in &table.figures {
            let written = ["members", &index, "figures", figure];
            let known = plain[number].figures();
            if !known.contains(figure) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let path = plain[number].path.display();
                let meant = wording::nearest(figure, &known);
                let meant =
                    meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
                let message = format!("{path} has no figure `{figure}`{meant}");
                problems.push(source.problem(&written, message));
                continue;
            }
            let key = ["figures", figure, "title"].map(str::to_owned).to_vec();
            let place = source.place(&written.map(str::to_owned));
            found.push(Override::new(place, key, title.clone().into()));
        }
        if let Some(set) = table.profiles.get(profile) {
            let written = ["members", &index, "profiles", profile];
            found.extend(source.settings(set, &written));
        }
        found
    };
    source.file.members.iter().enumerate().map(one).collect()
}

/// Problems of members, each once; one of a single member that is not in its file names it.
fn named(of_members: Vec<(usize, Problem)>, plain: &[BaseMember]) -> Vec<Problem> {
    let mut told: Vec<Problem> = vec![];
    let once = |problem: &Problem| of_members.iter().filter(|(_, one)| one == problem).count() == 1;
    for (number, problem) in &of_members {
        let path = plain[*number].path.display().to_string();
        let mut problem = problem.clone();
        if once(&problem) && plain.len() > 1 && !problem.place.starts_with(&path) {
            problem.message = format!("{path}: {}", problem.message);
        }
        if !told.contains(&problem) {
            told.push(problem);
        }
    }
    told
}
