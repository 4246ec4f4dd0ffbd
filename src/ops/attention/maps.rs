//! Attention maps: the weights of each head over one document.

use dfdx::tensor::Cpu;
use dfdx::tensor_ops::Device;

use super::head_scores::HeadScores;
use super::heads::{last_key, step};
use super::scoring::Bias;
use super::separate_heads::SeparateHeads;
use super::synthesizer::PositionTable;
use super::talking_heads::mix;
use super::transform::{HeadTransform, Side};
use super::{AttentionWeights, Layout, NormedStream, ToHeads, delta, forget};
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{sigmoid, sum_of, wide};
use crate::ops::maps::{HeadMap, normed, projected};
use crate::ops::parameters::{Norm, set_values, values};

/// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer.
///
/// The weights are those of [`super::AttentionOp::try_attention`] without dropout. Each row adds up to 1 in softmax
/// attention without a sink or talking heads, and in kinds that divide weights by their sum; without a sink to `1 − λ` in
/// differential attention, whose weights may be negative, as may those of products. With the delta rule they are what
/// each value counts for after all corrections.
pub fn maps<const EMBED: usize, D: Device<f32>>(
    x: &Stream<EMBED, f32, D>,
    norm: &Norm<EMBED, f32, D>,
    weights: &AttentionWeights<EMBED, f32, D>,
) -> Vec<HeadMap> {
    let x = normed(&x.as_vec(), norm);
    maps_between([&x, &x], weights)
}

/// The same in cross-attention, of queries to keys: the weights of [`super::AttentionOp::try_cross_attention`]. Keys
/// beyond the number of queries are never attended to and left out.
pub fn cross_maps<const EMBED: usize, D: Device<f32>>(
    queries_and_keys: [&Stream<EMBED, f32, D>; 2],
    (which, norm): (NormedStream, &Norm<EMBED, f32, D>),
    weights: &AttentionWeights<EMBED, f32, D>,
) -> Vec<HeadMap> {
    let [mut queries, mut keys] = queries_and_keys.map(|stream| stream.as_vec());
    keys.truncate(queries.len());
    match which {
        NormedStream::Queries => queries = normed(&queries, norm),
        NormedStream::Keys => keys = normed(&keys, norm),
    }
    maps_between([&queries, &keys], weights)
}

/// The maps from the streams of queries and of keys, after the norm.
fn maps_between<const EMBED: usize, D: Device<f32>>(
    [of_queries, of_keys]: [&[f32]; 2],
    weights: &AttentionWeights<EMBED, f32, D>,
) -> Vec<HeadMap> {
    let weights = &on_cpu(weights);
    let transform = HeadTransform::new(weights, of_queries.len() / EMBED);
    let transformed = |x: &[f32], layer: &ToHeads<EMBED, f32, Cpu>, side| {
        let mut rows = projected(x, layer);
        let each = rows.chunks_exact_mut(layer.widths().1).enumerate();
        each.for_each(|(position, row)| transform.apply(row, side, position));
        rows
    };
    let queries = transformed(of_queries, weights.to_queries(), Side::Queries);
    let keys = (weights.key.as_ref()).map(|layer| transformed(of_keys, layer, Side::Keys));
    head_maps(of_keys, [&queries, &keys.unwrap_or_default()], weights)
}

/// The maps of all heads, from the stream of the keys, and transformed queries and keys.
fn head_maps<const EMBED: usize>(
    x: &[f32],
    [queries, keys]: [&[f32]; 2],
    weights: &AttentionWeights<EMBED, f32, Cpu>,
) -> Vec<HeadMap> {
    let (layout, heads) = (weights.layout, weights.layout.heads);
    let gates = weights.forget.as_ref();
    let mut sums = gates.map_or(vec![], |gates| projected(x, gates));
    if let Some(Bias::Forget { divisor }) = layout.scoring.bias {
        forget::sum_up(&mut sums, (heads, heads), divisor, &vec![0.0; heads]);
    }
    let head = SeparateHeads::new(weights, x.len() / EMBED);
    let scores =
        |at: usize, map| head.scores([at, map], (sums.get(at..).unwrap_or_default(), heads));
    let talking = weights.talking.as_ref();
    let before = talking.map(|of| host(&of.before));
    let qk = QueriesAndKeys {
        queries,
        keys,
        layout,
        positions: head.positions(),
    };
    let mut maps = qk.maps(0, before, |at| scores(at, 0));
    if layout.maps() > 1 {
        let second = qk.maps(1, None, |at| scores(at, 1));
        for (map, second) in maps.iter_mut().zip(second) {
            let difference = head.difference(&map.weights, &second.weights);
            let difference = difference.expect("heads with two maps subtract one");
            map.weights.copy_from_slice(&difference);
        }
    }
    if let Some(talking) = talking {
        mix_maps(host(&talking.after), &mut maps);
    }
    if let Some(beta) = &weights.beta {
        let beta = projected(x, beta);
        for (at, map) in maps.iter_mut().enumerate() {
            let addend = scores(at, 0).addend;
            let key = |token: usize| &keys[token * layout.width() + at * layout.head_dim..];
            let retrieved = |query: usize, token: usize| {
                let (query_key, key) = (&key(query)[..layout.head_dim], key(token));
                let product = sum_of(query_key, &key[..layout.head_dim], |a, b| a * b);
                let mut cell = [product];
                addend.grow(&mut cell, query, token);
                cell[0]
            };
            delta::unroll(map, |token| sigmoid(beta[token * heads + at]), retrieved);
        }
    }
    maps
}

