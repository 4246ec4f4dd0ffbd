//! The fast path: the activation between matrix products, a few rows at a time, so that the hidden activations
//! are still in the cache for the next pass. Backward recomputes the activation.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, Tape};

use super::{Activation, FeedForward, FeedForwardOp};
use crate::ops::Stream;
use crate::ops::decoding::BoxedPointwise;
use crate::ops::dropout::Dropout;
use crate::ops::kernels::matmul::{
    Packed, Part, Pass, Target, View, multiply, row_step, weight_gradient,
};
use crate::ops::kernels::rows::{gelu, silu, squared_relu, sum_rows, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut};
use crate::ops::parameters::Norm;
use crate::ops::residual::{
    Branch, BranchBackward, PackedLinear, Parameter, apply, pack_linear, packed, try_residual,
};

/// Rows per tile: at the width of the assignment's model their hidden activations take half of a core's
/// cache. A multiple of the matrix kernel's rows. Tests have small batches, and should still have several
/// tiles.
const TILE_ROWS: usize = if cfg!(test) { 14 } else { 112 };

impl FeedForwardOp<f32> for Cpu {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &Norm<EMBED, f32, Cpu>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cpu>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        // Tokens are independent, so they may be split anywhere.
        let starts: Vec<usize> = (0..=x.shape().0).collect();
        try_residual(x, norm, weights.clone(), &starts, dropout)
    }

    fn inference_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a Norm<EMBED, f32, Cpu>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cpu>,
    ) -> BoxedPointwise<'a, EMBED, f32, Cpu> {
        packed(norm, weights)
    }
}

/// The layers, packed for one pass.
pub(in crate::ops) struct PackedLayers<'a> {
    /// Those to the hidden activations.
    hidden: Vec<PackedLinear<'a>>,
    contract: PackedLinear<'a>,
}

impl<const EMBED: usize, const HIDDEN: usize> Branch for FeedForward<EMBED, HIDDEN, f32, Cpu> {
    /// Outputs of the layers to the hidden activations, side by side, `[tokens, hidden_width]` with row stride
    /// `row_step(hidden_width)`.
    type Saved = Scratch;
    type Weights<'a> = PackedLayers<'a>;

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let weights = self.hidden_layers().map(|layer| &layer.weight as _);
        let biases = self.hidden_layers().map(|layer| &layer.bias as _);
        let contract: [&dyn Parameter; 2] = [&self.contract.weight, &self.contract.bias];
        weights.chain(biases).chain(contract).collect()
    }

    fn pack(&self, pass: Pass) -> PackedLayers<'_> {
        let hidden = self.hidden_layers().map(|layer| pack_linear(layer, pass));
        PackedLayers {
            hidden: hidden.collect(),
            contract: pack_linear(&self.contract, pass),
        }
    }

    fn forward(
        &self,
        weights: &PackedLayers<'_>,
        [shard]: &[Shard; 1],
        [normed]: [&[f32]; 1],
        out: &mut [f32],
    ) -> Scratch {
        let (activation, (contract, contract_bias)) = (self.activation, &weights.contract);
        let [step, active_step] = [self.hidden_width(), HIDDEN].map(row_step);
        let mut hidden = Scratch::new(shard.len() * step);
        let mut active = Scratch::new(TILE_ROWS.min(shard.len()) * active_step);
        let tiles = (normed.chunks(TILE_ROWS * EMBED))
            .zip(hidden.chunks_mut(TILE_ROWS * step))
            .zip(out.chunks_mut(TILE_ROWS * EMBED));
        for ((normed, hidden), out) in tiles {
            let rows = normed.len() / EMBED;
            for (i, layer) in weights.hidden.iter().enumerate() {
                apply(layer, normed, &mut hidden[i * HIDDEN..], step);
            }
            let active = &mut active[..rows * active_step];
            wide!({
                let rows = active
                    .chunks_exact_mut(active_step)
                    .zip(hidden.chunks_exact(step));
                for (active, hidden) in rows {
                    activation.forward::<HIDDEN>(hidden, &mut active[..HIDDEN]);
                }
            });
            let left = View::rows(active, active_step);
            let target = Target::biased(out, EMBED, *contract_bias);
            multiply(rows, left, contract, 1.0, Part::Whole, target);
        }
        hidden
    }

    fn backward(
        &self,
        weights: &PackedLayers<'_>,
        [shard]: &[Shard; 1],
        hidden: Scratch,
        BranchBackward {
            inputs: [normed],
            dout,
            dinputs: [dnormed],
        }: BranchBackward<'_>,
        share: &mut [f32],
    ) {
        let (activation, width) = (self.activation, self.hidden_width());
        let step = row_step(width);
        let mut dhidden = Scratch::new(shard.len() * step);
        let mut active = Packed::of_rows(shard.len(), HIDDEN); // the hidden activations
        let mut buffer = Scratch::new(Packed::PUT_ROWS * HIDDEN);
        let tiles = (dout.chunks(TILE_ROWS * EMBED))
            .zip(dnormed.chunks_mut(TILE_ROWS * EMBED))
            .zip(dhidden.chunks_mut(TILE_ROWS * step))
            .zip(hidden.chunks(TILE_ROWS * step));
        for (tile, (((dout, dnormed), dhidden), hidden)) in tiles.enumerate() {
            let rows = dout.len() / EMBED;
            let (left, target) = (View::rows(dout, EMBED), Target::set(dhidden, step));
            multiply(rows, left, &weights.contract.0, 1.0, Part::Whole, target);
            wide!({
                let together = Packed::PUT_ROWS * step;
                let rows = hidden.chunks(together).zip(dhidden.chunks_mut(together));
                for (i, (hidden, dhidden)) in rows.enumerate() {
                    let rows_of_active = &mut buffer[..hidden.len() / step * HIDDEN];
                    let rows = (hidden.chunks_exact(step)).zip(dhidden.chunks_exact_mut(step));
                    let (active_rows, _) = rows_of_active.as_chunks_mut::<HIDDEN>();
                    for (active, (hidden, dhidden)) in active_rows.iter_mut().zip(rows) {
                        activation.backward(hidden, active, dhidden);
                    }
                    active.put(tile * TILE_ROWS + i * Packed::PUT_ROWS, rows_of_active);
                }
            });
            for (layer, (weight, _)) in weights.hidden.iter().enumerate() {
                let left = View::rows(&dhidden[layer * HIDDEN..], step);
                let target = Target::set(dnormed, EMBED).adding(layer > 0);
                multiply(rows, left, weight, 1.0, Part::Whole, target);
            }
        }
        let [of_hidden, hidden_biases, contract, contract_bias] =
            cut([EMBED * width, width, EMBED * HIDDEN, EMBED], share);
        weight_gradient(normed, (&dhidden, step), of_hidden);
        sum_rows(&dhidden, step, hidden_biases);
        weight_gradient(&active, (dout, EMBED), contract);
        sum_rows(dout, EMBED, contract_bias);
    }
}

