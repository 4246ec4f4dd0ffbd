//! The reference: table lookups and a sum.

use dfdx::shapes::{Const, Dtype, HasShape};
use dfdx::tensor::{PutTape, Tape, Tensor};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo, TryAdd, TryMul};

use super::TableShape;
use crate::ops::Stream;
use crate::ops::dropout::{Dropout, factors};

/// See [`super::EmbeddingOp::try_embed`].
pub(crate) fn embed<
    const EMBED: usize,
    Tokens: TableShape<EMBED>,
    Positions: TableShape<EMBED>,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    token_table: &Tensor<Tokens, N, D>,
    position_table: Option<&Tensor<Positions, N, D>>,
    (ids, positions): (&[u32], &[usize]),
    dropout: Dropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let ids: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
    let mut x = lookup(token_table, &ids, tape)?;
    if let Some(table) = position_table {
        x = x.try_add(lookup(table, positions, T::default())?)?;
    }
    let shape = *x.shape();
    x.try_mul(factors(token_table.device(), dropout, shape)?)
}

/// See [`super::EmbeddingOp::try_lookup`].
pub(crate) fn lookup<
    const EMBED: usize,
    Rows: TableShape<EMBED>,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    table: &Tensor<Rows, N, D>,
    positions: &[usize],
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let positions = (table.device()).try_tensor_from_vec(positions.to_vec(), (positions.len(),))?;
    let (rows, table) = (table.shape().rows(), table.clone().put_tape(tape));
    table
        .try_reshape_like(&(rows, Const::<EMBED>))?
        .try_gather(positions)
}
