//! `[model.attention]`: a kind from a table, and parts that combine with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ModelSpec;
use crate::kinds::{Listed, Named, kinds};

/// Which attention: a kind, and parts that combine with it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[schemars(extend("kinds" = own_keys()))]
#[serde(deny_unknown_fields)]
pub struct AttentionSpec {
    /// `"softmax"`, also called `"vanilla"`, is causal softmax attention; `attnlab list attention` says what the others
    /// are. Some are names of combinations: `"rope"` is `"softmax"` with `rotary = {}`.
    pub kind: Named<KindOfAttention>,
    /// `"perceiver"` only: number of latents, at most `context`; it needs at least 2 layers. Default: required there.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<usize>,
    /// Number of heads of keys and values, each shared by a group of heads; must divide `heads`. Default: `heads`, but
    /// required of `"grouped-query"`.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Number of tokens that each token attends to, including itself. Default: all before it, but required of
    /// `"sliding-window"`.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Queries and keys are rotated by their position (Su et al. 2021). Default: only in `"rope"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<RotarySpec>,
    /// What a position adds to scores. Default: nothing, but `"alibi"` in `"alibi"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<BiasSpec>,
}

/// A rotation of queries and keys.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RotarySpec {
    /// Base of the angles: pair i of n channels turns by `base^(-2i / n)` a token.
    #[schemars(range(min = 1))]
    #[serde(default = "default_rotary_base")]
    pub base: f64,
    /// Fraction of a head's channels that are rotated, from the first on, rounded to pairs.
    #[schemars(range(min = 0, max = 1))]
    #[serde(default = "default_rotary_fraction")]
    pub fraction: f64,
}

fn default_rotary_base() -> f64 {
    10_000.0
}

fn default_rotary_fraction() -> f64 {
    1.0
}

impl Default for RotarySpec {
    fn default() -> Self {
        Self {
            base: default_rotary_base(),
            fraction: default_rotary_fraction(),
        }
    }
}

impl RotarySpec {
    /// Number of rotated channels of a head.
    pub fn channels(&self, head_dim: usize) -> usize {
        2 * (self.fraction * (head_dim / 2) as f64).round() as usize
    }
}

/// What a position adds to scores.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum BiasSpec {
    /// The farther away a key, the lower its score, each head by a slope of its own (Press et al. 2022).
    Alibi,
}

/// The keys of each kind, for [`KINDS`](crate::kinds::KINDS).
fn own_keys() -> Value {
    let own = |kind: &KindOfAttention| {
        let takes: Vec<&str> = kind.requires.iter().chain(kind.takes).copied().collect();
        (
            kind.name.to_owned(),
            json!({"takes": takes, "requires": kind.requires}),
        )
    };
    kinds("kind", ATTENTION_KINDS.iter().map(own))
}

impl AttentionSpec {
    /// A kind of the table, without further keys.
    #[cfg(test)]
    pub fn of(kind: &str) -> Self {
        Self {
            kind: Named(KindOfAttention::named(kind).expect("a kind of the table")),
            bottleneck: None,
            kv_heads: None,
            window: None,
            rotary: None,
            bias: None,
        }
    }
}

/// What the configuration knows of a kind of attention.
#[derive(Clone, Copy, Debug)]
pub struct KindOfAttention {
    /// As the TOML spells it.
    pub name: &'static str,
    /// Other words by which people know it.
    pub other_names: &'static [&'static str],
    /// Whether it is a network of its own, in `src/model/`, and not the attention of a GPT's blocks.
    pub is_network: bool,
    /// What it is, in a line, with its source.
    pub about: &'static str,
    /// The keys of `[model.attention]` that it has to have.
    pub requires: &'static [&'static str],
    /// Further keys that it may have.
    pub takes: &'static [&'static str],
    /// The longest document, in tokens, for a given context length.
    pub longest: fn(usize) -> usize,
    /// Why a model is impossible, as a sentence about `model.attention`; `None` if it is not.
    pub refuses: fn(&ModelSpec) -> Option<String>,
}

