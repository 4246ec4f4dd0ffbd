//! Multi-query attention: all heads share one head of keys and values (Shazeer 2019, Fast Transformer
//! Decoding, §3).

use super::compared::{Compared, Rule};
use crate::ops::attention::Scoring;

/// Keys and values are HEAD_DIM wide.
pub(in crate::model) type MultiQuery<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N,
    D,
> = Compared<EMBED, HEAD_DIM, HEADS, HEAD_DIM, SharedByAll, N, D>;

/// Scores are those of vanilla.
#[derive(Clone, Debug)]
pub(in crate::model) struct SharedByAll;

impl Rule for SharedByAll {
    const KIND: &'static str = "multi-query";
    const SCORING: Scoring = Scoring::SOFTMAX;
}
