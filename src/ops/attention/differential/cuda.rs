//! The GPU: the kernels of attention, once for each map, and kernels that subtract the results.
//!
//! The map of half the channels is computed as attention whose queries have zeros in the other half.
//! Dropout depends on token, head and key, so both maps drop the same keys, as their difference would.

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::{DifferenceWeights, HEAD_NORM_EPSILON, LAMBDA_START};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::decoding::{AttendToCache, GpuKvCache, VisibleKeys};
use crate::ops::cuda::heads::{Attention, AttentionOutput, GpuHeadAttention, Qkv};
use crate::ops::cuda::kernels::{Kernel, Source, WARPS};
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::rows::MAX_PARTIAL_SUMS;
use crate::ops::cuda::{Buffer, Gpu, NULL, at};

pub static DIFFERENCES: Source = Source {
    name: "differential",
    text: concat!(
        include_str!("../../cuda/sums.cuh"),
        include_str!("kernel.cu")
    ),
    constant: "HEAD_DIM",
    kernels: &[
        "halve",
        "join",
        "difference",
        "difference_backward",
        "add_to_learned",
    ],
};

/// Values weighted by the difference of two attention maps, then normalised.
pub struct GpuDifferentialHeads {
    weights: DifferenceWeights<f32, Cuda>,
    head_dim: usize,
}

impl GpuDifferentialHeads {
    pub fn of(weights: &DifferenceWeights<f32, Cuda>) -> Self {
        Self {
            weights: weights.clone(),
            head_dim: weights.head_norm.shape().0,
        }
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        DIFFERENCES.kernel(self.head_dim, name)
    }

    /// Queries for each map: `[tokens, heads * head_dim]`.
    fn halves(
        &self,
        gpu: &Gpu,
        queries: Matrix,
        (tokens, heads): (usize, usize),
    ) -> Result<[Buffer; 2], CudaError> {
        let width = heads * self.head_dim;
        let halves = [gpu.scratch(tokens * width)?, gpu.scratch(tokens * width)?];
        let arguments = (
            queries.start,
            queries.step as u32,
            width as u32,
            at(&halves[0]),
            at(&halves[1]),
            (tokens * width) as u32,
        );
        gpu.launch_each(self.kernel("halve"), tokens * width, arguments)?;
        Ok(halves)
    }

    /// The output of the first map minus λ times that of the second, normalised: rows of `head_dim`.
    fn difference(
        &self,
        gpu: &Gpu,
        [first, second]: [&Buffer; 2],
        rows: usize,
    ) -> Result<Buffer, CudaError> {
        let out = gpu.scratch(rows * self.head_dim)?;
        gpu.launch(
            self.kernel("difference"),
            (rows.div_ceil(WARPS), 1, 1),
            (
                at(first),
                at(second),
                address(&self.weights.lambda),
                address(&self.weights.head_norm),
                at(&out),
                LAMBDA_START as f32,
                HEAD_NORM_EPSILON as f32,
                rows as u32,
            ),
        )?;
        Ok(out)
    }
}

/// What backward needs.
pub struct SavedMaps {
    /// Queries of each map, `[tokens, heads * head_dim]`, and the result of attention.
    maps: [(Buffer, AttentionOutput); 2],
    out: Buffer,
}

impl GpuHeadAttention for GpuDifferentialHeads {
    type Saved = SavedMaps;

    fn attend(&self, gpu: &Gpu, attention: &Attention, qkv: Qkv) -> Result<SavedMaps, CudaError> {
        let (tokens, heads) = (attention.queries.tokens(), attention.layout.of.heads);
        let [first, second] = self.halves(gpu, qkv.queries, (tokens, heads))?;
        let width = heads * self.head_dim;
        let attend = |queries: &Buffer| {
            let queries = Matrix::new(at(queries), width);
            attention.attend(gpu, Qkv { queries, ..qkv })
        };
        let attended = [attend(&first)?, attend(&second)?];
        let outputs = attended.each_ref().map(|one| &one.out);
        let out = self.difference(gpu, outputs, tokens * heads)?;
        let [first_output, second_output] = attended;
        Ok(SavedMaps {
            maps: [(first, first_output), (second, second_output)],
            out,
        })
    }

    fn output(saved: &SavedMaps) -> &Buffer {
        &saved.out
    }

    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (qkv, kept): (Qkv, &SavedMaps),
        (dout, dqkv): (&Buffer, Qkv),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (tokens, heads) = (attention.queries.tokens(), attention.layout.of.heads);
        let (rows, head_dim) = (tokens * heads, self.head_dim);
        let width = heads * head_dim;
        let [(first, first_output), (second, second_output)] = &kept.maps;
        let (dfirst, dsecond) = (gpu.scratch(rows * head_dim)?, gpu.scratch(rows * head_dim)?);
        let blocks = MAX_PARTIAL_SUMS.min(rows.div_ceil(WARPS));
        let shares = gpu.scratch(blocks * (head_dim + 1))?;
        gpu.launch(
            self.kernel("difference_backward"),
            (blocks, 1, 1),
            (
                at(&first_output.out),
                at(&second_output.out),
                address(&self.weights.lambda),
                address(&self.weights.head_norm),
                at(dout),
                at(&dfirst),
                at(&dsecond),
                at(&shares),
                LAMBDA_START as f32,
                HEAD_NORM_EPSILON as f32,
                rows as u32,
            ),
        )?;
        let learned = (
            at(&shares),
            blocks as u32,
            address(&self.weights.lambda),
            gradient_address(gradients, &self.weights.head_norm)?,
            gradient_address(gradients, &self.weights.lambda)?,
        );
        gpu.launch(self.kernel("add_to_learned"), (1, 1, 1), learned)?;

        // The first map writes to the final gradients, the second to temporary ones.
        let queries = Matrix::new(at(first), width);
        let back = (first_output, &dfirst);
        attention.backward(gpu, Qkv { queries, ..qkv }, back, (dqkv, NULL))?;
        let dqueries = gpu.scratch(tokens * width)?;
        let dkeys = gpu.scratch(tokens * 2 * width)?;
        let keys = Matrix::new(at(&dkeys), 2 * width);
        let beside = Qkv {
            queries: Matrix::new(at(&dqueries), width),
            keys,
            values: keys.columns_from(width),
            sums: Matrix::NONE,
        };
        let queries = Matrix::new(at(second), width);
        let back = (second_output, &dsecond);
        attention.backward(gpu, Qkv { queries, ..qkv }, back, (beside, NULL))?;
        assert_eq!(dqkv.queries.step, 3 * width, "three side by side");
        let count = tokens * 3 * width;
        let both = (
            dqkv.queries.start,
            width as u32,
            at(&dqueries),
            at(&dkeys),
            count as u32,
        );
        gpu.launch_each(self.kernel("join"), count, both)
    }
}

impl AttendToCache for GpuDifferentialHeads {
    fn attend_to_cache(
        &self,
        gpu: &Gpu,
        cache: &GpuKvCache,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        let (layout, count) = (cache.layout.of, visible.queries());
        let queries = Matrix::new(at(queries), layout.width());
        let halves = self.halves(gpu, queries, (count, layout.heads))?;
        let first = cache.attend_to_cache(gpu, &halves[0], visible)?;
        let second = cache.attend_to_cache(gpu, &halves[1], visible)?;
        self.difference(gpu, [&first, &second], count * layout.heads)
    }
}
