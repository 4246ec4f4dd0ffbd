//! `[sweep]`: one experiment, many points.
//!
//! ```toml
//! [sweep]
//! "model.attention.kind" = ["vanilla", "rope"]                        # a grid axis
//! _ = [{ "pretrain.epochs" = 100, "pretrain.learning_rate" = 3e-3 },   # zipped: set together
//!      { "pretrain.epochs" = 650, "pretrain.learning_rate" = 6e-3 }]
//! random = { draws = 3, "model.dropout" = { uniform = [0.0, 0.3] } }   # drawn: see `random`
//! ```
//! The points are the cartesian product, here 12. Axes go in the alphabetical order of their keys
//! (the order in which figment keeps a table), then the zipped one, then the draws; the last axis
//! varies fastest. An axis of a base is dropped by an empty list.

mod distribution;
mod random;

use figment::value::Value;

use super::layers::Fault;
use super::tree;
use random::Search;

/// Seeds from here on are not exact in a JSON or CSV reader that parses numbers as 64-bit floats.
pub(crate) const SEED_LIMIT: u64 = 1 << 53;

/// Above this many points a sweep is taken for a mistake.
pub(crate) const MOST_POINTS: usize = 10_000;

/// The keys of an experiment file that belong to the whole experiment, never to one point.
pub(crate) const HEADER_KEYS: [&str; 6] = ["base", "seeds", "labels", "figures", "sweep", "choose"];

/// The name of the axis whose elements set several keys.
const ZIPPED: &str = "_";

/// The name of the table of what is drawn.
pub(crate) const RANDOM: &str = "random";

/// What a key can be drawn from.
pub(crate) const DISTRIBUTIONS: [&str; 4] = ["uniform", "log_uniform", "integers", "choice"];

const ZIPPED_HELP: &str = "write _ = [{ \"pretrain.epochs\" = 100 }, …]";

/// What one point sets: its place in the sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PointValues {
    /// Axes in order; a zipped axis is there with each of its keys, and so is a draw, the last.
    pub(crate) values: Vec<Assignment>,
    /// Which draw it is, from 1.
    pub(crate) draw: Option<usize>,
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

impl Assignment {
    /// Whether it was drawn.
    pub(crate) fn is_drawn(&self) -> bool {
        self.written[0] == RANDOM
    }

    /// Where its key stands, below `sweep`.
    pub(crate) fn key_written(&self) -> &[String] {
        match self.written[0].as_str() {
            RANDOM => &self.written[..2],
            ZIPPED => &self.written[..3],
            _ => &self.written[..1],
        }
    }

    /// Where its axis stands, below `sweep`; each key that is drawn counts as an axis.
    pub(crate) fn axis_written(&self) -> &[String] {
        match self.is_drawn() {
            true => &self.written[..2],
            false => &self.written[..1],
        }
    }
}

impl PointValues {
    /// Keys and values as text: those drawn at random, or all others.
    pub(crate) fn texts(&self, drawn: bool) -> Vec<(String, String)> {
        let own = self.values.iter().filter(|one| one.is_drawn() == drawn);
        let text = |one: &Assignment| (one.key.clone(), tree::text(&one.value));
        own.map(text).collect()
    }

    /// The configuration at this point.
    pub(crate) fn apply(&self, root: &Value) -> Value {
        let mut root = root.clone();
        for Assignment { key, value, .. } in &self.values {
            tree::set(&mut root, &tree::split(key), value.clone());
        }
        root
    }
}

/// A sweep laid out, with everything that is wrong with its axes.
pub(crate) struct Sweep {
    /// At least one: without a `[sweep]`, a single empty one. An invalid axis is left out; if there are
    /// too many points, only the first is kept.
    pub(crate) points: Vec<PointValues>,
    /// For each key that is drawn: the points of the grid with the key at an end of what it is drawn
    /// from, or at one of its choices. They are no points of the sweep.
    pub(crate) extremes: Vec<(String, Vec<PointValues>)>,
    /// What is wrong.
    pub(crate) faults: Vec<Fault>,
}

