//! From `[model.attention]` in a TOML to the layout of a block's attention.

use crate::config::schema::{AttentionSpec, BiasSpec, GateSpec, ModelSpec, QkNormSpec, SinkSpec};
use crate::ops::attention::{
    Bias, Gate, HeadKind, Layout, QkNorm, Rotary, Scoring, Similarity, Sink,
};

/// What a layer's attention computes.
pub(super) fn layout(spec: &ModelSpec, attention: &AttentionSpec) -> Layout {
    let name = attention.kind.0.name;
    let delta = matches!(name, "delta" | "gated-delta");
    Layout {
        heads: spec.heads,
        head_dim: spec.head_dim,
        kv_heads: attention.key_heads(spec.heads),
        qk_norm: match attention.qk_norm {
            QkNormSpec::Rms => Some(QkNorm::Rms),
            QkNormSpec::L2 => Some(QkNorm::L2),
            QkNormSpec::None => delta.then_some(QkNorm::Unit),
        },
        scoring: scoring(spec, attention),
        talking: attention.talking_heads,
        head: match (name, attention.kind.0.maps) {
            (_, 2) => HeadKind::Differential,
            ("synthesizer", _) => HeadKind::Synthesizer {
                positions: spec.longest_document(),
            },
            _ => HeadKind::Standard,
        },
        delta,
        head_norm: delta || matches!(name, "retention" | "gated-linear"),
        gate: match attention.gate {
            GateSpec::None => None,
            GateSpec::Head => Some(Gate::Head),
            GateSpec::Channel => Some(Gate::Channel),
        },
    }
}

/// How scores depend on positions, and become weights.
fn scoring(spec: &ModelSpec, attention: &AttentionSpec) -> Scoring {
    let name = attention.kind.0.name;
    Scoring {
        rotary: attention.rotation().map(|rotary| Rotary {
            base: rotary.base,
            channels: rotary.channels(spec.head_dim / attention.kind.0.maps),
        }),
        bias: match (name, attention.score_bias()) {
            ("retention", _) => Some(Bias::Decay),
            // As in gated linear attention (Yang et al. 2024, §4.4).
            ("gated-linear" | "gated-delta", _) => Some(Bias::Forget { divisor: 16 }),
            (_, BiasSpec::None) => None,
            (_, BiasSpec::Alibi) => Some(Bias::Alibi),
            (_, BiasSpec::T5) => Some(Bias::Relative),
            (_, BiasSpec::Forgetting) => Some(Bias::Forget { divisor: 1 }),
        },
        window: attention.window,
        similarity: match name {
            "linear" => Similarity::FeatureMap,
            "sigmoid" => Similarity::Sigmoid,
            "stick-breaking" => Similarity::StickBreaking,
            "based" => Similarity::Taylor,
            "retention" | "gated-linear" | "delta" | "gated-delta" => Similarity::Product,
            _ => Similarity::Softmax,
        },
        softcap: (attention.softcap > 0.0).then_some(attention.softcap),
        sink: match attention.sink {
            SinkSpec::None => None,
            SinkSpec::Zero => Some(Sink::Zero),
            SinkSpec::Learned => Some(Sink::Learned),
        },
    }
}
