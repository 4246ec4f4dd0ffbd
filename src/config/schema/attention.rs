//! `[model.attention]`: a kind from a table, with its own number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ModelSpec;
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
    /// A kind without its own number.
    #[cfg(test)]
    pub fn of(kind: &str) -> Self {
        Self {
            kind: Named(KindOfAttention::named(kind).expect("a kind of the table")),
            bottleneck: None,
            kv_heads: None,
            window: None,
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
    /// The key of its parameter in `[model.attention]`, if it has one.
    pub parameter_key: Option<&'static str>,
    /// The longest document, in tokens, for a given context length.
    pub longest: fn(usize) -> usize,
    /// Why a model is impossible, as a sentence about `model.attention`; `None` if it is not.
    pub refuses: fn(&ModelSpec) -> Option<String>,
}

/// The kinds of attention, in alphabetical order. How to add one is in `src/model/attention/README.md`.
pub const ATTENTION_KINDS: [KindOfAttention; 10] = [
    kind(
        "alibi",
        "scores fall with distance, each head by a slope of its own (Press et al. 2022)",
    ),
    KindOfAttention {
        refuses: |spec| odd_heads(spec, "splits each head in half"),
        ..kind(
            "differential",
            "a second attention map is subtracted from the first (Ye et al. 2025)",
        )
    },
    KindOfAttention {
        other_names: &["gqa"],
        parameter_key: Some("kv_heads"),
        refuses: uneven_groups,
        ..kind(
            "grouped-query",
            "groups of heads share keys and values (Ainslie et al. 2023)",
        )
    },
    kind(
        "linear",
        "dot products of feature maps instead of a softmax (Katharopoulos et al. 2020)",
    ),
    KindOfAttention {
        other_names: &["mqa"],
        ..kind(
            "multi-query",
            "all heads share keys and values (Shazeer 2019)",
        )
    },
    KindOfAttention {
        is_network: true,
        parameter_key: Some("bottleneck"),
        refuses: no_bottleneck,
        ..kind(
            "perceiver",
            "a network of a few latents between the tokens (Jaegle et al. 2021)",
        )
    },
    KindOfAttention {
        other_names: &["rotary"],
        refuses: |spec| odd_heads(spec, "rotates pairs of channels"),
        ..kind(
            "rope",
            "queries and keys rotated by their position (Su et al. 2021)",
        )
    },
    KindOfAttention {
        parameter_key: Some("window"),
        ..kind(
            "sliding-window",
            "each token attends only to the last few tokens (Beltagy et al. 2020)",
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
        other_names: &["softmax"],
        ..kind(
            "vanilla",
            "causal multi-head softmax attention (Vaswani et al. 2017)",
        )
    },
];

/// A kind without a parameter.
const fn kind(name: &'static str, about: &'static str) -> KindOfAttention {
    KindOfAttention {
        name,
        other_names: &[],
        is_network: false,
        about,
        parameter_key: None,
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

fn uneven_groups(spec: &ModelSpec) -> Option<String> {
    let (own, heads) = (spec.attention.kv_heads?, spec.heads);
    let uneven = own == 0 || !heads.is_multiple_of(own);
    let says = "needs groups of equal size: `kv_heads`";
    uneven.then(|| format!("{says} = {own} must divide `model.heads` = {heads}"))
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
