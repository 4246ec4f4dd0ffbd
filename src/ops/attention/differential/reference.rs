//! The reference, on documents padded as in the reference of attention.

use dfdx::shapes::{Axes3, Axes4, Axis, Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, MeanTo, SelectTo, SumTo, TryAdd, TryDiv, TryMul, TrySub,
};

use super::{DifferenceWeights, HEAD_NORM_EPSILON, LAMBDA_START, half_of};
use crate::ops::attention::AttentionDropout;
use crate::ops::attention::reference::{Heads, PaddedBatch, Rows, Scores, scores};

/// The heads' outputs, side by side, from those of queries, keys and values.
pub fn attend<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    padded: &PaddedBatch<'_>,
    [q, k, v]: [Rows<N, D, T>; 3],
    weights: &DifferenceWeights<N, D>,
    dropout: AttentionDropout,
) -> Result<Rows<N, D, T>, D::Err> {
    let [q, k, v] = [
        padded.heads(0, q)?,
        padded.heads(1, k)?,
        padded.heads(1, v)?,
    ];
    // Queries with zeros for the other half give the dot products of one half.
    let map = |q: Heads<N, D, T>, k, half: &Vector<N, D>| {
        let picked = half
            .retaped::<T>()
            .try_broadcast_like::<_, Axes3<0, 1, 2>>(q.shape())?;
        let scores = scores(q.try_mul(picked)?, k, half_of(padded.layout).scale())?;
        padded.scores_to_weights(scores)
    };
    let [first, second] = halves(q.device(), padded.layout.head_dim)?;
    let a: Scores<N, D, T> = map(q.with_empty_tape(), k.with_empty_tape(), &first)?;
    let b: Scores<N, D, T> = map(q, k, &second)?;
    let lambda = lambda::<_, _, T>(weights, [first, second])?;
    let lambda = lambda.try_broadcast_like::<_, Axes4<0, 1, 2, 3>>(b.shape())?;
    let difference = a.try_sub(b.try_mul(lambda)?)?;
    let heads = padded.apply_weights(difference, v, dropout)?;
    padded.flat(head_norm(heads, &weights.head_norm)?)
}

/// A number for each channel of a head.
type Vector<N, D> = Tensor<(usize,), N, D>;

/// 1 for the channels of one half, 0 for those of the other.
fn halves<N: Dtype, D: Device<N>>(
    device: &D,
    head_dim: usize,
) -> Result<[Vector<N, D>; 2], D::Err> {
    let of = |half: usize| {
        let channels = 0..head_dim;
        let ones =
            channels.map(|channel| number(f64::from(u8::from(channel / (head_dim / 2) == half))));
        device.try_tensor_from_vec(ones.collect(), (head_dim,))
    };
    Ok([of(0)?, of(1)?])
}

/// `exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + 0.8`.
fn lambda<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    weights: &DifferenceWeights<N, D>,
    halves: [Vector<N, D>; 2],
) -> Result<Tensor<(), N, D, T>, D::Err> {
    let device = weights.lambda.device();
    let row = |row: usize| {
        let at = device.try_tensor_from_vec(vec![row], ())?;
        weights.lambda.retaped::<T>().try_select(at)
    };
    let products = row(0)?.try_mul(row(1)?)?;
    let power = |products: Tensor<(usize,), N, D, T>, half| {
        let of_half: Tensor<(), N, D, T> = products.try_mul(half)?.try_sum()?;
        of_half.try_exp()
    };
    let [first, second] = halves;
    let first = power(products.with_empty_tape(), first)?;
    first
        .try_sub(power(products, second)?)?
        .try_add(number::<N>(LAMBDA_START))
}

/// `0.2 g · o / √(mean(o²) + 1e-5)` over the channels of each head.
fn head_norm<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Heads<N, D, T>,
    gain: &Vector<N, D>,
) -> Result<Heads<N, D, T>, D::Err> {
    let shape = *heads.shape();
    let squares = heads.with_empty_tape().try_square()?;
    let size = squares
        .try_mean::<_, Axis<3>>()?
        .try_add(number::<N>(HEAD_NORM_EPSILON))?
        .try_sqrt()?;
    let normed = heads.try_div(size.try_broadcast_like::<_, Axis<3>>(&shape)?)?;
    let gain = gain
        .retaped::<T>()
        .try_mul(number::<N>(1.0 - LAMBDA_START))?;
    normed.try_mul(gain.try_broadcast_like::<_, Axes3<0, 1, 2>>(&shape)?)
}

fn number<N: Dtype>(x: f64) -> N {
    N::from_f64(x).expect("a finite number")
}
