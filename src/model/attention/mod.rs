//! From `[model.attention]` in a TOML to the layout of a block's attention.

use crate::config::schema::{BiasSpec, ModelSpec, RotarySpec};
use crate::ops::attention::{Bias, HeadKind, Layout, Rotary, Scoring, Similarity};

/// What a block's attention computes: the parts that its kind is a name for, and those that the table adds.
pub(super) fn layout(spec: &ModelSpec) -> Layout {
    let (attention, name) = (&spec.attention, spec.attention.kind.0.name);
    let rotary = match name {
        "rope" => Some(attention.rotary.unwrap_or_default()),
        _ => attention.rotary,
    };
    let bias = match name {
        "alibi" => Some(BiasSpec::Alibi),
        _ => attention.bias,
    };
    Layout {
        heads: spec.heads,
        head_dim: spec.head_dim,
        kv_heads: match name {
            "multi-query" => 1,
            _ => attention.kv_heads.unwrap_or(spec.heads),
        },
        scoring: Scoring {
            rotary: rotary.map(|rotary| rotated(rotary, spec.head_dim)),
            bias: bias.map(|BiasSpec::Alibi| Bias::Alibi),
            window: attention.window,
            similarity: match name {
                "linear" => Similarity::FeatureMap,
                _ => Similarity::Softmax,
            },
        },
        head: match name {
            "differential" => HeadKind::Differential,
            "synthesizer" => HeadKind::Synthesizer {
                positions: spec.longest_document(),
            },
            _ => HeadKind::Standard,
        },
    }
}

fn rotated(rotary: RotarySpec, head_dim: usize) -> Rotary {
    Rotary {
        base: rotary.base,
        channels: rotary.channels(head_dim),
    }
}
