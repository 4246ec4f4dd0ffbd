//! The reference of the difference of two maps and of the norm of the heads' outputs.

use dfdx::shapes::{Axes3, Axes4, Axis, Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, MeanTo, SelectTo, SumTo, TryAdd, TryDiv, TryMul, TrySub,
};

use super::tensors::{Heads, Scores, number};
use crate::ops::attention::differential::{DifferenceWeights, HEAD_NORM_EPSILON, LAMBDA_START};

/// `first − λ second`.
pub fn difference<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [first, second]: [Scores<N, D, T>; 2],
    weights: &DifferenceWeights<N, D>,
) -> Result<Scores<N, D, T>, D::Err> {
    let lambda = lambda::<_, _, T>(weights)?;
    let lambda = lambda.try_broadcast_like::<_, Axes4<0, 1, 2, 3>>(second.shape())?;
    first.try_sub(second.try_mul(lambda)?)
}

/// A number for each channel of a head.
type Vector<N, D> = Tensor<(usize,), N, D>;

/// 1 for the channels of one half, 0 for those of the other.
pub fn half<N: Dtype, D: Device<N>>(
    device: &D,
    head_dim: usize,
    half: usize,
) -> Result<Vector<N, D>, D::Err> {
    let channels = 0..head_dim;
    let ones = channels.map(|channel| {
        let is_of_half = channel / (head_dim / 2) == half;
        number(f64::from(u8::from(is_of_half)))
    });
    device.try_tensor_from_vec(ones.collect(), (head_dim,))
}

/// `exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + 0.8`.
fn lambda<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    weights: &DifferenceWeights<N, D>,
) -> Result<Tensor<(), N, D, T>, D::Err> {
    let device = weights.lambda.device();
    let row = |row: usize| {
        let at = device.try_tensor_from_vec(vec![row], ())?;
        weights.lambda.retaped::<T>().try_select(at)
    };
    let products = row(0)?.try_mul(row(1)?)?;
    let power = |products: Tensor<(usize,), N, D, T>, of: usize| {
        let picked = half(device, products.shape().0, of)?;
        let of_half: Tensor<(), N, D, T> = products.try_mul(picked)?.try_sum()?;
        of_half.try_exp()
    };
    let first = power(products.with_empty_tape(), 0)?;
    first
        .try_sub(power(products, 1)?)?
        .try_add(number::<N>(LAMBDA_START))
}

/// `0.2 g · o / √(mean(o²) + 1e-5)` over the channels of each head.
pub fn head_norm<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Heads<N, D, T>,
    weights: &DifferenceWeights<N, D>,
) -> Result<Heads<N, D, T>, D::Err> {
    let shape = *heads.shape();
    let squares = heads.with_empty_tape().try_square()?;
    let size = squares
        .try_mean::<_, Axis<3>>()?
        .try_add(number::<N>(HEAD_NORM_EPSILON))?
        .try_sqrt()?;
    let normed = heads.try_div(size.try_broadcast_like::<_, Axis<3>>(&shape)?)?;
    let gain = (weights.head_norm)
        .retaped::<T>()
        .try_mul(number::<N>(1.0 - LAMBDA_START))?;
    normed.try_mul(gain.try_broadcast_like::<_, Axes3<0, 1, 2>>(&shape)?)
}
