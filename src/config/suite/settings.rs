//! Which member a setting of a profile, a variable or `--set` goes to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::merged::Merged;
use crate::config::overrides::Override;
use crate::config::sweep::{self, RANDOM};
use crate::config::{name, resolve, tree, wording};
use crate::error::{Problem, Result};

/// A member without the settings of the suite, to decide which settings apply to it.
pub(super) struct BaseMember {
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// Dotted names of all tables of its points and figures. A stage of 0 epochs is left out: a suite's settings never
    /// turn it on.
    tables: BTreeSet<String>,
    /// The names of its figures.
    pub(super) figures: Vec<String>,
    /// The names of its sweep's axes, including `_` and `random`, and the keys that they set.
    axes: Vec<String>,
    swept: Vec<String>,
}

impl BaseMember {
    /// Reads a member's file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let merged = Merged::read(path, &[], &[])?;
        let experiment = resolve(path, &merged)?;
        let mut tables = BTreeSet::new();
        for point in &experiment.points {
            let mut tree = json!(point.settings);
            for stage in ["pretrain", "finetune"] {
                if tree[stage]["epochs"] == 0 {
                    tree[stage].take();
                }
            }
            note_tables(&tree, "", &mut tables);
        }
        note_tables(&json!({ "figures": experiment.figures }), "", &mut tables);
        let (axes, swept) = (sweep::axes(&merged.root), sweep::keys(&merged.root));
        Ok(Self {
            path: path.to_owned(),
            name: name(path),
            tables,
            figures: experiment.figures.into_keys().collect(),
            axes: axes.map(|(name, _)| name.clone()).collect(),
            swept: swept.into_iter().map(|one| one.key).collect(),
        })
    }

    /// Whether it has the table that contains a key or, for a key below `sweep`, that axis.
    fn takes(&self, key: &[String]) -> bool {
        match key {
            [sweep, axis, ..] if sweep == "sweep" => self.axes.contains(axis),
            [_] => true,
            [table @ .., _] => self.tables.contains(&table.join(".")),
            [] => false,
        }
    }

    /// The key among those of its sweep that decides `key` at every point.
    pub(super) fn swept(&self, key: &[String]) -> Option<&String> {
        let key = key.join(".");
        self.swept.iter().find(|axis| sweep::overlap(axis, &key))
    }
}

/// Collects the dotted names of all tables in a tree.
fn note_tables(tree: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in tree.as_object().into_iter().flatten() {
        if value.is_object() {
            note_tables(value, &format!("{path}{key}."), found);
            found.insert(format!("{path}{key}"));
        }
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
        let mut numbers: Vec<usize> = (0..members.len()).collect();
        numbers.retain(|&number| members[number].takes(key));
        numbers
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
        let key = axis.as_ref().unwrap_or(&setting.key);
        problems.push(no_receiver(setting, key, members));
    }
    found
}

fn no_receiver(setting: &Override, key: &[String], members: &[BaseMember]) -> Problem {
    let message = format!(
        "`{}` goes to no member: none has",
        tree::dotted(&setting.key)
    );
    let problem = |what: String| Problem::at(&setting.place, format!("{message} {what}"));
    let table = key
        .split_last()
        .map_or(String::new(), |(_, table)| table.join("."));
    if table == "sweep" {
        return problem("that axis".to_owned());
    }
    let tables: BTreeSet<&String> = members.iter().flat_map(|one| &one.tables).collect();
    let tables: Vec<&String> = tables.into_iter().collect();
    match wording::nearest(&table, &tables) {
        Some(meant) => problem(format!("`[{table}]`; did you mean `[{meant}]`?")),
        None => problem(format!("`[{table}]`")).help(
            "a setting goes to the members that have its table; a stage of 0 epochs counts as absent",
        ),
    }
}
