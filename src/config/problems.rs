//! Every problem of a configuration in one pass over the merged tree, held to the schema of experiments.
//!
//! What is wrong is noted and put right in a copy (an unknown or unreadable key is taken out, a missing one gets a
//! placeholder), so that serde can read the rest. Rules about values then skip the keys concerned, so that one slip is
//! one message.

use figment::value::{Dict, Empty, Tag, Value};
use serde::de::DeserializeOwned;
use serde_json::Value as Schema;

use super::json_schema::{self, Range, named};
use super::layers::{About, Fault, Suggestion};
use super::sweep::overlap;
use super::{meant, tree, wording};
use crate::kinds::{KINDS, joined};

/// What could be read, and what could not.
pub(super) struct Reading<T> {
    /// The settings, with placeholders where a value was missing or unreadable; absent if nothing helped.
    pub(super) value: Option<T>,
    /// What is wrong.
    pub(super) faults: Vec<Fault>,
    has_placeholders: bool,
}

impl<T> Reading<T> {
    /// The settings, absent if anything is wrong; and what is wrong.
    pub(super) fn sound(self) -> (Option<T>, Vec<Fault>) {
        let is_sound = self.faults.is_empty() && !self.has_placeholders;
        (self.value.filter(|_| is_sound), self.faults)
    }
}

/// Reads a tree as a `T`, and checks `rules` on what could be read; they get the dotted keys to skip, which are wrong,
/// missing, misspelled or excused. `requires` are the keys that the top level must have; what is wrong at or below
/// the `excused` keys is not reported.
pub(super) fn read<T: DeserializeOwned>(
    given: &Value,
    requires: &[&'static str],
    excused: &[String],
    rules: impl Fn(&T, &[String]) -> Vec<Fault>,
) -> Reading<T> {
    let mut check = Check::new(given, vec![]);
    (check.requires, check.skipped) = (requires, excused.to_vec());
    let mut tree = given.clone();
    check.value(&mut tree, json_schema::tree());
    let mut faults = check.faults;
    let value = T::deserialize(&tree).map_err(|error| {
        // Serde alone knows some rules, such as that a home directory can be expanded.
        let place = match error.path.is_empty() {
            true => "the settings cannot be read".to_owned(),
            false => named(&error.path),
        };
        let message = format!("{place}: {}", error.kind);
        faults.push(Fault::at_key(&error.path, message));
    });
    faults.extend(value.iter().flat_map(|value| rules(value, &check.skipped)));
    Reading {
        value: value.ok(),
        faults,
        has_placeholders: !check.skipped.is_empty(),
    }
}

/// What is wrong with the value of a key.
pub(super) fn of_value(key: &[String], given: &Value) -> Vec<Fault> {
    let mut check = Check::new(given, key.to_vec());
    let schema = json_schema::at(key).unwrap_or(&Schema::Null);
    check.value(&mut given.clone(), schema);
    check.faults
}

struct Check<'t> {
    /// The whole tree as it is written.
    given: &'t Value,
    requires: &'t [&'static str],
    /// Where the check is.
    path: Vec<String>,
    faults: Vec<Fault>,
    skipped: Vec<String>,
}

impl<'t> Check<'t> {
    fn new(given: &'t Value, path: Vec<String>) -> Self {
        Self {
            given,
            requires: &[],
            path,
            faults: vec![],
            skipped: vec![],
        }
    }

