//! Every problem of a configuration in one pass, although serde stops at the first.
//!
//! The merged tree is read again and again: each error is noted and worked around (an unknown or
//! unreadable key is taken out, a missing one gets a placeholder) until the tree can be read.
//! Rules about values then skip the keys concerned, so that one slip is one message.

use std::collections::BTreeMap;

use figment::error::Kind;
use figment::value::{Dict, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::layers::{About, Fault, Suggestion};
use super::sweep::overlap;
use super::{meant, tree, wording};

/// More mistakes than this in one file end the search.
const MOST_MISTAKES: usize = 300;

/// Replaces an enum value that is not even a string, so that serde's error lists the valid names.
const NO_NAME: &str = "\0";

/// What could be read, and what could not.
pub(super) struct Reading<T> {
    /// The settings, with placeholders where a value was missing or unreadable; absent if nothing helped.
    pub(super) value: Option<T>,
    /// What is wrong.
    pub(super) faults: Vec<Fault>,
    /// The dotted keys that rules skip: those with placeholders, removed, misspelled or excused by the caller.
    pub(super) skipped: Vec<String>,
}

/// Deserialises a tree; returns the settings, and the tree that they serialise to.
type Reader<'a, T> = dyn Fn(&Value) -> Result<(T, Value), Box<figment::Error>> + 'a;

/// Further keys that a table may have.
pub(super) struct Siblings<'a> {
    /// The table; empty for the top level.
    pub(super) table: &'a [String],
    /// The keys.
    pub(super) keys: &'a [&'a str],
}

/// Reads a tree as a `T`. `siblings` are further keys that the top level may have; what is wrong
/// at or below the `excused` keys is not reported.
pub(super) fn read<T: DeserializeOwned + Serialize>(
    tree: &Value,
    siblings: &[&str],
    excused: &[String],
) -> Reading<T> {
    let reader = |tree: &Value| {
        let value = T::deserialize(tree)?;
        let again = Value::serialize(&value)?;
        Ok((value, again))
    };
    let (table, keys) = (&[][..], siblings);
    read_with(tree, &Siblings { table, keys }, excused, &reader)
}

/// The same with a reader other than `T::deserialize`.
pub(super) fn read_with<T>(
    tree: &Value,
    siblings: &Siblings<'_>,
    excused: &[String],
    reader: &Reader<'_, T>,
) -> Reading<T> {
    let mut collector = ErrorCollector {
        tree: tree.clone(),
        skipped: excused.to_vec(),
        ..ErrorCollector::default()
    };
    let value = collector.run(siblings, reader);
    for (table, keys) in std::mem::take(&mut collector.missing) {
        collector
            .faults
            .push(missing(&table, &keys, &required(tree, &table, reader)));
    }
    if value.is_none() && collector.faults.is_empty() {
        let message = "the settings cannot be read".to_owned();
        collector.faults.push(Fault::at_key(&[], message));
    }
    Reading {
        value,
        faults: collector.faults,
        skipped: collector.skipped,
    }
}

struct ErrorCollector {
    tree: Value,
    /// Keys that hold placeholders or were taken out.
    skipped: Vec<String>,
    /// What was found in place of an enum's name.
    nameless: BTreeMap<String, String>,
    faults: Vec<Fault>,
    /// Missing keys by table.
    missing: BTreeMap<Vec<String>, Vec<String>>,
}

impl Default for ErrorCollector {
    fn default() -> Self {
        Self {
            tree: Value::from(Dict::new()),
            skipped: Vec::new(),
            nameless: BTreeMap::new(),
            faults: Vec::new(),
            missing: BTreeMap::new(),
        }
    }
}

