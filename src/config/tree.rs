//! Reading and changing a merged configuration by key path.

use std::slice::from_ref;

use figment::value::{Dict, Value};

/// The parts of a path as owned strings.
pub(crate) fn path(parts: &[impl AsRef<str>]) -> Vec<String> {
    parts.iter().map(|part| part.as_ref().to_owned()).collect()
}

/// Splits `model.attention.kind` into its parts.
pub(crate) fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

/// A path as a user would write it: parts that are no bare keys are quoted.
pub(crate) fn dotted(path: &[impl AsRef<str>]) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let part = |part: &str| match !part.is_empty() && part.chars().all(bare) {
        true => part.to_owned(),
        false => format!("{part:?}"),
    };
    let parts: Vec<String> = path.iter().map(|one| part(one.as_ref())).collect();
    parts.join(".")
}

/// The value at `path`; array elements are addressed by their index. Absent if any part is.
pub(crate) fn get<'a>(tree: &'a Value, path: &[impl AsRef<str>]) -> Option<&'a Value> {
    let mut parts = path.iter().map(AsRef::as_ref);
    parts.try_fold(tree, |at, part| match at {
        Value::Dict(_, dict) => dict.get(part),
        Value::Array(_, items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The list element whose index is `part`.
fn element<'a>(tree: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match tree {
        Value::Array(_, items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Puts `value` at `path`. Missing tables on the way are made and inherit the value's source;
/// anything else in the way that is not a table gives way to one.
pub(crate) fn set(tree: &mut Value, path: &[String], value: Value) {
    let Some((part, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if let Some(item) = element(tree, part) {
        return set(item, rest, value);
    }
    if !matches!(tree, Value::Dict(..)) {
        *tree = Value::Dict(value.tag(), Dict::new());
    }
    if let Value::Dict(_, dict) = tree {
        let empty = || Value::Dict(value.tag(), Dict::new());
        set(dict.entry(part.clone()).or_insert_with(empty), rest, value);
    }
}

/// The value as a user would write it: strings bare, tables and lists in TOML's inline form.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        other => inline(other),
    }
}

/// Whether a table stands for a TOML date.
pub(crate) fn is_date(table: &Dict) -> bool {
    table.keys().any(|key| key.starts_with("$__toml"))
}

/// The number as a float, however it was written; NaN for anything else.
pub(crate) fn number(value: &Value) -> f64 {
    let whole = value.to_i128().map(|n| n as f64);
    let whole = whole.or(value.to_u128().map(|n| n as f64));
    whole.or(value.to_f64()).unwrap_or(f64::NAN)
}

/// The same with strings in quotes.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{c:?}"),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Num(_, number) => (number.to_i128().map(|n| n.to_string()))
            .or_else(|| number.to_u128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|x| format!("{x:?}")))
            .unwrap_or_default(),
        Value::Empty(..) => String::new(),
        Value::Dict(_, dict) => {
            let item = |(key, value): (&String, &Value)| {
                format!("{} = {}", dotted(from_ref(key)), inline(value))
            };
            let items: Vec<String> = dict.iter().map(item).collect();
            format!("{{ {} }}", items.join(", "))
        }
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
    }
}
