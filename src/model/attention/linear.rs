//! Linear attention: the similarity of query and key is a product of features, so that a sum could stand
//! for all keys (Katharopoulos et al. 2020, Transformers are RNNs, §3.2). Documents are short here: the
//! weights are computed as such, and dropout acts on them as on any others.

use super::compared::{Compared, Rule};
use crate::ops::attention::{Scoring, Weights};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
pub(in crate::model) type Linear<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N,
    D,
> = Compared<EMBED, EMBED, HEADS, HEAD_DIM, Features, N, D>;

/// Features elu(x) + 1.
#[derive(Clone, Debug)]
pub(in crate::model) struct Features;

impl Rule for Features {
    const KIND: &'static str = "linear";
    const SCORING: Scoring = Scoring {
        weights: Weights::Features,
        ..Scoring::SOFTMAX
    };
}
