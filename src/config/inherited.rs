//! Axes of the sweep that come from a base: they multiply the file's own unless the file drops them.

use figment::Figment;
use figment::providers::{Format as _, Toml};
use figment::value::Value;

use super::layers::Fault;
use super::merged::Merged;
use super::place::Places;
use super::{sweep, tree, wording};

/// Axes that are dropped though no file has them, each with its fault.
pub(super) fn nothing_to_drop(merged: &Merged) -> Vec<(String, Fault)> {
    let dropped = axes(&merged.root).filter(|(_, value)| sweep::is_dropped(value));
    let dropped: Vec<&String> = dropped.map(|(name, _)| name).collect();
    if dropped.is_empty() {
        return vec![];
    }
    let mut known = vec![];
    for file in &merged.files {
        let root = Figment::from(Toml::file_exact(file)).find_value("");
        let root = root.unwrap_or_else(|_| merged.root.clone());
        let own = axes(&root).filter(|(_, value)| !sweep::is_dropped(value));
        known.extend(own.map(|(name, _)| name.clone()));
    }
    let fault = |name: &String| {
        let shown = sweep::shown(name);
        let message = format!("`{shown}` = [] drops an axis that no base has");
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = match wording::nearest(name, &known) {
            Some(meant) => format!("did you mean `{}`?", sweep::shown(meant)),
            None => "give it at least one value, or remove it".to_owned(),
        };
        (
            name.clone(),
            Fault::at_key(&["sweep", name], message).help(help),
        )
    };
    let unknown = dropped.into_iter().filter(|name| !known.contains(name));
    unknown.map(fault).collect()
}

/// Which axes a base adds to those of the file, and how to drop them. Nothing where the file has no axis
/// itself: then the base's sweep is what is meant.
pub(super) fn note(merged: &Merged, places: &Places, points: usize) -> Option<String> {
    let own = merged.files.last()?;
    let from = |name: &str| places.file(&["sweep".to_owned(), name.to_owned()]);
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
    let said = added.iter().map(|(name, file)| {
        let shown = sweep::shown(name);
        format!("`{shown}` of {}", file.display())
    });
    let said: Vec<String> = said.collect();
    Some(format!(
        "the sweep of {} is multiplied by {}, {points} points in all; \
         to drop an axis write {} = [] in [sweep], or --set 'sweep.{first}=[]'",
        own.display(),
        said.join(" and "),
        sweep::shown(first).trim_start_matches("sweep."),
    ))
}

/// The names and values of all axes, `_` and `random` among them.
fn axes(root: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let sweep = tree::get(root, &["sweep".to_owned()]).and_then(Value::as_dict);
    sweep.into_iter().flatten()
}
