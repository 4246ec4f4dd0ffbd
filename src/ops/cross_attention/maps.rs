//! The attention maps of cross-attention.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::NormedStream;
use crate::ops::Stream;
use crate::ops::attention::head_scores::HeadScores;
use crate::ops::attention::{AttentionWeights, compare};
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::Norm;

/// Attention map of each head over one document, `[queries, EMBED]` and `[keys, EMBED]`: the weights of
/// [`super::CrossAttentionOp::try_cross_attention`] without dropout. Each row adds up to 1. Keys beyond the
/// number of queries are never attended to and left out.
pub fn maps<const EMBED: usize, N: Dtype, D: Device<N>>(
    queries_and_keys: [&Stream<EMBED, N, D>; 2],
    (side, norm): (NormedStream, &Norm<EMBED, N, D>),
    weights: &AttentionWeights<EMBED, N, D>,
) -> Vec<HeadMap> {
    let [mut queries, mut keys] = queries_and_keys.map(on_host);
    keys.truncate(queries.len());
    match side {
        NormedStream::Queries => queries = normed(&queries, norm),
        NormedStream::Keys => keys = normed(&keys, norm),
    }
    let comparison = weights.comparison();
    let queries = projected(&queries, &comparison.query);
    let keys = projected(&keys, &comparison.key);
    let layout = weights.layout;
    compare([&queries, &keys], layout, None, |head| {
        HeadScores::plain(&layout, head)
    })
}