    /// Notes what is wrong with a value and in it; whether it can be read then.
    fn value(&mut self, value: &mut Value, schema: &Schema) -> bool {
        if !json_schema::allows(schema, value) {
            self.wrong(value, schema);
            return false;
        }
        match value {
            Value::Dict(_, table) => self.table(table, schema),
            Value::Array(_, items) => self.list(items, schema),
            _ => {}
        }
        let rule = match value {
            Value::Num(..) => {
                let range = Range::of(schema);
                let broken = range.filter(|range| !range.contains(tree::number(value)));
                broken.map(|range| format!(" = {} must be {range}", tree::inline(value)))
            }
            Value::Array(_, items) if items.is_empty() && schema["minItems"] == 1 => {
                Some(" is empty".to_owned())
            }
            // Of the patterns of the schema this is `\S`; a kind of data checks its checksums itself.
            Value::String(_, text) if schema["pattern"].is_string() && text.trim().is_empty() => {
                Some(" is blank".to_owned())
            }
            _ => None,
        };
        if let Some(rule) = rule {
            self.note(Fault::new(named(&self.path) + &rule));
            self.skip();
        }
        true
    }

    /// The same for a key of a table or an element of a list.
    fn inner(&mut self, part: &str, value: &mut Value, schema: &Schema) -> bool {
        self.path.push(part.to_owned());
        let is_readable = self.value(value, schema);
        if !is_readable {
            self.skip();
        }
        self.path.pop();
        is_readable
    }

    fn table(&mut self, table: &mut Dict, schema: &Schema) {
        let mut keys = Keys::of(table, schema);
        if self.path.is_empty() {
            keys.required = self.requires.to_vec();
        }
        let unknown = table.iter().filter(|(name, value)| {
            json_schema::inner(schema, name).is_none() || !keys.takes(name, value)
        });
        let unknown: Vec<String> = unknown.map(|(name, _)| name.clone()).collect();
        for name in unknown {
            self.unknown(&name, &keys);
            table.remove(&name);
        }
        self.missing(table, &keys);
        table.retain(|name, value| {
            let Some(schema) = json_schema::inner(schema, name) else {
                return false;
            };
            if self.inner(name, value, schema) {
                return true;
            }
            // Another layer down, a table of placeholders.
            *value = stand_in(schema);
            keys.required.contains(&&**name) && self.inner(name, value, schema)
        });
    }

    fn list(&mut self, items: &mut [Value], schema: &Schema) {
        let (given, inner) = (items.to_vec(), &schema["items"]);
        for (i, item) in items.iter_mut().enumerate() {
            let index = i.to_string();
            if !self.inner(&index, item, inner) {
                *item = stand_in(inner);
            } else if schema["uniqueItems"] == true && given[..i].contains(item) {
                let twice = format!("{} has {} twice", named(&self.path), tree::inline(item));
                self.path.push(index);
                self.note(Fault::new(twice));
                self.path.pop();
            }
        }
    }

    /// Notes a fault here, unless nothing is to be said of this place.
    fn note(&mut self, fault: Fault) {
        if !self.is_skipped(&self.path) {
            let key = self.path.clone();
            self.faults.push(Fault { key, ..fault });
        }
    }

    /// Keeps rules from what is here.
    fn skip(&mut self) {
        self.skipped.push(self.path.join("."));
    }

    fn is_skipped(&self, path: &[String]) -> bool {
        let key = path.join(".");
        let mut skipped = self.skipped.iter();
        skipped.any(|skipped| overlap(&key, skipped) && key.len() >= skipped.len())
    }

    /// A value of another type or length than the schema says, or a name that is not in its list.
    fn wrong(&mut self, value: &Value, schema: &Schema) {
        let name = named(&self.path);
        let Some(names) = json_schema::names(schema) else {
            let found = match (value, json_schema::length(schema)) {
                (Value::Array(_, items), Some(_)) => format!("has {}", items.len()),
                _ => format!("is {}", wording::found(value)),
            };
            let expected = wording::expected(schema);
            let fault = Fault::new(format!("{name} must be {expected}, but {found}"));
            let meant = meant::value(schema, value).map(Suggestion::Value);
            let instead = meant.map(Box::new);
            return self.note(Fault { instead, ..fault });
        };
        let (given, names) = (tree::inline(value), wording::list(&names, "and"));
        let mut message = format!("{name} = {given} is not one of {names}");
        if let Some(meant) = value.as_str().and_then(|word| meant::name(schema, word)) {
            message += &format!("; did you mean `{meant}`?");
        }
        self.note(Fault::new(message));
    }

