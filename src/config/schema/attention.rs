//! `[model.attention]`: a kind from the table in `config/shape.rs`, with its own number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape::{ATTENTION_KINDS, KindOfAttention};
use crate::kinds::{Listed, Named};

/// Which attention, with its own keys.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
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

    /// The keys that belong to some kinds alone, with their values.
    pub fn parameters(&self) -> [(&'static str, Option<usize>); 3] {
        [
            ("bottleneck", self.bottleneck),
            ("kv_heads", self.kv_heads),
            ("window", self.window),
        ]
    }

    /// The number of the kind's own, 0 where it has or is given none.
    pub(super) fn kind_parameter(&self) -> usize {
        let numbers = self.parameters().into_iter();
        let given = numbers.filter(|(name, _)| Some(*name) == self.kind.0.parameter_key);
        given.filter_map(|(_, number)| number).next().unwrap_or(0)
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
}
