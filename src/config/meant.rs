//! What a wrong key or a value of the wrong type was probably meant to be, from the schema of experiments.

use figment::value::Value;
use serde_json::Value as Schema;

use super::json_schema::{self, at};
use super::{EXPLORE, tree, wording};

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

/// What a whole number at this key must be: `a whole number of at least 1`.
pub(super) fn whole_number(path: &[String]) -> Option<String> {
    let range = json_schema::Range::of(at(path)?)?.to_string();
    let of = if range.starts_with("at ") { "of " } else { "" };
    Some(format!("a whole number {of}{range}"))
}

/// The value of the `expected` type that was probably meant, as TOML.
pub(super) fn value(path: &[String], expected: &str, given: &Value) -> Option<String> {
    let text = given.as_str();
    match expected {
        "a string" => as_text(given),
        "a table" => of_kind(path, text?),
        "a list" => Some(format!("[{}]", tree::text(given))).filter(|_| text.is_none()),
        "true or false" => match text?.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("true".to_owned()),
            "false" | "no" | "off" => Some("false".to_owned()),
            _ => None,
        },
        "a number" => {
            Some(text?.to_owned()).filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
        }
        _ if expected.starts_with("a whole number") => {
            Some(text?.to_owned()).filter(|text| text.parse::<u32>().is_ok())
        }
        _ => None,
    }
}

/// A number, a flag or a date in quotes.
fn as_text(given: &Value) -> Option<String> {
    match given {
        Value::Num(..) | Value::Bool(..) => Some(format!("{:?}", tree::text(given))),
        Value::Dict(_, date) => match date.iter().collect::<Vec<_>>()[..] {
            [(key, Value::String(_, date))] if wording::is_date(key) => Some(format!("{date:?}")),
            _ => None,
        },
        _ => None,
    }
}

/// `{ kind = "rope" }`, where a table has kinds and the text is one of their names.
fn of_kind(path: &[String], text: &str) -> Option<String> {
    let names = at(path)?["properties"]["kind"]["enum"].as_array()?;
    let names: Vec<&str> = names.iter().filter_map(Schema::as_str).collect();
    let name = wording::nearest(text, &names)?;
    Some(format!("{{ kind = {name:?} }}"))
}
