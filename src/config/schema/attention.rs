//! `[model.attention]`: a kind from a table, and parts that combine with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ModelSpec, is_default};
use crate::kinds::{KINDS, Listed, Named, kinds};

/// `[model.attention]`: the attention of all layers, and what those of a pattern have instead.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct AttentionTable {
    /// Of all layers.
    #[serde(flatten)]
    pub all: AttentionSpec,
    /// Tables that `model.pattern` names: the keys that its layers have instead.
    #[serde(flatten)]
    pub layers: BTreeMap<String, Map<String, Value>>,
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
    /// The attention of the layers that a pattern calls `name`: what its table says, and otherwise what is said of all
    /// layers. A kind of its own inherits neither what it does not take, nor what it is a name for, nor what only the
    /// kind of all layers needs.
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
    /// What positions add to scores. Default: `"none"`, but `"alibi"` in `"alibi"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<BiasSpec>,
    /// How queries and keys are normalised before they are compared. Default: `"none"`.
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

/// A rotation of queries and keys.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct RotarySpec {
    /// Base of the angles: pair i of n channels turns by `base^(-2i / n)` a token.
    #[schemars(range(min = 1))]
    pub base: f64,
    /// Fraction of a head's channels that are rotated, from the first on, rounded to pairs; 0 is no rotation.
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
    /// Nothing.
    None,
    /// The farther away a key, the lower its score, each head by a slope of its own (Press et al. 2022).
    Alibi,
    /// A learned number for each head and each of 32 ranges of distances (Raffel et al. 2020).
    T5,
    /// The logarithms of a learned gate of each token between key and query (Lin et al. 2025).
    Forgetting,
}

/// How queries and keys are normalised.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum QkNormSpec {
    /// Not at all.
    #[default]
    None,
    /// By their root mean square, with learned gains (Dehghani et al. 2023).
    Rms,
    /// To length 1; each head has a learned factor of its scores (Henry et al. 2020).
    L2,
}

/// A score without a key.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum SinkSpec {
    /// There is none.
    #[default]
    None,
    /// It is 0 (Miller 2023).
    Zero,
    /// Each head learns its own (gpt-oss, 2025).
    Learned,
}

/// What has a gate of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum GateSpec {
    /// Nothing.
    #[default]
    None,
    /// Each head.
    Head,
    /// Each channel of each head.
    Channel,
}

