//! `[sweep]`: one experiment, many points. Shared with the build script.
//!
//! ```toml
//! [sweep]
//! "model.attention.kind" = ["vanilla", "rope"]                        # a grid axis
//! _ = [{ "pretrain.epochs" = 100, "pretrain.learning_rate" = 3e-3 },   # zipped: set together
//!      { "pretrain.epochs" = 650, "pretrain.learning_rate" = 6e-3 }]
//! ```
//! The points are the cartesian product, here 4. Axes go in the alphabetical order of their keys
//! (the order in which figment keeps a table), the zipped one last; the last axis varies fastest.

use figment::value::Value;

use super::layers::Fault;
use super::tree;

/// Above this many points a sweep is taken for a mistake.
pub(crate) const MOST_POINTS: usize = 10_000;

/// The keys of an experiment file that belong to the whole experiment, never to one point.
pub(crate) const FRAME_KEYS: [&str; 5] = ["base", "seeds", "labels", "figures", "sweep"];

const ZIPPED_HELP: &str = "write _ = [{ \"pretrain.epochs\" = 100 }, …]";

/// What one point sets: its place in the sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PointValues {
    /// Axes in order; a zipped axis is there with each of its keys.
    pub(crate) values: Vec<Assignment>,
}

/// One key of one point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    /// The setting, such as `pretrain.epochs`.
    pub(crate) key: String,
    /// What it is set to.
    pub(crate) value: Value,
    /// Where the file says so: the path of the value below `sweep`.
    pub(crate) written: Vec<String>,
}

impl PointValues {
    /// The configuration at this point.
    pub(crate) fn apply(&self, root: &Value) -> Value {
        let mut root = root.clone();
        for Assignment { key, value, .. } in &self.values {
            tree::set(&mut root, &tree::split(key), value.clone());
        }
        root
    }
}

/// The points of a merged configuration, and everything that is wrong with its axes. There is
/// always a point: an empty one without a `[sweep]`; an axis that is wrong is left out, and of too
/// many points only the first is there.
pub(crate) fn points(root: &Value) -> (Vec<PointValues>, Vec<Fault>) {
    let Some(sweep) = tree::get(root, &["sweep".to_owned()]) else {
        return (vec![PointValues::default()], Vec::new());
    };
    let Some(table) = sweep.as_dict() else {
        let text = tree::text(sweep);
        let message = format!("`sweep` must be a table of lists, but is {text}");
        let fault = Fault::at_key(&["sweep"], message);
        return (vec![PointValues::default()], vec![fault]);
    };
    let (mut axes, mut faults) = (Vec::new(), Vec::new());
    let (zipped, grid): (Vec<_>, Vec<_>) = table.iter().partition(|(key, _)| *key == "_");
    for (key, value) in grid.into_iter().chain(zipped) {
        match axis(key, value) {
            Ok(axis) => axes.push(axis),
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(overlaps(&axes));
    let number = (axes.iter()).try_fold(1usize, |n, axis| n.checked_mul(axis.len()));
    if number.is_none_or(|n| n > MOST_POINTS) {
        let message = format!("the sweep has more than {MOST_POINTS} points");
        faults.push(Fault::at_key(&["sweep"], message));
        axes.iter_mut().for_each(|axis| axis.truncate(1));
    }
    (product(&axes), faults)
}

/// The elements of one axis; each sets one key, or several if zipped.
type Axis = Vec<Vec<Assignment>>;

fn axis(key: &str, value: &Value) -> Result<Axis, Fault> {
    let here = |message: String| Fault::at_key(&["sweep", key], message);
    let name = if key == "_" {
        "sweep._".to_owned()
    } else {
        format!("sweep.\"{key}\"")
    };
    let Some(items) = value.as_array() else {
        let fault = here(format!(
            "`{name}` must be a list of values, but is {}",
            tree::text(value)
        ));
        return Err(
            match value.as_dict().and_then(|inner| inner.keys().next()) {
                Some(inner) => fault.help(format!("quote the whole key: \"{key}.{inner}\" = […]")),
                None if key == "_" => fault.help(ZIPPED_HELP),
                None => fault.help(format!("write [{}]", tree::text(value))),
            },
        );
    };
    if items.is_empty() {
        let help = "give at least one value, or remove the axis";
        return Err(here(format!("`{name}` has no values")).help(help));
    }
    if key != "_" {
        settable(key).map_err(here)?;
        let written = |i: usize| vec![key.to_owned(), i.to_string()];
        let one = |(i, value): (usize, &Value)| {
            vec![Assignment {
                key: key.to_owned(),
                value: value.clone(),
                written: written(i),
            }]
        };
        return Ok(items.iter().enumerate().map(one).collect());
    }
    let mut axis: Axis = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(table) = item.as_dict().filter(|table| !table.is_empty()) else {
            let message = format!("element {} of `sweep._` must be a table of settings", i + 1);
            return Err(here(message).help(ZIPPED_HELP));
        };
        let mut element = Vec::new();
        for (key, value) in table {
            settable(key).map_err(here)?;
            let written = vec!["_".to_owned(), i.to_string(), key.clone()];
            element.push(Assignment {
                key: key.clone(),
                value: value.clone(),
                written,
            });
        }
        if axis
            .first()
            .is_some_and(|first| !same_keys(first, &element))
        {
            let message = format!(
                "element {} of `sweep._` does not set the same keys as element 1",
                i + 1
            );
            return Err(here(message));
        }
        axis.push(element);
    }
    Ok(axis)
}

fn same_keys(a: &[Assignment], b: &[Assignment]) -> bool {
    a.iter()
        .map(|one| &one.key)
        .eq(b.iter().map(|one| &one.key))
}

fn settable(key: &str) -> Result<(), String> {
    let first = key.split('.').next().unwrap_or_default();
    if FRAME_KEYS.contains(&first) {
        return Err(format!(
            "`{first}` belongs to the whole experiment and cannot be swept"
        ));
    }
    if key.split('.').any(str::is_empty) {
        return Err(format!("{key:?} is not a key: a part of it is empty"));
    }
    Ok(())
}

/// Two axes that set the same key, or one a table and the other a key in it.
fn overlaps(axes: &[Axis]) -> Vec<Fault> {
    let keys: Vec<&Assignment> = axes
        .iter()
        .filter_map(|axis| axis.first())
        .flatten()
        .collect();
    let mut faults = Vec::new();
    for (i, one) in keys.iter().enumerate() {
        for other in &keys[i + 1..] {
            if overlap(&one.key, &other.key) {
                let (a, b) = (&one.key, &other.key);
                let message = match a == b {
                    true => format!("the sweep sets `{a}` on two axes"),
                    false => format!("the sweep sets `{a}` and `{b}`, which overlap"),
                };
                faults.push(Fault::at_key(&["sweep", &other.written[0]], message));
            }
        }
    }
    faults
}

/// Whether two keys are the same or one is a table that holds the other.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    within(a, b) || within(b, a)
}

fn product(axes: &[Axis]) -> Vec<PointValues> {
    let start = vec![PointValues::default()];
    axes.iter().fold(start, |points, axis| {
        let extend = |point: &PointValues, element: &[Assignment]| PointValues {
            values: point.values.iter().chain(element).cloned().collect(),
        };
        points
            .iter()
            .flat_map(|point| axis.iter().map(move |element| extend(point, element)))
            .collect()
    })
}
