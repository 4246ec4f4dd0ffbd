//! From `[model.attention]` in a TOML to the layout of a block's attention.

use crate::config::schema::{
    AttentionSpec, BiasSpec, GateSpec, Mechanism, ModelSpec, QkNormSpec, SinkSpec,
};
use crate::ops::attention::{
    Bias, Gate, HeadKind, Layout, QkNorm, Rotary, Scoring, Similarity, Sink,
};

/// What a layer's attention computes.
pub(super) fn layout(spec: &ModelSpec, attention: &AttentionSpec) -> Layout {
    let mechanism = attention.kind.0.mechanism;
    let delta = matches!(mechanism, Mechanism::Delta | Mechanism::GatedDelta);
    let scoring = scoring(spec, attention);
    Layout {
        heads: spec.heads,
        head_dim: spec.head_dim,
        kv_heads: attention.key_heads(spec.heads),
        qk_norm: match attention.qk_norm {
            QkNormSpec::Rms => Some(QkNorm::Rms),
            QkNormSpec::L2 => Some(QkNorm::L2),
            QkNormSpec::None => delta.then_some(QkNorm::Unit),
        },
        scoring,
        talking: attention.talking_heads,
        head: match mechanism {
            Mechanism::Differential => HeadKind::Differential,
            Mechanism::Synthesizer => HeadKind::Synthesizer {
                positions: spec.longest_document(),
            },
            _ => HeadKind::Standard,
        },
        delta,
        head_norm: scoring.similarity == Similarity::Product,
        gate: match attention.gate {
            GateSpec::None => None,
            GateSpec::Head => Some(Gate::Head),
            GateSpec::Channel => Some(Gate::Channel),
        },
    }
}

/// How scores depend on positions, and become weights.
fn scoring(spec: &ModelSpec, attention: &AttentionSpec) -> Scoring {
    let mechanism = attention.kind.0.mechanism;
    Scoring {
        rotary: attention.rotation().map(|rotary| Rotary {
            base: rotary.base,
            channels: rotary.channels(spec.head_dim / mechanism.maps()),
        }),
        bias: match (mechanism, attention.score_bias()) {
            (Mechanism::Retention, _) => Some(Bias::Decay),
            // As in gated linear attention (Yang et al. 2024, §4.4).
            (Mechanism::GatedLinear | Mechanism::GatedDelta, _) => {
                Some(Bias::Forget { divisor: 16 })
            }
            (_, BiasSpec::None) => None,
            (_, BiasSpec::Alibi) => Some(Bias::Alibi),
            (_, BiasSpec::T5) => Some(Bias::Relative),
            (_, BiasSpec::Forgetting) => Some(Bias::Forget { divisor: 1 }),
        },
        window: attention.window,
        similarity: match mechanism {
            Mechanism::Softmax | Mechanism::Differential | Mechanism::Synthesizer => {
                Similarity::Softmax
            }
            Mechanism::Sigmoid => Similarity::Sigmoid,
            Mechanism::StickBreaking => Similarity::StickBreaking,
            Mechanism::FeatureMap => Similarity::FeatureMap,
            Mechanism::Taylor => Similarity::Taylor,
            Mechanism::Retention
            | Mechanism::GatedLinear
            | Mechanism::Delta
            | Mechanism::GatedDelta => Similarity::Product,
        },
        softcap: (attention.softcap > 0.0).then_some(attention.softcap),
        sink: match attention.sink {
            SinkSpec::None => None,
            SinkSpec::Zero => Some(Sink::Zero),
            SinkSpec::Learned => Some(Sink::Learned),
        },
    }
}
