//! The reference, on documents padded as in the reference of attention.

use dfdx::shapes::{Axes3, Axes4, Axis, Const, Dtype, HasShape, Rank1};
use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, MeanTo, SelectTo, SumTo, TryAdd, TryDiv, TryMul, TrySub,
};

use super::{DifferentialWeights, HEAD_NORM_EPSILON, LAMBDA_START};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::reference::{Heads, PaddedBatch, Scores, scores};
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::LayerNorm;

/// See [`super::DifferentialOp::try_differential`].
pub(crate) fn differential<
    const EMBED: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &DifferentialWeights<EMBED, HEAD_DIM, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let normed = norm.try_forward(x.with_empty_tape())?;
    let p = &weights.projections;
    let padded = PaddedBatch::<EMBED, HEAD_DIM>::of([&batch.starts; 2]);
    let q = padded.heads(0, p.query.try_forward(normed.with_empty_tape())?)?;
    let k = padded.heads(1, p.key.try_forward(normed.with_empty_tape())?)?;
    let v = padded.heads(1, p.value.try_forward(normed)?)?;

    // Queries with zeros for the other half give the dot products of one half.
    let map = |q: Heads<HEAD_DIM, N, D, T>, k, half: &Tensor<Rank1<HEAD_DIM>, N, D>| {
        let picked = half.retaped::<T>().try_broadcast_like(q.shape())?;
        let scores = scores(q.try_mul(picked)?, k, Scoring::SOFTMAX.scale(HEAD_DIM / 2))?;
        padded.scores_to_weights(scores, Scoring::SOFTMAX)
    };
    let [first, second] = halves(x.device())?;
    let a: Scores<N, D, T> = map(q.with_empty_tape(), k.with_empty_tape(), &first)?;
    let b: Scores<N, D, T> = map(q, k, &second)?;
    let lambda = lambda::<_, _, _, _, T>(weights, [first, second])?;
    let lambda = lambda.try_broadcast_like::<_, Axes4<0, 1, 2, 3>>(b.shape())?;
    let difference = a.try_sub(b.try_mul(lambda)?)?;
    let heads = padded.apply_weights(difference, v, dropout)?;
    let heads = padded.flat(head_norm(heads, &weights.head_norm)?)?;
    add_dropped(x, p.proj.try_forward(heads)?, dropout.output)
}

/// 1 for the channels of one half, 0 for those of the other.
fn halves<const HEAD_DIM: usize, N: Dtype, D: Device<N>>(
    device: &D,
) -> Result<[Tensor<Rank1<HEAD_DIM>, N, D>; 2], D::Err> {
    let of = |half: usize| {
        let channels = 0..HEAD_DIM;
        let ones =
            channels.map(|channel| number(f64::from(u8::from(channel / (HEAD_DIM / 2) == half))));
        device.try_tensor_from_vec(ones.collect(), (Const::<HEAD_DIM>,))
    };
    Ok([of(0)?, of(1)?])
}

/// `exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + 0.8`.
fn lambda<const EMBED: usize, const HEAD_DIM: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    weights: &DifferentialWeights<EMBED, HEAD_DIM, N, D>,
    halves: [Tensor<Rank1<HEAD_DIM>, N, D>; 2],
) -> Result<Tensor<(), N, D, T>, D::Err> {
    let device = weights.lambda.device();
    let row = |row: usize| {
        let at = device.try_tensor_from_vec(vec![row], ())?;
        weights.lambda.retaped::<T>().try_select(at)
    };
    let products = row(0)?.try_mul(row(1)?)?;
    let power = |products: Tensor<Rank1<HEAD_DIM>, N, D, T>, half| {
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
fn head_norm<const HEAD_DIM: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Heads<HEAD_DIM, N, D, T>,
    gain: &Tensor<Rank1<HEAD_DIM>, N, D>,
) -> Result<Heads<HEAD_DIM, N, D, T>, D::Err> {
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
