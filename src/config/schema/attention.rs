//! `[model.attention]`: a kind from the table in `config/shape.rs`, with its own number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::shape::{ATTENTION_KINDS, KindOfAttention};
use crate::kinds::{Listed, Named, kinds};

/// Which attention, with its own keys.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[schemars(extend("kinds" = own_keys()))]
#[serde(deny_unknown_fields)]
pub struct AttentionSpec {
    /// `"vanilla"` is causal softmax attention; `attnlab list attention` says what the others are.
    pub kind: Named<KindOfAttention>,
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

/// The keys of each kind, for [`KINDS`](crate::kinds::KINDS).
fn own_keys() -> Value {
    let own = |kind: &KindOfAttention| {
        let key: Vec<&str> = kind.parameter_key.into_iter().collect();
        (kind.name.to_owned(), json!({"takes": key, "requires": key}))
    };
    kinds("kind", ATTENTION_KINDS.iter().map(own))
}

impl AttentionSpec {
    /// Softmax attention over all tokens before.
    #[cfg(test)]
    pub fn vanilla() -> Self {
        Self {
            kind: Named(KindOfAttention::named("vanilla").expect("a kind of the table")),
            bottleneck: None,
            kv_heads: None,
            window: None,
        }
    }

    /// The number of the kind's own, 0 where it has none: no other is given.
    pub(super) fn kind_parameter(&self) -> usize {
        let own = self.bottleneck.or(self.kv_heads).or(self.window);
        own.unwrap_or(0)
    }
}

impl Listed for KindOfAttention {
    fn all() -> &'static [Self] {
        &ATTENTION_KINDS
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn other_names(&self) -> &'static [&'static str] {
        self.other_names
    }
}
