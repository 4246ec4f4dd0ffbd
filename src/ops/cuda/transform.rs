//! Transformations of queries and keys before their dot product, by the kernels of `transform.cu`.

use dfdx::tensor::CudaError;

use super::heads::HeadLayout;
use super::kernels::Source;
use super::parts::QkHeads;
use super::products::Matrix;
use super::{Address, Gpu};
use crate::ops::attention::{Rotary, Similarity};

pub(super) static TRANSFORMS: Source = Source {
    name: "transform",
    text: include_str!("transform.cu"),
    constant: "HEAD_DIM",
};

impl HeadLayout {
    /// Whether each channel is transformed alone: by the feature map of [`Similarity::FeatureMap`] (0), or the ReLU of
    /// heads without keys (1).
    fn activation(&self) -> Option<u32> {
        match self.of.scoring.similarity {
            _ if !self.of.has_keys() => Some(1),
            Similarity::FeatureMap => Some(0),
            _ => None,
        }
    }

    /// Transforms queries and keys as the heads ask for, in place; row i is at `positions[i]`.
    pub fn transform(&self, gpu: &Gpu, of: QkHeads, positions: Address) -> Result<(), CudaError> {
        if let Some(rotary) = self.of.scoring.rotary {
            return self.rotate(gpu, rotary, of, positions, 1.0);
        }
        let Some(activation) = self.activation() else {
            return Ok(());
        };
        let columns = of.width(&self.of);
        let arguments = (of.heads, columns as u32, of.rows as u32, activation);
        let kernel = TRANSFORMS.kernel(self.of.head_dim, "activate");
        gpu.launch_each(kernel, of.rows * columns, arguments)
    }

    /// Backward of [`Self::transform`], in place; `heads` are the transformed rows.
    pub fn transform_backward(
        &self,
        gpu: &Gpu,
        (gradients, heads): (QkHeads, Matrix),
        positions: Address,
    ) -> Result<(), CudaError> {
        if let Some(rotary) = self.of.scoring.rotary {
            return self.rotate(gpu, rotary, gradients, positions, -1.0);
        }
        let Some(activation) = self.activation() else {
            return Ok(());
        };
        let columns = gradients.width(&self.of);
        let (rows, of_gradients) = (gradients.rows as u32, gradients.heads);
        let arguments = (of_gradients, heads, columns as u32, rows, activation);
        let kernel = TRANSFORMS.kernel(self.of.head_dim, "activate_backward");
        gpu.launch_each(kernel, gradients.rows * columns, arguments)
    }

    /// Rotates queries and keys; a `sign` of -1 rotates back.
    fn rotate(
        &self,
        gpu: &Gpu,
        rotary: Rotary,
        of: QkHeads,
        positions: Address,
        sign: f32,
    ) -> Result<(), CudaError> {
        let columns = of.width(&self.of);
        let count = of.rows * columns / 2;
        let arguments = (
            of.heads,
            columns as u32,
            positions,
            of.rows as u32,
            rotary.base,
            rotary.channels as u32,
            sign,
        );
        let kernel = TRANSFORMS.kernel(self.of.head_dim, "rotate");
        gpu.launch_each(kernel, count, arguments)
    }
}
