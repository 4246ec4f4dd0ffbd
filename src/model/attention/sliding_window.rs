//! Sliding-window attention: a token sees the last few, itself included (Beltagy et al. 2020, Longformer,
//! §3.1; causal as in Jiang et al. 2023, Mistral 7B, §2).

use super::compared::{Compared, Rule};
use crate::ops::attention::Scoring;

/// A token sees WINDOW tokens; after L layers what it says depends on L (WINDOW - 1) before it.
pub(in crate::model) type SlidingWindow<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const WINDOW: usize,
    N,
    D,
> = Compared<EMBED, EMBED, HEADS, HEAD_DIM, Window<WINDOW>, N, D>;

/// The last SIZE tokens are seen.
#[derive(Clone, Debug)]
pub(in crate::model) struct Window<const SIZE: usize>;

impl<const SIZE: usize> Rule for Window<SIZE> {
    const KIND: &'static str = "sliding-window";
    const SCORING: Scoring = Scoring {
        window: Some(SIZE),
        ..Scoring::SOFTMAX
    };
}
