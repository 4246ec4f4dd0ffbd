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

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(any(test, feature = "cuda"))]
pub(super) mod reference;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::Device;

use crate::ops::parameters::named_weights;
pub(super) use cpu::Difference;

/// λ_init of Ye et al. 2025: the value of λ if the learned vectors cancel; `1 - λ_init` scales the heads'
/// outputs. Here it is the same for all layers, which they found to work as well (§3.8).
pub const LAMBDA_START: f64 = 0.8;

/// Added to the mean square in the norm of a head's output (the authors' value).
const HEAD_NORM_EPSILON: f64 = 1e-5;

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
