//! The plain truth, on the rectangle that attention's reference pads documents to.

use dfdx::shapes::{Axis, Const, Dtype, HasShape};
use dfdx::tensor::{Tape, WithEmptyTape};
use dfdx::tensor_ops::{BroadcastTo, Device, ReshapeTo, TryAdd, TryMatMul, TryMul};

use super::Synthesis;
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::reference::Frame;
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::dropout::factors;
use crate::ops::parameters::LayerNorm;

/// See [`super::SynthesizerOp::try_synthesize`].
pub(crate) fn synthesize<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let normed = norm.try_forward(x.with_empty_tape())?;
    let hidden = weights
        .w1
        .try_forward(normed.with_empty_tape())?
        .try_relu()?;
    let v = weights.value.try_forward(normed)?;
    let frame = Frame::of(&batch.starts);
    let hidden = frame.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(hidden)?;
    let v = frame.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(v)?;

    // The first `n` places, by a product with what picks them.
    let (device, n) = (x.device().clone(), batch.longest());
    let mut first = vec![N::default(); PLACES * n];
    (0..n).for_each(|place| first[place * n + place] = N::ONE);
    let first = device.try_tensor_from_vec(first, (Const::<PLACES>, n))?;
    let w2 = weights.w2.retaped::<T>().try_matmul(first.clone())?; // [HEAD_DIM, n]
    let b2 = weights.b2.retaped::<T>().try_matmul(first)?; // [n]

    let (documents, _, _, _) = *hidden.shape();
    let rows = documents * HEADS * n;
    let hidden = hidden.try_reshape_like(&(rows, Const::<HEAD_DIM>))?;
    let b2 = b2.try_broadcast_like::<_, Axis<0>>(&(rows, n))?;
    let scores = hidden.try_matmul(w2)?.try_add(b2)?;
    let scores = scores.try_reshape_like(&(documents, Const::<HEADS>, n, n))?;
    let weights_of_places = frame.weigh(scores, Scoring::SOFTMAX)?;
    let heads = frame.blend(weights_of_places, v, batch, dropout)?;
    let y = weights.proj.try_forward(frame.flat(heads)?)?;
    let factors = factors(x.device(), dropout.output, *x.shape())?;
    x.try_add(y.try_mul(factors)?)
}
