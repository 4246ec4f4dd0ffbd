//! The reference, composed of dfdx's own ops.

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{Tape, WithEmptyTape};
use dfdx::tensor_ops::{Device, TryAdd, TryMul, TrySub};

use super::{Activation, FeedForward};
use crate::ops::Stream;
use crate::ops::dropout::{Dropout, add_dropped};
use crate::ops::parameters::Norm;

/// See [`super::FeedForwardOp::try_feed_forward`].
pub(crate) fn feed_forward<
    const EMBED: usize,
    const HIDDEN: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &Norm<EMBED, N, D>,
    weights: &FeedForward<EMBED, HIDDEN, N, D>,
    dropout: Dropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let normed = norm.try_forward(x.with_empty_tape())?;
    let hidden = match (weights.activation, &weights.gate) {
        (_, Some(gate)) => {
            let gate = silu(gate.try_forward(normed.with_empty_tape())?)?;
            gate.try_mul(weights.expand.try_forward(normed)?)?
        }
        (Activation::SquaredRelu, _) => {
            (weights.expand.try_forward(normed)?.try_relu()?).try_square()?
        }
        _ => gelu(weights.expand.try_forward(normed)?)?,
    };
    add_dropped(x, weights.contract.try_forward(hidden)?, dropout)
}

/// `x / (1 + e^-x)`.
fn silu<const WIDTH: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<WIDTH, N, D, T>,
) -> Result<Stream<WIDTH, N, D, T>, D::Err> {
    x.with_empty_tape().try_sigmoid()?.try_mul(x)
}

/// Exact GELU, `x Φ(x)`, with its true derivative `Φ(x) + x φ(x)`.
///
/// dfdx 0.13's `accurate_gelu` has the right value, but the derivative `Φ(x) + √2 x φ(x)`: a factor 1/√2 of
/// the chain rule is missing. Since φ' = -x φ, adding `(√2 - 1) φ(x)` on the tape and subtracting its value
/// off the tape corrects the derivative without changing the value.
fn gelu<const WIDTH: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<WIDTH, N, D, T>,
) -> Result<Stream<WIDTH, N, D, T>, D::Err> {
    let factor = (std::f64::consts::SQRT_2 - 1.0) / std::f64::consts::TAU.sqrt();
    let [half, factor] = [-0.5, factor].map(|v| N::from_f64(v).expect("a finite number"));
    let density = x
        .with_empty_tape()
        .try_square()?
        .try_mul(half)?
        .try_exp()?
        .try_mul(factor)?;
    // A new tensor: a clone would share the id, and so the gradient.
    let value = x
        .device()
        .try_tensor_from_vec(density.as_vec(), *x.shape())?;
    x.try_accurate_gelu()?.try_add(density)?.try_sub(value)
}
