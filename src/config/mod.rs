//! Experiment files: TOML in, typed settings out, and every problem at once with its place.
//!
//! The layers, later ones win: the chain of `base` files, the file, `ATTNLAB_` variables of the
//! environment, `--set`, and the values of each point of the sweep. A key that no layer sets has the default of its
//! field: `#[serde(default)]` or `impl Default` beside it, in `schema` or in the module of its kind. In reading order: `schema`
//! (the types of a file; `json_schema` exports them for editors), `layers`, `overrides` and `merged`
//! (where values come from), `sweep` (one file, many points), `inherited` (axes from a base), `labels` (names
//! of points), `problems` (all errors at once), `validate` (rules about values), `search` (whether every drawable value is valid), `start` (weights
//! files that are missing), `place` and `locate` (where the user wrote it), `syntax` (why a text is not
//! TOML), `meant`, `nearby` and `advice` (which key, value or file was meant, and how to write it where it
//! was written), `origins` (where each value comes from), `suite` (several experiments as one). Nothing else of the crate
//! knows TOML.

mod advice;
mod check;
mod choice;
mod difference;
pub(crate) mod home;
mod inherited;
mod json_schema;
mod labels;
mod layers;
mod locate;
mod meant;
mod merged;
mod nearby;
mod origins;
mod overrides;
mod place;
mod point;
mod problems;
pub mod schema;
mod search;
pub mod shape;
mod start;
mod suite;
pub(crate) mod sweep;
mod syntax;
mod tree;
mod unread;
mod validate;
mod wording;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::value::Value;

pub(crate) use advice::shell_word;
pub use check::{Checked, check, experiment_files, question};
pub use choice::{Candidates, Choice};
pub use difference::{Difference, differences};
pub use json_schema::json_schema;
pub use origins::{Origins, Setting, origins};
pub use point::{Draw, Point, PointSettings, decides, to_toml};
pub use suite::{Loaded, Member, Membership, Suite, is_suite, load_any, load_suite};

use crate::error::{Error, Problem, Result};
use crate::kinds::Kinded;
use crate::plot::FigureKind;
use labels::Names;
use layers::Fault;
use merged::Merged;
use place::Placed;
use schema::{ExperimentHeader, Labels, Settings};
use search::{InvalidDraws, is_about};
use sweep::{HEADER_KEYS, PointValues, Sweep};

/// One experiment file, with its sweep laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// The file's path below the `experiments` folder, without `.toml`, such as
    /// `birthplace/vanilla`; the file's own name if it lies elsewhere.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The suite that it is run in, if it is in one.
    pub suite: Option<Membership>,
    /// Every point is run with each of these.
    pub seeds: Vec<u64>,
    /// What the file calls its points; each has its own in [`Point::label`].
    pub labels: Labels,
    /// Settings of the sweep with the same value at all points, which labels leave out, such as
    /// `model.dropout = 0.1`.
    pub context: Vec<String>,
    /// Warnings about valid settings that may be mistakes, one line each.
    pub notes: Vec<String>,
    /// What to draw, by file name.
    pub figures: BTreeMap<String, Kinded<FigureKind>>,
    /// The points of the sweep, in order; one without a sweep.
    pub points: Vec<Point>,
    /// Which of them are chosen by validation, if the file says so.
    pub choice: Option<Choice>,
    /// Problems that keep a valid file from being run: a stage starts from weights that do not
    /// exist.
    pub blockers: Vec<Problem>,
}

impl Experiment {
    /// The settings of all points that are not explorations.
    pub fn trainings(&self) -> impl Iterator<Item = &Settings> {
        self.points
            .iter()
            .filter_map(|point| point.settings.training())
    }

    /// Whether it is an exploration, without data or model. If so, all its points are.
    pub fn explores(&self) -> bool {
        let mut points = self.points.iter();
        points.any(|point| point.settings.exploration().is_some())
    }

    /// The arguments by which a command selects it: its file, or its suite's file and the profile.
    pub fn argument(&self) -> String {
        match &self.suite {
            None => shell_word(&self.path.display().to_string()),
            Some(Membership { path, profile }) => {
                let file = shell_word(&path.display().to_string());
                format!("{file} --profile {}", shell_word(profile))
            }
        }
    }
}

/// The table of an exploration.
const EXPLORE: &str = "explore";

/// Top-level keys of an experiment that trains; an exploration has none of them.
const TRAINING_KEYS: [&str; 7] = [
    "data",
    "model",
    "pretrain",
    "finetune",
    "evaluate",
    "device",
    "precision",
];

