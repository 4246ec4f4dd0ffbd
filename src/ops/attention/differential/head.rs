//! One head of differential attention, forward and backward.

use std::ops::Range;

use dfdx::tensor::Cpu;

use super::{DifferenceWeights, HEAD_NORM_EPSILON, LAMBDA_START, half_of};
use crate::ops::attention::head_attention::{HeadAttention, HeadColumns};
use crate::ops::attention::head_scores::{AddendGradient, HeadScores};
use crate::ops::attention::heads::{HeadTile, step};
use crate::ops::attention::{Layout, kv_cache};
use crate::ops::bridge::host;
use crate::ops::decoding::KvCache;
use crate::ops::kernels::matmul::{Packed, Target, View};
use crate::ops::kernels::rows::{exp, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::residual::Parameter;

/// Values weighted by the difference of two attention maps, then normalised.
///
/// A head saves both maps, as [`HeadTile`] lays them out, and the weighted sum: `[queries, head_dim]`.
pub struct DifferentialHead {
    weights: DifferenceWeights<f32, Cpu>,
    lambda: Lambda,
}

impl DifferentialHead {
    /// With λ computed from its learned vectors.
    pub fn new(weights: &DifferenceWeights<f32, Cpu>) -> Self {
        Self {
            weights: weights.clone(),
            lambda: Lambda::of(host(&weights.lambda)),
        }
    }

    /// Splits what was saved: both maps, and the weighted sum.
    fn parts<'a>(tile: &HeadTile, kept: &'a [f32]) -> [&'a [f32]; 3] {
        let (first, rest) = kept.split_at(tile.saved_len());
        let (second, weighted) = rest.split_at(tile.saved_len());
        [first, second, weighted]
    }
}

/// The channels of each map: offset and width.
fn halves(head_dim: usize) -> [(usize, usize); 2] {
    [(0, head_dim / 2), (head_dim / 2, head_dim / 2)]
}

impl HeadAttention for DifferentialHead {
    fn parameters(&self) -> Vec<&dyn Parameter> {
        vec![&self.weights.lambda, &self.weights.head_norm]
    }

    fn saved_len(&self, tile: &HeadTile) -> usize {
        2 * tile.saved_len() + tile.queries * tile.layout.head_dim
    }

    fn attend(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (_, qkv): (Option<&Packed<'_>>, &[f32]),
        kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        let (elements, head_dim) = (tile.saved_len(), tile.layout.head_dim);
        let lengths = [elements, elements, tile.queries * head_dim];
        let [first, second, weighted] = cut(lengths, kept);
        for (half, weights) in halves(head_dim)
            .into_iter()
            .zip([&mut *first, &mut *second])
        {
            columns.attention_weights(tile, &tile.plain_scores(), half, qkv, weights);
        }
        let difference = difference(first, second, self.lambda.value);
        let target = Target::set(weighted, head_dim);
        tile.apply_weights(&difference, columns.values(qkv, head_dim), target);
        norm(weighted, host(&self.weights.head_norm), out, step);
    }

    fn attend_backward(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (_, qkv, kept): (Option<&Packed<'_>>, &[f32], &[f32]),
        (dout, out_step): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let head_dim = tile.layout.head_dim;
        let [dvectors, dgain] = cut([2 * head_dim, head_dim], of_parameters);
        let [first, second, weighted] = Self::parts(tile, kept);
        let mut dweighted = Scratch::new(tile.queries * head_dim);
        let rows = dweighted
            .chunks_exact_mut(head_dim)
            .zip(weighted.chunks_exact(head_dim));
        wide!({
            for ((dweighted, weighted), dout) in rows.zip(dout.chunks(out_step)) {
                let gain = host(&self.weights.head_norm);
                norm_backward(weighted, gain, &dout[..head_dim], dweighted, dgain);
            }
        });
        let lambda = self.lambda;
        let difference = difference(first, second, lambda.value);
        let values = columns.values(qkv, head_dim);
        let dweighted = View::rows(&dweighted, head_dim);
        let dfirst =
            tile.apply_weights_backward(&difference, values, dweighted, columns.dvalues(dqkv));

        let mut dsecond = Scratch::new(dfirst.len());
        let mut dlambda = 0.0;
        let rows = dsecond
            .chunks_exact_mut(step(tile.keys))
            .zip(dfirst.chunks_exact(step(tile.keys)));
        wide!({
            for (query, ((to, from), weights)) in
                rows.zip(second.chunks_exact(step(tile.keys))).enumerate()
            {
                // Elements above the diagonal are undefined and may be NaN.
                let seen = ..=tile.last_key(query);
                dlambda -= sum_of(&from[seen], &weights[seen], |d, w| d * w);
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, from)| *to = -lambda.value * from);
            }
        });
        lambda.backward(dlambda, host(&self.weights.lambda), dvectors);
        let maps = [(first, dfirst), (second, dsecond)];
        let scores = tile.plain_scores();
        for (half, (weights, mut d)) in halves(head_dim).into_iter().zip(maps) {
            let of_addend = &mut AddendGradient::None;
            tile.scores_to_weights_backward(&scores, weights, &mut d, of_addend);
            columns.scores_backward(tile, half, (qkv, &d), dqkv);
        }
    }
}

