//! The fast path of attention, with a different computation per head.

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::differences;
use super::head::DifferentialHead;
use super::{DifferentialOp, DifferentialWeights, assert_halves};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::cpu::Attention;
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::decoding::{BoxedIncremental, cached};
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::try_residual;

impl DifferentialOp<f32> for Cpu {
    fn try_differential<const EMBED: usize, const HEAD_DIM: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &DifferentialWeights<EMBED, HEAD_DIM, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert_halves(EMBED, HEAD_DIM) };
        let branch = Attention::<EMBED, HEAD_DIM, _>::new(
            &weights.projections,
            Scoring::SOFTMAX,
            DifferentialHead::new(weights),
            dropout,
        );
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_differential<'a, const EMBED: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a DifferentialWeights<EMBED, HEAD_DIM, f32, Cpu>,
        (rows, _): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        const { assert_halves(EMBED, HEAD_DIM) };
        cached(norm, differences(weights), rows)
    }
}
