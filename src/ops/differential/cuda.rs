//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr, Tape};

use super::{Differences, DifferentialOp, assert_halves, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::AttentionDropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Rereading};

impl DifferentialOp<f32> for Cuda {
    fn try_differential<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Differences<EMBED, HEADS, HEAD_DIM, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        const { assert_halves(EMBED, HEADS, HEAD_DIM) };
        reference::differential::<EMBED, HEADS, HEAD_DIM, _, _, _>(x, norm, weights, batch, dropout)
    }

    fn differential_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Differences<EMBED, HEADS, HEAD_DIM, f32, Cuda>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
            let none = AttentionDropout::none(batch.longest());
            reference::differential::<EMBED, HEADS, HEAD_DIM, _, _, _>(
                x, norm, weights, batch, none,
            )
        }))
    }
}
