//! λ, the difference of two maps, and the norm of a head's output, forward and backward, on slices.

use std::ops::Range;

use dfdx::tensor::Cpu;

use super::{DifferenceWeights, HEAD_NORM_EPSILON, LAMBDA_START};
use crate::ops::attention::heads::{HeadTile, step};
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{exp, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::Parameter;

/// The difference of a head's two maps, and the norm of its output.
pub struct Difference {
    weights: DifferenceWeights<f32, Cpu>,
    lambda: Lambda,
}

impl Difference {
    /// With λ computed from its learned vectors.
    pub fn new(weights: &DifferenceWeights<f32, Cpu>) -> Self {
        Self {
            weights: weights.clone(),
            lambda: Lambda::of(host(&weights.lambda)),
        }
    }

    /// The vectors of λ, and the gain of the norm.
    pub fn parameters(&self) -> [&dyn Parameter; 2] {
        [&self.weights.lambda, &self.weights.head_norm]
    }

    /// `first − λ second`.
    pub fn of(&self, first: &[f32], second: &[f32]) -> Scratch {
        let (mut difference, lambda) = (Scratch::new(first.len()), self.lambda.value);
        wide!({
            for ((to, a), b) in difference.iter_mut().zip(first).zip(second) {
                *to = a - lambda * b;
            }
        });
        difference
    }

    /// From the gradient of the difference, which is also that of the first map, to that of the second; accumulates
    /// that of the learned vectors.
    pub fn backward(
        &self,
        tile: &HeadTile,
        second: &[f32],
        ddifference: &[f32],
        dvectors: &mut [f32],
    ) -> Scratch {
        let (mut dsecond, lambda) = (Scratch::new(ddifference.len()), self.lambda.value);
        let (mut dlambda, step) = (0.0, step(tile.keys));
        let rows = dsecond.chunks_exact_mut(step);
        let rows = rows.zip(ddifference.chunks_exact(step));
        wide!({
            for (query, ((to, from), weights)) in rows.zip(second.chunks_exact(step)).enumerate() {
                // Elements above the diagonal are undefined and may be NaN.
                let seen = ..=tile.last_key(query);
                dlambda -= sum_of(&from[seen], &weights[seen], |d, w| d * w);
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, from)| *to = -lambda * from);
            }
        });
        self.lambda
            .backward(dlambda, host(&self.weights.lambda), dvectors);
        dsecond
    }

    /// The norm of heads' outputs, one after another, in place.
    pub fn norm(&self, heads: &mut [f32]) {
        let gain = host(&self.weights.head_norm);
        wide!({
            for head in heads.chunks_exact_mut(gain.len()) {
                let scale = scale(head);
                for (x, gain) in head.iter_mut().zip(gain) {
                    *x *= scale * gain;
                }
            }
        });
    }

    /// Backward of [`Self::norm`] for one head, in place: turns the gradient of its output into that of `head`, and
    /// accumulates that of the gain.
    pub fn norm_backward(&self, d: &mut [f32], head: &[f32], dgain: &mut [f32]) {
        wide!({
            let scale = scale(head);
            for ((dgain, d), x) in dgain.iter_mut().zip(&*d).zip(head) {
                *dgain += d * scale * x;
            }
            for (d, gain) in d.iter_mut().zip(host(&self.weights.head_norm)) {
                *d *= gain;
            }
            // d scale / d head = -scale³ head / (width 0.2²).
            let along = sum_of(d, head, |d, x| d * x);
            let squeeze = scale / (1.0 - LAMBDA_START) as f32;
            let along = along * squeeze * squeeze / head.len() as f32;
            for (d, x) in d.iter_mut().zip(head) {
                *d = scale * (*d - along * x);
            }
        });
    }
}

/// λ, and the two exponentials that it is computed from: `exp(λ_q1·λ_k1)` and `exp(λ_q2·λ_k2)`.
#[derive(Clone, Copy)]
struct Lambda {
    value: f32,
    powers: [f32; 2],
}

impl Lambda {
    /// From the learned vectors: `[2, head_dim]`.
    fn of(vectors: &[f32]) -> Self {
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

/// The factor of a head's output in the norm, without the gain: `0.2 / √(mean(o²) + 1e-5)`.
#[inline(always)]
fn scale(head: &[f32]) -> f32 {
    let mean = sum_of(head, head, |a, b| a * b) / head.len() as f32;
    (1.0 - LAMBDA_START) as f32 / (mean + HEAD_NORM_EPSILON as f32).sqrt()
}
