//! `[figures.NAME]`: a kind from the table in `plot`, with its own keys.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use figment::value::{Dict, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::error::Result;
use crate::metrics::measured::Measured;
use crate::plot::{Figure, FigureKind, Gathered, KINDS};

/// One figure of an experiment, drawn from its CSV files alone.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureSpec {
    /// What it shows.
    pub kind: KindOfFigure,
    /// Heading; absent where it follows from the kind.
    pub title: Option<String>,
    /// The keys of its kind, a table.
    pub own: Value,
}

/// One of [`KINDS`], by its name.
#[derive(Clone, Copy)]
pub struct KindOfFigure(pub &'static FigureKind);

impl FigureSpec {
    /// The keys that any figure has.
    pub const SHARED: [&str; 2] = ["kind", "title"];

    /// Draws the finished runs.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn draw(&self, measured: &Measured) -> Result<Gathered<Figure>> {
        let title = self.title.as_deref();
        self.kind.0.draw(&self.own, title, measured)
    }
}

impl KindOfFigure {
    /// The schemas of its own keys.
    pub fn keys(self, generator: &mut SchemaGenerator) -> Map<String, Json> {
        match self.0.schema(generator).remove("properties") {
            Some(Json::Object(keys)) => keys,
            _ => Map::new(),
        }
    }
}

impl PartialEq for KindOfFigure {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl fmt::Debug for KindOfFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl<'de> Deserialize<'de> for KindOfFigure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static NAMES: LazyLock<Vec<&str>> =
            LazyLock::new(|| KINDS.iter().map(|kind| kind.name).collect());
        let name = String::deserialize(deserializer)?;
        let kind = KINDS.iter().find(|kind| kind.name == name).map(Self);
        kind.ok_or_else(|| de::Error::unknown_variant(&name, &NAMES))
    }
}

impl Serialize for KindOfFigure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

/// Takes any key beside `kind` and `title`: which ones there are depends on the kind, which may stand last.
impl<'de> Deserialize<'de> for FigureSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = FigureSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut keys: A) -> Result<FigureSpec, A::Error> {
                let (mut kind, mut title, mut own) = (None, None, Dict::new());
                while let Some(key) = keys.next_key::<String>()? {
                    match key.as_str() {
                        "kind" => kind = Some(keys.next_value()?),
                        "title" => title = Some(keys.next_value()?),
                        _ => {
                            own.insert(key, keys.next_value()?);
                        }
                    }
                }
                Ok(FigureSpec {
                    kind: kind.ok_or_else(|| de::Error::missing_field("kind"))?,
                    title,
                    own: Value::from(own),
                })
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl Serialize for FigureSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = serializer.serialize_map(None)?;
        keys.serialize_entry("kind", &self.kind)?;
        if let Some(title) = &self.title {
            keys.serialize_entry("title", title)?;
        }
        for (key, value) in self.own.as_dict().into_iter().flatten() {
            keys.serialize_entry(key, value)?;
        }
        keys.end()
    }
}

/// The keys of all kinds, each with the kinds that have it.
impl JsonSchema for FigureSpec {
    fn schema_name() -> Cow<'static, str> {
        "FigureSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kinds = KINDS
            .iter()
            .map(|kind| json_schema!({"const": kind.name, "description": kind.shows}));
        let kinds: Vec<Schema> = kinds.collect();
        let mut keys = Map::new();
        keys.insert(
            "kind".to_owned(),
            serde_json::json!({"description": "What it shows.", "oneOf": kinds}),
        );
        keys.insert(
            "title".to_owned(),
            serde_json::json!({"description": "Heading. Default: from the kind.", "type": "string"}),
        );
        let own: Vec<Map<String, Json>> = KINDS
            .iter()
            .map(|kind| KindOfFigure(kind).keys(generator))
            .collect();
        for (key, mut schema) in own.into_iter().flatten() {
            if keys.contains_key(&key) {
                continue;
            }
            let of = kinds_with(&key, generator);
            let of: Vec<String> = of.iter().map(|name| format!("`{name:?}`")).collect();
            let description = schema["description"].as_str().unwrap_or_default();
            let mut letters = description.chars();
            let first = letters.next().into_iter().flat_map(char::to_lowercase);
            let description: String = first.chain(letters).collect();
            schema["description"] = format!("{} only: {description}", of.join(" and ")).into();
            keys.insert(key, schema);
        }
        json_schema!({
            "description": "One figure of an experiment, drawn from its CSV files alone.",
            "type": "object",
            "properties": keys,
            "required": ["kind"],
            "additionalProperties": false,
        })
    }
}

/// The kinds that have a key of their own.
pub fn kinds_with(key: &str, generator: &mut SchemaGenerator) -> Vec<&'static str> {
    let kinds = KINDS.iter();
    let having = kinds.filter(|kind| KindOfFigure(kind).keys(generator).contains_key(key));
    having.map(|kind| kind.name).collect()
}
