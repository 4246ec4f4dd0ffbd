//! From `[model.attention]` in a TOML to the layout of a block's attention.

use crate::config::schema::ModelSpec;
use crate::ops::attention::{HeadKind, Layout, Positional, Scoring, Similarity};

/// What a block's attention computes.
pub(super) fn layout(spec: &ModelSpec) -> Layout {
    let plain = Layout::softmax(spec.heads, spec.head_dim);
    let scored = |scoring: Scoring| Layout { scoring, ..plain };
    match spec.attention.kind.0.name {
        "alibi" => scored(Scoring {
            positional: Positional::Alibi,
            ..Scoring::SOFTMAX
        }),
        "differential" => Layout {
            head: HeadKind::Differential,
            ..plain
        },
        "grouped-query" => Layout {
            kv_heads: spec.attention.kv_heads.unwrap_or(spec.heads),
            ..plain
        },
        "linear" => scored(Scoring {
            similarity: Similarity::FeatureMap,
            ..Scoring::SOFTMAX
        }),
        "multi-query" => Layout {
            kv_heads: 1,
            ..plain
        },
        "rope" => scored(Scoring {
            positional: Positional::Rope,
            ..Scoring::SOFTMAX
        }),
        "sliding-window" => scored(Scoring {
            window: spec.attention.window,
            ..Scoring::SOFTMAX
        }),
        "synthesizer" => Layout {
            head: HeadKind::Synthesizer {
                positions: spec.longest_document(),
            },
            ..plain
        },
        // The blocks of a Perceiver too.
        _ => plain,
    }
}
