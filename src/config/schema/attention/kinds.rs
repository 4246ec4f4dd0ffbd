//! The kinds of attention: a table.

use super::parts::{BiasSpec, ROTARY_DEFAULT, RotarySpec};
use crate::config::schema::ModelSpec;
use crate::kinds::Listed;

/// The keys of the file that decide that a kind is impossible, and why, as a sentence about the kind.
pub type Refusal = (&'static [&'static str], String);

/// The key of a part, and why a kind cannot have it, as a sentence about the kind.
pub type Lack = (&'static str, &'static str);

/// What makes weights of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// A softmax.
    Softmax,
    /// A sigmoid of each score.
    Sigmoid,
    /// Keys that take their fractions of a stick.
    StickBreaking,
    /// Dot products of feature maps, divided by their sum.
    FeatureMap,
    /// The Taylor series of the exponential, divided by its sum.
    Taylor,
    /// A state that decays at a fixed rate.
    Retention,
    /// A state with forget gates.
    GatedLinear,
    /// A state with the delta rule.
    Delta,
    /// A state with forget gates and the delta rule.
    GatedDelta,
    /// Two softmaxes, the second of which is subtracted.
    Differential,
    /// A softmax of scores of positions, without keys.
    Synthesizer,
}

impl Mechanism {
    /// Number of attention maps per head: each compares an equal share of the head's channels.
    pub fn maps(self) -> usize {
        match self {
            Self::Differential => 2,
            _ => 1,
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
    /// The weight of value v, whose key is k, for query q, where s = q · k / √d; of recurrent kinds the head's
    /// output, with the state S, and a forget gate α and a strength of the correction β of each token.
    pub formula: &'static str,
    /// What a layer learns besides projections to queries, keys and values and from the heads: D is the width of the
    /// stream, H the number of heads, d the width of a head.
    pub parameters: &'static str,
    /// The rotation that it is shorthand for.
    pub rotary: Option<RotarySpec>,
    /// The bias that it is shorthand for.
    pub bias: Option<BiasSpec>,
    /// The number of key/value heads that it is shorthand for.
    pub kv_heads: Option<usize>,
    /// What makes weights of scores.
    pub mechanism: Mechanism,
    /// The keys of `[model.attention]` that it has to have.
    pub requires: &'static [&'static str],
    /// The keys of parts that it cannot have, each with the reason; it may have all others.
    pub lacks: &'static [Lack],
    /// The longest document, in tokens, for a given context length.
    pub longest: fn(usize) -> usize,
    /// Why a model is impossible; `None` if it is not.
    pub refuses: fn(&ModelSpec) -> Option<Refusal>,
}

impl KindOfAttention {
    /// Whether its table may have a key.
    pub fn has(&self, key: &str) -> bool {
        key == "kind" || self.takes().contains(&key)
    }

    /// The keys besides `kind` that its table may have; those that it requires come first.
    pub fn takes(&self) -> Vec<&'static str> {
        let mut keys = self.requires.to_vec();
        let is_further = |key: &&str| !self.requires.contains(key) && self.why_not(key).is_none();
        keys.extend(PARTS.iter().filter(|key| is_further(key)));
        keys
    }

    /// Why it cannot have a part; `None` if it can.
    pub fn why_not(&self, key: &str) -> Option<&'static str> {
        let lack = self.lacks.iter().find(|(lacked, _)| *lacked == key);
        lack.map(|(_, why)| *why)
    }

    /// Whether it is shorthand for a value of a key.
    pub fn sets(&self, key: &str) -> bool {
        match key {
            ROTARY => self.rotary.is_some(),
            BIAS => self.bias.is_some(),
            KV_HEADS => self.kv_heads.is_some(),
            _ => false,
        }
    }
}

