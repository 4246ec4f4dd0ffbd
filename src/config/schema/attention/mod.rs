//! `[model.attention]`: a kind from a table, and parts that combine with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod kinds;
mod parts;

use super::is_default;
use crate::kinds::{KINDS, Named, kinds as kinds_of};
pub use kinds::{ATTENTION_KINDS, KindOfAttention, Mechanism};
pub use parts::{ATTENTION_PARTS, BiasSpec, GateSpec, QkNormSpec, RotarySpec, SinkSpec};

/// `[model.attention]`: the attention of all layers, and what those of a pattern have instead.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(from = "Written")]
pub struct AttentionTable {
    /// Of all layers.
    #[serde(flatten)]
    pub all: AttentionSpec,
    /// Tables that `model.pattern` names: the keys that its layers have instead.
    #[serde(flatten)]
    pub layers: BTreeMap<String, Map<String, Value>>,
}

/// The table as it was written.
#[derive(Deserialize)]
struct Written {
    #[serde(flatten)]
    all: AttentionSpec,
    #[serde(flatten)]
    layers: BTreeMap<String, Map<String, Value>>,
}

/// Values in the tables of layers are normalised as reading does those of all layers, so that `50` and `50.0` are one
/// value. What cannot be read stays as it is, for the checks to refuse.
impl From<Written> for AttentionTable {
    fn from(Written { all, layers }: Written) -> Self {
        let mut table = Self { all, layers };
        for name in table.layers.keys().cloned().collect::<Vec<_>>() {
            let read = table.of_layer(&name).and_then(serde_json::to_value);
            let own = table.layers.get_mut(&name).into_iter().flatten();
            for (key, value) in own {
                let said = read.as_ref().ok().and_then(|read| read.get(key));
                // A number at its default is not written: `softcap`, which is a float.
                if let Some(said) = said.cloned().or_else(|| Some(value.as_f64()?.into())) {
                    *value = said;
                }
            }
        }
        table
    }
}

impl Deref for AttentionTable {
    type Target = AttentionSpec;

    fn deref(&self) -> &AttentionSpec {
        &self.all
    }
}

impl From<AttentionSpec> for AttentionTable {
    fn from(all: AttentionSpec) -> Self {
        Self {
            all,
            layers: BTreeMap::new(),
        }
    }
}

impl JsonSchema for AttentionTable {
    fn schema_name() -> Cow<'static, str> {
        "AttentionTable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut table = AttentionSpec::json_schema(generator);
        let mut layer = table.clone();
        layer.remove("required");
        layer.remove(KINDS);
        let about = "Keys that override `[model.attention]` in the layers that `model.pattern` calls by this name.";
        layer.insert("description".into(), about.into());
        table.insert("additionalProperties".into(), layer.to_value());
        table
    }
}

impl AttentionTable {
    /// The attention of the layers that a pattern calls `name`: its own table, over `[model.attention]`. If it has a kind
    /// of its own, it inherits neither keys that this kind rejects or already sets, nor those that only the kind of
    /// `[model.attention]` requires.
    ///
    /// # Errors
    /// There is no such table, or it has a value that cannot be read.
    pub fn of_layer(&self, name: &str) -> Result<AttentionSpec, serde_json::Error> {
        let own = self.layers.get(name).ok_or_else(|| {
            serde::de::Error::custom(format!("there is no `[model.attention.{name}]`"))
        })?;
        let Value::Object(mut keys) = serde_json::to_value(&self.all)? else {
            unreachable!("a struct is a table");
        };
        if let Some(kind) = own.get("kind") {
            let kind: Named<KindOfAttention> = serde_json::from_value(kind.clone())?;
            let needed = self.all.kind.0.requires;
            let inherits =
                |key: &str| kind.0.has(key) && !kind.0.sets(key) && !needed.contains(&key);
            keys.retain(|key, _| inherits(key));
        }
        keys.extend(own.clone());
        serde_json::from_value(keys.into())
    }
}

/// Which attention: a kind, and parts that combine with it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[schemars(extend("kinds" = own_keys()))]
#[serde(deny_unknown_fields)]
pub struct AttentionSpec {
    /// `"softmax"`, also called `"vanilla"`, is causal softmax attention; `attnlab list attention` says what the others
    /// are. Some are shorthand: `"rope"` is `"softmax"` with `rotary = {}`.
    pub kind: Named<KindOfAttention>,
    /// `"perceiver"` only: number of latents, at most `context`; it needs at least 2 layers. Default: required there.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<usize>,
    /// Number of key/value heads, each shared by a group of query heads; must divide `heads`. Default: `heads`; required
    /// by `"grouped-query"`.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Sliding window: number of most recent tokens that each token attends to, including itself. Default: no window;
    /// required by `"sliding-window"`.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Rotary position embedding (RoPE) of queries and keys (Su et al. 2021). Default: none, except in `"rope"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<RotarySpec>,
    /// Bias added to attention scores. Default: `"none"`, except `"alibi"` in `"alibi"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<BiasSpec>,
    /// QK norm: how queries and keys are normalised before their dot product. Default: `"none"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub qk_norm: QkNormSpec,
    /// Attention sink: an extra score without a key in the softmax, so that a token can attend to nothing. Default:
    /// `"none"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sink: SinkSpec,
    /// Output gate: the heads' outputs are multiplied by the sigmoid of a projection of the token, one number per
    /// head or per channel (Qiu et al. 2025). Default: `"none"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gate: GateSpec,
    /// Cap on scores: a score s becomes `softcap · tanh(s / softcap)` (Gemma 2, 2024). Default: 0, which means no
    /// cap.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub softcap: f64,
    /// Scores and weights are each mixed across heads by a learned matrix (Shazeer et al. 2020). Default: `false`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub talking_heads: bool,
}

/// The keys of each kind, for [`KINDS`].
fn own_keys() -> Value {
    let own = |kind: &KindOfAttention| {
        let lacks: BTreeMap<_, _> = kind.lacks.iter().copied().collect();
        let own = json!({"takes": kind.takes(), "requires": kind.requires, "lacks": lacks});
        (kind.name.to_owned(), own)
    };
    kinds_of("kind", ATTENTION_KINDS.iter().map(own))
}

impl AttentionSpec {
    /// The rotation that the table or its kind says; `None` if it is of no channels.
    pub fn rotation(&self) -> Option<RotarySpec> {
        let rotary = self.rotary.or(self.kind.0.rotary);
        rotary.filter(|rotary| rotary.fraction > 0.0)
    }

    /// The bias that the table or its kind says.
    pub fn score_bias(&self) -> BiasSpec {
        self.bias.or(self.kind.0.bias).unwrap_or(BiasSpec::None)
    }

    /// The number of heads of keys and values that the table or its kind says; if neither, all of `heads`.
    pub fn key_heads(&self, heads: usize) -> usize {
        self.kv_heads.or(self.kind.0.kv_heads).unwrap_or(heads)
    }
}
