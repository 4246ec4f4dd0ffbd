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
#[serde(default, deny_unknown_fields)]
pub struct RotarySpec {
    /// Base of the angles: pair i of n channels turns by `base^(-2i / n)` a token.
    #[schemars(range(min = 1))]
    pub base: f64,
    /// Fraction of a head's channels that are rotated, from the first on, rounded to pairs.
    #[schemars(range(min = 0, max = 1))]
    pub fraction: f64,
}

/// As in the paper.
const ROTARY_DEFAULT: RotarySpec = RotarySpec {
    base: 10_000.0,
    fraction: 1.0,
};

impl Default for RotarySpec {
    fn default() -> Self {
        ROTARY_DEFAULT
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
    /// The rotation that the table or its kind says.
    pub fn rotation(&self) -> Option<RotarySpec> {
        self.rotary.or(self.kind.0.rotary)
    }

    /// The bias that the table or its kind says.
    pub fn score_bias(&self) -> Option<BiasSpec> {
        self.bias.or(self.kind.0.bias)
    }

    /// The number of heads of keys and values that the table or its kind says; if neither, all of `heads`.
    pub fn key_heads(&self, heads: usize) -> usize {
        self.kv_heads.or(self.kind.0.kv_heads).unwrap_or(heads)
    }
}

/// The keys of the file that decide that a kind is impossible, and why, as a sentence about the kind.
pub type Refusal = (&'static [&'static str], String);

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
    /// The rotation that it is a name for.
    pub rotary: Option<RotarySpec>,
    /// The bias that it is a name for.
    pub bias: Option<BiasSpec>,
    /// The number of heads of keys and values that it is a name for.
    pub kv_heads: Option<usize>,
    /// The keys of `[model.attention]` that it has to have.
    pub requires: &'static [&'static str],
    /// Further keys that it may have.
    pub takes: &'static [&'static str],
    /// The longest document, in tokens, for a given context length.
    pub longest: fn(usize) -> usize,
    /// Why a model is impossible; `None` if it is not.
    pub refuses: fn(&ModelSpec) -> Option<Refusal>,
}

/// The kinds of attention, in alphabetical order. How to add one is in `src/model/attention/README.md`.
pub const ATTENTION_KINDS: [KindOfAttention; 11] = [
    KindOfAttention {
        bias: Some(BiasSpec::Alibi),
        takes: &[KV_HEADS, WINDOW, ROTARY],
        ..kind(
            "alibi",
            "scores fall with distance, each head by a slope of its own (Press et al. 2022)",
        )
    },
    KindOfAttention {
        refuses: odd_heads,
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
        kv_heads: Some(1),
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
        rotary: Some(ROTARY_DEFAULT),
        takes: &[KV_HEADS, WINDOW, ROTARY, BIAS],
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
        rotary: None,
        bias: None,
        kv_heads: None,
        requires: &[],
        takes: &[],
        longest: |context| context,
        refuses: |_| None,
    }
}

fn odd_heads(spec: &ModelSpec) -> Option<Refusal> {
    let head_dim = spec.head_dim;
    let why = || format!("splits each head in half, and `model.head_dim` = {head_dim} is odd");
    (!head_dim.is_multiple_of(2)).then(|| (&["model.head_dim"][..], why()))
}

fn no_bottleneck(spec: &ModelSpec) -> Option<Refusal> {
    let (layers, context) = (spec.layers, spec.context);
    if layers < 2 {
        let why = format!(
            "has a block down and a block up: `model.layers` = {layers} must be at least 2"
        );
        return Some((&["model.layers"], why));
    }
    let own = spec.attention.bottleneck?;
    let why = || {
        format!(
            "has at most one latent per token: `bottleneck` = {own} must be at most `model.context` = {context}"
        )
    };
    let reads = &["model.attention.bottleneck", "model.context"][..];
    (own > context).then(|| (reads, why()))
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
