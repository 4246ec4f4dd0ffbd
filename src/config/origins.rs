//! The value of every key after all layers, and the layer that it came from.

use std::path::Path;
use std::slice::from_ref;

use serde::Serialize;
use serde_json::{Value, json};

use super::difference::{get, leaves};
use super::merged::Merged;
use super::sweep::{self, HEADER_KEYS, Swept};
use super::{
    EXPLORE, Environment, Experiment, PointSettings, TRAINING_KEYS, environment, json_schema,
    refuse_suite, resolve, tree,
};
use crate::error::Result;
use crate::kinds::TableKind as _;
use crate::metrics::explored::distinct;

/// An experiment that can say where each of its values comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origins {
    /// The experiment.
    pub experiment: Experiment,
    /// Every key that has a value, table by table: first the keys that are in none, last the figures.
    pub settings: Vec<Setting>,
    /// Every key that is not set and has no fixed default, such as `pretrain.init`; for an absent
    /// table, only the table.
    pub unset: Vec<String>,
}

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Such as `pretrain.optimiser.betas`.
    pub key: String,
    /// Its value. If the sweep sets it: the list of its values at the points, each once.
    pub value: Value,
    /// Where it was set: `experiments/x.toml:12`, `environment ATTNLAB_DEVICE`, `--device` or
    /// `default`. If the sweep sets it, `sweep` and where its axis was: `sweep, experiments/x.toml:30`.
    pub origin: String,
}

/// Reads an experiment as [`load`](super::load) does, with the origin of every key but `base` and
/// those of `sweep`, which are layers themselves.
pub fn origins(path: &Path, set: &[String]) -> Result<Origins> {
    refuse_suite(path)?;
    origins_with(path, set, &environment())
}

/// [`origins`] with the environment as a parameter.
pub(super) fn origins_with(
    path: &Path,
    set: &[String],
    environment: &Environment,
) -> Result<Origins> {
    let merged = Merged::read(path, set, environment)?;
    let experiment = resolve(path, &merged)?;
    // Of every key there is a value in one of these, or in several if the sweep sets it.
    let mut trees = vec![json!({ "seeds": experiment.seeds, "labels": experiment.labels })];
    trees.extend(experiment.points.iter().map(|point| json!(point.settings)));
    trees.push(json!({ "figures": experiment.figures }));

    let mut keys = Vec::new();
    trees.iter().for_each(|tree| leaves(tree, &[], &mut keys));
    // Stable: within a table they stay in the order in which the schema declares them.
    let tables: Vec<String> = keys.iter().map(|key| table(key).to_owned()).collect();
    keys.sort_by_key(|key| tables.iter().position(|name| name == table(key)));

    let axes = sweep::keys(&merged.root);
    let origin = |key: &[String]| merged.origin(key);
    let setting = |key: &Vec<String>| {
        let values = distinct(trees.iter().filter_map(|tree| get(tree, key)));
        let sets = |axis: &&Swept| key.starts_with(&tree::split(&axis.key));
        let (value, origin) = match axes.iter().find(sets) {
            Some(axis) => {
                let place = origin(&axis.written).expect("the sweep has this axis");
                (json!(values), format!("sweep, {place}"))
            }
            None => {
                let origin = origin(key).unwrap_or_else(|| "default".to_owned());
                (json!(values[0]), origin)
            }
        };
        let key = tree::dotted(key);
        Setting { key, value, origin }
    };
    let settings = keys.iter().map(setting).collect();
    let mut unset = Vec::new();
    absent(json_schema::tree(), &[], &keys, &mut unset);
    unset.retain(|key| applies(&experiment, key));
    Ok(Origins {
        experiment,
        settings,
        unset,
    })
}

/// Whether any point accepts a key; in a table with a `kind`, the kind must have the key.
fn applies(experiment: &Experiment, key: &str) -> bool {
    let mut points = experiment.points.iter().map(|point| &point.settings);
    let (table, name) = key.split_once('.').unwrap_or((key, ""));
    points.any(|settings| match settings {
        PointSettings::Training(_) if table == EXPLORE => false,
        PointSettings::Exploration(_) if TRAINING_KEYS.contains(&table) => false,
        PointSettings::Training(settings) if table == "data" => settings.data.kind.has(name),
        PointSettings::Exploration(settings) if table == EXPLORE => settings.explore.kind.has(name),
        _ => true,
    })
}

/// The table that a key is in, inner tables not told apart; empty at the top level.
fn table(key: &[String]) -> &str {
    if key.len() > 1 { &key[0] } else { "" }
}

/// Notes the keys of a schema that have no value. Which keys a figure takes depends on its kind, so
/// figures are left alone, as is the rest of the header.
fn absent(schema: &Value, table: &[String], keys: &[Vec<String>], found: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, inner) in properties.into_iter().flatten() {
        let path = [table, from_ref(name)].concat();
        if table.is_empty() && HEADER_KEYS.contains(&name.as_str()) {
            continue;
        }
        if keys.iter().any(|key| key.starts_with(&path)) {
            absent(inner, &path, keys, found);
        } else {
            found.push(tree::dotted(&path));
        }
    }
}
