//! The reference, on documents padded as in the reference of attention.

use dfdx::shapes::Dtype;
use dfdx::tensor::{PutTape, Tape, WithEmptyTape};
use dfdx::tensor_ops::Device;

use super::NormedStream;
use crate::ops::Stream;
use crate::ops::attention::reference::attend;
use crate::ops::attention::{AttentionDropout, AttentionWeights};
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::Norm;

/// See [`super::CrossAttentionOp::try_cross_attention`].
pub(crate) fn cross_attention<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [&Stream<EMBED, N, D>; 2],
    (normed, norm): (NormedStream, &Norm<EMBED, N, D>),
    weights: &AttentionWeights<EMBED, N, D>,
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
    let heads = attend([queries, keys], weights, starts, dropout)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}
