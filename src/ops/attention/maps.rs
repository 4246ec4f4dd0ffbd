//! The attention maps of scaled dot-product attention.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::heads::HeadTile;
use super::scoring::{HeadTransform, Scoring};
use super::{Projections, assert_heads};
use crate::ops::Stream;
use crate::ops::kernels::rows::sum_of;
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::LayerNorm;

/// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer.
///
/// The weights are those of [`super::AttentionOp::try_attention`] without dropout: each row adds up to 1.
pub fn maps<const EMBED: usize, const KV: usize, const HEAD_DIM: usize, N: Dtype, D: Device<N>>(
    x: &Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Projections<EMBED, KV, N, D>,
    scoring: Scoring,
) -> Vec<HeadMap> {
    const { assert_heads(EMBED, KV, HEAD_DIM) };
    let x = normed(&on_host(x), norm);
    let mut queries = projected(&x, &weights.query);
    let mut keys = projected(&x, &weights.key);
    let transform = HeadTransform::new(scoring, HEAD_DIM, x.len() / EMBED);
    for (rows, width) in [(&mut queries, EMBED), (&mut keys, KV)] {
        for (position, row) in rows.chunks_exact_mut(width).enumerate() {
            transform.apply(row, HEAD_DIM, position);
        }
    }
    compare(
        [&queries, &keys],
        [EMBED / HEAD_DIM, KV / HEAD_DIM],
        HEAD_DIM,
        scoring,
    )
}

/// The map of every query head, from transformed queries and keys, heads side by side; there may be fewer
/// heads of keys, each shared by a group of query heads.
pub fn compare(
    [queries, keys]: [&[f32]; 2],
    [heads, key_heads]: [usize; 2],
    head_dim: usize,
    scoring: Scoring,
) -> Vec<HeadMap> {
    let (embed, kv) = (heads * head_dim, key_heads * head_dim);
    let scale = scoring.scale(head_dim) as f32;
    let maps = (0..heads).map(|head| {
        let sizes = [queries.len() / embed, keys.len() / kv];
        let tile = HeadTile::without_dropout(sizes, [head, heads], scoring);
        let [own, shared] = [head, head * key_heads / heads].map(|head| head * head_dim);
        tile.map_from_scores(|query, key| {
            let query = &queries[query * embed + own..][..head_dim];
            let key = &keys[key * kv + shared..][..head_dim];
            scale * sum_of(query, key, |q, k| q * k)
        })
    });
    maps.collect()
}
