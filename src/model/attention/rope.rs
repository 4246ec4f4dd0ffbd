//! Rotary position embedding: queries and keys are rotated by their position, so that scores depend on
//! relative positions (Su et al. 2021, RoFormer, §3.2.2).

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::{Positional, Scoring};

/// HEADS heads of width HEAD_DIM, an even number; HEADS × HEAD_DIM = EMBED.
pub type Rope<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N, D> =
    DotProduct<EMBED, EMBED, HEADS, HEAD_DIM, RopeRule, N, D>;

/// Queries and keys are rotated. The position embedding stays: this is the only difference from vanilla.
#[derive(Clone, Debug)]
pub struct RopeRule;

impl ScoringRule for RopeRule {
    const KIND: &'static str = "rope";
    const SCORING: Scoring = Scoring {
        positional: Positional::Rope,
        ..Scoring::SOFTMAX
    };
}
