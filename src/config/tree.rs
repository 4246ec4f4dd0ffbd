//! Reading and changing a merged configuration by key path. Shared with the build script.

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

/// Takes the key at `path` out of its table. An array element stays, since its neighbours'
/// places would shift.
pub(crate) fn remove(tree: &mut Value, path: &[String]) {
    let inner = match (tree, path) {
        (Value::Dict(_, dict), [last]) => return drop(dict.remove(last)),
        (Value::Dict(_, dict), [part, ..]) => dict.get_mut(part),
        (list, [part, ..]) => element(list, part),
        (_, []) => None,
    };
    if let Some(inner) = inner {
        remove(inner, &path[1..]);
    }
}

/// The value as a user would write it: strings bare, tables and lists in TOML's inline form.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        other => inline(other),
    }
}

fn inline(value: &Value) -> String {
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
