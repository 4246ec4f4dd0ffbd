//! The parts that combine with kinds of attention: the values of their keys, and what they compute.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
pub const ROTARY_DEFAULT: RotarySpec = RotarySpec {
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
/// A part that combines with kinds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PartOfAttention {
    /// As the TOML has it.
    pub key: &'static str,
    /// What it does.
    pub formula: &'static str,
    /// What a layer learns in addition: D is the width of the stream, H the number of heads, d the width of a head.
    pub parameters: &'static str,
    /// Who it is by.
    pub source: &'static str,
}

/// The parts that combine with kinds, in the order of the keys.
pub const ATTENTION_PARTS: [PartOfAttention; 14] = [
    part(
        "kv_heads = N",
        "k and v shared by H / N heads",
        "-2 (D + 1)(H - N) d",
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
        "channel pair i of n / 2 in q and k, rotated by position · base^(-2i/n)",
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
