//! What two points differ in, key by key.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::Value;
use serde::Serialize;

use super::schema::Settings;
use super::tree;

/// A key that two points do not agree on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The key, such as `pretrain.epochs`.
    pub key: String,
    /// Its value in the first; absent where the first does not have the key.
    pub a: Option<serde_json::Value>,
    /// Its value in the second; absent where the second does not have the key.
    pub b: Option<serde_json::Value>,
}

/// Every key that two points do not agree on, in alphabetical order. A list is one value.
pub fn differences(a: &Settings, b: &Settings) -> Vec<Difference> {
    let [a, b] = [a, b].map(|settings| {
        let tree = Value::serialize(settings);
        tree.expect("settings are plain numbers, text and tables")
    });
    let [a, b] = [&a, &b].map(|tree| {
        let mut leaves = BTreeMap::new();
        collect(tree, &mut vec![], &mut leaves);
        leaves
    });
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let difference = |key: &String| Difference {
        key: key.clone(),
        a: a.get(key).cloned(),
        b: b.get(key).cloned(),
    };
    keys.into_iter()
        .map(difference)
        .filter(|one| one.a != one.b)
        .collect()
}

/// The values of a tree that are no tables, by their dotted keys.
fn collect(tree: &Value, path: &mut Vec<String>, leaves: &mut BTreeMap<String, serde_json::Value>) {
    if let Value::Dict(_, dict) = tree {
        for (key, value) in dict {
            path.push(key.clone());
            collect(value, path, leaves);
            path.pop();
        }
    } else {
        let value = serde_json::to_value(tree).expect("a tree with text keys is JSON");
        leaves.insert(tree::dotted(path), value);
    }
}
