//! Parts of attention around the kernels of `heads.cu`: norms of queries and keys, gates and sinks, by the kernels of
//! `parts.cu`.

use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::heads::HeadLayout;
use super::kernels::{Kernel, Source, WARPS};
use super::products::Matrix;
use super::rows::MAX_PARTIAL_SUMS;
use super::{Address, Buffer, Gpu, NULL, at};
use crate::ops::attention::{QkNorm, QkNormWeights};
use crate::ops::bridge::cuda::{address, gradient_address};

pub(super) static PARTS: Source = Source {
    name: "parts",
    text: include_str!("parts.cu"),
    constant: "HEAD_DIM",
    kernels: &[
        "normalise",
        "normalise_backward",
        "add_gains",
        "gate",
        "gate_backward",
        "sink_backward",
    ],
};

/// The query heads and key heads that lie side by side in each row.
#[derive(Clone, Copy)]
pub struct Compared {
    /// The first columns.
    pub heads: Matrix,
    /// Number of heads of queries, which come first, and of keys.
    pub counts: [usize; 2],
    pub rows: usize,
}

/// The addresses of the gains of queries and keys, or of their gradients; null where there are none.
fn gains(
    of: &QkNormWeights<f32, Cuda>,
    mut at: impl FnMut(&dfdx::tensor::Tensor<(usize,), f32, Cuda>) -> Result<Address, CudaError>,
) -> Result<[Address; 2], CudaError> {
    let queries = of.query.as_ref().or(of.scale.as_ref());
    let of_queries = queries.map(&mut at).transpose()?;
    let of_keys = of.key.as_ref().map(&mut at).transpose()?;
    Ok([of_queries, of_keys].map(|gain| gain.unwrap_or(NULL)))
}

impl HeadLayout {
    fn part(&self, name: &'static str) -> Kernel {
        PARTS.kernel(self.of.head_dim, name)
    }

    /// The norm of queries and keys, with the factor of their squares, and whether gains belong to heads.
    fn norm(&self) -> Option<(f32, u32)> {
        let norm = self.of.qk_norm?;
        let share = norm.share(self.of.head_dim) as f32;
        Some((share, u32::from(norm == QkNorm::L2)))
    }

    /// Normalises queries and keys in place. Returns them as they were if `keep` is set: `[rows, heads of both, head_dim]`.
    pub fn normalise(
        &self,
        gpu: &Gpu,
        compared: Compared,
        weights: Option<&QkNormWeights<f32, Cuda>>,
        keep: bool,
    ) -> Result<Option<Buffer>, CudaError> {
        let Some(((share, by_head), weights)) = self.norm().zip(weights) else {
            return Ok(None);
        };
        let Compared {
            heads,
            counts,
            rows,
        } = compared;
        let all = counts[0] + counts[1];
        let kept = match keep {
            true => Some(gpu.scratch(rows * all * self.of.head_dim)?),
            false => None,
        };
        let [query_gain, key_gain] = gains(weights, |gain| Ok(address(gain)))?;
        let arguments = (
            heads.start,
            heads.step as u32,
            kept.as_ref().map_or(NULL, at),
            all as u32,
            rows as u32,
            counts[0] as u32,
            share,
            query_gain,
            key_gain,
            by_head,
        );
        let blocks = (rows * all).div_ceil(WARPS);
        gpu.launch(self.part("normalise"), (blocks, 1, 1), arguments)?;
        Ok(kept)
    }

    /// Backward of [`Self::normalise`], in place, given what it kept; accumulates the gradients of the gains.
    pub fn normalise_backward(
        &self,
        gpu: &Gpu,
        (gradient, kept): (Compared, Option<&Buffer>),
        weights: Option<&QkNormWeights<f32, Cuda>>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (Some((share, by_head)), Some(weights), Some(kept)) = (self.norm(), weights, kept)
        else {
            return Ok(());
        };
        let Compared {
            heads,
            counts,
            rows,
        } = gradient;
        let (all, head_dim) = (counts[0] + counts[1], self.of.head_dim);
        let parts = rows.div_ceil(WARPS).min(MAX_PARTIAL_SUMS);
        let shares = gpu.scratch(parts * all * head_dim)?;
        let [query_gain, key_gain] = gains(weights, |gain| Ok(address(gain)))?;
        let arguments = (
            heads.start,
            heads.step as u32,
            at(kept),
            rows as u32,
            counts[0] as u32,
            share,
            query_gain,
            key_gain,
            by_head,
            at(&shares),
        );
        gpu.launch(self.part("normalise_backward"), (parts, all, 1), arguments)?;
        let [query_gain, key_gain] = gains(weights, |gain| gradient_address(gradients, gain))?;
        let learned = match self.of.qk_norm {
            Some(QkNorm::L2) => counts[0],
            _ => 2 * head_dim,
        };
        if learned == 0 {
            return Ok(());
        }
        let arguments = (
            at(&shares),
            parts as u32,
            all as u32,
            counts[0] as u32,
            by_head,
            query_gain,
            key_gain,
            learned as u32,
        );
        gpu.launch_each(self.part("add_gains"), learned, arguments)
    }

    /// Multiplies the heads of some rows by the sigmoids of their gates, `[rows, gates]`: `[rows, width]`.
    pub fn gate(
        &self,
        gpu: &Gpu,
        (heads, gates): (&Buffer, &Buffer),
        rows: usize,
    ) -> Result<Buffer, CudaError> {
        let width = self.of.width();
        let gated = gpu.scratch(rows * width)?;
        let arguments = (
            at(heads),
            at(gates),
            at(&gated),
            width as u32,
            self.of.gates() as u32,
            (rows * width) as u32,
        );
        gpu.launch_each(self.part("gate"), rows * width, arguments)?;
        Ok(gated)
    }

    /// Backward of [`Self::gate`]: turns the gradient of what it returned into that of the heads, and returns that of the
    /// gates.
    pub fn gate_backward(
        &self,
        gpu: &Gpu,
        (heads, dheads): (&Buffer, &Buffer),
        gates: &Buffer,
        rows: usize,
    ) -> Result<Buffer, CudaError> {
        let count = rows * self.of.gates();
        let dgates = gpu.scratch(count)?;
        let arguments = (
            at(heads),
            at(dheads),
            at(gates),
            at(&dgates),
            self.of.width() as u32,
            self.of.gates() as u32,
            count as u32,
        );
        gpu.launch_each(self.part("gate_backward"), count, arguments)?;
        Ok(dgates)
    }

    /// Accumulates the gradients of the sinks' scores, given the statistic of each query and head, and the term that all its
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
        let blocks = (self.of.heads, 1, 1);
        gpu.launch(self.part("sink_backward"), blocks, arguments)
    }
}
