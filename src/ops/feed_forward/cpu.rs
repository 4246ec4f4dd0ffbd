//! The fast path: GELU between two matrix products, a few rows at a time, so that the hidden activations
//! are still in the cache for the next pass. Backward recomputes GELU.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, Tape};

use super::{FeedForward, FeedForwardOp};
use crate::ops::Stream;
use crate::ops::decoding::BoxedPointwise;
use crate::ops::dropout::Dropout;
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, multiply, row_step, weight_gradient,
};
use crate::ops::kernels::rows::{gelu, sum_rows, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut};
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::{
    Branch, BranchBackward, PackedLinear, Parameter, pack_linear, packed, try_residual,
};

/// Rows per tile: at the width of the assignment's model their hidden activations take half of a core's
/// cache. A multiple of the matrix kernel's rows. Tests have small batches, and should still have several
/// tiles.
const TILE_ROWS: usize = if cfg!(test) { 14 } else { 112 };

impl FeedForwardOp<f32> for Cpu {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cpu>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        // Tokens are independent, so they may be split anywhere.
        let starts: Vec<usize> = (0..=x.shape().0).collect();
        try_residual(x, norm, weights.clone(), &starts, dropout)
    }

    fn inference_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cpu>,
    ) -> BoxedPointwise<'a, EMBED, f32, Cpu> {
        packed(norm, weights)
    }
}

impl<const EMBED: usize, const HIDDEN: usize> Branch for FeedForward<EMBED, HIDDEN, f32, Cpu> {
    /// Hidden activations before GELU, `[tokens, HIDDEN]` with row stride `row_step(HIDDEN)`.
    type Saved = Scratch;
    type Weights<'a> = [PackedLinear<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let (expand, contract) = (&self.expand, &self.contract);
        vec![
            &expand.weight,
            &expand.bias,
            &contract.weight,
            &contract.bias,
        ]
    }

    fn pack(&self, pass: Pass) -> Self::Weights<'_> {
        [
            pack_linear(&self.expand, pass),
            pack_linear(&self.contract, pass),
        ]
    }

    fn forward(
        &self,
        [(expand, expand_bias), (contract, contract_bias)]: &Self::Weights<'_>,
        shard: &Shard,
        normed: &[f32],
        out: &mut [f32],
    ) -> Scratch {
        let step = row_step(HIDDEN);
        let mut hidden = Scratch::new(shard.len() * step);
        let mut active = Scratch::new(TILE_ROWS.min(shard.len()) * step);
        let tiles = (normed.chunks(TILE_ROWS * EMBED))
            .zip(hidden.chunks_mut(TILE_ROWS * step))
            .zip(out.chunks_mut(TILE_ROWS * EMBED));
        for ((normed, hidden), out) in tiles {
            let rows = normed.len() / EMBED;
            let left = Left::Rows(normed, EMBED);
            let target = Target::biased(hidden, step, expand_bias);
            multiply(rows, left, expand, 1.0, Part::Whole, target);
            let active = &mut active[..rows * step];
            wide!({
                let rows = active.chunks_exact_mut(step).zip(hidden.chunks_exact(step));
                for (active, hidden) in rows {
                    for (a, &h) in active[..HIDDEN].iter_mut().zip(&hidden[..HIDDEN]) {
                        *a = gelu(h).0;
                    }
                }
            });
            let left = Left::Rows(active, step);
            let target = Target::biased(out, EMBED, contract_bias);
            multiply(rows, left, contract, 1.0, Part::Whole, target);
        }
        hidden
    }

    fn backward(
        &self,
        [(expand, _), (contract, _)]: &Self::Weights<'_>,
        shard: &Shard,
        hidden: Scratch,
        BranchBackward {
            normed,
            dout,
            dnormed,
        }: BranchBackward<'_>,
        share: &mut [f32],
    ) {
        let step = row_step(HIDDEN);
        let mut dhidden = Scratch::new(shard.len() * step);
        let mut active = Packed::of_rows(shard.len(), HIDDEN); // after GELU
        let mut row = [0.0; HIDDEN];
        let tiles = (dout.chunks(TILE_ROWS * EMBED))
            .zip(dnormed.chunks_mut(TILE_ROWS * EMBED))
            .zip(dhidden.chunks_mut(TILE_ROWS * step))
            .zip(hidden.chunks(TILE_ROWS * step));
        for (tile, (((dout, dnormed), dhidden), hidden)) in tiles.enumerate() {
            let rows = dout.len() / EMBED;
            let (left, target) = (Left::Rows(dout, EMBED), Target::set(dhidden, step));
            multiply(rows, left, contract, 1.0, Part::Whole, target);
            wide!({
                let rows = hidden
                    .chunks_exact(step)
                    .zip(dhidden.chunks_exact_mut(step));
                for (k, (hidden, dhidden)) in (tile * TILE_ROWS..).zip(rows) {
                    for i in 0..HIDDEN {
                        let (value, slope) = gelu(hidden[i]);
                        row[i] = value;
                        dhidden[i] *= slope;
                    }
                    active.put(k, &row);
                }
            });
            let (left, target) = (Left::Rows(dhidden, step), Target::set(dnormed, EMBED));
            multiply(rows, left, expand, 1.0, Part::Whole, target);
        }
        let size = EMBED * HIDDEN;
        let [expand, expand_bias, contract, contract_bias] =
            cut([size, HIDDEN, size, EMBED], share);
        weight_gradient(normed, (&dhidden, step), expand);
        sum_rows(&dhidden, step, expand_bias);
        weight_gradient(&active, (dout, EMBED), contract);
        sum_rows(dout, EMBED, contract_bias);
    }
}
