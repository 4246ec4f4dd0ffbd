//! Settings from outside the files: `ATTNLAB_` variables, `--set`, and options such as `--device`.

use std::ffi::OsStr;
use std::slice::from_ref;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::advice::{self, OPTIONS, PREFIX};
use super::layers::Fault;
use super::sweep::{self, Swept};
use super::{Environment, place, problems, syntax, tree};
use crate::error::Problem;
use crate::metrics::explored::distinct;

/// A variable of the program that is not a setting; neither is any `ATTNLAB_TEST…`.
const RESERVED: &str = "ATTNLAB_DATA";

/// One setting from outside the files.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// Who sets it: `--set model.layers`, `--device` or `environment ATTNLAB_MODEL__LAYERS`.
    pub(super) place: String,
    /// The key, in parts; below `sweep` and `sweep.random` a whole key is one part.
    pub(super) key: Vec<String>,
    value: Value,
}

impl Override {
    /// A setting by its key, in parts.
    pub(super) fn new(place: String, key: Vec<String>, value: Value) -> Self {
        Self {
            place,
            key: with_whole_keys(key),
            value,
        }
    }

    fn parse(place: String, key: Vec<String>, text: &str) -> Result<Self, Problem> {
        match value(text) {
            Ok(value) => Ok(Self::new(place, key, value)),
            Err(fault) => Err(place::outside(place, &[], fault)),
        }
    }

    /// Whether it says what the model runs on.
    pub(super) fn sets_placement(&self) -> bool {
        matches!(&self.key[..], [key] if OPTIONS.contains(&&**key))
    }

    /// What is wrong with its value, whatever else is set.
    pub(super) fn wrong(&self) -> Vec<Problem> {
        let faults = problems::of_value(&self.key, &self.value).into_iter();
        let problem = |fault| place::outside(self.place.clone(), &self.key, fault);
        faults.map(problem).collect()
    }

    /// Whether it is an axis of the sweep.
    pub(super) fn is_axis(&self) -> bool {
        self.key.first().is_some_and(|first| first == "sweep")
    }

    /// A table as the settings that are in it.
    pub(super) fn flat(self) -> Vec<Self> {
        let inner = match &self.value {
            Value::Dict(_, dict) if !dict.is_empty() => dict.clone(),
            _ => return vec![self],
        };
        let one = |(key, value): (String, Value)| {
            let key = [&self.key[..], &tree::split(&key)].concat();
            Self::new(self.place.clone(), key, value).flat()
        };
        inner.into_iter().flat_map(one).collect()
    }

    /// Why this override can have no effect, if so. `axes` are the keys that the sweep sets.
    pub(super) fn conflict(&self, axes: &[Swept]) -> Option<Problem> {
        let key = self.key.join(".");
        let variable = advice::variable(&self.place);
        if self.key.first().is_some_and(|first| first == "base") {
            let copy = || "copy the file and change its `base`".to_owned();
            let problem = Problem::at(&self.place, "`base` can only be set in a file");
            return Some(problem.help(variable.map_or_else(copy, advice::unset)));
        }
        let axis = axes.iter().find(|one| sweep::overlap(&one.key, &key))?;
        let message = format!("the sweep of the file sets `{}` at every point", axis.key);
        let values = tree::text(&self.as_values_of(axis));
        let set = advice::quoted(&format!("{}={values}", axis.set));
        let help = match variable {
            Some(name) => format!("`unset {name}`, and use --set {set}"),
            None => format!("use --set {set} instead, or remove the axis from the file"),
        };
        Some(Problem::at(&self.place, message).help(help))
    }

    /// The axis with this override's value at every point; unchanged if it is drawn, or if only part of its key is set.
    fn as_values_of(&self, axis: &Swept) -> Value {
        let is_whole_key = self.key.join(".") == axis.key;
        match &axis.values {
            current if !is_whole_key || axis.is_drawn() => current.clone(),
            Value::Array(tag, elements) if axis.is_zipped() => {
                let set = elements.iter().cloned().map(|mut element| {
                    tree::set(&mut element, from_ref(&axis.key), self.value.clone());
                    element
                });
                Value::Array(*tag, distinct(set))
            }
            _ => Value::from(vec![self.value.clone()]),
        }
    }
}

impl Provider for Override {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut root = Value::from(Dict::new());
        tree::set(&mut root, &self.key, self.value.clone());
        Ok(Profile::Default.collect(root.into_dict().unwrap_or_default()))
    }
}

