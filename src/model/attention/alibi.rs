//! Attention with linear biases: the farther a key, the lower its score (Press et al. 2022, ALiBi, §3).

use super::compared::{Compared, Rule};
use crate::ops::attention::{Places, Scoring};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
pub(in crate::model) type Alibi<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N,
    D,
> = Compared<EMBED, EMBED, HEADS, HEAD_DIM, Slopes, N, D>;

/// Each head has a slope of its own. The position embedding of the stream stays: the model differs from vanilla
/// in this alone.
#[derive(Clone, Debug)]
pub(in crate::model) struct Slopes;

impl Rule for Slopes {
    const KIND: &'static str = "alibi";
    const SCORING: Scoring = Scoring {
        places: Places::Distance,
        ..Scoring::SOFTMAX
    };
}
