//! The experiment file as JSON Schema, for editors and linters of TOML.
//!
//! Generated from the types of [`schema`](super::schema): field names become keys, doc comments become
//! descriptions, and ranges are attributes of the fields. `problems` holds a file to it once all layers are merged; it
//! also needs to know which keys are required, and which belong to some kinds of a table alone: words of the schema
//! that are not exported.

use std::fmt;
use std::sync::LazyLock;

use figment::value::Value as Given;
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use super::schema::{ExperimentHeader, ExplorationSettings, Settings};
use super::sweep::{MOST_POINTS, SEED_LIMIT};
use super::tree::dotted;
use crate::kinds::{KINDS, OTHER_NAMES, schema};

/// The JSON Schema (draft 07) of an experiment file: its text, ending with a line feed.
pub fn json_schema() -> String {
    let text = serde_json::to_string_pretty(&exported());
    format!("{}\n", text.expect("a tree with text keys is JSON"))
}

fn exported() -> Value {
    let mut exported = Schema::try_from(tree().clone()).expect("a schema is an object");
    RecursiveTransform(for_one_file).transform(&mut exported);
    exported.to_value()
}

/// The same as a tree: a table is an object with `properties`, in the order of their declaration,
/// or with `additionalProperties` where any name is allowed.
pub(super) fn tree() -> &'static Value {
    static TREE: LazyLock<Value> = LazyLock::new(|| {
        let parts = [
            schema::<ExperimentHeader>(),
            schema::<Settings>(),
            schema::<ExplorationSettings>(),
        ];
        let keys = parts
            .iter()
            .filter_map(|part| part["properties"].as_object());
        let mut keys: Map<String, Value> = keys
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        keys.insert("sweep".into(), sweep());
        let mut tree = json_schema!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "An experiment of attnlab",
            "description": "experiments/README.md explains every key.",
            "type": "object",
            "properties": keys,
            "additionalProperties": false
        });
        RecursiveTransform(as_in_toml).transform(&mut tree);
        tree.to_value()
    });
    &TREE
}

/// The schema of the key `name` in a table, or of an element of a list.
pub(super) fn inner<'s>(outer: &'s Value, name: &str) -> Option<&'s Value> {
    let is_element = outer.get("items").is_some() && name.parse::<usize>().is_ok();
    let named = outer.get("properties").and_then(|keys| keys.get(name));
    let other = || {
        outer.get(if is_element {
            "items"
        } else {
            "additionalProperties"
        })
    };
    named.or_else(other).filter(|inner| inner.is_object())
}

/// The schema of the key at `path`.
pub(super) fn at(path: &[String]) -> Option<&'static Value> {
    path.iter()
        .try_fold(tree(), |table, name| inner(table, name))
}

/// A key as messages name it: `` `model.layers` ``, `` element 2 of `seeds` ``.
pub(super) fn named(path: &[String]) -> String {
    let element = path.split_last().and_then(|(last, list)| {
        at(list)?.get("items")?;
        Some((list, last.parse::<usize>().ok()?))
    });
    match element {
        Some((list, index)) => format!("element {} of `{}`", index + 1, dotted(list)),
        None => format!("`{}`", dotted(path)),
    }
}

/// The texts of a list, or the only one.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    let texts = list(value).unwrap_or(std::slice::from_ref(value));
    texts.iter().filter_map(Value::as_str).collect()
}

/// The types that a schema allows.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    texts(&schema["type"])
}

/// The names that a schema allows, if it is that of an enum.
pub(super) fn names(schema: &Value) -> Option<Vec<&str>> {
    schema.get("enum").map(texts)
}

/// The number of elements of a list, if the schema sets it.
pub(super) fn length(schema: &Value) -> Option<usize> {
    let [least, most] = ["minItems", "maxItems"].map(|end| schema[end].as_u64());
    least.filter(|_| least == most)?.try_into().ok()
}

/// Whether a value is of the type and length, or one of the names, that a schema says.
pub(super) fn allows(schema: &Value, given: &Given) -> bool {
    if let Some(names) = names(schema) {
        return given.as_str().is_some_and(|name| names.contains(&name));
    }
    let is_a = |kind: &&str| match (*kind, given) {
        ("object", Given::Dict(_, dict)) => !super::tree::is_date(dict),
        ("array", Given::Array(_, items)) => length(schema).is_none_or(|n| n == items.len()),
        ("integer", Given::Num(_, number)) => number.to_u128_lossy().is_some(),
        ("number", Given::Num(..)) | ("boolean", Given::Bool(..)) => true,
        ("string", Given::String(..) | Given::Char(..)) => true,
        _ => false,
    };
    types(schema).iter().any(is_a)
}

