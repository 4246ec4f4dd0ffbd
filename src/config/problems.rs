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

/// A table, and further keys that it may have.
type Siblings<'a> = (&'a [String], &'a [&'a str]);

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
    read_with(tree, (&[], siblings), excused, &reader)
}

/// The same with a reader other than `T::deserialize`.
pub(super) fn read_with<T>(
    tree: &Value,
    siblings: Siblings<'_>,
    excused: &[String],
    reader: &Reader<'_, T>,
) -> Reading<T> {
    let mut collector = ErrorCollector::new(tree.clone(), excused);
    let value = collector.run(siblings, reader);
    let (mut faults, skipped) = (collector.faults, collector.skipped);
    for (table, keys) in collector.missing {
        let required = required(tree, &table, reader);
        faults.push(missing(&table, &keys, &required));
    }
    if value.is_none() && faults.is_empty() {
        faults.push(Fault::new("the settings cannot be read"));
    }
    Reading {
        value,
        faults,
        skipped,
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

impl ErrorCollector {
    fn new(tree: Value, excused: &[String]) -> Self {
        Self {
            tree,
            skipped: excused.to_vec(),
            nameless: BTreeMap::new(),
            faults: Vec::new(),
            missing: BTreeMap::new(),
        }
    }

    fn run<T>(&mut self, siblings: Siblings<'_>, reader: &Reader<'_, T>) -> Option<T> {
        for _ in 0..MOST_MISTAKES {
            match reader(&self.tree) {
                Ok((value, again)) => match self.difference(&self.tree, &again, &[]) {
                    None => return Some(value),
                    Some((path, expected)) => self.differs(&path, &expected),
                },
                Err(error) => {
                    let figment::Error { path, kind, .. } = *error;
                    if !self.recover(path, kind, siblings) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Records one serde error and changes the tree so that the error does not recur.
    fn recover(&mut self, path: Vec<String>, kind: Kind, siblings: Siblings<'_>) -> bool {
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
                let name = name.into_owned();
                let full = [&path[..], std::slice::from_ref(&name)].concat();
                if !self.is_skipped(&full.join(".")) {
                    self.missing.entry(path).or_default().push(name);
                }
                self.placeholder(&full, Value::from(0u8));
            }
            Kind::UnknownVariant(_, known) if silent => {
                let first = known.first().copied().unwrap_or_default();
                self.placeholder(&path, Value::from(first));
            }
            // A table where a name belongs: serde looks at its only key.
            Kind::UnknownVariant(name, _) if path.len() > 1 && !self.is_text(&path, &name) => {
                self.name_wanted(&path[..path.len() - 1]);
            }
            Kind::UnknownVariant(name, known) => {
                let found = self.nameless.remove(&key);
                let nearest = wording::nearest(&name, known).filter(|_| found.is_none());
                let given = found.unwrap_or_else(|| format!("{name:?}"));
                let known = wording::list(known, "and");
                let mut message = format!("`{shown}` = {given} is not one of {known}");
                if let Some(meant) = nearest {
                    message += &format!("; did you mean `{meant}`?");
                }
                self.fault(&path, message);
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
                let message = format!("`{shown}` must be {expected}, but has {length}");
                self.fault(&path, message);
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
        let mut skipped = self.skipped.iter();
        skipped.any(|skipped| overlap(key, skipped) && key.len() >= skipped.len())
    }

    fn placeholder(&mut self, path: &[String], value: Value) {
        tree::set(&mut self.tree, path, value);
        self.skipped.push(path.join("."));
    }

    fn fault(&mut self, path: &[String], message: String) {
        self.take_out(path, Fault::at_key(path, message));
    }

    /// Notes what is wrong with a value and takes it out; in a list, a placeholder takes its place.
    fn take_out(&mut self, path: &[String], fault: Fault) {
        self.faults.push(fault);
        let table = &path[..path.len().saturating_sub(1)];
        if !path.is_empty() && matches!(tree::get(&self.tree, table), Some(Value::Array(..))) {
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
        let key = tree::dotted(path);
        let fault = Fault::at_key(path, format!("`{key}` must be {expected}, but is {found}"));
        let instead = meant.map(|meant| Box::new(Suggestion::Value(meant)));
        self.take_out(path, Fault { instead, ..fault });
    }

    /// Asks serde for the allowed names by giving it one that cannot exist.
    fn name_wanted(&mut self, path: &[String]) {
        let found = tree::get(&self.tree, path).map_or(String::new(), tree::text);
        self.nameless.insert(path.join("."), found);
        tree::set(&mut self.tree, path, Value::from(NO_NAME));
    }

    /// The first value at or below `path` that serde accepted but read as something else: a table from a list, an enum
    /// from its number, a list with too many values.
    fn difference(
        &self,
        given: &Value,
        read: &Value,
        path: &[String],
    ) -> Option<(Vec<String>, Value)> {
        if !path.is_empty() && self.is_skipped(&path.join(".")) {
            return None;
        }
        let inner =
            |part: String, given, read| self.difference(given, read, &[path, &[part]].concat());
        match (given, read) {
            (Value::Dict(_, given), Value::Dict(_, read)) => given
                .iter()
                .find_map(|(key, given)| inner(key.clone(), given, read.get(key)?)),
            (Value::Array(_, given), Value::Array(_, read)) if given.len() == read.len() => {
                let mut pairs = given.iter().zip(read).enumerate();
                pairs.find_map(|(i, (given, read))| inner(i.to_string(), given, read))
            }
            (Value::Num(..), Value::Num(..)) | (Value::Bool(..), Value::Bool(..)) => None,
            (Value::String(..) | Value::Char(..), Value::String(..) | Value::Char(..)) => None,
            _ => Some((path.to_vec(), read.clone())),
        }
    }

    fn differs(&mut self, path: &[String], read: &Value) {
        match read {
            Value::String(..) => self.name_wanted(path),
            Value::Array(_, items) => {
                let given = tree::get(&self.tree, path).and_then(Value::as_array);
                let (length, wanted) = (given.map_or(0, <[_]>::len), items.len());
                let key = tree::dotted(path);
                let message =
                    format!("`{key}` must be a list of {wanted} values, but has {length}");
                self.fault(path, message);
            }
            _ => self.wrong_type(path, "a table"),
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
    let mut collector = ErrorCollector::new(tree.clone(), &[]);
    tree::set(&mut collector.tree, table, Value::from(Dict::new()));
    collector.run((&[], &[]), reader);
    collector.missing.remove(table).unwrap_or_default()
}

fn table_name(path: &[String]) -> String {
    match path.is_empty() {
        true => "an experiment".to_owned(),
        false => format!("`[{}]`", tree::dotted(path)),
    }
}

/// The fault, and the key that was meant if there is only one candidate.
fn unknown(
    path: &[String],
    name: &str,
    known: &[&str],
    (having, siblings): Siblings<'_>,
) -> (Fault, Option<Vec<String>>) {
    let table = path.split_last().map_or(&[][..], |(_, table)| table);
    let mut known = known.to_vec();
    if table == having {
        known.extend(siblings);
    }
    let mut fault = Fault::at_key(path, format!("unknown key `{}`", tree::dotted(path)));
    fault.about = About::Key;
    let mut meant = match wording::nearest(name, &known) {
        Some(near) => vec![[table, &[near.to_owned()]].concat()],
        None => meant::keys(table, name),
    };
    let Some(first) = meant.first() else {
        let keys = wording::list(&known, "and");
        let help = format!("{} takes {keys}", table_name(table));
        return (fault.help(help), None);
    };
    let keys: Vec<String> = meant.iter().map(|key| tree::dotted(key)).collect();
    fault.message += &format!("; did you mean {}?", wording::list(&keys, "or"));
    let fault = fault.instead(Suggestion::Key(first.clone()));
    (fault, meant.pop().filter(|_| meant.is_empty()))
}

fn missing(table: &[String], keys: &[String], required: &[String]) -> Fault {
    let (noun, place) = match table.is_empty() {
        true => ("table", String::new()),
        false => ("key", format!(" in {}", table_name(table))),
    };
    let plural = if keys.len() > 1 { "s" } else { "" };
    let (keys, required) = (wording::list(keys, "and"), wording::list(required, "and"));
    let fault = Fault::at_key(table, format!("missing {noun}{plural} {keys}{place}"));
    fault.help(format!("{} requires {required}", table_name(table)))
}
