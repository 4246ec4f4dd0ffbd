//! The GPU: the kernels of attention once for each map, and passes that take one from the other.
//!
//! A map of half the channels is attention whose queries have zeros in the other half. Dropout draws by token,
//! head and key, so both maps lose the same keys, as their difference does.

use dfdx::shapes::{Rank1, Rank2};
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{
    Differences, DifferentialOp, HEAD_NORM_EPSILON, LAMBDA_START, assert_halves, reference,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::cuda::{Comparison, Heads, layout};
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::heads::{Attention, Found, Three, WIDEST};
use crate::ops::cuda::kernels::{Kernel, Source, WARPS};
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::reading::{HeadMemory, LookBack, Remembering, Seen};
use crate::ops::cuda::rows::MOST_SHARES;
use crate::ops::cuda::sublayer::try_residual;
use crate::ops::cuda::{Address, Buffer, Gpu, NOWHERE, at, gpu};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Rereading};

pub(in crate::ops) static DIFFERENCES: Source = Source {
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
    fn try_differential<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Differences<EMBED, HEADS, HEAD_DIM, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        const { assert_halves(EMBED, HEADS, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return reference::differential::<EMBED, HEADS, HEAD_DIM, _, _, _>(
                x, norm, weights, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Heads {
            weights: weights.projections.clone(),
            attention: Attention {
                layout: layout::<EMBED, HEADS, HEAD_DIM>(Scoring::SOFTMAX),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
            comparison: TwoMaps::of(weights),
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn differential_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Differences<EMBED, HEADS, HEAD_DIM, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        const { assert_halves(EMBED, HEADS, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::differential::<EMBED, HEADS, HEAD_DIM, _, _, _>(
                    x, norm, weights, batch, none,
                )
            }));
        }
        let layout = layout::<EMBED, HEADS, HEAD_DIM>(Scoring::SOFTMAX);
        let (heads, maps) = (&weights.projections, TwoMaps::of(weights));
        Box::new(Remembering::new(norm, heads, maps, layout, (rows, context)))
    }
}

/// Values blended by the difference of two maps, and normed.
struct TwoMaps<const HEAD_DIM: usize> {
    lambda: Tensor<Rank2<2, HEAD_DIM>, f32, Cuda>,
    gain: Tensor<Rank1<HEAD_DIM>, f32, Cuda>,
}

impl<const HEAD_DIM: usize> TwoMaps<HEAD_DIM> {
    fn of<const EMBED: usize, const HEADS: usize>(
        weights: &Differences<EMBED, HEADS, HEAD_DIM, f32, Cuda>,
    ) -> Self {
        Self {
            lambda: weights.lambda.clone(),
            gain: weights.head_norm.clone(),
        }
    }
}

/// What backward needs.
struct Kept {
    /// Queries of each map, `[tokens, heads * HEAD_DIM]`, and what they found.
    maps: [(Buffer, Found); 2],
    out: Buffer,
}

impl<const HEAD_DIM: usize> Comparison for TwoMaps<HEAD_DIM> {
    type Kept = Kept;

    fn attend(&self, gpu: &Gpu, attention: &Attention, three: Three) -> Result<Kept, CudaError> {
        let (tokens, heads) = (attention.queries.tokens(), attention.layout.heads);
        let [first, second] = halves::<HEAD_DIM>(gpu, three.queries, (tokens, heads))?;
        let width = heads * HEAD_DIM;
        let attend = |queries: &Buffer| {
            let queries = Matrix::new(at(queries), width);
            attention.attend(gpu, Three { queries, ..three })
        };
        let found = [attend(&first)?, attend(&second)?];
        let found_by = found.each_ref().map(|found| &found.out);
        let learned = (address(&self.lambda), address(&self.gain));
        let out = difference::<HEAD_DIM>(gpu, found_by, learned, tokens * heads)?;
        let [of_first, of_second] = found;
        Ok(Kept {
            maps: [(first, of_first), (second, of_second)],
            out,
        })
    }

    fn found(kept: &Kept) -> &Buffer {
        &kept.out
    }

    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (three, kept): (Three, &Kept),
        (dfound, dthree): (&Buffer, Three),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (tokens, heads) = (attention.queries.tokens(), attention.layout.heads);
        let (rows, width) = (tokens * heads, heads * HEAD_DIM);
        let [(first, of_first), (second, of_second)] = &kept.maps;
        let (dfirst, dsecond) = (gpu.scratch(rows * HEAD_DIM)?, gpu.scratch(rows * HEAD_DIM)?);
        let blocks = MOST_SHARES.min(rows.div_ceil(WARPS));
        let shares = gpu.scratch(blocks * (HEAD_DIM + 1))?;
        gpu.launch(
            kernel::<HEAD_DIM>("difference_backward"),
            (blocks, 1, 1),
            (
                at(&of_first.out),
                at(&of_second.out),
                address(&self.lambda),
                address(&self.gain),
                at(dfound),
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

        // The first map writes where the gradients belong, the second beside.
        let queries = Matrix::new(at(first), width);
        let back = (of_first, &dfirst);
        attention.backward(gpu, Three { queries, ..three }, back, (dthree, NOWHERE))?;
        let dqueries = gpu.scratch(tokens * width)?;
        let dkeys = gpu.scratch(tokens * 2 * width)?;
        let keys = Matrix::new(at(&dkeys), 2 * width);
        let beside = Three {
            queries: Matrix::new(at(&dqueries), width),
            keys,
            values: keys.columns_from(width),
        };
        let queries = Matrix::new(at(second), width);
        let back = (of_second, &dsecond);
        attention.backward(gpu, Three { queries, ..three }, back, (beside, NOWHERE))?;
        assert_eq!(dthree.queries.step, 3 * width, "three side by side");
        let count = tokens * 3 * width;
        let both = (
            dthree.queries.start,
            width as u32,
            at(&dqueries),
            at(&dkeys),
            count as u32,
        );
        gpu.launch_each(kernel::<HEAD_DIM>("join"), count, both)
    }
}

/// Queries for either map: `[tokens, heads * HEAD_DIM]` each.
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

/// What the first map found less what the second did, normed: so many rows of `HEAD_DIM`.
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

impl<const EMBED: usize, const HEAD_DIM: usize> LookBack<EMBED, EMBED> for TwoMaps<HEAD_DIM> {
    fn look_back(
        &self,
        gpu: &Gpu,
        memory: &HeadMemory<EMBED, EMBED>,
        queries: &Buffer,
        seen: &Seen,
    ) -> Result<Buffer, CudaError> {
        let (queries, count) = (Matrix::new(at(queries), EMBED), seen.queries());
        let heads = memory.layout.heads;
        let halves = halves::<HEAD_DIM>(gpu, queries, (count, heads))?;
        let first = memory.look_back(gpu, &halves[0], seen)?;
        let second = memory.look_back(gpu, &halves[1], seen)?;
        let learned = (address(&self.lambda), address(&self.gain));
        difference::<HEAD_DIM>(gpu, [&first, &second], learned, count * heads)
    }
}
