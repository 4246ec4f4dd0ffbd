//! What a file calls its points.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The names of points as they are written; an empty list where the file gives none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Labels {
    /// One name for each point, in the order of the sweep.
    InOrder(Vec<String>),
    /// What to say in place of a value, such as `pretrain.epochs = 0`, or of several together.
    ByValue(BTreeMap<String, String>),
}

impl Default for Labels {
    fn default() -> Self {
        Self::InOrder(vec![])
    }
}

impl Labels {
    /// Whether the file names nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::InOrder(names) => names.is_empty(),
            Self::ByValue(names) => names.is_empty(),
        }
    }
}

/// By hand, since what serde derives for such an enum cannot say which name is wrong.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Labels;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of names, or a table from values to names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Labels, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Labels::InOrder)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Labels, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(table)).map(Labels::ByValue)
            }
        }

        deserializer.deserialize_any(Names)
    }
}

impl JsonSchema for Labels {
    fn schema_name() -> Cow<'static, str> {
        "Labels".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["array", "object"],
            "items": { "type": "string" },
            "uniqueItems": true,
            "additionalProperties": {
                "description": "What to call the points with this value, such as \"pretrain.epochs = 0\".",
                "type": "string"
            }
        })
    }
}