/// Reads an experiment file, its bases, the `ATTNLAB_` variables of the environment and
/// `overrides`, each `key=value` as given to `--set`, or `--key=value` where it has an option of its own.
///
/// # Errors
/// [`Error::Problems`] with everything that is wrong, sorted by file and line.
pub fn load(path: &Path, overrides: &[String]) -> Result<Experiment> {
    refuse_suite(path)?;
    load_with(path, overrides, &environment())
}

/// Refuses a suite where an experiment is needed; the help names the commands that take one.
fn refuse_suite(path: &Path) -> Result<()> {
    if !is_suite(path) {
        return Ok(());
    }
    let message = format!("{} is a suite of experiments", path.display());
    Err(Error::usage(message)
        .help("run, plan, plot, report and clean take a suite; here, name one of its experiments"))
}

/// Reads a self-contained file, such as a run's `resolved.toml`. The environment is ignored, because the file
/// already has the settings that were run.
pub fn load_alone(path: &Path) -> Result<Experiment> {
    load_with(path, &[], &[])
}

/// Names and values of variables.
type Environment = [(OsString, OsString)];

/// The variables of the process.
fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// [`load`] with the environment as a parameter.
fn load_with(path: &Path, set: &[String], environment: &Environment) -> Result<Experiment> {
    resolve(path, &Merged::read(path, set, environment)?)
}

/// Lays out the sweep and reads every point.
fn resolve(path: &Path, merged: &Merged) -> Result<Experiment> {
    let (root, everywhere) = (&merged.root, PointValues::default());
    let axes = sweep::keys(root);
    let conflicts = merged
        .overrides
        .iter()
        .filter_map(|one| one.conflict(&axes));
    let outside = merged.problems.iter().cloned().chain(conflicts);
    let mut problems: Vec<Placed> = outside.map(|problem| (None, problem)).collect();
    let mut note = |faults: Vec<Fault>, point: &PointValues| {
        let faults = faults.into_iter();
        let faults = faults.map(|fault| inherited::explained(fault, merged));
        problems.extend(faults.map(|fault| merged.problem(fault, point)));
    };

    let Sweep {
        points,
        extremes,
        mut faults,
    } = sweep::lay_out(root);
    let undropped = inherited::nothing_to_drop(merged);
    let (mut excused, not_dropped): (Vec<String>, Vec<Fault>) = undropped.into_iter().unzip();
    faults.extend(not_dropped);
    if !faults.is_empty() {
        // Read the rest as if the axes that are wrong had set their keys.
        let set = |key: &String| points[0].values.iter().any(|one| one.key == *key);
        let keys = axes.into_iter().map(|axis| axis.key);
        excused.extend(keys.filter(|key| !set(key)));
        excused.push("sweep".to_owned());
    }
    note(faults, &everywhere);
    let unfit = InvalidDraws::find(root, &extremes, &excused);
    for (faults, point) in unfit.faults {
        note(faults, &point);
    }
    let (header, faults) = read_header(root, &points, &excused);
    // Settings from outside may leave a figure of the file without anything to show, and placeholders any figure.
    let is_sound = faults.is_empty();
    let must_show = |figure: &str| is_sound && merged.must_show(figure);
    note(faults, &everywhere);
    let names = names(header.as_ref(), &points, merged, path);
    note(names.faults, &everywhere);
    let mut labels = names.labels.into_iter().zip(names.of_values);
    let (mut resolved, mut blockers) = (Vec::new(), Vec::new());
    for values in &points {
        let (settings, mut faults) = read_point(&values.apply(root), &excused);
        faults.retain(|fault| !unfit.keys.iter().any(|key| is_about(fault, key)));
        note(faults, values);
        let (label, names) = labels.next().unwrap_or_default();
        if let Some(settings) = settings {
            let absent = start::faults(&settings, path).into_iter();
            blockers.extend(absent.map(|fault| merged.problem(fault, values)));
            resolved.push(Point::new(settings, values, label, names));
        }
    }
    let is_whole = resolved.len() == points.len();
    let choice = choice(header.as_ref(), &points, merged, (path, &excused));
    let choice = choice.unwrap_or_else(|fault| {
        note(vec![fault], &everywhere);
        None
    });
    if is_whole {
        note(point::duplicates(&resolved), &everywhere);
        let faults = choice.as_ref().map(|choice| choice.faults(&resolved));
        note(faults.unwrap_or_default(), &everywhere);
    }
    if let Some(header) = &header {
        let known = if is_whole { &resolved[..] } else { &[] };
        let chosen = choice.as_ref().map_or(&[][..], |choice| &choice.keys);
        let faults =
            validate::figures(&header.figures, &points, known, must_show, chosen, &excused);
        note(faults, &everywhere);
    }
    let Some(header) = header.filter(|_| problems.is_empty()) else {
        return Err(Error::Problems(place::sorted(problems)));
    };
    let inherited = inherited::note(merged, points.len());
    Ok(Experiment {
        name: name(path),
        path: path.to_owned(),
        suite: None,
        seeds: header.seeds,
        labels: header.labels,
        context: names.context,
        notes: inherited
            .into_iter()
            .chain(names.warning)
            .chain(unread::notes(&resolved))
            .collect(),
        figures: header.figures,
        points: resolved,
        choice,
        blockers: place::sorted(blockers),
    })
}

