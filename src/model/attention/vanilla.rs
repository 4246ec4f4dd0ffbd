//! Causal multi-head softmax attention (Vaswani et al. 2017, §3.2).

use super::compared::{Compared, Rule};
use crate::ops::attention::Scoring;

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
pub(in crate::model) type Vanilla<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N,
    D,
> = Compared<EMBED, EMBED, HEADS, HEAD_DIM, Plain, N, D>;

/// Softmax of scaled products, places in the embedding alone.
#[derive(Clone, Debug)]
pub(in crate::model) struct Plain;

impl Rule for Plain {
    const KIND: &'static str = "vanilla";
    const SCORING: Scoring = Scoring::SOFTMAX;
}
