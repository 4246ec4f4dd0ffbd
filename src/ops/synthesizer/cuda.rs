//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr, Tape};

use super::{Synthesis, SynthesizerOp, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::AttentionDropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Rereading};

impl SynthesizerOp<f32> for Cuda {
    fn try_synthesize<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        const PLACES: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        reference::synthesize::<EMBED, HEADS, HEAD_DIM, PLACES, _, _, _>(
            x, norm, weights, batch, dropout,
        )
    }

    fn synthesizer_reader<
        'a,
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        const PLACES: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
            let none = AttentionDropout::none(batch.longest());
            reference::synthesize::<EMBED, HEADS, HEAD_DIM, PLACES, _, _, _>(
                x, norm, weights, batch, none,
            )
        }))
    }
}
