//! Differential heads, by the kernels of `differential.cu`: to the kernels of attention, the two maps of a head are two heads
//! that share keys and values, and whose queries have zeros in the channels of the other map.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::heads::HeadLayout;
use super::kernels::{Kernel, Source, WARPS};
use super::products::Matrix;
use super::rows::MAX_PARTIAL_SUMS;
use super::{Address, Buffer, Gpu, at};
use crate::ops::attention::differential::{DifferenceWeights, HEAD_NORM_EPSILON, LAMBDA_START};
use crate::ops::bridge::cuda::{address, gradient_address};

pub(super) static DIFFERENCES: Source = Source {
    name: "differential",
    text: concat!(include_str!("sums.cuh"), include_str!("differential.cu")),
    constant: "HEAD_DIM",
};

impl DifferenceWeights<f32, Cuda> {
    fn head_dim(&self) -> usize {
        self.head_norm.shape().0
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        DIFFERENCES.kernel(self.head_dim(), name)
    }

    /// Queries for each map: `[queries, heads, 2, head_dim]`.
    pub(crate) fn spread(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (queries, tokens): (Matrix, usize),
    ) -> Result<Buffer, CudaError> {
        let maps = gpu.scratch(tokens * layout.output_width())?;
        let width = layout.of.width();
        let count = tokens * width;
        let arguments = (queries, width as u32, at(&maps), count as u32);
        gpu.launch_each(self.kernel("spread"), count, arguments)?;
        Ok(maps)
    }

    /// Backward of [`Self::spread`]: writes the gradients of queries, from those of both maps.
    pub(crate) fn gather(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (maps, tokens): (&Buffer, usize),
        queries: Matrix,
    ) -> Result<(), CudaError> {
        let width = layout.of.width();
        let count = tokens * width;
        let arguments = (at(maps), queries, width as u32, count as u32);
        gpu.launch_each(self.kernel("gather"), count, arguments)
    }

    /// Writes the sums of `count` pairs of numbers, one of each map.
    pub(crate) fn sum(
        &self,
        gpu: &Gpu,
        maps: &Buffer,
        sums: Address,
        count: usize,
    ) -> Result<(), CudaError> {
        let arguments = (at(maps), sums, count as u32);
        gpu.launch_each(self.kernel("sum_maps"), count, arguments)
    }

    /// The output of the first map minus λ times that of the second, normalised: `[rows, head_dim]` for rows of both.
    pub(crate) fn difference(
        &self,
        gpu: &Gpu,
        maps: &Buffer,
        rows: usize,
    ) -> Result<Buffer, CudaError> {
        let out = gpu.scratch(rows * self.head_dim())?;
        let arguments = (
            at(maps),
            address(&self.lambda),
            address(&self.head_norm),
            at(&out),
            LAMBDA_START as f32,
            HEAD_NORM_EPSILON as f32,
            rows as u32,
        );
        gpu.launch_rows(self.kernel("difference"), rows, arguments)?;
        Ok(out)
    }

    /// Backward of [`Self::difference`]: the gradients of the outputs of both maps. Accumulates those of what is learned.
    pub(crate) fn difference_backward(
        &self,
        gpu: &Gpu,
        (maps, dout): (&Buffer, &Buffer),
        rows: usize,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<Buffer, CudaError> {
        let dmaps = gpu.scratch(2 * rows * self.head_dim())?;
        let blocks = MAX_PARTIAL_SUMS.min(rows.div_ceil(WARPS));
        let shares = gpu.scratch(blocks * (self.head_dim() + 1))?;
        let arguments = (
            at(maps),
            address(&self.lambda),
            address(&self.head_norm),
            at(dout),
            at(&dmaps),
            at(&shares),
            LAMBDA_START as f32,
            HEAD_NORM_EPSILON as f32,
            rows as u32,
        );
        let kernel = self.kernel("difference_backward");
        gpu.launch(kernel, (blocks, 1, 1), arguments)?;
        let learned = (
            at(&shares),
            blocks as u32,
            address(&self.lambda),
            gradient_address(gradients, &self.head_norm)?,
            gradient_address(gradients, &self.lambda)?,
        );
        gpu.launch(self.kernel("add_to_learned"), (1, 1, 1), learned)?;
        Ok(dmaps)
    }
}