/// What the points are called.
fn names(
    header: Option<&ExperimentHeader>,
    points: &[PointValues],
    merged: &Merged,
    path: &Path,
) -> Names {
    let labels = header.map(|header| match merged.is_swept_from_outside() {
        true => labels::applying(&header.labels, points),
        false => header.labels.clone(),
    });
    Names::of(&labels.unwrap_or_default(), points, &default_label(path))
}

/// Which points are chosen by validation; of a sweep with faults, none.
fn choice(
    header: Option<&ExperimentHeader>,
    points: &[PointValues],
    merged: &Merged,
    (path, excused): (&Path, &[String]),
) -> Result<Option<Choice>, Fault> {
    let header = header.filter(|_| !excused.iter().any(|key| key == "sweep"));
    let is_own = !merged.is_swept_from_outside();
    let read = |header| Choice::read(header, (points, is_own), &default_label(path));
    header.map_or(Ok(None), read)
}

/// The part of the file that all points share. Rules are checked on what could be read.
fn read_header(
    root: &Value,
    points: &[PointValues],
    excused: &[String],
) -> (Option<ExperimentHeader>, Vec<Fault>) {
    let shared = filtered(root, |key| key != "sweep" && HEADER_KEYS.contains(&key));
    let explores = explores(&points[0].apply(root));
    let rules = |header: &_, skipped: &_| validate::header(header, points, explores, skipped);
    let reading = problems::read(&shared, &[], excused, rules);
    (reading.value, reading.faults)
}

/// One point. Rules are checked on what could be read; absent if anything is wrong.
fn read_point(root: &Value, excused: &[String]) -> (Option<PointSettings>, Vec<Fault>) {
    let settings = filtered(root, |key| !HEADER_KEYS.contains(&key));
    if explores(root) {
        return read_exploration(&settings, excused);
    }
    let requires = ["data", "model"];
    let (read, faults) = problems::read(&settings, &requires, excused, validate::settings).sound();
    let training = |settings| PointSettings::Training(Box::new(settings));
    (read.map(training), faults)
}

/// One point of an exploration, in which whatever is for training is wrong.
fn read_exploration(settings: &Value, excused: &[String]) -> (Option<PointSettings>, Vec<Fault>) {
    let own = filtered(settings, |key| !TRAINING_KEYS.contains(&key));
    let reading = problems::read(&own, &[EXPLORE], excused, validate::exploration);
    let (read, mut faults) = reading.sound();
    let mut foreign = TRAINING_KEYS.to_vec();
    foreign.retain(|key| tree::get(settings, &[key]).is_some());
    faults.extend(foreign.iter().map(|key| {
        let message = format!("`{key}` is not for an exploration");
        let help = "remove it, or `explore`: a file trains or explores";
        Fault::at_key(&[key], message).help(help)
    }));
    let exploration = |settings| PointSettings::Exploration(Box::new(settings));
    (read.filter(|_| faults.is_empty()).map(exploration), faults)
}

fn explores(root: &Value) -> bool {
    tree::get(root, &[EXPLORE]).is_some()
}

fn filtered(root: &Value, keep: impl Fn(&str) -> bool) -> Value {
    let mut dict = root.as_dict().cloned().unwrap_or_default();
    dict.retain(|key, _| keep(key));
    Value::Dict(root.tag(), dict)
}

/// What the only point of an experiment is called.
fn default_label(path: &Path) -> String {
    let name = name(path);
    let own = name.rsplit('/').next().unwrap_or_default();
    own.replace(['_', '-'], " ")
}

/// See [`Experiment::name`].
fn name(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let below = layers::below_experiments(&layers::tidy(&whole.with_extension("")));
    match below.is_empty() {
        true => "experiments".to_owned(),
        false => below.join("/"),
    }
}
