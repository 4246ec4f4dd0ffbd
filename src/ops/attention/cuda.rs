//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr, Tape};

use super::{AttentionDropout, AttentionOp, Projections, Scoring, assert_heads, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Rereading};

impl AttentionOp<f32> for Cuda {
    fn try_attention<
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        const { assert_heads(EMBED, KV, HEADS, HEAD_DIM) };
        reference::attention::<EMBED, KV, HEADS, HEAD_DIM, _, _, _>(
            x, norm, weights, scoring, batch, dropout,
        )
    }

    fn attention_reader<
        'a,
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        (rows, _): (usize, usize),
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
            let none = AttentionDropout::none(batch.longest());
            reference::attention::<EMBED, KV, HEADS, HEAD_DIM, _, _, _>(
                x, norm, weights, scoring, batch, none,
            )
        }))
    }
}