/// The sweep of a merged configuration.
pub(crate) fn lay_out(root: &Value) -> Sweep {
    let (mut axes, mut faults) = (Vec::new(), Vec::new());
    if let Some(other) = tree::get(root, &["sweep"]).filter(|sweep| sweep.as_dict().is_none()) {
        let text = tree::text(other);
        let message = format!("`sweep` must be a table of lists, but is {text}");
        faults.push(Fault::at_key(&["sweep"], message));
    }
    let kept = self::axes(root).filter(|(_, value)| !is_dropped(value));
    let mut kept: Vec<(&str, &Value)> = kept.map(|(name, value)| (&**name, value)).collect();
    kept.sort_by_key(|(name, _)| [ZIPPED, RANDOM].iter().position(|last| last == name));
    let mut search = Search::default();
    for (name, value) in kept {
        if name == RANDOM {
            let (read, wrong) = random::read(value);
            search = read;
            faults.extend(wrong);
            continue;
        }
        match axis(name, value) {
            Ok(axis) => axes.push(axis),
            Err(fault) => faults.push(fault),
        }
    }
    let is_search = !search.draws.is_empty();
    if is_search {
        axes.push(search.draws);
    }
    faults.extend(overlaps(&axes));
    let number = (axes.iter()).try_fold(1usize, |n, axis| n.checked_mul(axis.len()));
    if number.is_none_or(|n| n > MOST_POINTS) {
        let message = format!("the sweep has more than {MOST_POINTS} points");
        faults.push(Fault::at_key(&["sweep"], message));
        axes.iter_mut().for_each(|axis| axis.truncate(1));
    }
    let grid = &axes[..axes.len() - usize::from(is_search)];
    let extreme = |(key, axis): (String, Axis)| (key, product(&[grid, &[axis]].concat()));
    Sweep {
        extremes: search.extremes.into_iter().map(extreme).collect(),
        points: product(&axes),
        faults,
    }
}

/// Whether an axis is only there to drop one of a base: `"pretrain.epochs" = []`.
pub(crate) fn is_dropped(axis: &Value) -> bool {
    axis.as_array().is_some_and(<[Value]>::is_empty)
}

/// An axis as it is written in a file: `sweep."pretrain.epochs"`, `sweep._`.
pub(crate) fn shown(name: &str) -> String {
    match name {
        ZIPPED | RANDOM => format!("sweep.{name}"),
        key => format!("sweep.\"{key}\""),
    }
}

/// A key that the sweep sets, or means to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Swept {
    /// Such as `pretrain.epochs`.
    pub(crate) key: String,
    /// Where its axis, or what it is drawn from, stands in the configuration.
    pub(crate) written: Vec<String>,
    /// The key by which `--set` gives it other values.
    pub(crate) set: String,
    /// Its values, or those of its axis, as they are.
    pub(crate) values: Value,
}

impl Swept {
    /// Whether it is drawn at random.
    pub(crate) fn is_drawn(&self) -> bool {
        self.written[1] == RANDOM
    }

    /// Whether its axis sets other keys as well.
    pub(crate) fn is_zipped(&self) -> bool {
        self.written[1] == ZIPPED
    }
}

/// The names and values of all axes, including `_` and `random`.
pub(crate) fn axes(root: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let sweep = tree::get(root, &["sweep"]).and_then(Value::as_dict);
    sweep.into_iter().flatten()
}

