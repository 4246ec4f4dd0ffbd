//! `[sweep.random]`: points drawn at random.
//!
//! ```toml
//! [sweep.random]
//! draws = 12
//! seed  = 1                                                      # 0 if it is left out
//! "pretrain.learning_rate" = { log_uniform = [1e-4, 1e-2] }
//! "model.dropout"          = { uniform = [0.0, 0.3] }
//! "finetune.epochs"        = { integers = [5, 15] }              # 5 and 15 included
//! "model.attention.kind"   = { choice = ["vanilla", "rope"] }
//! ```
//! Each draw sets every key. What a key is set to depends on the seed, the number of the draw and
//! the key alone: more draws, or other keys beside it, change nothing that was drawn before.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::distribution::{self, Distribution};
use super::{
    Assignment, Axis, DISTRIBUTIONS, Fault, MOST_POINTS, PointValues, RANDOM, SEED_LIMIT, Swept,
    settable, tree,
};

/// The names in the table that are no keys to draw.
const SETTINGS: [&str; 2] = ["draws", "seed"];

const EXAMPLE: &str = "\"pretrain.learning_rate\" = { log_uniform = [1e-4, 1e-2] }";

/// A table that was read. Without a key there is nothing to draw, and no draw.
#[derive(Default)]
pub(super) struct Search {
    /// Every draw with its number; one that repeats an earlier one is left out.
    pub(super) draws: Axis,
    /// The first draw with one key at an extreme, for each key and each of its extremes.
    pub(super) extremes: Vec<(String, Axis)>,
}

/// Reads the table. A key that is wrong is left out.
pub(super) fn read(table: &Value) -> (Search, Vec<Fault>) {
    let here = |message: &str| Fault::at_key(&["sweep", RANDOM], message);
    let Some(table) = table.as_dict() else {
        let text = tree::text(table);
        let fault = here(&format!("`sweep.random` must be a table, but is {text}"));
        let help = format!("write [sweep.random], then draws = 8 and {EXAMPLE}");
        return (Search::default(), vec![fault.help(help)]);
    };
    let number = |name: &str, least: u64, most: u64| {
        let value = table.get(name)?;
        let whole = value.to_i128().and_then(|n| u64::try_from(n).ok());
        Some(whole.filter(|n| (least..=most).contains(n)).ok_or_else(|| {
            let must = format!("must be a whole number from {least} to {most}");
            let message = format!("`sweep.random.{name}` {must}, but is {}", tree::text(value));
            Fault::at_key(&["sweep", RANDOM, name], message)
        }))
    };
    let no_draws = here("`sweep.random` has no `draws`").help("say how many, such as draws = 8");
    let draws = number("draws", 1, MOST_POINTS as u64).unwrap_or(Err(no_draws));
    let seed = number("seed", 0, SEED_LIMIT - 1).unwrap_or(Ok(0));
    let mut faults: Vec<Fault> = [&draws, &seed]
        .into_iter()
        .filter_map(|read| read.clone().err())
        .collect();
    let (draws, seed) = (draws.unwrap_or(1), seed.unwrap_or(0));
    if drawn(table).next().is_none() {
        let fault = here("`sweep.random` draws nothing");
        faults.push(fault.help(format!("give it a key, such as {EXAMPLE}")));
    }
    let mut keys = Vec::new();
    for (key, value) in drawn(table) {
        match key_of(key, value) {
            Ok(read) => keys.push(read),
            Err(fault) => faults.push(fault),
        }
    }
    if keys.is_empty() {
        return (Search::default(), faults);
    }
    let draw = |number: u64| -> Vec<_> { keys.iter().map(|key| key.draw(seed, number)).collect() };
    let mut seen = BTreeSet::new();
    let mut is_new = |values: &[Assignment]| {
        let values: Vec<Value> = values.iter().map(|one| one.value.clone()).collect();
        seen.insert(tree::text(&Value::from(values)))
    };
    let numbered = (1..=draws).map(|number| PointValues {
        values: draw(number),
        draw: Some(number as usize),
    });
    let first = draw(1);
    let extremes = |(at, key): (usize, &Key<'_>)| (key.name.to_owned(), key.extremes(at, &first));
    let search = Search {
        draws: numbered.filter(|one| is_new(&one.values)).collect(),
        extremes: keys.iter().enumerate().map(extremes).collect(),
    };
    (search, faults)
}

/// The keys that a table draws or means to.
pub(super) fn keys(table: &Value) -> Vec<Swept> {
    let swept = |(key, value): (&String, &Value)| {
        let distribution = value.as_dict().and_then(|one| one.iter().next());
        let (set, values) = match distribution {
            Some((name, ends)) => (format!("sweep.random.{key}.{name}"), ends),
            None => (format!("sweep.random.{key}"), value),
        };
        Swept {
            key: key.clone(),
            written: tree::path(&["sweep", RANDOM, key]),
            set,
            values: values.clone(),
        }
    };
    let table = table.as_dict();
    table.into_iter().flat_map(drawn).map(swept).collect()
}

fn drawn(table: &Dict) -> impl Iterator<Item = (&String, &Value)> {
    (table.iter()).filter(|(key, _)| !SETTINGS.contains(&key.as_str()))
}

/// A key, and what it is drawn from.
struct Key<'a> {
    name: &'a str,
    /// The name of the distribution.
    kind: &'a str,
    distribution: Distribution,
}

