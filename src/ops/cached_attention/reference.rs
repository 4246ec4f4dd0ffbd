//! The plain truth: inputs are what is kept, every row is read again from its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{Cache, NewTokens};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::{AttentionDropout, Projections, reference};
use crate::ops::dropout::Dropout;
use crate::ops::parameters::LayerNorm;

/// See [`super::CachedAttentionOp::try_cached_attention`].
pub(super) fn cached_attention<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
>(
    x: Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Projections<EMBED, N, D>,
    new: NewTokens<'_>,
    cache: &mut Cache<N>,
) -> Result<Stream<EMBED, N, D>, D::Err> {
    let device = x.device().clone();
    let inputs = x.as_vec();
    let (mut whole, mut starts, mut wanted) = (vec![], vec![0], vec![]);
    for (row, tokens) in new.documents() {
        let own = &mut cache.rows[row];
        own.tokens += tokens.len();
        own.numbers
            .extend_from_slice(&inputs[tokens.start * EMBED..tokens.end * EMBED]);
        whole.extend_from_slice(&cache.shared.numbers);
        whole.extend_from_slice(&own.numbers);
        let end = whole.len() / EMBED;
        starts.push(end);
        wanted.extend(end - new.wanted_of(tokens).len()..end);
    }
    let batch = Ragged {
        tokens: vec![0; whole.len() / EMBED],
        targets: vec![0; whole.len() / EMBED],
        starts,
    };
    let dropout = AttentionDropout {
        weights: Dropout::NONE,
        output: Dropout::NONE,
        context: batch.longest(),
    };
    let whole = device.try_tensor_from_vec(whole, (batch.len(), Const::<EMBED>))?;
    let y = reference::attention::<EMBED, HEADS, HEAD_DIM, _, _, _>(
        whole, norm, weights, &batch, dropout,
    )?;
    let count = wanted.len();
    let wanted = device.try_tensor_from_vec(wanted, (count,))?;
    y.try_gather(wanted)?
        .try_reshape_like(&(count, Const::<EMBED>))
}
