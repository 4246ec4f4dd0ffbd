//! Attention maps: the weights of each head over one document.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::heads::HeadTile;
use super::scoring::HeadTransform;
use super::{AttentionWeights, Layout, ScoreWeights, differential, synthesizer};
use crate::ops::Stream;
use crate::ops::kernels::rows::sum_of;
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::LayerNorm;

/// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer.
///
/// The weights are those of [`super::AttentionOp::try_attention`] without dropout: each row adds up to 1, or to
/// `1 − λ` in differential attention, whose weights may be negative.
pub fn maps<const EMBED: usize, N: Dtype, D: Device<N>>(
    x: &Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &AttentionWeights<EMBED, N, D>,
) -> Vec<HeadMap> {
    let (x, layout) = (normed(&on_host(x), norm), weights.layout);
    let comparison = match &weights.scores {
        ScoreWeights::DotProduct(comparison) => comparison,
        ScoreWeights::Positions(of) => return synthesizer::maps(&x, of, layout),
    };
    let mut queries = projected(&x, &comparison.query);
    let mut keys = projected(&x, &comparison.key);
    let transform = HeadTransform::new(&layout, x.len() / EMBED);
    for (rows, width) in [
        (&mut queries, layout.width()),
        (&mut keys, layout.kv_width()),
    ] {
        for (position, row) in rows.chunks_exact_mut(width).enumerate() {
            transform.apply(row, layout.head_dim, position);
        }
    }
    match &weights.difference {
        Some(difference) => differential::maps([&queries, &keys], difference, layout),
        None => compare([&queries, &keys], layout),
    }
}

/// The map of every query head, from transformed queries and keys, heads side by side.
pub fn compare([queries, keys]: [&[f32]; 2], layout: Layout) -> Vec<HeadMap> {
    let (width, kv, head_dim) = (layout.width(), layout.kv_width(), layout.head_dim);
    let scale = layout.scale() as f32;
    let maps = (0..layout.heads).map(|head| {
        let sizes = [queries.len() / width, keys.len() / kv];
        let tile = HeadTile::without_dropout(sizes, head, layout);
        let [own, shared] = [head, head / layout.group()].map(|head| head * head_dim);
        tile.map_from_scores(|query, key| {
            let query = &queries[query * width + own..][..head_dim];
            let key = &keys[key * kv + shared..][..head_dim];
            scale * sum_of(query, key, |q, k| q * k)
        })
    });
    maps.collect()
}
