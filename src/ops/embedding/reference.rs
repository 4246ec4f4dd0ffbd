//! The reference: table lookups and a sum.

use dfdx::shapes::{Const, Dtype, HasShape, Rank2, Rank3};
use dfdx::tensor::{PutTape, Tape, Tensor};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo, TryAdd, TryMul};

use super::LookupTable;
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
    token_table: &Tensor<Rank2<VOCAB, EMBED>, N, D>,
    position_table: Option<&Tensor<Rank3<1, CONTEXT, EMBED>, N, D>>,
    (ids, positions): (&[u32], &[usize]),
    dropout: Dropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let device = token_table.device();
    let length = ids.len();
    let ids = ids.iter().map(|&id| id as usize).collect();
    let ids = device.try_tensor_from_vec(ids, (length,))?;
    let mut x: Stream<EMBED, N, D, T> = token_table.clone().put_tape(tape).try_gather(ids)?;
    if let Some(table) = position_table {
        let positions = device.try_tensor_from_vec(positions.to_vec(), (length,))?;
        let table = table
            .clone()
            .try_reshape_like(&(Const::<CONTEXT>, Const::<EMBED>))?;
        x = x.try_add(table.retaped::<T>().try_gather(positions)?)?;
    }
    let shape = *x.shape();
    x.try_mul(factors(device, dropout, shape)?)
}

/// See [`super::EmbeddingOp::try_lookup`].
pub(crate) fn lookup<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    table: &LookupTable<EMBED, N, D>,
    positions: &[usize],
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let positions = (table.device()).try_tensor_from_vec(positions.to_vec(), (positions.len(),))?;
    let (rows, table) = (table.shape().1, table.clone().put_tape(tape));
    table
        .try_reshape_like(&(rows, Const::<EMBED>))?
        .try_gather(positions)
}
