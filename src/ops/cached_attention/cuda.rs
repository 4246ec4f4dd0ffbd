//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr};

use super::{Cache, CachedAttentionOp, NewTokens, reference};
use crate::ops::Stream;
use crate::ops::attention::Projections;
use crate::ops::parameters::LayerNorm;

impl CachedAttentionOp<f32> for Cuda {
    fn try_cached_attention<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        x: Stream<EMBED, f32, Cuda>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Projections<EMBED, f32, Cuda>,
        new: NewTokens<'_>,
        cache: &mut Cache<f32>,
    ) -> Result<Stream<EMBED, f32, Cuda>, <Cuda as HasErr>::Err> {
        reference::cached_attention::<EMBED, HEADS, HEAD_DIM, _, _>(x, norm, weights, new, cache)
    }
}