/// The keys of each kind, for [`KINDS`].
fn own_keys() -> Value {
    let own = |kind: &KindOfAttention| {
        let further = kind.takes.iter().filter(|key| !kind.requires.contains(key));
        let takes: Vec<&str> = kind.requires.iter().chain(further).copied().collect();
        (
            kind.name.to_owned(),
            json!({"takes": takes, "requires": kind.requires}),
        )
    };
    kinds("kind", ATTENTION_KINDS.iter().map(own))
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
    /// The weight of value v, whose key is k, for query q, where s = q · k / √d; of recurrent kinds the head's
    /// output, with the state S, and a forget gate α and a strength of the correction β of each token.
    pub formula: &'static str,
    /// What a layer learns besides projections to queries, keys and values and from the heads: D is the width of the
    /// stream, H the number of heads, d the width of a head.
    pub parameters: &'static str,
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

impl KindOfAttention {
    /// Whether its table may have a key.
    pub fn has(&self, key: &str) -> bool {
        key == "kind" || self.requires.contains(&key) || self.takes.contains(&key)
    }

    /// Whether it is a name for a value of a key.
    fn sets(&self, key: &str) -> bool {
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
        takes: SOFTMAX_PARTS,
        ..kind(
            "alibi",
            "scores fall with distance, each head by a slope of its own (Press et al. 2022)",
            "softmax(s - slope · distance)",
            "0",
        )
    },
    KindOfAttention {
        takes: &[KV_HEADS, WINDOW, ROTARY, QK_NORM, GATE],
        ..kind(
            "based",
            "the Taylor series 1 + s + s²/2 instead of a softmax (Arora et al. 2024)",
            "(1 + s + s²/2) / Σ",
            "0",
        )
    },
    KindOfAttention {
        other_names: &["deltanet"],
        takes: &[ROTARY, GATE],
        ..kind(
            "delta",
            "linear attention whose values replace what their keys recall (Yang et al. 2024)",
            "(S q)/√d with S ← S (I - β k kᵀ) + β v kᵀ, then its RMS norm",
            "DH",
        )
    },
    KindOfAttention {
        takes: &[GATE],
        refuses: odd_heads,
        ..kind(
            "differential",
            "a second attention map is subtracted from the first (Ye et al. 2025)",
            "softmax(s₁) - λ softmax(s₂), then a norm",
            "3d",
        )
    },
    KindOfAttention {
        other_names: &["gated-deltanet"],
        takes: &[ROTARY, GATE],
        ..kind(
            "gated-delta",
            "the delta rule with forget gates (Yang et al. 2025)",
            "(S q)/√d with S ← α S (I - β k kᵀ) + β v kᵀ, then its RMS norm",
            "2DH + H",
        )
    },
    KindOfAttention {
        other_names: &["gla"],
        takes: &[KV_HEADS, WINDOW, ROTARY, QK_NORM, GATE],
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
        takes: SOFTMAX_PARTS,
        ..kind(
            "grouped-query",
            "groups of heads share keys and values (Ainslie et al. 2023)",
            "softmax(s), k and v shared by H / kv_heads heads",
            "0",
        )
    },
    KindOfAttention {
        takes: &[KV_HEADS, WINDOW, QK_NORM, GATE],
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
        takes: &[
            WINDOW,
            ROTARY,
            BIAS,
            QK_NORM,
            SINK,
            GATE,
            SOFTCAP,
            TALKING_HEADS,
        ],
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
        refuses: no_bottleneck,
        ..kind(
            "perceiver",
            "a network of a few latents between the tokens (Jaegle et al. 2021)",
            "softmax(s), from and to latents",
            "bottleneck · D in all",
        )
    },
    KindOfAttention {
        other_names: &["retnet"],
        takes: &[KV_HEADS, WINDOW, ROTARY, QK_NORM, GATE],
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
        takes: SOFTMAX_PARTS,
        ..kind(
            "rope",
            "queries and keys rotated by their position (Su et al. 2021)",
            "softmax(s) of rotated q and k",
            "0",
        )
    },
    KindOfAttention {
        takes: &[
            KV_HEADS,
            WINDOW,
            ROTARY,
            BIAS,
            QK_NORM,
            GATE,
            SOFTCAP,
            TALKING_HEADS,
        ],
        ..kind(
            "sigmoid",
            "a sigmoid of each score instead of a softmax over all (Ramapuram et al. 2024)",
            "σ(s - log n) for n visible keys",
            "0",
        )
    },
    KindOfAttention {
        requires: &[WINDOW],
        takes: SOFTMAX_PARTS,
        ..kind(
            "sliding-window",
            "each token attends only to the last few tokens (Beltagy et al. 2020)",
            "softmax(s) over the last keys",
            "0",
        )
    },
    KindOfAttention {
        takes: SOFTMAX_PARTS,
        ..kind(
            "softmax",
            "causal multi-head softmax attention (Vaswani et al. 2017)",
            "softmax(s)",
            "0",
        )
    },
    KindOfAttention {
        takes: &[
            KV_HEADS,
            WINDOW,
            ROTARY,
            BIAS,
            QK_NORM,
            GATE,
            SOFTCAP,
            TALKING_HEADS,
        ],
        ..kind(
            "stick-breaking",
            "each key, from the last on, takes its part of what is left (Tan et al. 2024)",
            "σ(s) Π (1 - σ(s')) over the keys between k and q",
            "0",
        )
    },
    KindOfAttention {
        takes: &[GATE],
        // As in the assignment: the last token of a document is only ever a target.
        longest: |context| context - 1,
        ..kind(
            "synthesizer",
            "each token predicts its attention scores, without keys (Tay et al. 2021)",
            "softmax(relu(x W₁) W₂), without keys",
            "(d + 1)(context - 1) - D (D + 1)",
        )
    },
    KindOfAttention {
        takes: SOFTMAX_PARTS,
        ..kind(
            "vanilla",
            "softmax attention by the name that it has in the assignment",
            "softmax(s)",
            "0",
        )
    },
];

/// A part that combines with kinds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PartOfAttention {
    /// As the TOML has it.
    pub key: &'static str,
    /// What it does.
    pub formula: &'static str,
    /// What a layer learns in addition, as in [`KindOfAttention::parameters`].
    pub parameters: &'static str,
    /// Who it is by.
    pub source: &'static str,
}

