//! The GPU: the kernels of attention, once for each map, and kernels that subtract the results.
//!
//! The map of half the channels is computed as attention whose queries have zeros in the other half.
//! Dropout depends on token, head and key, so both maps drop the same keys, as their difference would.

use dfdx::shapes::{Rank1, Rank2};
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{
    DifferentialOp, DifferentialWeights, HEAD_NORM_EPSILON, LAMBDA_START, assert_halves, reference,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::cuda::{GpuHeadAttention, Heads, layout};
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::decoding::{AttendToCache, GpuCachedSublayer, GpuKvCache, VisibleKeys};
use crate::ops::cuda::heads::{Attention, AttentionOutput, Qkv, WIDEST};
use crate::ops::cuda::kernels::{Kernel, Source, WARPS};
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::rows::MAX_PARTIAL_SUMS;
use crate::ops::cuda::sublayer::try_residual;
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::decoding::{BoxedIncremental, recomputing};
use crate::ops::parameters::LayerNorm;

pub static DIFFERENCES: Source = Source {
    name: "differential",
    text: concat!(include_str!("../cuda/sums.cuh"), include_str!("kernel.cu")),
    constant: "HEAD_DIM",
    kernels: &[
        "halve",
        "join",
        "difference",
        "difference_backward",
        "add_to_learned",
    ],
};

const fn kernel<const HEAD_DIM: usize>(name: &'static str) -> Kernel {
    DIFFERENCES.kernel(HEAD_DIM, name)
}

impl DifferentialOp<f32> for Cuda {
    fn try_differential<const EMBED: usize, const HEAD_DIM: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &DifferentialWeights<EMBED, HEAD_DIM, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        const { assert_halves(EMBED, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return reference::differential::<EMBED, HEAD_DIM, _, _, _>(
                x, norm, weights, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Heads {
            weights: weights.projections.clone(),
            attention: Attention {
                layout: layout::<EMBED, EMBED, HEAD_DIM>(Scoring::SOFTMAX),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
            head_attention: GpuDifferentialHeads::of(weights),
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn incremental_differential<'a, const EMBED: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a DifferentialWeights<EMBED, HEAD_DIM, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        const { assert_halves(EMBED, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return recomputing(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::differential::<EMBED, HEAD_DIM, _, _, _>(x, norm, weights, batch, none)
            });
        }
        let layout = layout::<EMBED, EMBED, HEAD_DIM>(Scoring::SOFTMAX);
        let (heads, maps) = (&weights.projections, GpuDifferentialHeads::of(weights));
        GpuCachedSublayer::new(norm, heads, maps, layout, (rows, context)).boxed()
    }
}

/// Values weighted by the difference of two attention maps, then normalised.
struct GpuDifferentialHeads<const HEAD_DIM: usize> {
    lambda: Tensor<Rank2<2, HEAD_DIM>, f32, Cuda>,
    gain: Tensor<Rank1<HEAD_DIM>, f32, Cuda>,
}

impl<const HEAD_DIM: usize> GpuDifferentialHeads<HEAD_DIM> {
    fn of<const EMBED: usize>(weights: &DifferentialWeights<EMBED, HEAD_DIM, f32, Cuda>) -> Self {
        Self {
            lambda: weights.lambda.clone(),
            gain: weights.head_norm.clone(),
        }
    }
}

/// What backward needs.
struct SavedMaps {
    /// Queries of each map, `[tokens, heads * HEAD_DIM]`, and the result of attention.
    maps: [(Buffer, AttentionOutput); 2],
    out: Buffer,
}

impl<const HEAD_DIM: usize> GpuHeadAttention for GpuDifferentialHeads<HEAD_DIM> {
    type Saved = SavedMaps;

    fn attend(&self, gpu: &Gpu, attention: &Attention, qkv: Qkv) -> Result<SavedMaps, CudaError> {
        let (tokens, heads) = (attention.queries.tokens(), attention.layout.heads);
        let [first, second] = halves::<HEAD_DIM>(gpu, qkv.queries, (tokens, heads))?;
        let width = heads * HEAD_DIM;
        let attend = |queries: &Buffer| {
            let queries = Matrix::new(at(queries), width);
            attention.attend(gpu, Qkv { queries, ..qkv })
        };
        let attended = [attend(&first)?, attend(&second)?];
        let outputs = attended.each_ref().map(|one| &one.out);
        let learned = (address(&self.lambda), address(&self.gain));
        let out = difference::<HEAD_DIM>(gpu, outputs, learned, tokens * heads)?;
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
        let (tokens, heads) = (attention.queries.tokens(), attention.layout.heads);
        let (rows, width) = (tokens * heads, heads * HEAD_DIM);
        let [(first, first_output), (second, second_output)] = &kept.maps;
        let (dfirst, dsecond) = (gpu.scratch(rows * HEAD_DIM)?, gpu.scratch(rows * HEAD_DIM)?);
        let blocks = MAX_PARTIAL_SUMS.min(rows.div_ceil(WARPS));
        let shares = gpu.scratch(blocks * (HEAD_DIM + 1))?;
        gpu.launch(
            kernel::<HEAD_DIM>("difference_backward"),
            (blocks, 1, 1),
            (
                at(&first_output.out),
                at(&second_output.out),
                address(&self.lambda),
                address(&self.gain),
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
            address(&self.lambda),
            gradient_address(gradients, &self.gain)?,
            gradient_address(gradients, &self.lambda)?,
        );
        gpu.launch(kernel::<HEAD_DIM>("add_to_learned"), (1, 1, 1), learned)?;

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
        gpu.launch_each(kernel::<HEAD_DIM>("join"), count, both)
    }
}

/// Queries for each map: `[tokens, heads * HEAD_DIM]`.
fn halves<const HEAD_DIM: usize>(
    gpu: &Gpu,
    queries: Matrix,
    (tokens, heads): (usize, usize),
) -> Result<[Buffer; 2], CudaError> {
    let width = heads * HEAD_DIM;
    let halves = [gpu.scratch(tokens * width)?, gpu.scratch(tokens * width)?];
    let arguments = (
        queries.start,
        queries.step as u32,
        width as u32,
        at(&halves[0]),
        at(&halves[1]),
        (tokens * width) as u32,
    );
    gpu.launch_each(kernel::<HEAD_DIM>("halve"), tokens * width, arguments)?;
    Ok(halves)
}

/// The output of the first map minus λ times that of the second, normalised: rows of `HEAD_DIM`.
fn difference<const HEAD_DIM: usize>(
    gpu: &Gpu,
    [first, second]: [&Buffer; 2],
    (lambda, gain): (Address, Address),
    rows: usize,
) -> Result<Buffer, CudaError> {
    let out = gpu.scratch(rows * HEAD_DIM)?;
    gpu.launch(
        kernel::<HEAD_DIM>("difference"),
        (rows.div_ceil(WARPS), 1, 1),
        (
            at(first),
            at(second),
            lambda,
            gain,
            at(&out),
            LAMBDA_START as f32,
            HEAD_NORM_EPSILON as f32,
            rows as u32,
        ),
    )?;
    Ok(out)
}

impl<const EMBED: usize, const HEAD_DIM: usize> AttendToCache<EMBED, EMBED>
    for GpuDifferentialHeads<HEAD_DIM>
{
    fn attend_to_cache(
        &self,
        gpu: &Gpu,
        cache: &GpuKvCache<EMBED, EMBED>,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        let (queries, count) = (Matrix::new(at(queries), EMBED), visible.queries());
        let heads = cache.layout.heads;
        let halves = halves::<HEAD_DIM>(gpu, queries, (count, heads))?;
        let first = cache.attend_to_cache(gpu, &halves[0], visible)?;
        let second = cache.attend_to_cache(gpu, &halves[1], visible)?;
        let learned = (address(&self.lambda), address(&self.gain));
        difference::<HEAD_DIM>(gpu, [&first, &second], learned, count * heads)
    }
}
