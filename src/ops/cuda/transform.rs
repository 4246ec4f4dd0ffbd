//! Transformations of queries and keys before their dot product, by the kernels of `transform.cu`.

use dfdx::tensor::CudaError;

use super::heads::HeadLayout;
use super::kernels::{Kernel, Source};
use super::parts::QkHeads;
use super::products::Matrix;
use super::{Address, Gpu};
use crate::ops::attention::{Rotary, Similarity};

pub(super) static TRANSFORMS: Source = Source {
    name: "transform",
    text: include_str!("transform.cu"),
    constant: "HEAD_DIM",
    kernels: &[
        "rotate",
        "feature_map",
        "feature_map_backward",
        "relu",
        "relu_backward",
    ],
};

impl HeadLayout {
    fn transform_kernel(&self, name: &'static str) -> Kernel {
        TRANSFORMS.kernel(self.of.head_dim, name)
    }

    /// The kernels that transform each channel alone, forward and backward, if one does: the feature map of
    /// [`Similarity::FeatureMap`], or the hidden layer of heads without keys.
    fn of_channels(&self) -> Option<[Kernel; 2]> {
        let names = match self.of.scoring.similarity {
            _ if !self.of.has_keys() => ["relu", "relu_backward"],
            Similarity::FeatureMap => ["feature_map", "feature_map_backward"],
            _ => return None,
        };
        Some(names.map(|name| self.transform_kernel(name)))
    }

    /// Transforms queries and keys as the heads ask for, in place; row i is at `positions[i]`.
    pub fn transform(&self, gpu: &Gpu, of: QkHeads, positions: Address) -> Result<(), CudaError> {
        if let Some(rotary) = self.of.scoring.rotary {
            return self.rotate(gpu, rotary, of, positions, 1.0);
        }
        let Some([kernel, _]) = self.of_channels() else {
            return Ok(());
        };
        let (columns, step) = (of.width(&self.of), of.heads.step as u32);
        let arguments = (of.heads.start, step, columns as u32, of.rows as u32);
        gpu.launch_each(kernel, of.rows * columns, arguments)
    }

    /// Backward of [`Self::transform`], in place; `heads` are the transformed rows, with the strides of
    /// their gradients.
    pub fn transform_backward(
        &self,
        gpu: &Gpu,
        (gradients, heads): (QkHeads, Matrix),
        positions: Address,
    ) -> Result<(), CudaError> {
        if let Some(rotary) = self.of.scoring.rotary {
            return self.rotate(gpu, rotary, gradients, positions, -1.0);
        }
        let Some([_, kernel]) = self.of_channels() else {
            return Ok(());
        };
        let QkHeads {
            heads: to, rows, ..
        } = gradients;
        let (columns, step) = (gradients.width(&self.of), to.step as u32);
        let arguments = (to.start, heads.start, step, columns as u32, rows as u32);
        gpu.launch_each(kernel, rows * columns, arguments)
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
            of.heads.start,
            of.heads.step as u32,
            columns as u32,
            positions,
            of.rows as u32,
            rotary.base,
            rotary.channels as u32,
            sign,
        );
        gpu.launch_each(self.transform_kernel("rotate"), count, arguments)
    }
}
