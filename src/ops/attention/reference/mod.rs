//! The reference: documents are padded to a rectangle, attended to with a mask, and flattened again.

mod differential;
mod map;
mod padded;
pub mod tensors;
mod transform;

use dfdx::shapes::{Dtype, HasShape};
use dfdx::tensor::{PutTape, Tape, WithEmptyTape};
use dfdx::tensor_ops::{Device, TryMul};

use super::qk_norm::QkNorm;
use super::{AttentionDropout, AttentionWeights, NormedStream};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::Norm;
use padded::PaddedBatch;
use tensors::{Rows, spread, unit_rows};
use transform::{positions, repeat_kv, transform};

/// See [`super::AttentionOp::try_attention`].
pub(crate) fn attention<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<EMBED, N, D, T>,
    norm: &Norm<EMBED, N, D>,
    weights: &AttentionWeights<EMBED, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    weights.layout.check_longest(batch);
    let normed = norm.try_forward(x.with_empty_tape())?;
    let streams = [normed.with_empty_tape(), normed];
    let heads = gated_heads(streams, weights, [&batch.starts; 2], dropout)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}

/// See [`super::AttentionOp::try_cross_attention`].
pub(crate) fn cross_attention<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [&Stream<EMBED, N, D>; 2],
    (which, norm): (NormedStream, &Norm<EMBED, N, D>),
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let x = queries.clone().put_tape(tape);
    let (queries, keys) = (x.with_empty_tape(), keys.retaped::<T>());
    let streams = match which {
        NormedStream::Queries => [norm.try_forward(queries)?, keys],
        NormedStream::Keys => [queries, norm.try_forward(keys)?],
    };
    let heads = gated_heads(streams, weights, starts, dropout)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}

/// The heads' outputs after their gates: see [`attend`].
fn gated_heads<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [Stream<EMBED, N, D, T>; 2],
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
) -> Result<Rows<N, D, T>, D::Err> {
    let gates = match &weights.gate {
        Some(gate) => Some(gate.try_forward(queries.with_empty_tape())?.try_sigmoid()?),
        None => None,
    };
    let heads = attend([queries, keys], weights, starts, dropout)?;
    let Some(gates) = gates else {
        return Ok(heads);
    };
    let (width, of_heads) = (gates.shape().1, weights.layout.width());
    heads.try_mul(spread(gates, of_heads, |c| c * width / of_heads)?)
}

/// The heads' outputs, side by side, from the streams of queries and keys, after the layer norm of either; `starts` are
/// those of their documents.
fn attend<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [Stream<EMBED, N, D, T>; 2],
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
) -> Result<Rows<N, D, T>, D::Err> {
    let layout = weights.layout;
    let padded = PaddedBatch::of(starts, layout);
    let transformed =
        |heads, side: usize| transform(heads, weights, side, &positions(starts[side]));
    let q = transformed(weights.to_queries().try_forward(queries)?, 0)?;
    let q = padded.heads(0, q)?;
    let k = match &weights.key {
        Some(key) => {
            let k = repeat_kv(key.try_forward(keys.with_empty_tape())?, layout)?;
            Some(padded.heads(1, transformed(k, 1)?)?)
        }
        None => None,
    };
    let of_keys = keys.with_empty_tape();
    let v = repeat_kv(weights.value.try_forward(keys)?, layout)?;
    let mut v = padded.heads(1, v)?;
    let addend = padded.addend(weights, of_keys.with_empty_tape())?;
    if let (Some(beta), Some(k)) = (&weights.beta, &k) {
        let beta = beta.try_forward(of_keys)?.try_sigmoid()?;
        v = padded.correct([k.with_empty_tape(), v], beta, addend.with_empty_tape())?;
    }
    let map = match &weights.difference {
        Some(of) => {
            let again = k.as_ref().map(|k| k.with_empty_tape());
            let again = (q.with_empty_tape(), again, addend.with_empty_tape());
            let first = padded.map(weights, again, 0)?;
            let second = padded.map(weights, (q, k, addend), 1)?;
            differential::difference([first, second], of)?
        }
        None => padded.map(weights, (q, k, addend), 0)?,
    };
    let mut heads = padded.apply_weights(map, v, dropout)?;
    if layout.head_norm {
        heads = unit_rows(heads, QkNorm::Rms)?;
    }
    if let Some(of) = &weights.difference {
        heads = differential::head_norm(heads, of)?;
    }
    padded.flat(heads)
}
