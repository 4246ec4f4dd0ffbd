//! The reference, on documents padded as in the reference of attention.

use dfdx::shapes::{Axis, Const, Dtype, HasShape};
use dfdx::tensor::{Tape, WithEmptyTape};
use dfdx::tensor_ops::{BroadcastTo, Device, ReshapeTo, TryAdd, TryMatMul};

use super::SynthesizerWeights;
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::reference::PaddedBatch;
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::LayerNorm;

/// See [`super::SynthesizerOp::try_synthesize`].
pub(crate) fn synthesize<
    const EMBED: usize,
    const HEAD_DIM: usize,
    const POSITIONS: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let normed = norm.try_forward(x.with_empty_tape())?;
    let hidden = weights
        .w1
        .try_forward(normed.with_empty_tape())?
        .try_relu()?;
    let padded = PaddedBatch::<EMBED, HEAD_DIM>::of([&batch.starts; 2]);
    let hidden = padded.heads(0, hidden)?;
    let v = padded.heads(1, weights.value.try_forward(normed)?)?;

    // The first `n` positions, selected by a product with a 0/1 matrix.
    let (device, n) = (x.device().clone(), batch.longest());
    let mut first = vec![N::default(); POSITIONS * n];
    (0..n).for_each(|position| first[position * n + position] = N::ONE);
    let first = device.try_tensor_from_vec(first, (Const::<POSITIONS>, n))?;
    let w2 = weights.w2.retaped::<T>().try_matmul(first.clone())?; // [HEAD_DIM, n]
    let b2 = weights.b2.retaped::<T>().try_matmul(first)?; // [n]

    let (documents, heads, _, _) = *hidden.shape();
    let rows = documents * heads * n;
    let hidden = hidden.try_reshape_like(&(rows, Const::<HEAD_DIM>))?;
    let b2 = b2.try_broadcast_like::<_, Axis<0>>(&(rows, n))?;
    let scores = hidden.try_matmul(w2)?.try_add(b2)?;
    let scores = scores.try_reshape_like(&(documents, heads, n, n))?;
    let weights_of_positions = padded.scores_to_weights(scores, Scoring::SOFTMAX)?;
    let heads = padded.flat(padded.apply_weights(weights_of_positions, v, dropout)?)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}