/// The kinds of attention, in alphabetical order. How to add one is in `src/model/attention/README.md`.
pub const ATTENTION_KINDS: [KindOfAttention; 18] = [
    KindOfAttention {
        bias: Some(BiasSpec::Alibi),
        ..kind(
            "alibi",
            "a linear penalty on distance, with a slope per head (Press et al. 2022)",
            "softmax(s - slope · distance)",
            "0",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::Taylor,
        lacks: &[SUMMED_BIAS, NO_SOFTMAX, SUMMED_CAP, SUMMED_HEADS],
        ..kind(
            "based",
            "the Taylor series 1 + s + s²/2 instead of a softmax (Arora et al. 2024)",
            "(1 + s + s²/2) / Σ",
            "0",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::Delta,
        other_names: &["deltanet"],
        lacks: CORRECTED,
        ..kind(
            "delta",
            "linear attention with the delta rule: a value overwrites what its key retrieves (Yang et al. 2024)",
            "(S q)/√d with S ← S (I - β k kᵀ) + β v kᵀ, then its RMS norm",
            "DH",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::Differential,
        lacks: &[(
            TALKING_HEADS,
            "it subtracts one map from the other within a head instead of mixing maps across heads",
        )],
        refuses: odd_heads,
        ..kind(
            "differential",
            "a second attention map is subtracted from the first (Ye et al. 2025)",
            "softmax(s₁) - λ softmax(s₂), then a norm",
            "3d",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::GatedDelta,
        other_names: &["gated-deltanet"],
        lacks: CORRECTED,
        ..kind(
            "gated-delta",
            "the delta rule with forget gates (Yang et al. 2025)",
            "(S q)/√d with S ← α S (I - β k kᵀ) + β v kᵀ, then its RMS norm",
            "2DH + H",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::GatedLinear,
        other_names: &["gla"],
        lacks: &[OWN_BIAS, NO_SOFTMAX, SUMMED_CAP, SUMMED_HEADS],
        ..kind(
            "gated-linear",
            "linear attention with forget gates, one per head (Yang et al. 2024)",
            "(S q)/√d with S ← α S + v kᵀ, then its RMS norm",
            "DH + H",
        )
    },
    KindOfAttention {
        other_names: &["gqa"],
        requires: &[KV_HEADS],
        ..kind(
            "grouped-query",
            "groups of heads share keys and values (Ainslie et al. 2023)",
            "softmax(s), k and v shared by H / kv_heads heads",
            "0",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::FeatureMap,
        lacks: &[
            (ROTARY, "a rotation could make its weights negative"),
            SUMMED_BIAS,
            NO_SOFTMAX,
            SUMMED_CAP,
            SUMMED_HEADS,
        ],
        ..kind(
            "linear",
            "dot products of feature maps instead of a softmax (Katharopoulos et al. 2020)",
            "φ(q) · φ(k) / Σ with φ(x) = elu(x) + 1",
            "0",
        )
    },
    KindOfAttention {
        other_names: &["mqa"],
        kv_heads: Some(1),
        lacks: &[(KV_HEADS, "it already means `kv_heads = 1`")],
        ..kind(
            "multi-query",
            "all heads share keys and values (Shazeer 2019)",
            "softmax(s), k and v shared by all heads",
            "0",
        )
    },
    KindOfAttention {
        is_network: true,
        requires: &["bottleneck"],
        lacks: OF_BLOCKS,
        refuses: no_bottleneck,
        ..kind(
            "perceiver",
            "a network of its own: cross-attention from tokens to a few latents and back (Jaegle et al. 2021)",
            "softmax(s), from and to latents",
            "bottleneck · D once a model",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::Retention,
        other_names: &["retnet"],
        lacks: &[OWN_BIAS, NO_SOFTMAX, SUMMED_CAP, SUMMED_HEADS],
        ..kind(
            "retention",
            "linear attention that decays with distance, each head at its own rate (Sun et al. 2023)",
            "(S q)/√d with S ← γ S + v kᵀ and γ = 1 - 2^(-5-h) for head h = 0, 1, …, then its RMS norm",
            "0",
        )
    },
    KindOfAttention {
        other_names: &["rotary"],
        rotary: Some(ROTARY_DEFAULT),
        ..kind(
            "rope",
            "queries and keys rotated by their position (Su et al. 2021)",
            "softmax(s) of rotated q and k",
            "0",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::Sigmoid,
        lacks: &[NO_SOFTMAX],
        ..kind(
            "sigmoid",
            "a sigmoid of each score instead of a softmax over all (Ramapuram et al. 2024)",
            "σ(s - log n) for n visible keys",
            "0",
        )
    },
    KindOfAttention {
        requires: &[WINDOW],
        ..kind(
            "sliding-window",
            "each token attends only to the last few tokens (Beltagy et al. 2020)",
            "softmax(s) over the last keys",
            "0",
        )
    },
    kind(
        "softmax",
        "causal multi-head softmax attention (Vaswani et al. 2017)",
        "softmax(s)",
        "0",
    ),
    KindOfAttention {
        mechanism: Mechanism::StickBreaking,
        lacks: &[NO_SOFTMAX],
        ..kind(
            "stick-breaking",
            "going back from the query, each key takes a fraction of the weight still left (Tan et al. 2024)",
            "σ(s) Π (1 - σ(s')) over the keys between k and q",
            "0",
        )
    },
    KindOfAttention {
        mechanism: Mechanism::Synthesizer,
        lacks: &[
            (ROTARY, "it has no keys to rotate"),
            (QK_NORM, "it has no keys to normalise"),
        ],
        // As in the assignment: the last token of a document is only ever a target.
        longest: |context| context - 1,
        ..kind(
            "synthesizer",
            "each token predicts its attention scores, without keys (Tay et al. 2021)",
            "softmax(relu(x W₁) W₂), without keys",
            "(d + 1)(context - 1) - D (D + 1)",
        )
    },
    kind(
        "vanilla",
        "another name for softmax, used in the assignment",
        "softmax(s)",
        "0",
    ),
];

const KV_HEADS: &str = "kv_heads";
const WINDOW: &str = "window";
const ROTARY: &str = "rotary";
const BIAS: &str = "bias";
const QK_NORM: &str = "qk_norm";
const SINK: &str = "sink";
const GATE: &str = "gate";
const SOFTCAP: &str = "softcap";
const TALKING_HEADS: &str = "talking_heads";

/// The keys of the parts.
const PARTS: [&str; 9] = [
    KV_HEADS,
    WINDOW,
    ROTARY,
    BIAS,
    QK_NORM,
    SINK,
    GATE,
    SOFTCAP,
    TALKING_HEADS,
];

const NO_SOFTMAX: Lack = (SINK, "it has no softmax that a sink could take part in");

const SUMMED_BIAS: Lack = (
    BIAS,
    "its state combines all keys, so no bias can be added to a single score",
);
const SUMMED_CAP: Lack = (
    SOFTCAP,
    "its state combines all keys, so a single score cannot be capped",
);
const SUMMED_HEADS: Lack = (
    TALKING_HEADS,
    "its state combines all keys, so heads cannot mix individual scores",
);
const OWN_BIAS: Lack = (BIAS, "it already has a decay in place of a bias");

/// Of the delta rule.
const CORRECTED: &[Lack] = &[
    (
        KV_HEADS,
        "each head corrects its own values with its own keys",
    ),
    (
        WINDOW,
        "each value is corrected by all earlier ones, including those outside a window",
    ),
    (
        BIAS,
        "a bias would have to enter the corrections of its values too",
    ),
    (QK_NORM, "its queries and keys already have length 1"),
    NO_SOFTMAX,
    SUMMED_CAP,
    SUMMED_HEADS,
];

const NETWORK: &str = "it is a network of its own, with plain softmax attention";

/// Of a network that is not made of blocks with one attention each.
const OF_BLOCKS: &[Lack] = &[
    (KV_HEADS, NETWORK),
    (WINDOW, NETWORK),
    (ROTARY, NETWORK),
    (BIAS, NETWORK),
    (QK_NORM, NETWORK),
    (SINK, NETWORK),
    (GATE, NETWORK),
    (SOFTCAP, NETWORK),
    (TALKING_HEADS, NETWORK),
];

/// A kind that takes all parts and requires none.
const fn kind(
    name: &'static str,
    about: &'static str,
    formula: &'static str,
    parameters: &'static str,
) -> KindOfAttention {
    KindOfAttention {
        name,
        other_names: &[],
        is_network: false,
        about,
        formula,
        parameters,
        rotary: None,
        bias: None,
        kv_heads: None,
        mechanism: Mechanism::Softmax,
        requires: &[],
        lacks: &[],
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
            "has one block into the latents and one block out of them: `model.layers` = {layers} must be at least 2"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::ATTENTION_PARTS;

    #[test]
    fn kinds_lack_keys_of_parts_alone() {
        for kind in ATTENTION_KINDS {
            for (key, _) in kind.lacks {
                assert!(PARTS.contains(key), "{} lacks {key}", kind.name);
                assert!(!kind.requires.contains(key), "{} and {key}", kind.name);
            }
        }
    }

    #[test]
    fn every_part_has_a_key() {
        let keys = ATTENTION_PARTS.map(|part| part.key.split(' ').next());
        assert!(PARTS.iter().all(|key| keys.contains(&Some(*key))));
        assert!(keys.iter().flatten().all(|key| PARTS.contains(key)));
    }
}
