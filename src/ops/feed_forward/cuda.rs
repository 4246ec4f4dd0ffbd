//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr, Tape};

use super::{FeedForward, FeedForwardOp, reference};
use crate::ops::Stream;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedPointwise, Pointwise};

impl FeedForwardOp<f32> for Cuda {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cuda>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        reference::feed_forward(x, norm, weights, dropout)
    }

    fn ready_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cuda>,
    ) -> BoxedPointwise<'a, EMBED, f32, Cuda> {
        Box::new(Ready { norm, weights })
    }
}

/// The sublayer as it is: there is nothing to lay out.
struct Ready<'a, const EMBED: usize, const HIDDEN: usize> {
    norm: &'a LayerNorm<EMBED, f32, Cuda>,
    weights: &'a FeedForward<EMBED, HIDDEN, f32, Cuda>,
}

impl<const EMBED: usize, const HIDDEN: usize> Pointwise<EMBED, f32, Cuda>
    for Ready<'_, EMBED, HIDDEN>
{
    fn try_apply(
        &self,
        x: Stream<EMBED, f32, Cuda>,
    ) -> Result<Stream<EMBED, f32, Cuda>, <Cuda as HasErr>::Err> {
        reference::feed_forward(x, self.norm, self.weights, Dropout::NONE)
    }
}
