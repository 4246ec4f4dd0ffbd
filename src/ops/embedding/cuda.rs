//! The GPU runs the composed reference until it has a kernel of its own.

use dfdx::shapes::{Rank2, Rank3};
use dfdx::tensor::{Cuda, HasErr, Tape, Tensor};

use super::{EmbeddingOp, reference};
use crate::ops::Stream;
use crate::ops::dropout::Dropout;

impl EmbeddingOp<f32> for Cuda {
    fn try_embed<
        const VOCAB: usize,
        const CONTEXT: usize,
        const EMBED: usize,
        T: Tape<f32, Cuda>,
    >(
        tokens: &Tensor<Rank2<VOCAB, EMBED>, f32, Cuda>,
        positions: &Tensor<Rank3<1, CONTEXT, EMBED>, f32, Cuda>,
        (ids, places): (&[u32], &[usize]),
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        reference::embed(tokens, positions, (ids, places), dropout, tape)
    }

    fn try_look_up<const ROWS: usize, const EMBED: usize, T: Tape<f32, Cuda>>(
        table: &Tensor<Rank3<1, ROWS, EMBED>, f32, Cuda>,
        places: &[usize],
        tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        reference::look_up(table, places, tape)
    }
}