/// Maps combined by a `[heads, heads]` matrix, in place.
fn mix_maps(matrix: &[f32], maps: &mut [HeadMap]) {
    let before: Vec<Vec<f32>> = maps.iter().map(|map| map.weights.clone()).collect();
    let before: Vec<&[f32]> = before.iter().map(|map| &**map).collect();
    let to = maps.iter_mut().map(|map| &mut *map.weights);
    mix(matrix, &before, &mut to.collect::<Vec<_>>());
}

/// Transformed queries and keys, heads side by side; without keys those of positions.
struct QueriesAndKeys<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    layout: Layout,
    positions: Option<&'a PositionTable>,
}

impl QueriesAndKeys<'_> {
    /// The score of a query and a key in a map of a head, before positions add to it.
    fn score(&self, [head, map]: [usize; 2], query: usize, key: usize) -> f32 {
        let (layout, head_dim, width) = (self.layout, self.layout.head_dim, self.layout.compared());
        let [own, shared] = [head, head / layout.group()].map(|head| head * head_dim + map * width);
        let query = &self.queries[query * layout.width() + own..][..width];
        if let Some(positions) = self.positions {
            return positions.score(query, key);
        }
        let key = &self.keys[key * layout.kv_width() + shared..][..width];
        layout.scale() as f32 * sum_of(query, key, |q, k| q * k)
    }

    /// Map number `map` of every head; `talking` is the matrix that mixes scores across heads, if there is one.
    fn maps<'s>(
        &self,
        map: usize,
        talking: Option<&[f32]>,
        scores: impl Fn(usize) -> HeadScores<'s>,
    ) -> Vec<HeadMap> {
        let (layout, queries) = (self.layout, self.queries.len() / self.layout.width());
        let keys = match self.positions {
            Some(_) => queries,
            None => self.keys.len() / layout.kv_width(),
        };
        let maps = (0..layout.heads).map(|head| {
            map_of([queries, keys], &scores(head), |query, key| match talking {
                None => self.score([head, map], query, key),
                Some(matrix) => {
                    let row = matrix[head * layout.heads..][..layout.heads].iter();
                    let of = row
                        .enumerate()
                        .map(|(other, weight)| weight * self.score([other, map], query, key));
                    of.sum()
                }
            })
        });
        maps.collect()
    }
}

/// The attention map, given the score of every visible pair of query and key.
fn map_of(
    [queries, keys]: [usize; 2],
    scores: &HeadScores<'_>,
    score: impl Fn(usize, usize) -> f32,
) -> HeadMap {
    let (mut weights, mut row) = (vec![], vec![0.0; step(keys)]);
    for query in 0..queries {
        let last = last_key(query, keys);
        (0..=last).for_each(|key| row[key] = score(query, key));
        wide!(scores.scores_to_weights(&mut row, last, None));
        weights.extend_from_slice(&row[..keys]);
    }
    HeadMap {
        queries,
        keys,
        weights,
    }
}

/// A copy of the weights on the CPU.
fn on_cpu<const EMBED: usize, D: Device<f32>>(
    weights: &AttentionWeights<EMBED, f32, D>,
) -> AttentionWeights<EMBED, f32, Cpu> {
    let zeros = AttentionWeights::zeros(&Cpu::default(), weights.layout);
    let mut copy = zeros.expect("memory for a layer on the host");
    set_values(&mut copy, &values(weights));
    copy
}
