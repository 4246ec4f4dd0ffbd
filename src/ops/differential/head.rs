//! One head of differential attention, forward and backward.

use std::ops::Range;

use dfdx::tensor::Cpu;

use super::{DifferentialWeights, HEAD_NORM_EPSILON, LAMBDA_START};
use crate::ops::attention::head_attention::{HeadAttention, HeadColumns};
use crate::ops::attention::heads::{HeadTile, step};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Pass, Target, View};
use crate::ops::kernels::rows::{exp, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::residual::Parameter;

/// Values weighted by the difference of two attention maps, then normalised.
///
/// A head saves both maps, as [`HeadTile`] lays them out, and the weighted sum: `[queries, HEAD_DIM]`.
pub struct DifferentialHead<const EMBED: usize, const HEAD_DIM: usize> {
    weights: DifferentialWeights<EMBED, HEAD_DIM, f32, Cpu>,
    lambda: Lambda,
}

impl<const EMBED: usize, const HEAD_DIM: usize> DifferentialHead<EMBED, HEAD_DIM> {
    /// With λ computed from its learned vectors.
    pub fn new(weights: &DifferentialWeights<EMBED, HEAD_DIM, f32, Cpu>) -> Self {
        Self {
            weights: weights.clone(),
            lambda: Lambda::of(host(&weights.lambda)),
        }
    }

    /// The channels of each map: offset and width.
    const HALVES: [(usize, usize); 2] = [(0, HEAD_DIM / 2), (HEAD_DIM / 2, HEAD_DIM / 2)];

    /// Splits what was saved: both maps, and the weighted sum.
    fn parts<'a>(tile: &HeadTile, kept: &'a [f32]) -> [&'a [f32]; 3] {
        let (first, rest) = kept.split_at(tile.saved_len());
        let (second, weighted) = rest.split_at(tile.saved_len());
        [first, second, weighted]
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize> HeadAttention<HEAD_DIM>
    for DifferentialHead<EMBED, HEAD_DIM>
{
    type Document<'a> = ();

    fn document(&self, _: usize, _: Pass) {}

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let w = &self.weights;
        vec![&w.lambda, &w.head_norm]
    }

    fn saved_len(&self, tile: &HeadTile) -> usize {
        2 * tile.saved_len() + tile.queries * HEAD_DIM
    }

    fn attend(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        ((), qkv): (&(), &[f32]),
        kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        let elements = tile.saved_len();
        let lengths = [elements, elements, tile.queries * HEAD_DIM];
        let [first, second, weighted] = cut(lengths, kept);
        for (half, weights) in Self::HALVES.into_iter().zip([&mut *first, &mut *second]) {
            columns.attention_weights(tile, half, qkv, weights);
        }
        let difference = difference(first, second, self.lambda.value);
        let target = Target::set(weighted, HEAD_DIM);
        tile.apply_weights(&difference, columns.values(qkv, HEAD_DIM), target);
        norm(weighted, host(&self.weights.head_norm), out, step);
    }

    fn attend_backward(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        ((), qkv, kept): (&(), &[f32], &[f32]),
        (dout, out_step): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let [dvectors, dgain] = cut([2 * HEAD_DIM, HEAD_DIM], of_parameters);
        let [first, second, weighted] = Self::parts(tile, kept);
        let mut dweighted = Scratch::new(tile.queries * HEAD_DIM);
        let rows = dweighted
            .chunks_exact_mut(HEAD_DIM)
            .zip(weighted.chunks_exact(HEAD_DIM));
        wide!({
            for ((dweighted, weighted), dout) in rows.zip(dout.chunks(out_step)) {
                let gain = host(&self.weights.head_norm);
                norm_backward(weighted, gain, &dout[..HEAD_DIM], dweighted, dgain);
            }
        });
        let lambda = self.lambda;
        let difference = difference(first, second, lambda.value);
        let values = columns.values(qkv, HEAD_DIM);
        let dweighted = View::rows(&dweighted, HEAD_DIM);
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
                let seen = ..=query;
                dlambda -= sum_of(&from[seen], &weights[seen], |d, w| d * w);
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, from)| *to = -lambda.value * from);
            }
        });
        lambda.backward(dlambda, host(&self.weights.lambda), dvectors);
        let maps = [(first, dfirst), (second, dsecond)];
        for (half, (weights, dweights)) in Self::HALVES.into_iter().zip(maps) {
            columns.attention_weights_backward(tile, half, (qkv, weights), dweights, dqkv);
        }
    }
}

/// `first − λ second`.
pub(super) fn difference(first: &[f32], second: &[f32], lambda: f32) -> Scratch {
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
pub(super) struct Lambda {
    pub(super) value: f32,
    powers: [f32; 2],
}

impl Lambda {
    /// From the learned vectors: `[2, HEAD_DIM]`.
    pub(super) fn of(vectors: &[f32]) -> Self {
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

    /// Accumulates the gradient of the learned vectors: `[2, HEAD_DIM]`.
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
pub(super) fn norm(head: &[f32], gain: &[f32], out: &mut [f32], step: usize) {
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
