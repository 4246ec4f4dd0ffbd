//! Parts of attention around the kernels of `heads.cu`: norms of queries, keys and outputs, gates and sinks, by the
//! kernels of `parts.cu`.
#![allow(unsafe_code)]

use cudarc::driver::DeviceRepr;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};

use super::heads::HeadLayout;
use super::kernels::{Kernel, Source, WARPS};
use super::linear::project;
use super::products::Matrix;
use super::rows::MAX_PARTIAL_SUMS;
use super::{Address, Buffer, Gpu, NULL, at};
use crate::ops::attention::{Layout, QkNorm, QkNormWeights};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::parameters::Projection;

pub(super) static PARTS: Source = Source {
    name: "parts",
    text: include_str!("parts.cu"),
    constant: "HEAD_DIM",
};

/// The query heads and key heads that lie side by side in each row.
#[derive(Clone, Copy)]
pub struct QkHeads {
    /// The first columns.
    pub heads: Matrix,
    /// Number of heads of queries, which come first, and of keys.
    pub counts: [usize; 2],
    pub rows: usize,
}

impl QkHeads {
    /// Number of heads.
    fn count(&self) -> usize {
        self.counts[0] + self.counts[1]
    }

    /// Total width of the heads.
    pub fn width(&self, layout: &Layout) -> usize {
        self.count() * layout.head_dim
    }
}

/// The gates of heads' outputs.
pub struct Gated {
    /// Before the sigmoid.
    gates: Buffer,
    /// The gated outputs.
    pub output: Buffer,
}

impl Gated {
    /// The outputs of heads, `[rows, width]`, times the sigmoids of their gates, if there are any: projections of the
    /// stream.
    pub fn new<const EMBED: usize>(
        gpu: &Gpu,
        layout: &HeadLayout,
        (gate, heads): (Option<&Projection<EMBED, f32, Cuda>>, &Buffer),
        (normed, rows): (Matrix, usize),
    ) -> Result<Option<Self>, CudaError> {
        let Some(gate) = gate else { return Ok(None) };
        let gates = project(gpu, gate, rows, normed)?;
        let width = layout.of.width();
        let output = gpu.scratch(rows * width)?;
        let arguments = (
            at(heads),
            at(&gates),
            at(&output),
            width as u32,
            layout.of.gates() as u32,
            (rows * width) as u32,
        );
        gpu.launch_each(layout.part("gate"), rows * width, arguments)?;
        Ok(Some(Self { gates, output }))
    }

    /// Turns the gradient of the gated outputs into that of the heads, and returns that of the gates.
    pub fn backward(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (heads, dheads): (&Buffer, &Buffer),
        rows: usize,
    ) -> Result<Buffer, CudaError> {
        let count = rows * layout.of.gates();
        let dgates = gpu.scratch(count)?;
        let arguments = (
            at(heads),
            at(dheads),
            at(&self.gates),
            at(&dgates),
            layout.of.width() as u32,
            layout.of.gates() as u32,
            count as u32,
        );
        gpu.launch_each(layout.part("gate_backward"), count, arguments)?;
        Ok(dgates)
    }
}

/// A norm of heads.
#[derive(Clone, Copy)]
pub struct HeadNorm<'w> {
    norm: QkNorm,
    /// The gains; there may be none.
    weights: Option<&'w QkNormWeights<f32, Cuda>>,
}

/// Of the heads' outputs.
pub const OUTPUT_NORM: HeadNorm<'static> = HeadNorm {
    norm: QkNorm::Rms,
    weights: None,
};

/// `struct Gains` of parts.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gains {
    queries: Address,
    keys: Address,
    query_heads: u32,
    by_head: u32,
}

// SAFETY: the same fields in the same order as `struct Gains`, by the same rules of alignment.
unsafe impl DeviceRepr for Gains {}

