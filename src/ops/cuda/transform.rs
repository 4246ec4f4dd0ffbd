//! Transformations of queries and keys before their dot product, by the kernels of `transform.cu`.

use dfdx::tensor::CudaError;

use super::heads::HeadLayout;
use super::kernels::{Kernel, Source};
use super::products::Matrix;
use super::{Address, Gpu};
use crate::ops::attention::{Positional, Similarity};

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
        let size = (heads.start, heads.step as u32, columns as u32);
        if self.of.scoring.positional == Positional::Rope {
            let arguments = (size.0, size.1, size.2, positions, rows as u32, 1f32);
            return gpu.launch_each(
                self.transform_kernel("rotate"),
                rows * columns / 2,
                arguments,
            );
        }
        if self.of.scoring.similarity == Similarity::FeatureMap {
            let arguments = (size.0, size.1, size.2, rows as u32);
            return gpu.launch_each(
                self.transform_kernel("feature_map"),
                rows * columns,
                arguments,
            );
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
        let (step, columns_of_row) = (gradients.step as u32, columns as u32);
        if self.of.scoring.positional == Positional::Rope {
            let arguments = (
                gradients.start,
                step,
                columns_of_row,
                positions,
                rows as u32,
                -1f32,
            );
            return gpu.launch_each(
                self.transform_kernel("rotate"),
                rows * columns / 2,
                arguments,
            );
        }
        if self.of.scoring.similarity == Similarity::FeatureMap {
            let arguments = (
                gradients.start,
                heads.start,
                step,
                columns_of_row,
                rows as u32,
            );
            return gpu.launch_each(
                self.transform_kernel("feature_map_backward"),
                rows * columns,
                arguments,
            );
        }
        Ok(())
    }
}
