//! The reference, on documents padded as in the reference of attention.

use dfdx::shapes::Dtype;
use dfdx::tensor::{PutTape, Tape, WithEmptyTape};
use dfdx::tensor_ops::Device;

use super::NormedStream;
use crate::ops::Stream;
use crate::ops::attention::reference::PaddedBatch;
use crate::ops::attention::{AttentionDropout, Projections, Scoring};
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::LayerNorm;

/// See [`super::CrossAttentionOp::try_cross_attention`].
pub(crate) fn cross_attention<
    const EMBED: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    [queries, keys]: [&Stream<EMBED, N, D>; 2],
    (normed, norm): (NormedStream, &LayerNorm<EMBED, N, D>),
    weights: &Projections<EMBED, EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let x = queries.clone().put_tape(tape);
    let (queries, keys) = (x.with_empty_tape(), keys.retaped::<T>());
    let (queries, keys) = match normed {
        NormedStream::Queries => (norm.try_forward(queries)?, keys),
        NormedStream::Keys => (queries, norm.try_forward(keys)?),
    };
    let q = weights.query.try_forward(queries)?;
    let k = weights.key.try_forward(keys.with_empty_tape())?;
    let v = weights.value.try_forward(keys)?;
    let padded = PaddedBatch::<EMBED, HEAD_DIM>::of(starts);
    let heads = padded.attend([q, k, v], Scoring::SOFTMAX, dropout)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}
