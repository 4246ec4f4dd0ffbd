//! Checks numbers against the ranges that the schema declares for their fields.

use figment::value::Value;
use serde::Serialize;
use serde_json::Value as Json;

use super::Rules;
use crate::config::json_schema::{self, Range};
use crate::config::tree;

/// Reports each number outside its range, unless another rule has a fault at its key already.
pub fn check(rules: &mut Rules<'_>, settings: &impl Serialize) {
    let settings = Value::serialize(settings).expect("settings are numbers, text and tables");
    walk(rules, &[], &settings, json_schema::tree());
}

fn walk(rules: &mut Rules<'_>, key: &[String], value: &Value, schema: &Json) {
    let mut inner = |name: String, value: &Value, schema: &Json| {
        walk(rules, &[key, &[name]].concat(), value, schema);
    };
    match value {
        Value::Dict(_, table) => {
            for (name, value) in table {
                let schema = json_schema::inner(schema, name);
                inner(name.clone(), value, schema.unwrap_or(&Json::Null));
            }
        }
        Value::Array(_, items) => {
            for (i, value) in items.iter().enumerate() {
                inner(i.to_string(), value, &schema["items"]);
            }
        }
        Value::Num(..) if rules.faults.iter().all(|fault| fault.key != key) => {
            if let Some(range) = Range::of(schema) {
                number(rules, &tree::dotted(key), value, &range);
            }
        }
        _ => {}
    }
}

fn number(rules: &mut Rules<'_>, key: &str, value: &Value, range: &Range) {
    let unsigned = value.to_u128().map(|n| (n as f64, n.to_string()));
    let whole = unsigned.or_else(|| value.to_i128().map(|n| (n as f64, n.to_string())));
    let real = || value.to_num()?.to_f64().map(|n| (n, n.to_string()));
    let Some((number, text)) = whole.or_else(real) else {
        return;
    };
    if !range.contains(number) {
        rules.broken(&[key], format!("`{key}` = {text} must be {range}"));
    }
}
