//! The fast path: attention's, with a comparison of its own.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::memory::KeysAndValues;
use super::{Differences, DifferentialOp, HEAD_NORM_EPSILON, LAMBDA_START, assert_halves};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::comparing::{Columns, Comparison};
use crate::ops::attention::cpu::Attention;
use crate::ops::attention::heads::{WeightMap, step};
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Target, View};
use crate::ops::kernels::rows::{exp, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Remembering};
use crate::ops::residual::{Parameter, try_residual};

impl DifferentialOp<f32> for Cpu {
    fn try_differential<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cpu>,
    >(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &Differences<EMBED, HEADS, HEAD_DIM, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert_halves(EMBED, HEADS, HEAD_DIM) };
        let branch = Attention::<EMBED, EMBED, HEADS, HEAD_DIM, _>::new(
            &weights.projections,
            Scoring::SOFTMAX,
            TwoMaps::new(weights),
            dropout,
        );
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn differential_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Differences<EMBED, HEADS, HEAD_DIM, f32, Cpu>,
        (rows, _): (usize, usize),
    ) -> BoxedReader<'a, EMBED, f32, Cpu> {
        const { assert_halves(EMBED, HEADS, HEAD_DIM) };
        let memory = KeysAndValues::<EMBED, HEADS, HEAD_DIM>::new(weights);
        Box::new(Remembering::new(norm, memory, rows))
    }
}

/// Values blended by the difference of two maps, and normed.
///
/// A head keeps both maps, as [`WeightMap`] lays them out, and what they blend: `[queries, HEAD_DIM]`.
struct TwoMaps<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    weights: Differences<EMBED, HEADS, HEAD_DIM, f32, Cpu>,
    lambda: Lambda,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    TwoMaps<EMBED, HEADS, HEAD_DIM>
{
    fn new(weights: &Differences<EMBED, HEADS, HEAD_DIM, f32, Cpu>) -> Self {
        Self {
            weights: weights.clone(),
            lambda: Lambda::of(host(&weights.lambda)),
        }
    }

    /// The channels of each map.
    const HALVES: [(usize, usize); 2] = [(0, HEAD_DIM / 2), (HEAD_DIM / 2, HEAD_DIM / 2)];

    /// What is kept, in its three parts.
    fn parts<'a>(map: &WeightMap, kept: &'a [f32]) -> [&'a [f32]; 3] {
        let (first, rest) = kept.split_at(map.elements());
        let (second, blended) = rest.split_at(map.elements());
        [first, second, blended]
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> Comparison<HEAD_DIM>
    for TwoMaps<EMBED, HEADS, HEAD_DIM>
{
    fn parameters(&self) -> Vec<&dyn Parameter> {
        let w = &self.weights;
        vec![&w.lambda, &w.head_norm]
    }

    fn elements(&self, map: &WeightMap) -> usize {
        2 * map.elements() + map.queries * HEAD_DIM
    }

    fn attend(
        &self,
        map: &WeightMap,
        columns: Columns,
        qkv: &[f32],
        kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        let elements = map.elements();
        let lengths = [elements, elements, map.queries * HEAD_DIM];
        let [first, second, blended] = cut(lengths, kept);
        for (half, weights) in Self::HALVES.into_iter().zip([&mut *first, &mut *second]) {
            columns.compare(map, half, qkv, weights);
        }
        let difference = difference(first, second, self.lambda.value);
        let target = Target::set(blended, HEAD_DIM);
        map.blend(&difference, columns.values(qkv, HEAD_DIM), target);
        norm(blended, host(&self.weights.head_norm), out, step);
    }

    fn attend_backward(
        &self,
        map: &WeightMap,
        columns: Columns,
        (qkv, kept): (&[f32], &[f32]),
        (dout, out_step): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let [dvectors, dgain] = cut([2 * HEAD_DIM, HEAD_DIM], of_parameters);
        let [first, second, blended] = Self::parts(map, kept);
        let mut dblended = Scratch::new(map.queries * HEAD_DIM);
        let rows = dblended
            .chunks_exact_mut(HEAD_DIM)
            .zip(blended.chunks_exact(HEAD_DIM));
        wide(
            #[inline(always)]
            || {
                for ((dblended, blended), dout) in rows.zip(dout.chunks(out_step)) {
                    let gain = host(&self.weights.head_norm);
                    norm_backward(blended, gain, &dout[..HEAD_DIM], dblended, dgain);
                }
            },
        );
        let lambda = self.lambda;
        let difference = difference(first, second, lambda.value);
        let values = columns.values(qkv, HEAD_DIM);
        let dblended = View::rows(&dblended, HEAD_DIM);
        let dfirst = map.blend_backward(&difference, values, dblended, columns.dvalues(dqkv));

        let mut dsecond = Scratch::new(dfirst.len());
        let mut dlambda = 0.0;
        let rows = dsecond
            .chunks_exact_mut(step(map.keys))
            .zip(dfirst.chunks_exact(step(map.keys)));
        wide(
            #[inline(always)]
            || {
                for (query, ((to, from), weights)) in
                    rows.zip(second.chunks_exact(step(map.keys))).enumerate()
                {
                    // What lies above the diagonal means nothing, and may be no number.
                    let seen = ..=query;
                    dlambda -= sum_of(&from[seen], &weights[seen], |d, w| d * w);
                    to.iter_mut()
                        .zip(from)
                        .for_each(|(to, from)| *to = -lambda.value * from);
                }
            },
        );
        lambda.backward(dlambda, host(&self.weights.lambda), dvectors);
        let maps = [(first, dfirst), (second, dsecond)];
        for (half, (weights, dweights)) in Self::HALVES.into_iter().zip(maps) {
            columns.compare_backward(map, half, (qkv, weights), dweights, dqkv);
        }
    }
}

/// `first − λ second`.
pub(super) fn difference(first: &[f32], second: &[f32], lambda: f32) -> Scratch {
    let mut difference = Scratch::new(first.len());
    wide(
        #[inline(always)]
        || {
            for ((to, a), b) in difference.iter_mut().zip(first).zip(second) {
                *to = a - lambda * b;
            }
        },
    );
    difference
}

/// λ, and the two powers that it is made of: `exp(λ_q1·λ_k1)` and `exp(λ_q2·λ_k2)`.
#[derive(Clone, Copy)]
pub(super) struct Lambda {
    pub(super) value: f32,
    powers: [f32; 2],
}

impl Lambda {
    /// Of the vectors that it is made of: `[2, HEAD_DIM]`.
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

    /// Adds to the gradient of the vectors: `[2, HEAD_DIM]`, as they are.
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

/// What a row of a head is multiplied by, beside its gain: `0.2 / √(mean(o²) + 1e-5)`.
#[inline(always)]
fn scale(row: &[f32]) -> f32 {
    let mean = sum_of(row, row, |a, b| a * b) / row.len() as f32;
    (1.0 - LAMBDA_START) as f32 / (mean + HEAD_NORM_EPSILON as f32).sqrt()
}

/// The norm of a head's output: `[queries, gain's width]`, to rows `step` apart.
pub(super) fn norm(head: &[f32], gain: &[f32], out: &mut [f32], step: usize) {
    let rows = head.chunks_exact(gain.len()).zip(out.chunks_mut(step));
    wide(
        #[inline(always)]
        || {
            for (row, out) in rows {
                let scale = scale(row);
                for ((out, x), gain) in out.iter_mut().zip(row).zip(gain) {
                    *out = scale * gain * x;
                }
            }
        },
    );
}

/// Its backward for one query: writes `drow`, adds to `dgain`.
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