/// Adapts the schema of a type to TOML: there is no null and no Rust number width. The names of an enum become one
/// list, and other words for them a table.
fn as_in_toml(schema: &mut Schema) {
    schema.remove("format");
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some([only, Value::String(null)]) = schema.get("type").and_then(list)
        && null == "null"
    {
        let only = only.clone();
        schema.insert("type".into(), only);
    }
    if let Some([Value::Object(only), _null]) = schema.remove("anyOf").as_ref().and_then(list) {
        for (key, value) in only {
            schema.ensure_object().entry(key).or_insert(value.clone());
        }
    }
    if let Some(Value::Array(variants)) = schema.remove("oneOf") {
        let names: Vec<&Value> = variants.iter().filter_map(|v| v.get("const")).collect();
        let others = variants.iter().flat_map(|variant| {
            let words = variant
                .get(OTHER_NAMES)
                .and_then(list)
                .into_iter()
                .flatten();
            words.filter_map(|word| Some((word.as_str()?.to_owned(), variant["const"].clone())))
        });
        let others: Map<String, Value> = others.collect();
        schema.insert("type".into(), json!("string"));
        schema.insert("enum".into(), json!(names));
        schema.insert(OTHER_NAMES.into(), json!(others));
    }
}

/// Adapts a schema to a single file, in which no key is required because other layers may set it, and takes out
/// what JSON Schema does not know.
fn for_one_file(schema: &mut Schema) {
    for word in ["required", KINDS, OTHER_NAMES] {
        schema.remove(word);
    }
}

/// A bound of a range: its JSON Schema key, the words before the limit, and the comparison that numbers must satisfy.
type End = (&'static str, &'static str, fn(&f64, &f64) -> bool);

const ENDS: [End; 4] = [
    ("minimum", "at least", f64::ge),
    ("exclusiveMinimum", "above", f64::gt),
    ("maximum", "at most", f64::le),
    ("exclusiveMaximum", "below", f64::lt),
];

/// The numbers that a schema allows.
pub(super) struct Range {
    is_whole: bool,
    /// The bounds that are set, with their limits.
    ends: Vec<(End, f64)>,
}

impl Range {
    /// `None` if the schema sets no bounds.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        let is_whole = schema["type"] == "integer";
        let end = |end: End| Some((end, schema[end.0].as_f64()?));
        let mut ends: Vec<(End, f64)> = ENDS.into_iter().filter_map(end).collect();
        // Whole numbers have unsigned types, so a minimum of 0 says nothing.
        ends.retain(|((key, ..), limit)| !(is_whole && *key == "minimum" && *limit <= 0.0));
        (!ends.is_empty()).then_some(Self { is_whole, ends })
    }

    /// Infinite numbers and NaN are outside of every range.
    pub(super) fn contains(&self, number: f64) -> bool {
        let mut ends = self.ends.iter();
        number.is_finite() && ends.all(|((_, _, keeps), limit)| keeps(&number, limit))
    }
}

/// What comes after `must be`: `between 1 and 8`, `at least 0 and below 1`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(("minimum", ..), least), (("maximum", ..), most)] = self.ends[..] {
            return write!(f, "between {least} and {most}");
        }
        let end = |((_, words, _), limit): &(End, f64)| match *limit == SEED_LIMIT as f64 {
            true => format!("{words} 2^53"),
            false => format!("{words} {limit}"),
        };
        let mut ends: Vec<String> = self.ends.iter().map(end).collect();
        if ends.len() == 1 && !self.is_whole {
            ends.push("finite".to_owned());
        }
        f.write_str(&ends.join(" and "))
    }
}

fn list(value: &Value) -> Option<&[Value]> {
    value.as_array().map(Vec::as_slice)
}

fn sweep() -> Value {
    json!({
        "description": "Several points in one file: all combinations of the axes. `[]` drops an axis of a base. Default: one point.",
        "type": "object",
        "properties": {
            "_": {
                "description": "One more axis, whose elements set several keys together.",
                "type": "array",
                "items": { "type": "object", "minProperties": 1 }
            },
            "random": random()
        },
        "additionalProperties": {
            "description": "An axis: a quoted key such as \"pretrain.epochs\", and its values.",
            "type": "array"
        }
    })
}

