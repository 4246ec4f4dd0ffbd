//! Small models for the tests of other modules.

use super::*;
use crate::kinds::Listed as _;

impl ModelSpec {
    /// Of width 4 with two heads.
    pub fn small(layers: usize, attention: AttentionSpec) -> Self {
        Self {
            layers,
            embed: 4,
            heads: 2,
            head_dim: 2,
            hidden: 8,
            vocabulary: 6,
            context: 5,
            attention: attention.into(),
            pattern: vec![],
            positions: PositionsSpec::default(),
            norm: NormSpec::default(),
            mlp: MlpSpec::default(),
            tied_head: false,
            dropout: 0.1,
            initial_deviation: default_initial_deviation(),
        }
    }
}

impl AttentionSpec {
    /// A kind of the table, without further keys.
    pub fn of(kind: &str) -> Self {
        Self {
            kind: Named(KindOfAttention::named(kind).expect("a kind of the table")),
            bottleneck: None,
            kv_heads: None,
            window: None,
            rotary: None,
            bias: None,
            qk_norm: QkNormSpec::None,
            sink: SinkSpec::None,
            gate: GateSpec::None,
            softcap: 0.0,
            talking_heads: false,
        }
    }

    /// A Perceiver's, with so many latents.
    pub fn latents(bottleneck: usize) -> Self {
        Self {
            bottleneck: Some(bottleneck),
            ..Self::of("perceiver")
        }
    }
}
