//! The reference, composed of dfdx's own ops.

use dfdx::shapes::{Axis, Const, Dtype, Rank0, Rank2};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::{Device, GatherTo, MeanTo, PermuteTo, ReshapeTo, SelectTo, TryMatMul};

use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::parameters::Norm;

/// See [`super::HeadOp::try_loss`].
pub(crate) fn loss<
    const EMBED: usize,
    const VOCAB: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &Norm<EMBED, N, D>,
    head: &Tensor<Rank2<VOCAB, EMBED>, N, D>,
    batch: &Ragged,
) -> Result<Tensor<Rank0, N, D, T>, D::Err> {
    let device = x.device().clone();
    let (rows, targets) = super::scored(batch);
    let count = rows.len();
    let targets = device.try_tensor_from_vec(targets, (count,))?;
    let logits = logits(x, norm, head, rows)?;
    let chosen: Tensor<(usize,), N, D, T> =
        logits.try_log_softmax::<Axis<1>>()?.try_select(targets)?;
    chosen.try_mean::<Rank0, Axis<0>>()?.try_negate()
}

/// See [`super::HeadOp::try_logits`].
pub(super) fn logits<
    const EMBED: usize,
    const VOCAB: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &Norm<EMBED, N, D>,
    head: &Tensor<Rank2<VOCAB, EMBED>, N, D>,
    rows: Vec<usize>,
) -> Result<Stream<VOCAB, N, D, T>, D::Err> {
    let count = rows.len();
    let rows = x.device().try_tensor_from_vec(rows, (count,))?;
    let x: Stream<EMBED, N, D, T> = x
        .try_gather(rows)?
        .try_reshape_like(&(count, Const::<EMBED>))?;
    let head = head.clone().try_permute::<Rank2<EMBED, VOCAB>, _>()?;
    norm.try_forward(x)?.try_matmul(head)
}
