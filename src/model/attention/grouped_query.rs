//! Grouped-query attention: some heads, one after another, share keys and values (Ainslie et al. 2023, GQA,
//! §2.2).

use super::compared::{Compared, Rule};
use crate::ops::attention::Scoring;

/// Keys and values are KV wide: KV / HEAD_DIM heads of them, each for EMBED / KV heads of queries.
pub(in crate::model) type GroupedQuery<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const KV: usize,
    N,
    D,
> = Compared<EMBED, KV, HEADS, HEAD_DIM, Shared, N, D>;

/// Scores are those of vanilla.
#[derive(Clone, Debug)]
pub(in crate::model) struct Shared;

impl Rule for Shared {
    const KIND: &'static str = "grouped-query";
    const SCORING: Scoring = Scoring::SOFTMAX;
}
