//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::tensor::{Cuda, HasErr, NoneTape, Tape};

use super::rereading::Rereading;
use super::{BoxedCrossReader, CrossAttentionOp, Normed, reference};
use crate::ops::Stream;
use crate::ops::attention::{AttentionDropout, Projections, assert_heads};
use crate::ops::parameters::LayerNorm;

impl CrossAttentionOp<f32> for Cuda {
    fn try_cross_attention<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cuda>,
    >(
        queries_and_keys: [&Stream<EMBED, f32, Cuda>; 2],
        norm: (Normed, &LayerNorm<EMBED, f32, Cuda>),
        weights: &Projections<EMBED, EMBED, f32, Cuda>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        const { assert_heads(EMBED, EMBED, HEADS, HEAD_DIM) };
        reference::cross_attention::<EMBED, HEADS, HEAD_DIM, _, _, _>(
            queries_and_keys,
            norm,
            weights,
            starts,
            dropout,
            tape,
        )
    }

    fn cross_attention_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: (Normed, &'a LayerNorm<EMBED, f32, Cuda>),
        weights: &'a Projections<EMBED, EMBED, f32, Cuda>,
        rows: usize,
    ) -> BoxedCrossReader<'a, EMBED, f32, Cuda> {
        let attend = move |x: [&Stream<EMBED, f32, Cuda>; 2], starts: [&[usize]; 2]| {
            let longest = starts[1].windows(2).map(|w| w[1] - w[0]).max();
            let none = AttentionDropout::none(longest.unwrap_or(0));
            reference::cross_attention::<EMBED, HEADS, HEAD_DIM, _, _, _>(
                x, norm, weights, starts, none, NoneTape,
            )
        };
        Box::new(Rereading::new(rows, attend))
    }
}