impl ErrorCollector {
    fn run<T>(&mut self, siblings: &Siblings<'_>, reader: &Reader<'_, T>) -> Option<T> {
        for _ in 0..MOST_MISTAKES {
            match reader(&self.tree) {
                Ok((value, again)) => match self.difference(&again) {
                    None => return Some(value),
                    Some((path, expected)) => self.differs(path, &expected),
                },
                Err(error) => {
                    let path = error.path.clone();
                    if !self.recover(path, error.kind, siblings) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Records one serde error and changes the tree so that the error does not recur.
    fn recover(&mut self, path: Vec<String>, kind: Kind, siblings: &Siblings<'_>) -> bool {
        let (key, shown) = (path.join("."), tree::dotted(&path));
        let silent = self.is_skipped(&key);
        match kind {
            Kind::UnknownField(name, known) => {
                let (fault, meant) = unknown(&path, &name, known, siblings);
                self.faults.push(fault);
                tree::remove(&mut self.tree, &path);
                // A misspelled key is not missing as well.
                let absent = |meant: &Vec<String>| tree::get(&self.tree, meant).is_none();
                if let Some(meant) = meant.filter(absent) {
                    self.skipped.push(meant.join("."));
                }
            }
            Kind::MissingField(name) => {
                let mut full = path.clone();
                full.push(name.clone().into_owned());
                if !self.is_skipped(&full.join(".")) {
                    self.missing
                        .entry(path)
                        .or_default()
                        .push(name.into_owned());
                }
                self.placeholder(&full, Value::from(0u8));
            }
            Kind::UnknownVariant(_, known) if silent => {
                self.placeholder(
                    &path,
                    Value::from(known.first().copied().unwrap_or_default()),
                );
            }
            // A table where a name belongs: serde looks at its only key.
            Kind::UnknownVariant(name, _) if path.len() > 1 && !self.is_text(&path, &name) => {
                self.name_wanted(&path[..path.len() - 1]);
            }
            Kind::UnknownVariant(name, known) => {
                let found = self.nameless.remove(&key);
                let given = found.clone().unwrap_or_else(|| format!("{name:?}"));
                let message = format!(
                    "`{shown}` = {given} is not one of {}",
                    wording::list(known, "and")
                );
                let nearest = wording::nearest(&name, known).filter(|_| found.is_none());
                self.fault(
                    &path,
                    match nearest {
                        Some(meant) => format!("{message}; did you mean `{meant}`?"),
                        None => message,
                    },
                );
            }
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) if silent => {
                let Some(value) = stand_in(&expected) else {
                    return false;
                };
                self.placeholder(&path, value);
            }
            Kind::InvalidType(_, expected) if path.len() > 1 && expected == "unit" => {
                self.name_wanted(&path[..path.len() - 1]);
            }
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected)
                if expected.starts_with("enum") || expected.starts_with("variant ") =>
            {
                self.name_wanted(&path);
            }
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                self.wrong_type(&path, &wording::expected(&expected));
            }
            Kind::InvalidLength(length, expected) => {
                let expected = wording::expected(&expected);
                self.fault(
                    &path,
                    format!("`{shown}` must be {expected}, but has {length}"),
                );
            }
            other => {
                self.fault(&path, format!("`{shown}`: {other}"));
                // An error that names no key would come again for ever.
                return !path.is_empty();
            }
        }
        true
    }

    fn is_text(&self, path: &[String], text: &str) -> bool {
        tree::get(&self.tree, path).and_then(Value::as_str) == Some(text)
    }

    fn is_skipped(&self, key: &str) -> bool {
        self.skipped
            .iter()
            .any(|skipped| overlap(key, skipped) && key.len() >= skipped.len())
    }

    fn placeholder(&mut self, path: &[String], value: Value) {
        tree::set(&mut self.tree, path, value);
        self.skipped.push(path.join("."));
    }

    fn fault(&mut self, path: &[String], message: String) {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        self.take_out(path, Fault::at_key(&parts, message));
    }

    /// Notes what is wrong with a value and takes it out; in a list, a placeholder takes its place.
    fn take_out(&mut self, path: &[String], fault: Fault) {
        self.faults.push(fault);
        let table = path
            .split_last()
            .and_then(|(_, table)| tree::get(&self.tree, table));
        if matches!(table, Some(Value::Array(..))) {
            return self.placeholder(path, Value::from(0u8));
        }
        tree::remove(&mut self.tree, path);
        self.skipped.push(path.join("."));
    }

    fn wrong_type(&mut self, path: &[String], expected: &str) {
        let value = tree::get(&self.tree, path);
        let found = value.map_or("absent".into(), wording::found);
        let meant = value.and_then(|value| meant::value(path, expected, value));
        let ranged = expected.starts_with("a whole number");
        let ranged = ranged.then(|| meant::whole_number(path)).flatten();
        let expected = ranged.as_deref().unwrap_or(expected);
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let key = tree::dotted(path);
        let fault = Fault::at_key(
            &parts,
            format!("`{key}` must be {expected}, but is {found}"),
        );
        self.take_out(
            path,
            match meant {
                Some(meant) => fault.instead(meant),
                None => fault,
            },
        );
    }

    /// Asks serde for the allowed names by giving it one that cannot exist.
    fn name_wanted(&mut self, path: &[String]) {
        let found = tree::get(&self.tree, path).map_or(String::new(), tree::text);
        self.nameless.insert(path.join("."), found);
        tree::set(&mut self.tree, path, Value::from(NO_NAME));
    }

    /// The first value that serde accepted but read as something else: a table from a list, an enum
    /// from its number, a list with too many values.
    fn difference(&self, read: &Value) -> Option<(Vec<String>, Value)> {
        let mut path = Vec::new();
        self.compare(&self.tree, read, &mut path)
            .map(|expected| (path, expected))
    }

    fn compare(&self, given: &Value, read: &Value, path: &mut Vec<String>) -> Option<Value> {
        if !path.is_empty() && self.is_skipped(&path.join(".")) {
            return None;
        }
        let mut inner = |part: String, given: &Value, read: &Value| {
            path.push(part);
            let found = self.compare(given, read, path);
            if found.is_none() {
                path.pop();
            }
            found
        };
        match (given, read) {
            (Value::Dict(_, given), Value::Dict(_, read)) => {
                given.iter().find_map(|(key, given)| {
                    read.get(key)
                        .and_then(|read| inner(key.clone(), given, read))
                })
            }
            (Value::Array(_, given), Value::Array(_, read)) if given.len() == read.len() => {
                let pairs = given.iter().zip(read).enumerate();
                pairs
                    .into_iter()
                    .find_map(|(i, (given, read))| inner(i.to_string(), given, read))
            }
            (Value::Num(..), Value::Num(..)) | (Value::Bool(..), Value::Bool(..)) => None,
            (Value::String(..) | Value::Char(..), Value::String(..) | Value::Char(..)) => None,
            _ => Some(read.clone()),
        }
    }

    fn differs(&mut self, path: Vec<String>, read: &Value) {
        match read {
            Value::String(..) => self.name_wanted(&path),
            Value::Array(_, items) => {
                let length = tree::get(&self.tree, &path)
                    .and_then(Value::as_array)
                    .map_or(0, <[_]>::len);
                let (key, wanted) = (tree::dotted(&path), items.len());
                self.fault(
                    &path,
                    format!("`{key}` must be a list of {wanted} values, but has {length}"),
                );
            }
            _ => self.wrong_type(&path, "a table"),
        }
    }
}

/// A value that passes where serde expected something else than a placeholder's 0.
fn stand_in(expected: &str) -> Option<Value> {
    match wording::expected(expected).as_str() {
        "a table" => Some(Value::from(Dict::new())),
        "a string" => Some(Value::from("")),
        "true or false" => Some(Value::from(false)),
        "a list" => Some(Value::from(Vec::<Value>::new())),
        _ => None,
    }
}

/// The required keys of a table: those that are missing when it is empty.
fn required<T>(tree: &Value, table: &[String], reader: &Reader<'_, T>) -> Vec<String> {
    let mut collector = ErrorCollector {
        tree: tree.clone(),
        ..ErrorCollector::default()
    };
    tree::set(&mut collector.tree, table, Value::from(Dict::new()));
    let none = Siblings {
        table: &[],
        keys: &[],
    };
    collector.run(&none, reader);
    collector.missing.remove(table).unwrap_or_default()
}

fn table_name(path: &[String]) -> String {
    if path.is_empty() {
        "an experiment".into()
    } else {
        format!("`[{}]`", tree::dotted(path))
    }
}

/// The fault, and the key that was meant if there is only one candidate.
fn unknown(
    path: &[String],
    name: &str,
    known: &[&str],
    siblings: &Siblings<'_>,
) -> (Fault, Option<Vec<String>>) {
    let table = path.split_last().map_or(&[][..], |(_, table)| table);
    let mut known = known.to_vec();
    if table == siblings.table {
        known.extend(siblings.keys);
    }
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let message = format!("unknown key `{}`", tree::dotted(path));
    let fault = |message: String| Fault {
        about: About::Key,
        ..Fault::at_key(&parts, message)
    };
    let near = wording::nearest(name, &known);
    let meant = match near {
        Some(near) => vec![[table, &[near.to_owned()]].concat()],
        None => meant::keys(table, name),
    };
    let [first, ..] = &meant[..] else {
        let keys = wording::list(&known, "and");
        let help = format!("{} takes {keys}", table_name(table));
        return (fault(message).help(help), None);
    };
    let keys: Vec<String> = meant.iter().map(|key| tree::dotted(key)).collect();
    let keys = wording::list(&keys, "or");
    let fault = Fault {
        instead: Some(Box::new(Suggestion::Key(first.clone()))),
        ..fault(format!("{message}; did you mean {keys}?"))
    };
    let only = match &meant[..] {
        [only] => Some(only.clone()),
        _ => None,
    };
    (fault, only)
}

fn missing(table: &[String], keys: &[String], required: &[String]) -> Fault {
    let parts: Vec<&str> = table.iter().map(String::as_str).collect();
    let noun = if table.is_empty() { "table" } else { "key" };
    let plural = if keys.len() > 1 { "s" } else { "" };
    let place = if table.is_empty() {
        String::new()
    } else {
        format!(" in {}", table_name(table))
    };
    let message = format!(
        "missing {noun}{plural} {}{place}",
        wording::list(keys, "and")
    );
    let help = format!(
        "{} requires {}",
        table_name(table),
        wording::list(required, "and")
    );
    Fault::at_key(&parts, message).help(help)
}
