//! Scores of positions, by the kernels of `synthesizer.cu`: to the kernels of attention, the hidden layer of a token is its
//! query, and the key of a token the weights of its position.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::documents::Documents;
use super::kernels::Source;
use super::kv_cache::Positions;
use super::products::Matrix;
use super::{Buffer, Gpu, at};
use crate::ops::attention::{Layout, PositionWeights};
use crate::ops::bridge::cuda::{address, gradient_address};

pub(super) static POSITIONS_AS_KEYS: Source = Source {
    name: "synthesizer",
    text: concat!(include_str!("sums.cuh"), include_str!("synthesizer.cu")),
    constant: "HEAD_DIM",
};

impl<const EMBED: usize> PositionWeights<EMBED, f32, Cuda> {
    /// Writes the keys of tokens at the given positions.
    pub(crate) fn lay_keys(
        &self,
        gpu: &Gpu,
        layout: &Layout,
        keys: Matrix,
        (positions, tokens): Positions,
    ) -> Result<(), CudaError> {
        let width = layout.kv_width();
        let count = tokens * width;
        let arguments = (
            keys,
            width as u32,
            address(&self.w2),
            self.b2.shape().0 as u32,
            positions,
            count as u32,
        );
        let kernel = POSITIONS_AS_KEYS.kernel(layout.head_dim, "lay_keys");
        gpu.launch_each(kernel, count, arguments)
    }

    /// Accumulates the gradients of the weights and biases of positions, from those of keys, and of their scores,
    /// `[keys, heads]`.
    pub(crate) fn keys_backward(
        &self,
        gpu: &Gpu,
        layout: &Layout,
        (dkeys, dscores): (Matrix, &Buffer),
        keys: &Documents,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let arguments = (
            dkeys,
            layout.kv_heads as u32,
            at(dscores),
            layout.heads as u32,
            keys.starts(),
            keys.count() as u32,
            gradient_address(gradients, &self.w2)?,
            gradient_address(gradients, &self.b2)?,
            self.b2.shape().0 as u32,
        );
        let kernel = POSITIONS_AS_KEYS.kernel(layout.head_dim, "add_to_positions");
        gpu.launch(kernel, (keys.longest, 1, 1), arguments)
    }
}
