//! The tables of keys in `experiments/README.md`, made from the types of the schema.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::config::json_schema::{Range, tree};
use crate::config::schema::{ExperimentHeader, ExplorationSettings, Settings};
use crate::data::DataKind;
use crate::data::objectives::Objective;
use crate::eval::measures::Measure;
use crate::explore::QuestionKind;
use crate::kinds::Listed;
use crate::plot::FigureKind;

/// The headings of the manual whose tables are made, each with the table of the file that it describes.
const TABLES: [(&str, &str); 18] = [
    ("## Top level", ""),
    ("## `[data]`", "data"),
    ("### `data.questions`", "data.questions"),
    ("### `data.sha256`", "data.sha256"),
    ("## `[model]`", "model"),
    ("### `model.attention`", "model.attention"),
    ("### `model.attention.rotary`", "model.attention.rotary"),
    ("## `[pretrain]` and `[finetune]`", "pretrain"),
    ("### `pretrain.rewording`", "pretrain.rewording"),
    ("### `optimiser`", "pretrain.optimiser"),
    ("### `schedule`", "pretrain.schedule"),
    ("### `validate`", "pretrain.validate"),
    ("## `[evaluate]`", "evaluate"),
    ("### `evaluate.invented`", "evaluate.invented"),
    ("### `evaluate.attention_maps`", "evaluate.attention_maps"),
    ("### `evaluate.reported`", "evaluate.reported"),
    ("## `[explore]`", "explore"),
    ("## `[figures.NAME]`", "figures.*"),
];

/// `UPDATE_GOLDEN=1 cargo test` writes the tables anew.
#[test]
fn the_manual_has_the_keys_of_the_types() {
    let path = crate::sources().join("experiments/README.md");
    let manual = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\r\n", "\n");
    let mut made = manual.clone();
    for (heading, table) in TABLES {
        let head = "| key | meaning | values | default |\n|---|---|---|---|\n";
        made = with_table(&made, heading, head, &rows(table));
    }
    made = with_kinds::<DataKind>(&made, "### Kinds of data", "kind");
    made = with_kinds::<Objective>(&made, "### Objectives", "objective");
    made = with_kinds::<Measure>(&made, "### `evaluate.measures`", "measure");
    made = with_kinds::<QuestionKind>(&made, "### Questions", "kind");
    made = with_kinds::<FigureKind>(&made, "### Kinds of figures", "kind");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
        return;
    }
    let lines = manual.lines().zip(made.lines());
    for (written, made) in lines {
        assert_eq!(written, made, "UPDATE_GOLDEN=1 accepts the new table");
    }
    assert_eq!(
        manual.len(),
        made.len(),
        "a table has another number of rows"
    );
}

/// The manual with the first table after a heading replaced by one of all entries of a list.
fn with_kinds<K: Listed>(manual: &str, heading: &str, column: &str) -> String {
    let row = |kind: &K| format!("| {} | {} |", kind.name(), kind.about());
    let rows: Vec<String> = K::all().iter().map(row).collect();
    let head = format!("| {column} | what it is |\n|---|---|\n");
    with_table(manual, heading, &head, &rows)
}

/// The manual with other rows in the first table after a heading.
fn with_table(manual: &str, heading: &str, head: &str, rows: &[String]) -> String {
    let section = manual.find(&format!("{heading}\n")).expect(heading);
    let start = section + manual[section..].find("\n| ").expect(heading) + 1;
    let end = start + manual[start..].find("\n\n").expect(heading);
    format!(
        "{}{head}{}{}",
        &manual[..start],
        rows.join("\n"),
        &manual[end..]
    )
}

/// A row for each key of a table.
fn rows(table: &str) -> Vec<String> {
    let (tree, required) = (tree(), required());
    let names: Vec<&str> = table.split('.').filter(|name| !name.is_empty()).collect();
    let at = |tree: &Value| {
        let inner = |schema: Value, name: &&str| match *name {
            "*" => inside(&schema)["additionalProperties"].clone(),
            name => inside(&schema)["properties"][name].clone(),
        };
        inside(&names.iter().fold(tree.clone(), inner)).clone()
    };
    let (here, required) = (at(tree), at(&required));
    let is_required = |key: &str| {
        let keys = required["required"].as_array();
        keys.is_some_and(|keys| keys.iter().any(|name| name == key))
    };
    let other_stage = (table == "pretrain").then(|| &tree["properties"]["finetune"]["properties"]);
    let keys = here["properties"].as_object().expect("a table").iter();
    let row = |(key, schema): (&String, &Value)| {
        let (meaning, default) = described(schema);
        let default = default
            .or_else(|| is_required(key).then(|| "required".to_owned()))
            .or_else(|| schema.get("default").map(plain))
            .unwrap_or_default();
        let only = match other_stage {
            Some(other) if other.get(key).is_none() => "pretrain only: ",
            _ => "",
        };
        format!(
            "| `{key}` | {only}{meaning} | {} | {default} |",
            values(schema)
        )
    };
    keys.map(row).collect()
}

/// A schema or, where null is allowed as well, the one of the two that is not null.
fn inside(schema: &Value) -> &Value {
    schema.get("anyOf").map_or(schema, |both| &both[0])
}

/// All tables as the types have them, with the lists of keys that must be given.
fn required() -> Value {
    let (mut keys, mut required) = (Map::new(), vec![]);
    for mut table in [
        of::<ExperimentHeader>(),
        of::<Settings>(),
        of::<ExplorationSettings>(),
    ] {
        // A file has either of the two: what an exploration needs is not needed by others.
        let names = table["required"].as_array().cloned().unwrap_or_default();
        required.extend(names.into_iter().filter(|name| name != "explore"));
        if let Some(Value::Object(more)) = table.get_mut("properties").map(Value::take) {
            keys.extend(more);
        }
    }
    serde_json::json!({ "properties": keys, "required": required })
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// What a key means, and the default that its description ends with.
fn described(schema: &Value) -> (String, Option<String>) {
    let text = schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ");
    let (meaning, default) = match text.split_once("Default") {
        Some((meaning, default)) => {
            let default = default.trim_start_matches(':').trim().trim_end_matches('.');
            (meaning.trim().to_owned(), Some(default.to_owned()))
        }
        None => (text, None),
    };
    let mut letters = meaning.trim_end_matches('.').chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let is_name = letters
        .clone()
        .next()
        .is_some_and(|second| second.is_ascii_uppercase());
    match is_name {
        true => (meaning.trim_end_matches('.').to_owned(), default),
        false => (first.into_iter().chain(letters).collect(), default),
    }
}

/// A default as a file would say it.
fn plain(default: &Value) -> String {
    match default {
        Value::Object(_) => "see below".to_owned(),
        other => format!("`{}`", other.to_string().replace(',', ", ")),
    }
}

/// Which values a key takes.
fn values(schema: &Value) -> String {
    if let Some(names) = schema["enum"].as_array() {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        return names.join(", ");
    }
    match schema["type"].as_str() {
        Some("integer") => number("whole number", schema),
        Some("number") => number("number", schema),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("array") => match schema["items"].get("enum") {
            Some(_) => format!("list of {}", values(&schema["items"])),
            None => format!("list; each a {}", values(&schema["items"])),
        },
        Some("object") => "table".to_owned(),
        Some("string") => "string".to_owned(),
        _ if schema["type"] == json!(["string", "object"]) => "string or table".to_owned(),
        _ => "table or list".to_owned(),
    }
}

fn number(kind: &str, schema: &Value) -> String {
    match Range::of(schema) {
        Some(range) => format!("{kind}, {range}"),
        None => kind.to_owned(),
    }
}
