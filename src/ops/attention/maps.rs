//! The maps of a layer that compares queries with keys.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::heads::WeightMap;
use super::scoring::{Map, Scoring};
use super::{Projections, assert_heads};
use crate::ops::Stream;
use crate::ops::kernels::rows::sum_of;
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::LayerNorm;

/// How each head weighs one document: `x: [tokens, EMBED]` is what goes into the sublayer.
///
/// The weights are those of [`super::AttentionOp::try_attention`] without dropout: a row of each map adds up
/// to 1.
pub fn maps<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
>(
    x: &Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Projections<EMBED, KV, N, D>,
    scoring: Scoring,
) -> Vec<HeadMap> {
    const { assert_heads(EMBED, KV, HEADS, HEAD_DIM) };
    let x = normed(&on_host(x), norm);
    let mut queries = projected(&x, &weights.query);
    let mut keys = projected(&x, &weights.key);
    let before_they_meet = Map::new(scoring, HEAD_DIM, x.len() / EMBED);
    for (rows, width) in [(&mut queries, EMBED), (&mut keys, KV)] {
        for (place, row) in rows.chunks_exact_mut(width).enumerate() {
            before_they_meet.apply(row, HEAD_DIM, place);
        }
    }
    compare([&queries, &keys], [HEADS, KV / HEAD_DIM], HEAD_DIM, scoring)
}

/// The map of every head of queries, from queries and keys as they meet, heads side by side; the keys may
/// have fewer heads, which several of the queries' share.
pub(in crate::ops) fn compare(
    [queries, keys]: [&[f32]; 2],
    [heads, key_heads]: [usize; 2],
    head_dim: usize,
    scoring: Scoring,
) -> Vec<HeadMap> {
    let (embed, kv) = (heads * head_dim, key_heads * head_dim);
    let scale = scoring.scale(head_dim) as f32;
    let maps = (0..heads).map(|head| {
        let sizes = [queries.len() / embed, keys.len() / kv];
        let map = WeightMap::shown(sizes, [head, heads], scoring);
        let [own, shared] = [head, head * key_heads / heads].map(|head| head * head_dim);
        map.of_scores(|query, key| {
            let query = &queries[query * embed + own..][..head_dim];
            let key = &keys[key * kv + shared..][..head_dim];
            scale * sum_of(query, key, |q, k| q * k)
        })
    });
    maps.collect()
}
