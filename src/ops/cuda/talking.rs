//! Talking heads, by the kernels of `talking.cu`.
#![allow(unsafe_code)]

use cudarc::driver::DeviceRepr;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};

use super::heads::{Arguments, Attention, AttentionOutput, HeadLayout, Qkv};
use super::kernels::{Kernel, Source};
use super::kv_cache::{GpuKvCache, VisibleKeys};
use super::products::Matrix;
use super::{Address, Buffer, Gpu, NULL, at};
use crate::ops::attention::TalkingWeights;
use crate::ops::bridge::cuda::{address, gradient_address};

pub(super) static TALKING: Source = Source {
    name: "talking",
    text: concat!(include_str!("heads.cuh"), include_str!("talking.cu")),
    constant: "HEAD_DIM",
};

/// The maps that backward needs, `[queries, heads, longest document]` each.
pub struct TalkingMaps {
    scores: Buffer,
    mixed_scores: Buffer,
    weights: Buffer,
    mixed_weights: Buffer,
}

/// Which rows a map has columns for.
#[derive(Clone, Copy)]
enum Others {
    /// Keys; products with them are scaled.
    Keys = 0,
    /// Values; dropout is applied to what weighs them.
    Values = 1,
}

/// The maps of some queries.
struct Maps<'a> {
    gpu: &'a Gpu,
    layout: &'a HeadLayout,
    arguments: MapArguments,
}

/// What all kernels need to know of maps: `struct Maps` of talking.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct MapArguments {
    heads: Arguments,
    /// Columns of a map.
    step: u32,
    queries: u32,
}

// SAFETY: the same fields in the same order as `struct Maps`, by the same rules of alignment.
unsafe impl DeviceRepr for MapArguments {}

/// A `[heads, heads]` matrix.
type Mixing = Tensor<(usize, usize), f32, Cuda>;

impl Maps<'_> {
    fn kernel(&self, name: &'static str) -> Kernel {
        TALKING.kernel(self.layout.of.head_dim, name)
    }

    fn queries(&self) -> usize {
        self.arguments.queries as usize
    }

    /// Number of rows of a map.
    fn rows(&self) -> usize {
        self.queries() * self.layout.of.heads
    }

    /// Number of elements of a map.
    fn elements(&self) -> usize {
        self.rows() * self.arguments.step as usize
    }

    fn room(&self) -> Result<Buffer, CudaError> {
        self.gpu.scratch(self.elements())
    }

    /// The products of rows, `[queries, width]`, with keys or values.
    fn compare(&self, rows: Matrix, others: Others) -> Result<Buffer, CudaError> {
        let map = self.room()?;
        let arguments = (self.arguments, rows, others as u32, at(&map));
        let kernel = self.kernel("compare");
        (self.gpu).launch_rows(kernel, self.rows(), arguments)?;
        Ok(map)
    }

    /// Maps mixed over the heads by a matrix, or by the transposed one.
    fn mix(&self, matrix: &Mixing, transposed: bool, map: &Buffer) -> Result<Buffer, CudaError> {
        let (mixed, transposed) = (self.room()?, u32::from(transposed));
        let matrix = address(matrix);
        let arguments = (self.arguments, matrix, transposed, at(map), at(&mixed));
        let kernel = self.kernel("mix_maps");
        (self.gpu).launch_each(kernel, self.elements(), arguments)?;
        Ok(mixed)
    }

    /// Accumulates the gradient of a matrix that mixed `map`.
    fn matrix_gradient(
        &self,
        map: &Buffer,
        dmixed: &Buffer,
        dmatrix: Address,
    ) -> Result<(), CudaError> {
        let heads = self.layout.of.heads;
        let arguments = (self.arguments, at(map), at(dmixed), dmatrix);
        (self.gpu).launch(self.kernel("matrix_gradient"), (heads, heads, 1), arguments)
    }

    /// Weights of mixed scores, and the statistic of each query and head.
    fn weigh(&self, scores: &Buffer) -> Result<[Buffer; 2], CudaError> {
        let (weights, statistics) = (self.room()?, self.gpu.scratch(self.rows())?);
        let arguments = (self.arguments, at(scores), at(&weights), at(&statistics));
        let kernel = self.kernel("weigh");
        (self.gpu).launch_rows(kernel, self.rows(), arguments)?;
        Ok([weights, statistics])
    }

    /// Writes the product of a map with keys or values.
    fn apply_rows(&self, map: &Buffer, others: Others, out: Matrix) -> Result<(), CudaError> {
        let arguments = (self.arguments, at(map), others as u32, out);
        let kernel = self.kernel("apply_rows");
        (self.gpu).launch_rows(kernel, self.rows(), arguments)
    }

    /// Writes the product of a transposed map with rows, `[queries, width]`: the gradient of keys or values.
    fn apply_columns(
        &self,
        (map, others): (&Buffer, Others),
        rows: Matrix,
        out: Matrix,
    ) -> Result<(), CudaError> {
        let arguments = (self.arguments, at(map), others as u32, rows, out);
        let count = self.queries() * self.layout.of.kv_heads;
        (self.gpu).launch_rows(self.kernel("apply_columns"), count, arguments)
    }

    fn attend(
        &self,
        matrices: &TalkingWeights<f32, Cuda>,
        queries: Matrix,
    ) -> Result<(AttentionOutput, TalkingMaps), CudaError> {
        let scores = self.compare(queries, Others::Keys)?;
        let mixed_scores = self.mix(&matrices.before, false, &scores)?;
        let [weights, statistics] = self.weigh(&mixed_scores)?;
        let mixed_weights = self.mix(&matrices.after, false, &weights)?;
        let width = self.layout.of.width();
        let out = self.gpu.scratch(self.queries() * width)?;
        self.apply_rows(&mixed_weights, Others::Values, Matrix::new(at(&out), width))?;
        let maps = TalkingMaps {
            scores,
            mixed_scores,
            weights,
            mixed_weights,
        };
        Ok((AttentionOutput { out, statistics }, maps))
    }

    /// Writes the sum of each key's column of a map, `[keys, heads]`, or subtracts it.
    fn sum_columns(&self, map: &Buffer, subtract: bool, sums: Address) -> Result<(), CudaError> {
        let arguments = (self.arguments, at(map), u32::from(subtract), sums);
        (self.gpu).launch_each(self.kernel("sum_columns"), self.rows(), arguments)
    }

    /// From the gradients of weights, in place, to those of mixed scores. Writes those of what was added to them, and
    /// returns the sum of each query's weights times their gradients.
    fn weigh_backward(
        &self,
        maps: &TalkingMaps,
        d: &Buffer,
        daddends: Address,
    ) -> Result<Buffer, CudaError> {
        let along = self.gpu.scratch(self.rows())?;
        let scores = at(&maps.mixed_scores);
        let arguments = (
            self.arguments,
            scores,
            at(&maps.weights),
            at(d),
            at(&along),
            daddends,
        );
        let kernel = self.kernel("weigh_backward");
        (self.gpu).launch_rows(kernel, self.rows(), arguments)?;
        if self.layout.of.forgets() {
            self.sum_columns(d, true, daddends)?;
        }
        if self.layout.of.scoring.softcap.is_some() {
            let arguments = (self.arguments, scores, at(d));
            let kernel = self.kernel("cap_backward");
            (self.gpu).launch_each(kernel, self.elements(), arguments)?;
        }
        Ok(along)
    }
}