/// The kinds of attention, in alphabetical order. How to add one is in `src/model/attention/README.md`.
pub const ATTENTION_KINDS: [KindOfAttention; 11] = [
    KindOfAttention {
        takes: &[KV_HEADS, WINDOW, ROTARY],
        ..kind(
            "alibi",
            "scores fall with distance, each head by a slope of its own (Press et al. 2022)",
        )
    },
    KindOfAttention {
        refuses: |spec| odd_heads(spec, "splits each head in half"),
        ..kind(
            "differential",
            "a second attention map is subtracted from the first (Ye et al. 2025)",
        )
    },
    KindOfAttention {
        other_names: &["gqa"],
        requires: &[KV_HEADS],
        takes: &[WINDOW, ROTARY, BIAS],
        ..kind(
            "grouped-query",
            "groups of heads share keys and values (Ainslie et al. 2023)",
        )
    },
    KindOfAttention {
        takes: &[KV_HEADS, WINDOW],
        ..kind(
            "linear",
            "dot products of feature maps instead of a softmax (Katharopoulos et al. 2020)",
        )
    },
    KindOfAttention {
        other_names: &["mqa"],
        takes: &[WINDOW, ROTARY, BIAS],
        ..kind(
            "multi-query",
            "all heads share keys and values (Shazeer 2019)",
        )
    },
    KindOfAttention {
        is_network: true,
        requires: &["bottleneck"],
        refuses: no_bottleneck,
        ..kind(
            "perceiver",
            "a network of a few latents between the tokens (Jaegle et al. 2021)",
        )
    },
    KindOfAttention {
        other_names: &["rotary"],
        takes: &[KV_HEADS, WINDOW, ROTARY, BIAS],
        refuses: |spec| odd_heads(spec, "rotates pairs of channels"),
        ..kind(
            "rope",
            "queries and keys rotated by their position (Su et al. 2021)",
        )
    },
    KindOfAttention {
        requires: &[WINDOW],
        takes: &[KV_HEADS, ROTARY, BIAS],
        ..kind(
            "sliding-window",
            "each token attends only to the last few tokens (Beltagy et al. 2020)",
        )
    },
    KindOfAttention {
        takes: &[KV_HEADS, WINDOW, ROTARY, BIAS],
        ..kind(
            "softmax",
            "causal multi-head softmax attention (Vaswani et al. 2017)",
        )
    },
    KindOfAttention {
        // As in the assignment: the last token of a document is only ever a target.
        longest: |context| context - 1,
        ..kind(
            "synthesizer",
            "each token predicts its attention scores, without keys (Tay et al. 2021)",
        )
    },
    KindOfAttention {
        takes: &[KV_HEADS, WINDOW, ROTARY, BIAS],
        ..kind(
            "vanilla",
            "softmax attention by the name that it has in the assignment",
        )
    },
];

const KV_HEADS: &str = "kv_heads";
const WINDOW: &str = "window";
const ROTARY: &str = "rotary";
const BIAS: &str = "bias";

/// A kind without further keys.
const fn kind(name: &'static str, about: &'static str) -> KindOfAttention {
    KindOfAttention {
        name,
        other_names: &[],
        is_network: false,
        about,
        requires: &[],
        takes: &[],
        longest: |context| context,
        refuses: |_| None,
    }
}

fn odd_heads(spec: &ModelSpec, does: &str) -> Option<String> {
    let odd = !spec.head_dim.is_multiple_of(2);
    odd.then(|| format!("{does}, and `model.head_dim` = {} is odd", spec.head_dim))
}

fn no_bottleneck(spec: &ModelSpec) -> Option<String> {
    let (layers, context) = (spec.layers, spec.context);
    let own = spec.attention.bottleneck?;
    if layers < 2 {
        let says = "has a block down and a block up:";
        return Some(format!(
            "{says} `model.layers` = {layers} must be at least 2"
        ));
    }
    let says = "has at most one latent per token: `bottleneck`";
    (own > context).then(|| format!("{says} = {own} must be at most `model.context` = {context}"))
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
