//! Differential attention: each head subtracts a second attention map from a first, so that noise common to
//! both cancels (Ye et al. 2025, Differential Transformer, §2.1, equations 1 to 3).
//!
//! Within each head, queries and keys are split into halves q₁, q₂ and k₁, k₂ of d = head_dim / 2 channels. Values are
//! weighted by `softmax(q₁k₁ᵀ/√d) − λ softmax(q₂k₂ᵀ/√d)` over the keys at or before the query, with dropout on these
//! weights, and their sum o becomes `0.2 g · o / √(mean(o²) + 1e-5)`. `λ = exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + 0.8`.
//!
//! There are as many heads here as without the subtraction, each with maps of half its width; the authors halve the
//! number of heads instead. Dropout is an addition for consistency with the other kinds.
//!
//! With other parts, each map is that of a head of d channels: its queries and keys are rotated and normalised as such,
//! as in the authors' code, and it has a sink of its own. What positions add to a head's scores is added in both maps.

use std::ops::Range;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::heads::{DocumentHead, step};
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{exp, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::parameters::named_weights;
use crate::ops::residual::Parameter;

/// λ_init of Ye et al. 2025: the value of λ if the learned vectors cancel; `1 - λ_init` scales the heads'
/// outputs. Here it is the same for all layers, which they found to work as well (§3.8).
pub const LAMBDA_START: f64 = 0.8;

/// Added to the mean square in the norm of a head's output (the authors' value).
pub const HEAD_NORM_EPSILON: f64 = 1e-5;

/// What differential heads learn besides their projections. Of every vector over a head's channels, the first half
/// belongs to the first map, the second half to the map that is subtracted.
#[derive(Clone, Debug)]
pub struct DifferenceWeights<N: Dtype, D: Storage<N>> {
    /// `[2, head_dim]`: λ_q1 and λ_q2 in the first row, λ_k1 and λ_k2 in the second; shared by all heads. The
    /// optimiser applies weight decay to them, and to the gain below.
    pub lambda: Tensor<(Const<2>, usize), N, D>,
    /// `[head_dim]`: the gain of the norm of a head's output, initially 1; shared by all heads.
    pub head_norm: Tensor<(usize,), N, D>,
}

impl<N: Dtype, D: Device<N>> DifferenceWeights<N, D> {
    /// All zero, for heads of an even width.
    pub fn zeros(device: &D, head_dim: usize) -> Result<Self, D::Err> {
        Ok(Self {
            lambda: device.try_zeros_like(&(Const::<2>, head_dim))?,
            head_norm: device.try_zeros_like(&(head_dim,))?,
        })
    }
}

named_weights! {
    impl [] DifferenceWeights<> {
        lambda: "lambda",
        head_norm: "head_norm.weight",
    }
}

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
        head: &DocumentHead,
        second: &[f32],
        ddifference: &[f32],
        dvectors: &mut [f32],
    ) -> Scratch {
        let (mut dsecond, lambda) = (Scratch::new(ddifference.len()), self.lambda.value);
        let (mut dlambda, step) = (0.0, step(head.keys));
        let rows = dsecond.chunks_exact_mut(step);
        let rows = rows.zip(ddifference.chunks_exact(step));
        wide!({
            for (query, ((to, from), weights)) in rows.zip(second.chunks_exact(step)).enumerate() {
                // Elements above the diagonal are undefined and may be NaN.
                let seen = ..=head.last_key(query);
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
