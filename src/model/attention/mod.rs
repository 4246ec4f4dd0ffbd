//! From `[model.attention]` in a TOML to the layout of a block's attention.

use crate::config::schema::{BiasSpec, ModelSpec};
use crate::ops::attention::{Bias, HeadKind, Layout, Rotary, Scoring, Similarity};

/// What a block's attention computes.
pub(super) fn layout(spec: &ModelSpec) -> Layout {
    let (attention, name) = (&spec.attention, spec.attention.kind.0.name);
    let rotary = attention.rotation().map(|rotary| Rotary {
        base: rotary.base,
        channels: rotary.channels(spec.head_dim),
    });
    Layout {
        heads: spec.heads,
        head_dim: spec.head_dim,
        kv_heads: attention.key_heads(spec.heads),
        scoring: Scoring {
            rotary,
            bias: attention.score_bias().map(|BiasSpec::Alibi| Bias::Alibi),
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
