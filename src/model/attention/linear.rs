//! Linear attention: the similarity of query and key is a dot product of feature maps, so that a running
//! sum could replace all keys (Katharopoulos et al. 2020, Transformers are RNNs, §3.2). Documents are short
//! here: the attention weights are computed explicitly, and dropout applies to them as usual.

use super::dot_product::{DotProduct, ScoringRule};
use crate::ops::attention::{Scoring, Similarity};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
pub type Linear<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N, D> =
    DotProduct<EMBED, EMBED, HEADS, HEAD_DIM, LinearRule, N, D>;

/// The feature map is elu(x) + 1.
#[derive(Clone, Debug)]
pub struct LinearRule;

impl ScoringRule for LinearRule {
    const KIND: &'static str = "linear";
    const SCORING: Scoring = Scoring {
        similarity: Similarity::FeatureMap,
        ..Scoring::SOFTMAX
    };
}