fn random() -> Value {
    let ends = |kind: &str, description: &str| {
        json!({
            "description": description,
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": { "type": kind }
        })
    };
    json!({
        "description": "One more axis, whose elements are drawn at random; each sets all its keys.",
        "type": ["object", "array"],
        "maxItems": 0,
        "properties": {
            "draws": {
                "description": format!("How many, 1 to {MOST_POINTS}."),
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_POINTS
            },
            "seed": {
                "description": "Seed of the draws, apart from the seed of training. Default 0.",
                "type": "integer",
                "minimum": 0,
                "maximum": SEED_LIMIT - 1
            }
        },
        "additionalProperties": {
            "description": "A quoted key such as \"pretrain.epochs\", and what it is drawn from.",
            "type": "object",
            "properties": {
                "uniform": ends("number", "Any number from the first to the second, all alike."),
                "log_uniform": ends(
                    "number",
                    "Any number from the first to the second, both above 0; all factors alike."
                ),
                "integers": ends(
                    "integer",
                    "Any whole number from the first to the second, both included, all alike."
                ),
                "choice": {
                    "description": "Any of these values, all alike.",
                    "type": "array",
                    "minItems": 1
                }
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema within a schema by its path, which starts with a dot.
    fn walk<'s>(path: String, schema: &'s Value, found: &mut Vec<(String, &'s Value)>) {
        let named = schema.get("properties").and_then(Value::as_object);
        for (key, inner) in named.into_iter().flatten() {
            walk(format!("{path}.{key}"), inner, found);
        }
        for rest in ["additionalProperties", "items"] {
            if let Some(inner) = schema.get(rest).filter(|inner| inner.is_object()) {
                walk(format!("{path}.*"), inner, found);
            }
        }
        found.push((path, schema));
    }

    #[test]
    fn nothing_is_required_and_no_table_takes_an_unknown_key() {
        let (tree, mut found) = (exported(), Vec::new());
        walk(String::new(), &tree, &mut found);
        assert!(found.len() > 70, "only {} schemas", found.len());
        for (path, schema) in found {
            let known = ["string", "integer", "number", "boolean", "array", "object"];
            let kinds = match &schema["type"] {
                Value::Array(kinds) => kinds.clone(),
                kind => vec![kind.clone()],
            };
            let is_known = |kind: &Value| known.iter().any(|known| kind == known);
            assert!(kinds.iter().all(is_known), "{path} is {}", schema["type"]);
            for word in [
                "required",
                "$ref",
                "oneOf",
                "anyOf",
                "format",
                KINDS,
                OTHER_NAMES,
            ] {
                assert!(schema.get(word).is_none(), "{path} has {word}");
            }
            let open = kinds.contains(&json!("object"))
                && schema.get("additionalProperties") != Some(&json!(false));
            let any_name = [
                ".figures",
                ".labels",
                ".model.attention",
                ".sweep",
                ".sweep._.*",
                ".sweep.random",
            ];
            let any_name = any_name.contains(&&*path);
            assert!(!open || any_name, "{path} takes any key");
        }
    }

    #[test]
    fn values_are_as_tight_as_their_types() {
        let tree = tree();
        let at = |path: &str| {
            &tree["properties"][path.split('.').next().unwrap_or_default()]["properties"]
                [path.rsplit('.').next().unwrap_or_default()]
        };
        let stages = &tree["properties"]["figures"]["additionalProperties"]["properties"]["stage"];
        assert_eq!(stages["enum"], json!(["pretrain", "finetune"]));
        assert_eq!(stages["type"], "string");
        assert_eq!(at("data.people")["type"], "integer");
        assert_eq!(at("data.people")["minimum"], 8);
        assert_eq!(at("model.dropout")["type"], "number");
        assert_eq!(at("pretrain.shuffle")["type"], "boolean");
        let betas = &at("pretrain.optimiser")["properties"]["betas"];
        assert_eq!(
            (&betas["minItems"], &betas["maxItems"]),
            (&json!(2), &json!(2))
        );
    }

    #[test]
    fn every_key_is_described_in_words_without_links_into_the_source() {
        let (tree, mut found) = (tree(), Vec::new());
        walk(String::new(), tree, &mut found);
        for (path, schema) in found.iter().filter(|(path, _)| !path.ends_with('*')) {
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty() && !text.contains("[`"), "{path}: {text:?}");
        }
    }
}
