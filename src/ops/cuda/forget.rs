//! Forget gates: running sums of their logarithms over documents, by the kernels of `parts.cu`.

use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::documents::DocumentRows;
use super::heads::HeadLayout;
use super::linear::{self, Layer, apply_each};
use super::parts::PARTS;
use super::products::{Destination, Matrix};
use super::{Address, Buffer, Gpu, at};
use crate::ops::attention::{Bias, ToHeads};

/// The projections of tokens to forget gates, and their running sums, `[tokens, heads]` each.
pub struct ForgetGates {
    gates: Buffer,
    sums: Buffer,
}

impl HeadLayout {
    /// The divisor of the gates' logarithms.
    fn divisor(&self) -> f32 {
        match self.of.scoring.bias {
            Some(Bias::Forget { divisor }) => divisor as f32,
            _ => 1.0,
        }
    }

    /// Writes the running sums of `gates: [rows, heads]`, which they may replace.
    pub fn sum_gates(
        &self,
        gpu: &Gpu,
        (gates, sums): (Matrix, Matrix),
        rows: DocumentRows,
    ) -> Result<(), CudaError> {
        let arguments = (gates, sums, rows, self.of.heads as u32, self.divisor());
        let kernel = PARTS.kernel(self.of.head_dim, "sum_gates");
        gpu.launch_rows(kernel, rows.count as usize * self.of.heads, arguments)
    }
}

impl ForgetGates {
    /// Of the tokens of a stream.
    pub fn new<const EMBED: usize>(
        gpu: &Gpu,
        layout: &HeadLayout,
        layer: &ToHeads<EMBED, f32, Cuda>,
        (normed, tokens): (Matrix, usize),
        rows: DocumentRows,
    ) -> Result<Self, CudaError> {
        let heads = layout.of.heads;
        let [gates, sums] = [gpu.scratch(tokens * heads)?, gpu.scratch(tokens * heads)?];
        let [of_gates, of_sums] = [&gates, &sums].map(|one| Matrix::new(at(one), heads));
        apply_each(gpu, [Layer::of(layer)], tokens, normed, of_gates)?;
        layout.sum_gates(gpu, (of_gates, of_sums), rows)?;
        Ok(Self { gates, sums })
    }

    /// The running sums.
    pub fn sums(&self, layout: &HeadLayout) -> Matrix {
        Matrix::new(at(&self.sums), layout.of.heads)
    }

    /// Backward, given the gradients of the sums, and further ones unless they are null: accumulates those of the layer
    /// and of the stream.
    pub fn backward<const EMBED: usize>(
        &self,
        gpu: &Gpu,
        (layout, layer): (&HeadLayout, &ToHeads<EMBED, f32, Cuda>),
        dsums: [Address; 2],
        ([normed, dnormed], tokens, rows): ([Matrix; 2], usize, DocumentRows),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let heads = layout.of.heads;
        let dgates = gpu.scratch(tokens * heads)?;
        let [first, further] = dsums;
        let arguments = (
            at(&self.gates),
            first,
            further,
            at(&dgates),
            rows,
            heads as u32,
            layout.divisor(),
        );
        let kernel = PARTS.kernel(layout.of.head_dim, "sum_gates_backward");
        gpu.launch_rows(kernel, rows.count as usize * heads, arguments)?;
        let factors = (Matrix::new(at(&dgates), heads), normed);
        let dnormed = (dnormed, Destination::Accumulate);
        linear::back(gpu, layer, tokens, factors, dnormed, gradients)
    }
}
