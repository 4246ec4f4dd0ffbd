//! What two points differ in, key by key.

use std::slice::from_ref;

use serde::Serialize;
use serde_json::{Value, json};

use super::schema::Settings;
use super::tree;

/// A key that two points do not agree on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The key, such as `pretrain.epochs`.
    pub key: String,
    /// Its value in the first; absent where the first does not have the key.
    pub a: Option<Value>,
    /// Its value in the second; absent where the second does not have the key.
    pub b: Option<Value>,
}

/// Every key that two points do not agree on, in alphabetical order. A list is one value.
pub fn differences(a: &Settings, b: &Settings) -> Vec<Difference> {
    let [a, b] = [a, b].map(|settings| json!(settings));
    let mut keys = vec![];
    leaves(&a, &[], &mut keys);
    leaves(&b, &[], &mut keys);
    let difference = |key: &Vec<String>| Difference {
        key: tree::dotted(key),
        a: get(&a, key).cloned(),
        b: get(&b, key).cloned(),
    };
    let mut found: Vec<Difference> = keys.iter().map(difference).collect();
    found.retain(|one| one.a != one.b);
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found
}

/// Collects the path of every value that is not a table, each once.
pub(super) fn leaves(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    if let Value::Object(table) = value {
        for (key, value) in table {
            leaves(value, &[path, from_ref(key)].concat(), found);
        }
    } else if !found.iter().any(|known| known == path) {
        found.push(path.to_vec());
    }
}

/// The value at a path.
pub(super) fn get<'v>(tree: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(tree, |at, key| at.get(key))
}
