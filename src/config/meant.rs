//! What a wrong key or a value of the wrong type was probably meant to be, from the schema of experiments.

use figment::value::Value;
use serde_json::Value as Schema;

use super::json_schema::{self, at};
use super::{EXPLORE, tree, wording};
use crate::kinds::{KINDS, OTHER_NAMES};

/// If more keys than this share a name, none of them is suggested.
const MOST_KEYS: usize = 3;

/// The keys that `name`, which `table` does not have, can stand for: `finetune_epochs` for
/// `finetune.epochs`, or a key of that name in other tables, as `learning_rate` is in two.
pub(super) fn keys(table: &[String], name: &str) -> Vec<Vec<String>> {
    if let Some(inner) = joined_by_one_underscore(table, name) {
        return vec![inner];
    }
    let mut found = vec![];
    of_name(json_schema::tree(), name, &[], &mut found);
    // Settings of an exploration are never meant in an experiment that trains, nor the other way round.
    let explores = |key: &[String]| key.first().is_some_and(|first| first == EXPLORE);
    found.retain(|key| explores(key) == explores(table));
    let number = found.len();
    found.retain(|_| number <= MOST_KEYS);
    found
}

fn joined_by_one_underscore(table: &[String], name: &str) -> Option<Vec<String>> {
    let mut tables = at(table)?["properties"].as_object()?.iter();
    let (inner, key) = tables.find_map(|(inner, schema)| {
        let key = name.strip_prefix(inner)?.strip_prefix('_')?;
        (!schema["properties"][key].is_null()).then_some((inner, key))
    })?;
    Some([table, &[inner.clone(), key.to_owned()]].concat())
}

/// Collects the keys whose last part is `name`.
fn of_name(schema: &Schema, name: &str, table: &[String], found: &mut Vec<Vec<String>>) {
    let properties = schema.get("properties").and_then(Schema::as_object);
    for (key, inner) in properties.into_iter().flatten() {
        let path = [table, std::slice::from_ref(key)].concat();
        of_name(inner, name, &path, found);
        if key == name {
            found.push(path);
        }
    }
}

/// The name in the list of a schema that a word most likely stands for.
pub(super) fn name(schema: &Schema, word: &str) -> Option<String> {
    let other = schema[OTHER_NAMES][word.to_lowercase()].as_str();
    let names = json_schema::names(schema)?;
    other
        .or_else(|| wording::nearest(word, &names))
        .map(str::to_owned)
}

/// The value that was probably meant where a schema does not allow the given one, as TOML.
pub(super) fn value(schema: &Schema, given: &Value) -> Option<String> {
    let text = given.as_str();
    if json_schema::names(schema).is_some() {
        return name(schema, text?).map(|name| format!("{name:?}"));
    }
    let of_type = |kind: &str| match kind {
        "string" => as_text(given),
        "object" => of_kind(schema, text?),
        "array" if json_schema::length(schema).is_none() => {
            let items = &schema["items"];
            let is_element = json_schema::allows(items, given);
            let element = is_element.then(|| tree::inline(given));
            Some(format!("[{}]", element.or_else(|| value(items, given))?))
        }
        "boolean" => match text?.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("true".to_owned()),
            "false" | "no" | "off" => Some("false".to_owned()),
            _ => None,
        },
        "number" => {
            Some(text?.to_owned()).filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
        }
        "integer" => Some(text?.to_owned()).filter(|text| text.parse::<u32>().is_ok()),
        _ => None,
    };
    json_schema::types(schema).into_iter().find_map(of_type)
}

/// A number, a flag or a date in quotes.
fn as_text(given: &Value) -> Option<String> {
    match given {
        Value::Num(..) | Value::Bool(..) => Some(format!("{:?}", tree::text(given))),
        Value::Dict(_, date) if tree::is_date(date) => {
            let date = date.values().next()?.as_str()?;
            Some(format!("{date:?}"))
        }
        _ => None,
    }
}

/// `{ kind = "rope" }`, where a table has kinds and the text is one of their names.
fn of_kind(schema: &Schema, text: &str) -> Option<String> {
    let key = schema[KINDS]["key"].as_str()?;
    let name = name(&schema["properties"][key], text)?;
    Some(format!("{{ {key} = {name:?} }}"))
}