impl HeadNorm<'_> {
    /// The gains, or their gradients, by the addresses of their tensors.
    fn gains(
        &self,
        heads: QkHeads,
        mut at: impl FnMut(&Tensor<(usize,), f32, Cuda>) -> Result<Address, CudaError>,
    ) -> Result<Gains, CudaError> {
        let of = self.weights;
        let queries = of.and_then(|of| of.query.as_ref().or(of.scale.as_ref()));
        let queries = queries.map(&mut at).transpose()?;
        let keys = of.and_then(|of| of.key.as_ref());
        let keys = keys.map(&mut at).transpose()?;
        Ok(Gains {
            queries: queries.unwrap_or(NULL),
            keys: keys.unwrap_or(NULL),
            query_heads: heads.counts[0] as u32,
            by_head: u32::from(self.norm == QkNorm::L2),
        })
    }
}

impl HeadLayout {
    fn part(&self, name: &'static str) -> Kernel {
        PARTS.kernel(self.of.head_dim, name)
    }

    /// The norm of queries and keys, if there is one, with these weights.
    pub fn qk_norm<'w>(
        &self,
        weights: Option<&'w QkNormWeights<f32, Cuda>>,
    ) -> Option<HeadNorm<'w>> {
        let (norm, weights) = self.of.qk_norm.zip(weights)?;
        Some(HeadNorm {
            norm,
            weights: Some(weights),
        })
    }

    /// The outputs of the heads, in the form that the norm kernels take.
    pub fn outputs(&self, out: &Buffer, rows: usize) -> QkHeads {
        QkHeads {
            heads: Matrix::new(at(out), self.of.width()),
            counts: [self.of.heads, 0],
            rows,
        }
    }

    /// Normalises heads in place; `kept: [rows, heads, head_dim]` gets them as they were, unless it is null.
    pub fn normalise(
        &self,
        gpu: &Gpu,
        norm: HeadNorm<'_>,
        of: QkHeads,
        kept: Address,
    ) -> Result<(), CudaError> {
        let gains = norm.gains(of, |gain| Ok(address(gain)))?;
        let share = norm.norm.share(self.of.head_dim) as f32;
        let (all, rows) = (of.count(), of.rows as u32);
        let arguments = (of.heads, kept, all as u32, rows, share, gains);
        gpu.launch_rows(self.part("normalise"), of.rows * all, arguments)
    }

    /// Backward of [`Self::normalise`], in place, given what it kept; accumulates the gradients of the gains.
    pub fn normalise_backward(
        &self,
        gpu: &Gpu,
        norm: HeadNorm<'_>,
        (of, kept): (QkHeads, &Buffer),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (all, head_dim) = (of.count(), self.of.head_dim);
        let parts = of.rows.div_ceil(WARPS).min(MAX_PARTIAL_SUMS);
        let shares = gpu.scratch(parts * all * head_dim)?;
        let gains = norm.gains(of, |gain| Ok(address(gain)))?;
        let share = norm.norm.share(head_dim) as f32;
        let arguments = (
            of.heads,
            at(kept),
            of.rows as u32,
            share,
            gains,
            at(&shares),
        );
        gpu.launch(self.part("normalise_backward"), (parts, all, 1), arguments)?;
        let dgains = norm.gains(of, |gain| gradient_address(gradients, gain))?;
        if dgains.queries == NULL {
            return Ok(());
        }
        let learned = match norm.norm {
            QkNorm::L2 => of.counts[0],
            _ => 2 * head_dim,
        };
        let arguments = (
            at(&shares),
            parts as u32,
            all as u32,
            dgains,
            learned as u32,
        );
        gpu.launch_each(self.part("add_gains"), learned, arguments)
    }

    /// Accumulates the gradients of the sinks' scores, given the statistic of each query and map, and the term that all its
    /// keys share.
    pub fn sink_backward(
        &self,
        gpu: &Gpu,
        [statistics, along]: [&Buffer; 2],
        dsinks: Address,
        queries: usize,
    ) -> Result<(), CudaError> {
        let arguments = (
            self.sinks,
            at(statistics),
            at(along),
            dsinks,
            queries as u32,
        );
        let blocks = (self.of.all_maps(), 1, 1);
        gpu.launch(self.part("sink_backward"), blocks, arguments)
    }
}
