//! The plain truth: look-ups, and a sum.

use dfdx::shapes::{Const, Dtype, HasShape, Rank2, Rank3};
use dfdx::tensor::{PutTape, Tape, Tensor};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo, TryAdd, TryMul};

use crate::ops::Stream;
use crate::ops::dropout::{Dropout, factors};

/// See [`super::EmbeddingOp::try_embed`].
pub(crate) fn embed<
    const VOCAB: usize,
    const CONTEXT: usize,
    const EMBED: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    tokens: &Tensor<Rank2<VOCAB, EMBED>, N, D>,
    positions: &Tensor<Rank3<1, CONTEXT, EMBED>, N, D>,
    (ids, places): (&[u32], &[usize]),
    dropout: Dropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let device = tokens.device();
    let length = ids.len();
    let ids = ids.iter().map(|&id| id as usize).collect();
    let ids = device.try_tensor_from_vec(ids, (length,))?;
    let places = device.try_tensor_from_vec(places.to_vec(), (length,))?;
    let positions = positions
        .clone()
        .try_reshape_like(&(Const::<CONTEXT>, Const::<EMBED>))?;
    let x: Stream<EMBED, N, D, T> = tokens.clone().put_tape(tape).try_gather(ids)?;
    let x = x.try_add(positions.retaped::<T>().try_gather(places)?)?;
    let shape = *x.shape();
    x.try_mul(factors(device, dropout, shape)?)
}

/// See [`super::EmbeddingOp::try_look_up`].
pub(crate) fn look_up<
    const ROWS: usize,
    const EMBED: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    table: &Tensor<Rank3<1, ROWS, EMBED>, N, D>,
    places: &[usize],
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let places = (table.device()).try_tensor_from_vec(places.to_vec(), (places.len(),))?;
    let table = table.clone().put_tape(tape);
    table
        .try_reshape_like(&(Const::<ROWS>, Const::<EMBED>))?
        .try_gather(places)
}
