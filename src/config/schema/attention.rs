//! `[model.attention]`: a kind from the table in `config/shape.rs`, with its own number.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::shape::{self, ATTENTION_KINDS, KindOfAttention};

/// Which attention, with its own keys.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AttentionSpec {
    /// `"vanilla"` is causal softmax attention; `attnlab list attention` says what the others are.
    pub kind: AttentionKind,
    /// `"perceiver"` only: number of latents, at most `context`; it needs at least 2 layers. Default: required there.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<usize>,
    /// `"grouped-query"` only: number of heads of keys and values; must divide `heads`. Default: required there.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// `"sliding-window"` only: number of tokens that each token attends to, including itself. Default: required there.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
}

impl AttentionSpec {
    /// Softmax attention over all tokens before.
    #[cfg(test)]
    pub fn vanilla() -> Self {
        Self {
            kind: AttentionKind(KindOfAttention::named("vanilla").expect("a kind of the table")),
            bottleneck: None,
            kv_heads: None,
            window: None,
        }
    }

    /// The keys that belong to some kinds alone, with their values.
    pub fn own_numbers(&self) -> [(&'static str, Option<usize>); 3] {
        [
            ("bottleneck", self.bottleneck),
            ("kv_heads", self.kv_heads),
            ("window", self.window),
        ]
    }

    /// The number of the kind's own, 0 where it has or is given none.
    pub(super) fn own(&self) -> usize {
        let numbers = self.own_numbers().into_iter();
        let own = numbers.filter(|(name, _)| Some(*name) == self.kind.0.own_key);
        own.filter_map(|(_, number)| number).next().unwrap_or(0)
    }
}

/// One of [`ATTENTION_KINDS`], by its name.
#[derive(Clone, Copy, Debug)]
pub struct AttentionKind(pub &'static KindOfAttention);

impl PartialEq for AttentionKind {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl<'de> Deserialize<'de> for AttentionKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[&str] = &shape::attention_names();
        let name = String::deserialize(deserializer)?;
        let unknown = || de::Error::unknown_variant(&name, NAMES);
        KindOfAttention::named(&name).map(Self).ok_or_else(unknown)
    }
}

impl Serialize for AttentionKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl JsonSchema for AttentionKind {
    fn schema_name() -> Cow<'static, str> {
        "AttentionKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds = ATTENTION_KINDS
            .map(|kind| json_schema!({"const": kind.name, "description": kind.about}));
        json_schema!({"oneOf": kinds})
    }
}
