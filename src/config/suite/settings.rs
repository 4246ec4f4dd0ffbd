//! Which member a setting of a profile, a variable or `--set` goes to.

use std::path::{Path, PathBuf};

use figment::value::Value;
use serde_json::json;

use super::file::problem;
use crate::config::merged::Merged;
use crate::config::overrides::Override;
use crate::config::sweep::{self, RANDOM};
use crate::config::{name, resolve, tree, wording};
use crate::error::{Problem, Result};

/// A member without the settings of the suite, to decide which settings apply to it.
pub(super) struct BaseMember {
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// The settings of each point, and the figures. A stage of 0 epochs is left out: no setting from
    /// outside turns it on.
    trees: Vec<serde_json::Value>,
    /// The names of the axes of its sweep, `_` and `random` among them, and the keys that they set.
    axes: Vec<String>,
    swept: Vec<String>,
}

impl BaseMember {
    /// Reads a member's file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let merged = Merged::read(path, &[], &[])?;
        let experiment = resolve(path, &merged)?;
        let points = experiment.points.iter().map(|point| {
            let mut tree = json!(point.settings);
            for stage in ["pretrain", "finetune"] {
                let epochs = tree.get(stage).and_then(|stage| stage.get("epochs"));
                if epochs == Some(&0.into()) {
                    tree[stage].take();
                }
            }
            tree
        });
        let figures = json!({ "figures": experiment.figures });
        let trees = points.chain([figures]).collect();
        let sweep = tree::get(&merged.root, &["sweep".to_owned()]).and_then(Value::as_dict);
        let axes = sweep.map_or(vec![], |sweep| sweep.keys().cloned().collect());
        Ok(Self {
            path: path.to_owned(),
            name: name(path),
            trees,
            axes,
            swept: sweep::keys(&merged.root)
                .into_iter()
                .map(|one| one.key)
                .collect(),
        })
    }

    /// Whether it has the table that a key stands in, or the axis that it is or is about.
    fn takes(&self, key: &[String]) -> bool {
        match key {
            [sweep, axis, ..] if sweep == "sweep" => self.axes.contains(axis),
            [table @ .., _] => self.has(table),
            [] => false,
        }
    }

    fn has(&self, table: &[String]) -> bool {
        let at = |tree: &serde_json::Value| {
            let found = table.iter().try_fold(tree, |at, part| at.get(part));
            found.is_some_and(serde_json::Value::is_object)
        };
        table.is_empty() || self.trees.iter().any(at)
    }

    /// The key among those of its sweep that decides `key` at every point.
    pub(super) fn swept(&self, key: &[String]) -> Option<&String> {
        let key = key.join(".");
        self.swept.iter().find(|axis| sweep::overlap(axis, &key))
    }

    /// The names of its figures.
    pub(super) fn figures(&self) -> Vec<String> {
        let figures = self
            .trees
            .iter()
            .filter_map(|tree| tree.get("figures")?.as_object());
        figures.flat_map(|table| table.keys().cloned()).collect()
    }

    /// All its tables, dotted.
    fn tables(&self) -> Vec<String> {
        fn below(tree: &serde_json::Value, path: &str, found: &mut Vec<String>) {
            for (key, value) in tree.as_object().into_iter().flatten() {
                if value.is_object() {
                    let path = format!("{path}{key}");
                    below(value, &format!("{path}."), found);
                    found.push(path);
                }
            }
        }
        let mut found = vec![];
        self.trees
            .iter()
            .for_each(|tree| below(tree, "", &mut found));
        found
    }
}

/// The members that a setting goes to: those with its table. An axis goes to those that have it, or
/// else to those that its key goes to. That it goes to none is a problem.
pub(super) fn receivers(
    setting: &Override,
    members: &[BaseMember],
    problems: &mut Vec<Problem>,
) -> Vec<usize> {
    let takers = |key: &[String]| -> Vec<usize> {
        let numbers = 0..members.len();
        numbers
            .filter(|&number| members[number].takes(key))
            .collect()
    };
    let mut found = takers(&setting.key);
    let axis = match &setting.key[..] {
        [_, axis] if setting.is_axis() && axis != "_" && axis != RANDOM => Some(tree::split(axis)),
        _ => None,
    };
    if let (true, Some(key)) = (found.is_empty(), &axis) {
        found = takers(key);
    }
    if found.is_empty() {
        problems.push(no_receiver(
            setting,
            axis.as_ref().unwrap_or(&setting.key),
            members,
        ));
    }
    found
}

fn no_receiver(setting: &Override, key: &[String], members: &[BaseMember]) -> Problem {
    let shown = tree::dotted(&setting.key);
    let table = key
        .split_last()
        .map_or(String::new(), |(_, table)| table.join("."));
    if table == "sweep" {
        let message = format!("`{shown}` goes to no member: none has that axis");
        return problem(setting.place.clone(), message);
    }
    let mut tables: Vec<String> = members.iter().flat_map(BaseMember::tables).collect();
    tables.sort();
    tables.dedup();
    let known: Vec<&str> = tables.iter().map(String::as_str).collect();
    let message = format!("`{shown}` goes to no member: none has `[{table}]`");
    match wording::nearest(&table, &known) {
        Some(meant) => problem(
            setting.place.clone(),
            format!("{message}; did you mean `[{meant}]`?"),
        ),
        None => Problem {
            help: Some(
                "a setting goes to the members that have its table; a stage of 0 epochs counts \
                 as absent"
                    .to_owned(),
            ),
            ..problem(setting.place.clone(), message)
        },
    }
}
