//! Transformations of queries and keys before their dot product, by the kernels of `transform.cu`.

use dfdx::tensor::CudaError;

use super::heads::HeadLayout;
use super::kernels::{Kernel, Source};
use super::products::Matrix;
use super::{Address, Gpu};
use crate::ops::attention::{Rotary, Similarity};

pub(super) static TRANSFORMS: Source = Source {
    name: "transform",
    text: include_str!("transform.cu"),
    constant: "HEAD_DIM",
    kernels: &["rotate", "feature_map", "feature_map_backward"],
};

impl HeadLayout {
    fn transform_kernel(&self, name: &'static str) -> Kernel {
        TRANSFORMS.kernel(self.of.head_dim, name)
    }

    /// Applies the transformation that [`Scoring`](crate::ops::attention::Scoring) asks for to the first
    /// `columns` of each row, in place; row i is at `positions[i]`.
    pub fn transform(
        &self,
        gpu: &Gpu,
        heads: Matrix,
        columns: usize,
        (positions, rows): (Address, usize),
    ) -> Result<(), CudaError> {
        if let Some(rotary) = self.of.scoring.rotary {
            return self.rotate(gpu, rotary, (heads, columns), (positions, rows), 1.0);
        }
        if self.of.scoring.similarity == Similarity::FeatureMap {
            let kernel = self.transform_kernel("feature_map");
            let arguments = (heads.start, heads.step as u32, columns as u32, rows as u32);
            return gpu.launch_each(kernel, rows * columns, arguments);
        }
        Ok(())
    }

    /// Backward of [`Self::transform`], in place; `heads` are the transformed rows, with the strides of
    /// their gradients.
    pub fn transform_backward(
        &self,
        gpu: &Gpu,
        (gradients, heads): (Matrix, Matrix),
        columns: usize,
        (positions, rows): (Address, usize),
    ) -> Result<(), CudaError> {
        if let Some(rotary) = self.of.scoring.rotary {
            return self.rotate(gpu, rotary, (gradients, columns), (positions, rows), -1.0);
        }
        if self.of.scoring.similarity == Similarity::FeatureMap {
            let kernel = self.transform_kernel("feature_map_backward");
            let (step, width) = (gradients.step as u32, columns as u32);
            let arguments = (gradients.start, heads.start, step, width, rows as u32);
            return gpu.launch_each(kernel, rows * columns, arguments);
        }
        Ok(())
    }

    /// Rotates the first `columns` of each row; a `sign` of -1 rotates back.
    fn rotate(
        &self,
        gpu: &Gpu,
        rotary: Rotary,
        (heads, columns): (Matrix, usize),
        (positions, rows): (Address, usize),
        sign: f32,
    ) -> Result<(), CudaError> {
        let count = rows * columns / 2;
        let arguments = (
            heads.start,
            heads.step as u32,
            columns as u32,
            positions,
            rows as u32,
            rotary.base,
            rotary.channels as u32,
            sign,
        );
        gpu.launch_each(self.transform_kernel("rotate"), count, arguments)
    }
}