    /// A key that the table does not take, or not with its kind.
    fn unknown(&mut self, name: &str, keys: &Keys<'_>) {
        let table = self.path.clone();
        self.path.push(name.to_owned());
        let (key, of) = (named(&self.path), keys.kinds_with(name));
        match keys.chooses {
            Some(chooses) if !of.is_empty() => {
                let choice = beside(&table, chooses);
                let help = format!("remove the key, or change the {chooses}");
                let (message, help) = match keys.why_not(name) {
                    Some((kind, why)) => (
                        format!(
                            "{key} cannot be combined with {} = {kind:?}: {why}",
                            named(&choice)
                        ),
                        format!("{help}; {} take it", joined(of, "and")),
                    ),
                    None => {
                        let kinds = joined(of, "or");
                        let message = format!("{key} applies only to {} = {kinds}", named(&choice));
                        (message, help)
                    }
                };
                self.note(Fault::new(message).help(help).reads([choice]));
            }
            _ => {
                let (fault, meant) = unknown(&table, name, keys);
                self.note(fault);
                // A misspelled key is not missing as well.
                let is_absent = |meant: &Vec<String>| tree::get(self.given, meant).is_none();
                self.skipped
                    .extend(meant.filter(is_absent).map(|meant| meant.join(".")));
            }
        }
        self.path.pop();
    }

    /// Puts placeholders in for the required keys that a table does not have.
    fn missing(&mut self, table: &mut Dict, keys: &Keys<'_>) {
        let mut missing = keys.required.clone();
        missing.retain(|name| !table.contains_key(*name));
        let mut paths = vec![];
        missing.retain(|name| {
            let path = beside(&self.path, name);
            table.insert((*name).to_owned(), Value::Empty(Tag::Default, Empty::Unit));
            let is_told = !self.is_skipped(&path);
            self.skipped.push(path.join("."));
            paths.extend(is_told.then_some(path));
            is_told
        });
        if missing.is_empty() {
            return;
        }
        let (noun, place) = match self.path.is_empty() {
            true => ("table", String::new()),
            false => ("key", format!(" in {}", table_name(&self.path))),
        };
        let plural = if missing.len() > 1 { "s" } else { "" };
        let named = wording::list(&missing, "and");
        let required = wording::list(&keys.required, "and");
        let mut help = format!("{} requires {required}", keys.table(&self.path));
        for name in missing {
            if let Some(names) = keys.names(name) {
                help += &format!("; `{name}` can be {}", wording::list(&names, "or"));
            }
        }
        let fault = Fault::new(format!("missing {noun}{plural} {named}{place}"));
        let about = About::Absence;
        self.note(Fault {
            about,
            ..fault.help(help).reads(paths)
        });
    }
}

/// The keys of a table.
struct Keys<'s> {
    schema: &'s Schema,
    /// Those that it takes, in the order of the schema.
    known: Vec<&'s str>,
    required: Vec<&'s str>,
    /// The key that selects its kind, if it has kinds.
    chooses: Option<&'s str>,
    /// Its kind, if that can be read.
    kind: Option<&'s str>,
}

impl<'s> Keys<'s> {
    fn of(table: &Dict, schema: &'s Schema) -> Self {
        let kinds = &schema[KINDS];
        let chooses = kinds["key"].as_str();
        let kind = chooses.and_then(|key| table.get(key)?.as_str());
        let kind = kind.and_then(|kind| kinds["of"].as_object()?.get_key_value(kind));
        let known = schema["properties"].as_object().into_iter().flatten();
        let mut keys = Self {
            schema,
            known: known.map(|(name, _)| &**name).collect(),
            required: json_schema::texts(&schema["required"]),
            chooses,
            kind: kind.map(|(name, _)| &**name),
        };
        if let Some((_, own)) = kind {
            let takes = json_schema::texts(&own["takes"]);
            let of_kinds = |name: &str| !keys.kinds_with(name).is_empty();
            let mut known = keys.known.clone();
            known.retain(|name| takes.contains(name) || !of_kinds(name));
            keys.known = known;
            let own = json_schema::texts(&own["requires"]).into_iter();
            let all = keys.required.clone();
            keys.required.extend(own.filter(|name| !all.contains(name)));
        }
        keys
    }