/// How the heads attend to a cache: as in attention with one map, twice.
pub fn attend_twice(
    layout: Layout,
    weights: &DifferenceWeights<f32, Cpu>,
) -> impl Fn(&KvCache, (&[f32], usize), &mut [f32]) {
    let (lambda, gain) = (
        Lambda::of(host(&weights.lambda)).value,
        host(&weights.head_norm),
    );
    let (width, head_dim) = (layout.width(), layout.head_dim);
    move |cache, (queries, step), heads| {
        let mut weighted = Scratch::new(heads.len() / width * head_dim);
        for head in 0..layout.heads {
            let column = head * head_dim;
            let shared = (head / layout.group(), head_dim);
            let map = |half| map_of(layout, cache, [head, half], (&queries[column..], step));
            let [first, second] = [0, 1].map(map);
            let weights = difference(&first, &second, lambda);
            kv_cache::apply_weights(cache, shared, &weights, &mut weighted, head_dim);
            norm(&weighted, gain, &mut heads[column..], width);
        }
    }
}

/// The attention weights of one of a head's two maps, given its columns of all queries: `[queries, tokens]`.
fn map_of(
    layout: Layout,
    cache: &KvCache,
    [head, half]: [usize; 2],
    (queries, step_of_queries): (&[f32], usize),
) -> Scratch {
    let head_dim = layout.head_dim;
    let (n, step) = (
        queries.len().div_ceil(step_of_queries),
        kv_cache::score_step(cache),
    );
    // Zeros for the other half: the cache has keys as whole heads.
    let mut padded = Scratch::zeros(n * head_dim);
    let (first, channels) = halves(head_dim)[half];
    for (to, from) in padded
        .chunks_exact_mut(head_dim)
        .zip(queries.chunks(step_of_queries))
    {
        to[first..][..channels].copy_from_slice(&from[first..][..channels]);
    }
    let mut weights = Scratch::new(n * step);
    let (shared, queries) = (
        (head / layout.group(), head_dim),
        (n, &padded[..], head_dim),
    );
    kv_cache::scores(
        cache,
        shared,
        queries,
        half_of(layout).scale() as f32,
        &mut weights,
    );
    let scores = HeadScores::plain(&layout, head);
    scores.last_scores_to_weights(&mut weights, step, cache.tokens);
    weights
}

/// `first − λ second`.
fn difference(first: &[f32], second: &[f32], lambda: f32) -> Scratch {
    let mut difference = Scratch::new(first.len());
    wide!({
        for ((to, a), b) in difference.iter_mut().zip(first).zip(second) {
            *to = a - lambda * b;
        }
    });
    difference
}

/// λ, and the two exponentials that it is computed from: `exp(λ_q1·λ_k1)` and `exp(λ_q2·λ_k2)`.
#[derive(Clone, Copy)]
pub struct Lambda {
    pub value: f32,
    powers: [f32; 2],
}

impl Lambda {
    /// From the learned vectors: `[2, head_dim]`.
    pub fn of(vectors: &[f32]) -> Self {
        let width = vectors.len() / 2;
        let (query, key) = vectors.split_at(width);
        let power = |half: Range<usize>| {
            let products = query[half.clone()].iter().zip(&key[half]);
            exp(products.map(|(q, k)| q * k).sum())
        };
        let powers = [power(0..width / 2), power(width / 2..width)];
        Self {
            value: powers[0] - powers[1] + LAMBDA_START as f32,
            powers,
        }
    }

    /// Accumulates the gradient of the learned vectors: `[2, head_dim]`.
    fn backward(self, dlambda: f32, vectors: &[f32], dvectors: &mut [f32]) {
        let width = vectors.len() / 2;
        let (query, key) = vectors.split_at(width);
        let (dquery, dkey) = dvectors.split_at_mut(width);
        let [first, second] = self.powers;
        for channel in 0..width {
            let is_first = channel < width / 2;
            let along = dlambda * if is_first { first } else { -second };
            dquery[channel] += along * key[channel];
            dkey[channel] += along * query[channel];
        }
    }
}

/// The factor of a head's row in the norm, without the gain: `0.2 / √(mean(o²) + 1e-5)`.
#[inline(always)]
fn scale(row: &[f32]) -> f32 {
    let mean = sum_of(row, row, |a, b| a * b) / row.len() as f32;
    (1.0 - LAMBDA_START) as f32 / (mean + HEAD_NORM_EPSILON as f32).sqrt()
}

/// The norm of a head's output: `[queries, gain's width]` → the same with row stride `step`.
pub fn norm(head: &[f32], gain: &[f32], out: &mut [f32], step: usize) {
    let rows = head.chunks_exact(gain.len()).zip(out.chunks_mut(step));
    wide!({
        for (row, out) in rows {
            let scale = scale(row);
            for ((out, x), gain) in out.iter_mut().zip(row).zip(gain) {
                *out = scale * gain * x;
            }
        }
    });
}

/// Backward of the norm for one query: writes `drow`, accumulates `dgain`.
#[inline(always)]
fn norm_backward(row: &[f32], gain: &[f32], dout: &[f32], drow: &mut [f32], dgain: &mut [f32]) {
    let scale = scale(row);
    for ((dgain, d), x) in dgain.iter_mut().zip(dout).zip(row) {
        *dgain += d * scale * x;
    }
    for ((drow, d), gain) in drow.iter_mut().zip(dout).zip(gain) {
        *drow = d * gain;
    }
    // d scale / d row = -scale³ row / (width 0.2²).
    let along = sum_of(drow, row, |d, x| d * x);
    let squeeze = scale / (1.0 - LAMBDA_START) as f32;
    let along = along * squeeze * squeeze / row.len() as f32;
    for (drow, x) in drow.iter_mut().zip(row) {
        *drow = scale * (*drow - along * x);
    }
}