/// The parts that combine with kinds, in the order of the keys.
pub const ATTENTION_PARTS: [PartOfAttention; 14] = [
    part(
        "kv_heads = N",
        "k and v shared by H / N heads",
        "2 (D + 1)(H - N) d less",
        "Ainslie et al. 2023",
    ),
    part(
        "window = N",
        "only the last N keys",
        "0",
        "Beltagy et al. 2020",
    ),
    part(
        "rotary = { base, fraction }",
        "pairs of channels of q and k turned by position · base^(-2i/n)",
        "0",
        "Su et al. 2021",
    ),
    part(
        "bias = \"alibi\"",
        "s - 2^(-8h/H) · distance for head h = 1, …, H",
        "0",
        "Press et al. 2022",
    ),
    part(
        "bias = \"t5\"",
        "s + b[bucket of the distance], 32 buckets",
        "32H",
        "Raffel et al. 2020",
    ),
    part(
        "bias = \"forgetting\"",
        "s + Σ log σ(x · w + b) over the tokens after k, up to q",
        "DH + H",
        "Lin et al. 2025",
    ),
    part(
        "qk_norm = \"rms\"",
        "g ⊙ x / √(mean(x²)) of q and of k",
        "2d",
        "Dehghani et al. 2023",
    ),
    part(
        "qk_norm = \"l2\"",
        "g q · k / (|q| |k|) in place of s",
        "H",
        "Henry et al. 2020",
    ),
    part("sink = \"zero\"", "e^s / (1 + Σ e^s)", "0", "Miller 2023"),
    part(
        "sink = \"learned\"",
        "e^s / (e^a + Σ e^s)",
        "H",
        "gpt-oss, OpenAI 2025",
    ),
    part(
        "gate = \"head\"",
        "σ(x · w) times a head's output",
        "DH",
        "Qiu et al. 2025",
    ),
    part(
        "gate = \"channel\"",
        "σ(x W) ⊙ the heads' outputs",
        "D²",
        "Qiu et al. 2025",
    ),
    part("softcap = c", "c · tanh(s / c)", "0", "Gemma 2, 2024"),
    part(
        "talking_heads = true",
        "scores and weights mixed over heads, each by a matrix",
        "2H²",
        "Shazeer et al. 2020",
    ),
];

const fn part(
    key: &'static str,
    formula: &'static str,
    parameters: &'static str,
    source: &'static str,
) -> PartOfAttention {
    PartOfAttention {
        key,
        formula,
        parameters,
        source,
    }
}

const KV_HEADS: &str = "kv_heads";
const WINDOW: &str = "window";
const ROTARY: &str = "rotary";
const BIAS: &str = "bias";
const QK_NORM: &str = "qk_norm";
const SINK: &str = "sink";
const GATE: &str = "gate";
const SOFTCAP: &str = "softcap";
const TALKING_HEADS: &str = "talking_heads";

/// The parts of softmax attention.
const SOFTMAX_PARTS: &[&str] = &[
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

/// A kind without further keys.
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