impl Activation {
    /// The hidden activations of one token, `[HIDDEN]`, from the outputs of the layers to them, side by side.
    #[inline(always)]
    fn forward<const HIDDEN: usize>(self, hidden: &[f32], active: &mut [f32]) {
        let first = active.iter_mut().zip(&hidden[..HIDDEN]);
        match self {
            Self::Gelu => first.for_each(|(a, &h)| *a = gelu(h).0),
            Self::SquaredRelu => first.for_each(|(a, &h)| *a = squared_relu(h).0),
            Self::SwiGlu => {
                let up = &hidden[HIDDEN..2 * HIDDEN];
                first
                    .zip(up)
                    .for_each(|((a, &gate), up)| *a = silu(gate).0 * up);
            }
        }
    }

    /// The same activations again, and backward: the gradient of the activations, in the first elements of `dhidden`,
    /// becomes that of the layers' outputs.
    #[inline(always)]
    fn backward<const HIDDEN: usize>(
        self,
        hidden: &[f32],
        active: &mut [f32; HIDDEN],
        dhidden: &mut [f32],
    ) {
        match self {
            Self::Gelu => with_slope(gelu, hidden, active, dhidden),
            Self::SquaredRelu => with_slope(squared_relu, hidden, active, dhidden),
            Self::SwiGlu => {
                let (gate, up) = (&hidden[..HIDDEN], &hidden[HIDDEN..2 * HIDDEN]);
                let (dgate, dup) = dhidden.split_at_mut(HIDDEN);
                let dup = &mut dup[..HIDDEN];
                for i in 0..HIDDEN {
                    let (value, slope) = silu(gate[i]);
                    active[i] = value * up[i];
                    dup[i] = dgate[i] * value;
                    dgate[i] *= up[i] * slope;
                }
            }
        }
    }
}

/// [`Activation::backward`] of a function of each element, given its value and its slope.
#[inline(always)]
fn with_slope<const HIDDEN: usize>(
    function: impl Fn(f32) -> (f32, f32),
    hidden: &[f32],
    active: &mut [f32; HIDDEN],
    dhidden: &mut [f32],
) {
    for i in 0..HIDDEN {
        let (value, slope) = function(hidden[i]);
        active[i] = value;
        dhidden[i] *= slope;
    }
}
