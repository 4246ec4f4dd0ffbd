//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr, Tape};

use super::{FeedForward, FeedForwardOp, reference};
use crate::ops::Stream;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, EachAlone};

impl FeedForwardOp<f32> for Cuda {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cuda>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        reference::feed_forward(x, norm, weights, dropout)
    }

    fn feed_forward_reader<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cuda>,
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        Box::new(EachAlone(move |x| {
            reference::feed_forward(x, norm, weights, Dropout::NONE)
        }))
    }
}
