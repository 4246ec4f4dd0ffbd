//! Grouped-query attention: groups of consecutive heads share keys and values (Ainslie et al. 2023, GQA,
//! §2.2).

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::Scoring;

/// Keys and values are KV wide: KV / HEAD_DIM heads, each shared by EMBED / KV query heads.
pub type GroupedQuery<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const KV: usize,
    N,
    D,
> = DotProduct<EMBED, KV, HEADS, HEAD_DIM, GroupedQueryRule, N, D>;

/// Scores as in vanilla.
#[derive(Clone, Debug)]
pub struct GroupedQueryRule;

impl ScoringRule for GroupedQueryRule {
    const KIND: &'static str = "grouped-query";
    const SCORING: Scoring = Scoring::SOFTMAX;
}
