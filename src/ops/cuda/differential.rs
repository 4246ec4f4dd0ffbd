//! Differential heads, by the kernels of `differential.cu`: to the kernels of attention, the two maps of a head are two heads
//! that share keys and values, and whose queries have zeros in the channels of the other map.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::heads::{HeadLayout, Qkv};
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

/// Gradients that each map has a share in.
pub struct MapGradients {
    /// Of the queries of each map, `[queries, heads, 2, head_dim]`.
    queries: Buffer,
    /// Of the running sums of forget gates, `[keys, heads, 2]`, if there are any.
    sums: Option<Buffer>,
}

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
        let (width, maps) = (
            layout.of.width(),
            gpu.scratch(tokens * layout.output_width())?,
        );
        let count = tokens * width;
        let arguments = (queries, width as u32, at(&maps), count as u32);
        gpu.launch_each(self.kernel("spread"), count, arguments)?;
        Ok(maps)
    }

    /// Room for the gradients of so many queries and keys.
    pub(crate) fn map_gradients(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        [queries, keys]: [usize; 2],
    ) -> Result<MapGradients, CudaError> {
        let sums = layout.of.forgets();
        let sums = sums.then(|| gpu.scratch(keys * layout.of.all_maps()));
        Ok(MapGradients {
            queries: gpu.scratch(queries * layout.output_width())?,
            sums: sums.transpose()?,
        })
    }

    /// Writes the gradients of queries and of the sums of forget gates, from those of both maps.
    pub(crate) fn join(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (from, to): (&MapGradients, Qkv),
        [queries, keys]: [usize; 2],
    ) -> Result<(), CudaError> {
        let width = layout.of.width();
        let count = queries * width;
        let arguments = (at(&from.queries), to.queries, width as u32, count as u32);
        gpu.launch_each(self.kernel("gather"), count, arguments)?;
        match &from.sums {
            Some(sums) => self.sum(gpu, sums, to.sums.start, keys * layout.of.heads),
            None => Ok(()),
        }
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

impl MapGradients {
    /// Views of them, with the gradients of keys and values.
    pub(crate) fn qkv(&self, layout: &HeadLayout, of_keys: Qkv) -> Qkv {
        let sums = self.sums.as_ref();
        Qkv {
            queries: Matrix::new(at(&self.queries), layout.output_width()),
            sums: sums.map_or(of_keys.sums, |sums| {
                Matrix::new(at(sums), layout.of.all_maps())
            }),
            ..of_keys
        }
    }
}
