//! Attention with linear biases: the farther away a key, the lower its score (Press et al. 2022, ALiBi,
//! §3).

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::{Positional, Scoring};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
pub type Alibi<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N, D> =
    DotProduct<EMBED, EMBED, HEADS, HEAD_DIM, AlibiRule, N, D>;

/// Each head has its own slope. The position embedding stays: this is the only difference from vanilla.
#[derive(Clone, Debug)]
pub struct AlibiRule;

impl ScoringRule for AlibiRule {
    const KIND: &'static str = "alibi";
    const SCORING: Scoring = Scoring {
        positional: Positional::Alibi,
        ..Scoring::SOFTMAX
    };
}