/// The overrides from environment variables, sorted by name, then those from `--set KEY=VALUE` and [`OPTIONS`]; and
/// the problems of those that cannot be read.
pub(super) fn read(set: &[String], environment: &Environment) -> (Vec<Override>, Vec<Problem>) {
    let mut variables: Vec<_> = environment.iter().collect();
    variables.sort();
    let variables = variables
        .into_iter()
        .filter_map(|(name, text)| variable(name, text));
    let (mut overrides, mut problems) = (Vec::new(), Vec::new());
    for found in variables.chain(set.iter().map(|text| option(text))) {
        match found {
            Ok(found) => overrides.push(found),
            Err(problem) => problems.push(problem),
        }
    }
    (overrides, problems)
}

/// Parses an environment variable; `None` if it is not a setting.
fn variable(name: &OsStr, text: &OsStr) -> Option<Result<Override, Problem>> {
    let (known, name) = (name.to_str(), name.to_string_lossy());
    let key = name.strip_prefix(PREFIX)?;
    if name == RESERVED || key.starts_with("TEST") {
        return None;
    }
    let place = format!("environment {name}");
    let (Some(_), Some(text)) = (known, text.to_str()) else {
        let what = if known.is_none() { "name" } else { "value" };
        let problem = Problem::at(
            place,
            format!("the {what} of this variable is not UTF-8 text"),
        );
        return Some(Err(
            problem.help(format!("set it in UTF-8, or `unset {name}`"))
        ));
    };
    let key = key.to_lowercase().split("__").map(str::to_owned).collect();
    Some(Override::parse(place, key, text))
}

/// Parses `KEY=VALUE`, as passed to `--set`, or `--KEY=VALUE`.
fn option(text: &str) -> Result<Override, Problem> {
    let is_own = |text: &&str| {
        OPTIONS
            .iter()
            .any(|key| text.starts_with(&format!("{key}=")))
    };
    let (option, text) = match text.strip_prefix("--").filter(is_own) {
        Some(text) => ("--", text),
        None => ("--set ", text),
    };
    let Some((key, value)) = key_and_value(text).filter(|(key, _)| is_key(key)) else {
        let problem = Problem::at(format!("{option}{text}"), "this is not KEY=VALUE");
        return Err(problem.help("write, for example, --set pretrain.epochs=3"));
    };
    let (key, parts) = (key.trim(), tree::split(&key.trim().replace('"', "")));
    Override::parse(format!("{option}{key}"), parts, value.trim())
}

/// The two sides of the first `=` that is not in quotes.
fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let at = text.find(|c| {
        is_quoted ^= c == '"';
        c == '=' && !is_quoted
    })?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_key(text: &str) -> bool {
    let text = text.replace('"', "");
    text.split('.').all(|part| !part.trim().is_empty())
}

/// `sweep.pretrain.epochs` has two parts: an axis is named by a whole key. So is what is drawn, as in
/// the four parts of `sweep.random.pretrain.epochs.integers`, and so is a value that has a label.
fn with_whole_keys(mut key: Vec<String>) -> Vec<String> {
    let is_sweep = match key.first().map(String::as_str) {
        Some("sweep") => true,
        Some("labels") => false,
        _ => return key,
    };
    let is_random = is_sweep && key.get(1).is_some_and(|second| second == sweep::RANDOM);
    let start = if is_random { 2 } else { 1 };
    let is_distribution = |part: &String| sweep::DISTRIBUTIONS.contains(&part.as_str());
    let last = key.last().filter(|last| is_random && is_distribution(last));
    let end = key.len() - usize::from(last.is_some());
    if end > start {
        let whole = key[start..end].join(".");
        key.splice(start..end, [whole]);
    }
    key
}

/// Parses a TOML value; text that is not TOML becomes a string, and a number that is too large is a fault.
pub(super) fn value(text: &str) -> Result<Value, Fault> {
    let line = format!("value = {text}");
    if let Some((_, fault)) = syntax::number_beyond_limits(&line) {
        return Err(fault);
    }
    let parsed = toml::from_str::<toml::Table>(&line).ok();
    let mut table = parsed.filter(|table| table.len() == 1).unwrap_or_default();
    let value = table
        .remove("value")
        .and_then(|value| Value::serialize(value).ok());
    Ok(value.unwrap_or_else(|| Value::from(text)))
}
