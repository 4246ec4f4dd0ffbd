//! Attention maps: the weights of each head over one document.

use dfdx::shapes::{Dtype, Shape};
use dfdx::tensor::{Cpu, Tensor};
use dfdx::tensor_ops::Device;

use super::head_scores::HeadScores;
use super::heads::HeadTile;
use super::scoring::Bias;
use super::standard_head::StandardHead;
use super::talking_heads::mix;
use super::transform::{HeadTransform, Side};
use super::{
    AttentionWeights, Layout, NormedStream, ScoreWeights, delta, differential, forget, synthesizer,
};
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{sigmoid, sum_of};
use crate::ops::maps::{HeadMap, normed, on_host, products, projected};
use crate::ops::parameters::{Norm, Visitor, VisitorMut, Weights as _};

/// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer.
///
/// The weights are those of [`super::AttentionOp::try_attention`] without dropout. Each row adds up to 1 in softmax
/// attention without a sink or talking heads, and in kinds that divide weights by their sum; to `1 − λ` in
/// differential attention, whose weights may be negative, as may those of products. With the delta rule they are what
/// each value counts for after all corrections.
pub fn maps<const EMBED: usize, N: Dtype, D: Device<N>>(
    x: &Stream<EMBED, N, D>,
    norm: &Norm<EMBED, N, D>,
    weights: &AttentionWeights<EMBED, N, D>,
) -> Vec<HeadMap> {
    let x = normed(&on_host(x), norm);
    maps_between([&x, &x], weights)
}

/// The same in cross-attention, of queries to keys: the weights of [`super::AttentionOp::try_cross_attention`]. Keys
/// beyond the number of queries are never attended to and left out.
pub fn cross_maps<const EMBED: usize, N: Dtype, D: Device<N>>(
    queries_and_keys: [&Stream<EMBED, N, D>; 2],
    (which, norm): (NormedStream, &Norm<EMBED, N, D>),
    weights: &AttentionWeights<EMBED, N, D>,
) -> Vec<HeadMap> {
    let [mut queries, mut keys] = queries_and_keys.map(on_host);
    keys.truncate(queries.len());
    match which {
        NormedStream::Queries => queries = normed(&queries, norm),
        NormedStream::Keys => keys = normed(&keys, norm),
    }
    maps_between([&queries, &keys], weights)
}

/// The maps from the streams of queries and of keys, after the norm.
fn maps_between<const EMBED: usize, N: Dtype, D: Device<N>>(
    [of_queries, of_keys]: [&[f32]; 2],
    weights: &AttentionWeights<EMBED, N, D>,
) -> Vec<HeadMap> {
    let layout = weights.layout;
    let comparison = match &weights.scores {
        ScoreWeights::DotProduct(comparison) => comparison,
        ScoreWeights::Positions(of) => return synthesizer::maps(of_queries, of, layout),
    };
    let on_cpu = on_cpu(weights);
    let transform = HeadTransform::new(&on_cpu, of_queries.len() / EMBED);
    let transformed = |side, mut rows: Vec<f32>, width| {
        for (position, row) in rows.chunks_exact_mut(width).enumerate() {
            transform.apply(row, side, position);
        }
        rows
    };
    let queries = projected(of_queries, &comparison.query);
    let queries = transformed(Side::Queries, queries, layout.width());
    let keys = projected(of_keys, &comparison.key);
    let keys = transformed(Side::Keys, keys, layout.kv_width());
    match &weights.difference {
        Some(difference) => differential::maps([&queries, &keys], difference, layout),
        None => single_maps(of_keys, [&queries, &keys], &on_cpu),
    }
}

/// The maps of heads that have one each, from the stream of the keys, and transformed queries and keys.
fn single_maps<const EMBED: usize>(
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
    let head = StandardHead::new(weights, x.len() / EMBED);
    let scores = |at: usize| head.scores(at, (sums.get(at..).unwrap_or_default(), heads));
    let talking = weights.talking.as_ref();
    let before = talking.map(|of| host(&of.before));
    let mut maps = compare([queries, keys], layout, before, scores);
    if let Some(talking) = talking {
        mix_maps(host(&talking.after), &mut maps);
    }
    if let Some(beta) = &weights.beta {
        let beta = products(x, beta);
        for (at, map) in maps.iter_mut().enumerate() {
            let addend = scores(at).addend;
            let key = |token: usize| &keys[token * layout.width() + at * layout.head_dim..];
            let recall = |query: usize, token: usize| {
                let (query_key, key) = (&key(query)[..layout.head_dim], key(token));
                let product = sum_of(query_key, &key[..layout.head_dim], |a, b| a * b);
                let mut recalled = [product];
                addend.grow(&mut recalled, query, token);
                recalled[0]
            };
            delta::unroll(map, |token| sigmoid(beta[token * heads + at]), recall);
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

/// The map of every query head, from transformed queries and keys, heads side by side, given what scores take of those
/// of each head, if they are mixed.
pub fn compare<'a>(
    [queries, keys]: [&[f32]; 2],
    layout: Layout,
    talking: Option<&[f32]>,
    scores: impl Fn(usize) -> HeadScores<'a>,
) -> Vec<HeadMap> {
    let (width, kv, head_dim) = (layout.width(), layout.kv_width(), layout.head_dim);
    let scale = layout.scale() as f32;
    let score = |head: usize, query: usize, key: usize| {
        let [own, shared] = [head, head / layout.group()].map(|head| head * head_dim);
        let query = &queries[query * width + own..][..head_dim];
        let key = &keys[key * kv + shared..][..head_dim];
        scale * sum_of(query, key, |q, k| q * k)
    };
    let maps = (0..layout.heads).map(|head| {
        let sizes = [queries.len() / width, keys.len() / kv];
        let tile = HeadTile::without_dropout(sizes, head, layout);
        tile.map_from_scores(&scores(head), |query, key| match talking {
            None => score(head, query, key),
            Some(matrix) => {
                let row = matrix[head * layout.heads..][..layout.heads].iter();
                let of = row
                    .enumerate()
                    .map(|(other, weight)| weight * score(other, query, key));
                of.sum()
            }
        })
    });
    maps.collect()
}

/// A copy of the weights on the CPU, in f32.
fn on_cpu<const EMBED: usize, N: Dtype, D: Device<N>>(
    weights: &AttentionWeights<EMBED, N, D>,
) -> AttentionWeights<EMBED, f32, Cpu> {
    let mut values = Values(vec![]);
    let read = weights.each("", &mut values);
    read.unwrap_or_else(|_| unreachable!("reading fails nowhere"));
    let zeros = AttentionWeights::zeros(&Cpu::default(), weights.layout);
    let mut copy = zeros.expect("memory for a layer on the host");
    values.0.reverse();
    let written = copy.each_mut("", &mut values);
    written.expect("writing to the host fails nowhere");
    copy
}

/// The values of some weights.
struct Values(Vec<Vec<f32>>);

impl<N: Dtype, D: Device<N>> Visitor<N, D> for Values {
    fn visit<S: Shape>(&mut self, _: &str, weight: &Tensor<S, N, D>) -> Result<(), D::Err> {
        self.0.push(on_host(weight));
        Ok(())
    }
}

impl VisitorMut<f32, Cpu> for Values {
    fn visit<S: Shape>(
        &mut self,
        _: &str,
        weight: &mut Tensor<S, f32, Cpu>,
    ) -> Result<(), <Cpu as dfdx::tensor::HasErr>::Err> {
        weight.copy_from(&self.0.pop().expect("as many weights"));
        Ok(())
    }
}