    /// Whether the table can have a key with such a value; some tables take any name, and some any name of a table.
    fn takes(&self, name: &str, value: &Value) -> bool {
        let is_open = self.schema["additionalProperties"].is_object();
        let is_own = self.schema["properties"].get(name).is_some();
        let is_named_table = is_open && !is_own && value.as_dict().is_some();
        self.known.is_empty() || self.known.contains(&name) || is_named_table
    }

    /// The kinds of the table, in quotes, that alone have a key.
    fn kinds_with(&self, name: &str) -> Vec<String> {
        let kinds = self.schema[KINDS]["of"].as_object().into_iter().flatten();
        let having = kinds.filter(|(_, own)| json_schema::texts(&own["takes"]).contains(&name));
        having.map(|(kind, _)| format!("{kind:?}")).collect()
    }

    /// The kind of the table, and why it cannot have a key, if the schema says so.
    fn why_not(&self, name: &str) -> Option<(&'s str, &'s str)> {
        let kind = self.kind?;
        let why = self.schema[KINDS]["of"][kind]["lacks"][name].as_str()?;
        Some((kind, why))
    }

    /// What a key can be, if that is one of a few names.
    fn names(&self, key: &str) -> Option<Vec<&'s str>> {
        json_schema::names(json_schema::inner(self.schema, key)?)
    }

    /// The table with its kind.
    fn table(&self, path: &[String]) -> String {
        let kind = self.chooses.zip(self.kind);
        let kind = kind.map(|(key, kind)| format!(" with `{key}` = {kind:?}"));
        table_name(path) + &kind.unwrap_or_default()
    }
}

/// A value that can be read in place of one that cannot.
fn stand_in(schema: &Schema) -> Value {
    if let Some(names) = json_schema::names(schema) {
        return Value::from(names[0]);
    }
    match json_schema::types(schema)[0] {
        "object" => Value::from(Dict::new()),
        "array" => {
            let length = json_schema::length(schema).unwrap_or(0);
            Value::from(vec![stand_in(&schema["items"]); length])
        }
        "string" => Value::from(""),
        "boolean" => Value::from(false),
        _ => Value::from(0u8),
    }
}

/// The path of a key in a table.
fn beside(table: &[String], name: &str) -> Vec<String> {
    [table, &[name.to_owned()]].concat()
}

fn table_name(path: &[String]) -> String {
    match path.is_empty() {
        true => "an experiment".to_owned(),
        false => format!("`[{}]`", tree::dotted(path)),
    }
}

/// The fault, and the key that was meant if there is only one candidate.
fn unknown(table: &[String], name: &str, keys: &Keys<'_>) -> (Fault, Option<Vec<String>>) {
    let mut fault = Fault::new(format!("unknown key {}", named(&beside(table, name))));
    fault.about = About::Key;
    let mut meant = match wording::nearest(name, &keys.known) {
        Some(near) => vec![beside(table, near)],
        None => meant::keys(table, name),
    };
    let Some(first) = meant.first() else {
        let known = wording::list(&keys.known, "and");
        let help = format!("{} takes {known}", keys.table(table));
        return (fault.help(help), None);
    };
    let shown: Vec<String> = meant.iter().map(|key| tree::dotted(key)).collect();
    fault.message += &format!("; did you mean {}?", wording::list(&shown, "or"));
    let fault = fault.instead(Suggestion::Key(first.clone()));
    (fault, meant.pop().filter(|_| meant.is_empty()))
}
