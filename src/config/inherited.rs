//! Axes of the sweep that come from a base: they multiply the file's own unless the file drops them.

use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use figment::value::Value;

use super::layers::{About, Fault};
use super::merged::Merged;
use super::sweep::{self, Swept, axes};
use super::{tree, wording};

/// Axes that are dropped though no file has them, each with its fault.
pub(super) fn nothing_to_drop(merged: &Merged) -> Vec<(String, Fault)> {
    let dropped = axes(&merged.root).filter(|(_, value)| sweep::is_dropped(value));
    let dropped: Vec<&String> = dropped.map(|(name, _)| name).collect();
    if dropped.is_empty() {
        return vec![];
    }
    let mut known = vec![];
    for (_, root) in alone(merged) {
        let own = axes(&root).filter(|(_, value)| !sweep::is_dropped(value));
        known.extend(own.map(|(name, _)| name.clone()));
    }
    let fault = |name: &String| {
        let shown = sweep::shown(name);
        let message = format!("`{shown}` = [] drops an axis that no base has");
        let help = match wording::nearest(name, &known) {
            Some(meant) => format!("did you mean `{}`?", sweep::shown(meant)),
            None => "give it at least one value, or remove it".to_owned(),
        };
        let fault = Fault::at_key(&["sweep", name], message).help(help);
        (name.clone(), fault)
    };
    let unknown = dropped.into_iter().filter(|name| !known.contains(name));
    unknown.map(fault).collect()
}

/// Each file, the experiment's own last, with what it alone says.
fn alone(merged: &Merged) -> impl Iterator<Item = (&PathBuf, Value)> {
    merged.files.iter().map(|file| {
        let root = Figment::from(Toml::file_exact(file)).find_value("");
        (file, root.unwrap_or_else(|_| merged.root.clone()))
    })
}

/// A fault that says so, and where, if a key is missing because an axis that set it was dropped or replaced.
pub(super) fn explained(fault: Fault, merged: &Merged) -> Fault {
    if fault.about != About::Absence {
        return fault;
    }
    let swept = |(file, root)| sweep::keys(&root).into_iter().map(move |axis| (file, axis));
    let axes: Vec<(&PathBuf, Swept)> = alone(merged).flat_map(swept).collect();
    let kept = sweep::keys(&merged.root);
    let lost = fault.reads.iter().find_map(|key| {
        let key = key.join(".");
        // An axis that is still there is itself what lacks the key.
        if kept.iter().any(|axis| sweep::overlap(&axis.key, &key)) {
            return None;
        }
        let sets = |(_, axis): &&(&PathBuf, Swept)| sweep::overlap(&axis.key, &key);
        let (file, axis) = axes.iter().find(sets)?;
        Some((file.display(), &axis.written[..2], key))
    });
    let Some((file, written, key)) = lost else {
        return fault;
    };
    let axis = sweep::shown(&written[1]);
    let fate = match tree::get(&merged.root, written).is_some_and(sweep::is_dropped) {
        true => format!("`{axis}` = [] drops that axis"),
        false => format!("`{axis}` here replaces that axis"),
    };
    let message = format!(
        "{}: the sweep of {file} sets `{key}`, and {fate}",
        fault.message
    );
    Fault::at_key(written, message).help(format!("set `{key}`, or keep the axis"))
}

/// Which axes a base adds to those of the file, and how to drop them. Nothing where the file has no axis
/// itself: then the base's sweep is what is meant.
pub(super) fn note(merged: &Merged, points: usize) -> Option<String> {
    let own = merged.files.last()?;
    let from = |name: &str| merged.file(&tree::path(&["sweep", name]));
    let active = axes(&merged.root).filter(|(_, value)| !sweep::is_dropped(value));
    let (mut has_own, mut added) = (false, vec![]);
    for (name, value) in active {
        match from(name) {
            Some(file) if file == *own => has_own = true,
            // One value multiplies nothing.
            Some(file) if value.as_array().is_none_or(|values| values.len() > 1) => {
                added.push((name, file));
            }
            _ => {}
        }
    }
    let (first, _) = added.first().filter(|_| has_own)?;
    let said = |(name, file): &(&String, PathBuf)| {
        format!("`{}` of {}", sweep::shown(name), file.display())
    };
    let said: Vec<String> = added.iter().map(said).collect();
    Some(format!(
        "the sweep of {} is multiplied by {}, {points} points in all; \
         to drop an axis write {} = [] in [sweep], or --set 'sweep.{first}=[]'",
        own.display(),
        said.join(" and "),
        sweep::shown(first).trim_start_matches("sweep."),
    ))
}
