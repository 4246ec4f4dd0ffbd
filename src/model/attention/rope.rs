//! Rotary position embedding: queries and keys are rotated by their place, so that scores depend on
//! distances (Su et al. 2021, RoFormer, §3.2.2).

use super::compared::{Compared, Rule};
use crate::ops::attention::{Places, Scoring};

/// HEADS heads of width HEAD_DIM, an even number; HEADS × HEAD_DIM = EMBED.
pub(in crate::model) type Rope<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N,
    D,
> = Compared<EMBED, EMBED, HEADS, HEAD_DIM, Rotated, N, D>;

/// Queries and keys are rotated. The position embedding of the stream stays: the model differs from vanilla in
/// this alone.
#[derive(Clone, Debug)]
pub(in crate::model) struct Rotated;

impl Rule for Rotated {
    const KIND: &'static str = "rope";
    const SCORING: Scoring = Scoring {
        places: Places::Rotated,
        ..Scoring::SOFTMAX
    };
}
