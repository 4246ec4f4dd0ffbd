//! Sliding-window attention: a token attends to the last few tokens, itself included (Beltagy et al. 2020,
//! Longformer, §3.1; causal as in Jiang et al. 2023, Mistral 7B, §2).

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::Scoring;

/// A token attends to WINDOW tokens; after L layers its output depends on the L (WINDOW - 1) tokens before
/// it.
pub type SlidingWindow<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const WINDOW: usize,
    N,
    D,
> = DotProduct<EMBED, EMBED, HEADS, HEAD_DIM, SlidingWindowRule<WINDOW>, N, D>;

/// Attention to the last WINDOW tokens.
#[derive(Clone, Debug)]
pub struct SlidingWindowRule<const WINDOW: usize>;

impl<const WINDOW: usize> ScoringRule for SlidingWindowRule<WINDOW> {
    const KIND: &'static str = "sliding-window";
    const SCORING: Scoring = Scoring {
        window: Some(WINDOW),
        ..Scoring::SOFTMAX
    };
}
