//! Multi-query attention: all heads share one head of keys and values (Shazeer 2019, Fast Transformer
//! Decoding, §3).

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::Scoring;

/// Keys and values are HEAD_DIM wide.
pub type MultiQuery<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N, D> =
    DotProduct<EMBED, HEAD_DIM, HEADS, HEAD_DIM, MultiQueryRule, N, D>;

/// Scores as in vanilla.
#[derive(Clone, Debug)]
pub struct MultiQueryRule;

impl ScoringRule for MultiQueryRule {
    const KIND: &'static str = "multi-query";
    const SCORING: Scoring = Scoring::SOFTMAX;
}
