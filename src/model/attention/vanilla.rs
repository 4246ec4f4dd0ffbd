//! Causal multi-head softmax attention (Vaswani et al. 2017, §3.2).

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::Scoring;

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
pub type Vanilla<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N, D> =
    DotProduct<EMBED, EMBED, HEADS, HEAD_DIM, VanillaRule, N, D>;

/// Softmax of scaled dot products; positions enter through the embedding alone.
#[derive(Clone, Debug)]
pub struct VanillaRule;

impl ScoringRule for VanillaRule {
    const KIND: &'static str = "vanilla";
    const SCORING: Scoring = Scoring::SOFTMAX;
}