/// Every key that the sweep sets, in alphabetical order and each once, whatever else is wrong.
pub(crate) fn keys(root: &Value) -> Vec<Swept> {
    let mut found = Vec::new();
    for (name, value) in axes(root).filter(|(_, value)| !is_dropped(value)) {
        let swept = |key: &String| Swept {
            key: key.clone(),
            written: tree::path(&["sweep", name]),
            set: format!("sweep.{name}"),
            values: value.clone(),
        };
        match name.as_str() {
            RANDOM => found.extend(random::keys(value)),
            ZIPPED => {
                let elements = value.as_array().into_iter().flatten();
                let tables = elements.filter_map(Value::as_dict);
                found.extend(tables.flat_map(|table| table.keys().map(swept)));
            }
            _ => found.push(swept(name)),
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.dedup_by(|later, first| later.key == first.key);
    found
}

/// The elements of one axis; each sets one key, or several if zipped or drawn.
type Axis = Vec<PointValues>;

/// An element of an axis that is not drawn.
fn element(values: Vec<Assignment>) -> PointValues {
    PointValues { values, draw: None }
}

fn axis(key: &str, value: &Value) -> Result<Axis, Fault> {
    let here = |message: String| Fault::at_key(&["sweep", key], message);
    let Some(items) = value.as_array() else {
        let (name, text) = (shown(key), tree::text(value));
        let fault = here(format!("`{name}` must be a list of values, but is {text}"));
        let inner = value.as_dict().and_then(|inner| inner.keys().next());
        return Err(match inner {
            Some(inner) => fault.help(format!("quote the whole key: \"{key}.{inner}\" = […]")),
            None if key == ZIPPED => fault.help(ZIPPED_HELP),
            None => fault.help(format!("write [{text}]")),
        });
    };
    let assignment = |key: &str, value: &Value, written: &[&str]| Assignment {
        key: key.to_owned(),
        value: value.clone(),
        written: tree::path(written),
    };
    if key != ZIPPED {
        settable(key).map_err(here)?;
        let one = |(i, value): (usize, &Value)| {
            element(vec![assignment(key, value, &[key, &i.to_string()])])
        };
        return Ok(items.iter().enumerate().map(one).collect());
    }
    let mut axis: Axis = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(table) = item.as_dict().filter(|table| !table.is_empty()) else {
            let message = format!("element {} of `sweep._` must be a table of settings", i + 1);
            return Err(here(message).help(ZIPPED_HELP));
        };
        let mut values = Vec::new();
        for (key, value) in table {
            settable(key).map_err(here)?;
            values.push(assignment(key, value, &[ZIPPED, &i.to_string(), key]));
        }
        let keys = |values: &[Assignment]| -> Vec<String> {
            values.iter().map(|one| one.key.clone()).collect()
        };
        let first: &[Assignment] = axis.first().map_or(&values[..], |first| &first.values[..]);
        if keys(first) != keys(&values) {
            let number = i + 1;
            let message =
                format!("element {number} of `sweep._` does not set the same keys as element 1");
            return Err(here(message));
        }
        axis.push(element(values));
    }
    Ok(axis)
}

fn settable(key: &str) -> Result<(), String> {
    let first = key.split('.').next().unwrap_or_default();
    if HEADER_KEYS.contains(&first) {
        let why = "belongs to the whole experiment and cannot be swept";
        return Err(format!("`{first}` {why}"));
    }
    if key == "evaluate.measures" || key.starts_with("evaluate.measures.") {
        let why = "changes no run and cannot be swept: list all measures in `[evaluate]`";
        return Err(format!("`evaluate.measures` {why}"));
    }
    if key.split('.').any(str::is_empty) {
        return Err(format!("{key:?} is not a key: a part of it is empty"));
    }
    Ok(())
}

/// Two axes that set the same key, or one a table and the other a key in it.
fn overlaps(axes: &[Axis]) -> Vec<Fault> {
    let first = axes.iter().filter_map(|axis| axis.first());
    let keys: Vec<&Assignment> = first.flat_map(|element| &element.values).collect();
    let mut faults = Vec::new();
    for (i, one) in keys.iter().enumerate() {
        for other in &keys[i + 1..] {
            if overlap(&one.key, &other.key) {
                let (a, b) = (&one.key, &other.key);
                let message = match (a == b, other.is_drawn()) {
                    (true, false) => format!("the sweep sets `{a}` on two axes"),
                    (true, true) => format!("the sweep sets `{a}` on an axis, and draws it too"),
                    (false, _) => format!("the sweep sets `{a}` and `{b}`, which overlap"),
                };
                let place = [&tree::path(&["sweep"]), other.axis_written()].concat();
                faults.push(Fault::at_key(&place, message));
            }
        }
    }
    faults
}

/// Whether two keys are the same or one is a table that holds the other.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    within(a, b) || within(b, a)
}

fn product(axes: &[Axis]) -> Vec<PointValues> {
    let start = vec![PointValues::default()];
    axes.iter().fold(start, |points, axis| {
        let extend = |point: &PointValues, element: &PointValues| PointValues {
            values: [&point.values[..], &element.values].concat(),
            draw: point.draw.or(element.draw),
        };
        let extended = |point| axis.iter().map(move |element| extend(point, element));
        points.iter().flat_map(extended).collect()
    })
}