/// Reads `KEY = { DISTRIBUTION = … }`.
fn key_of<'a>(key: &'a str, value: &'a Value) -> Result<Key<'a>, Fault> {
    let here = |message: String| Fault::at_key(&["sweep", RANDOM, key], message);
    let name = format!("sweep.random.\"{key}\"");
    settable(key).map_err(here)?;
    let Some(table) = value.as_dict() else {
        let text = tree::text(value);
        let fault = here(format!(
            "`{name}` must say what to draw from, but is {text}"
        ));
        let help = match value {
            Value::Array(..) => format!("write {{ choice = {text} }}"),
            _ => format!("write, for example, {EXAMPLE}"),
        };
        return Err(fault.help(help));
    };
    let known = "write uniform, log_uniform, integers or choice";
    let unknown = (table.iter()).find(|(kind, _)| !DISTRIBUTIONS.contains(&kind.as_str()));
    if let Some((kind, given)) = unknown {
        let fault = here(format!("`{name}` cannot be drawn from `{kind}`"));
        return Err(match given.as_dict() {
            Some(_) => fault.help(format!("quote the whole key: \"{key}.{kind}\" = {{ … }}")),
            None => fault.help(known),
        });
    }
    let [(kind, given)] = table.iter().collect::<Vec<_>>()[..] else {
        let kinds: Vec<&str> = table.keys().map(String::as_str).collect();
        let (message, help) = match kinds.is_empty() {
            true => (format!("`{name}` does not say what to draw from"), known),
            false => (
                format!("`{name}` has several distributions: {}", kinds.join(", ")),
                "keep one; what bases and --set say of a key is merged with what the file says",
            ),
        };
        return Err(here(message).help(help));
    };
    Ok(Key {
        name: key,
        kind,
        distribution: Distribution::read(key, kind, given)?,
    })
}

impl Key<'_> {
    fn assignment(&self, value: Value, element: Option<usize>) -> Assignment {
        let mut written = vec![RANDOM.to_owned(), self.name.to_owned()];
        if let Some(element) = element {
            written.extend([self.kind.to_owned(), element.to_string()]);
        }
        Assignment {
            key: self.name.to_owned(),
            value,
            written,
        }
    }

    fn draw(&self, seed: u64, number: u64) -> Assignment {
        let bits = distribution::bits(seed, number, self.name);
        let (value, element) = self.distribution.value(bits);
        self.assignment(value, element)
    }

    /// A draw in which this key, its number `at`, has each of its extremes.
    fn extremes(&self, at: usize, draw: &[Assignment]) -> Axis {
        let with = |(element, value): (usize, Value)| {
            let mut values = draw.to_vec();
            values[at] = self.assignment(value, Some(element));
            super::element(values)
        };
        let extremes = self.distribution.extremes().into_iter().enumerate();
        extremes.map(with).collect()
    }
}