/// The maps of all queries of some documents.
fn maps_of<'a>(gpu: &'a Gpu, attention: &'a Attention, qkv: Qkv) -> Maps<'a> {
    let dropout = (attention.dropout.weights, attention.dropout.context);
    let (positions, queries) = attention.queries.positions();
    Maps {
        gpu,
        layout: &attention.layout,
        arguments: MapArguments {
            heads: (attention.layout).arguments(qkv, [NULL, positions], dropout),
            step: attention.keys.longest as u32,
            queries: queries as u32,
        },
    }
}

/// Causal attention with talking heads.
pub fn attend(
    gpu: &Gpu,
    attention: &Attention,
    qkv: Qkv,
    matrices: &TalkingWeights<f32, Cuda>,
) -> Result<(AttentionOutput, TalkingMaps), CudaError> {
    maps_of(gpu, attention, qkv).attend(matrices, qkv.queries)
}

/// Attention to the caches: `[queries, width]`.
pub fn attend_to_cache(
    gpu: &Gpu,
    cache: &GpuKvCache,
    queries: &Buffer,
    (visible, matrices): (&VisibleKeys, &TalkingWeights<f32, Cuda>),
) -> Result<Buffer, CudaError> {
    let queries = Matrix::new(at(queries), cache.layout.of.width());
    let maps = Maps {
        gpu,
        layout: &cache.layout,
        arguments: MapArguments {
            heads: cache.arguments(queries, visible),
            step: visible.most as u32,
            queries: visible.queries as u32,
        },
    };
    let (output, _) = maps.attend(matrices, queries)?;
    Ok(output.out)
}

/// Backward of [`attend`], as [`Attention::backward`]; accumulates the gradients of the matrices.
pub fn backward(
    gpu: &Gpu,
    (attention, qkv): (&Attention, Qkv),
    (maps, matrices): (&TalkingMaps, &TalkingWeights<f32, Cuda>),
    dout: &Buffer,
    (dqkv, dposition): (Qkv, Address),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<Buffer, CudaError> {
    let of = maps_of(gpu, attention, qkv);
    let dout = Matrix::new(at(dout), attention.layout.of.width());
    let weights = (&maps.mixed_weights, Others::Values);
    of.apply_columns(weights, dout, dqkv.values)?;
    let dmixed = of.compare(dout, Others::Values)?;
    let dafter = gradient_address(gradients, &matrices.after)?;
    of.matrix_gradient(&maps.weights, &dmixed, dafter)?;
    let d = of.mix(&matrices.after, true, &dmixed)?;
    let along = of.weigh_backward(maps, &d, dqkv.addends.start)?;
    let dbefore = gradient_address(gradients, &matrices.before)?;
    of.matrix_gradient(&maps.scores, &d, dbefore)?;
    let dscores = of.mix(&matrices.before, true, &d)?;
    if dposition != NULL {
        of.sum_columns(&dscores, false, dposition)?;
    }
    of.apply_rows(&dscores, Others::Keys, dqkv.queries)?;
    of.apply_columns((&dscores, Others::Keys), qkv.queries, dqkv.keys)?;
    Ok(along)
}
