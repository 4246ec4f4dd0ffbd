//! The GPU runs the composed reference until it has kernels of its own.

use dfdx::shapes::{Rank0, Rank2};
use dfdx::tensor::{Cuda, HasErr, Tape, Tensor};

use super::{HeadOp, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::parameters::LayerNorm;

impl HeadOp<f32> for Cuda {
    fn try_loss<const EMBED: usize, const VOCAB: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cuda>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, f32, Cuda, T>, <Cuda as HasErr>::Err> {
        reference::loss(x, norm, head, batch)
    }

    fn try_logits<const EMBED: usize, const VOCAB: usize>(
        x: Stream<EMBED, f32, Cuda>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cuda>,
        rows: &[usize],
    ) -> Result<Stream<VOCAB, f32, Cuda>, <Cuda as HasErr>::Err> {
        reference::logits(x, norm, head, rows.to_vec())
    }
}
