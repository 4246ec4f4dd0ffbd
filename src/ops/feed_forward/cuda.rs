//! The GPU: cuBLAS, with one kernel for bias and GELU in between.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{FeedForward, FeedForwardOp};
use crate::ops::Stream;
use crate::ops::bridge::cuda::address;
use crate::ops::cuda::linear::{apply_without_bias, back, back_without_bias};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::sublayer::{Branch, BranchBackward, try_apply, try_residual};
use crate::ops::cuda::{Buffer, Gpu, at};
use crate::ops::decoding::BoxedPointwise;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::LayerNorm;

impl FeedForwardOp<f32> for Cuda {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cuda>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        try_residual(x, norm, weights.clone(), dropout)
    }

    fn inference_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cuda>,
    ) -> BoxedPointwise<'a, EMBED, f32, Cuda> {
        Box::new(move |x| try_apply(x, norm, weights))
    }
}

impl<const EMBED: usize, const HIDDEN: usize> Branch<EMBED>
    for FeedForward<EMBED, HIDDEN, f32, Cuda>
{
    /// Before and after GELU: `[tokens, HIDDEN]` each.
    type Saved = [Buffer; 2];

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.contract.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Self::Saved, CudaError> {
        let rows = Rows { gpu, width: EMBED };
        let before = gpu.scratch(tokens * HIDDEN)?;
        let after = gpu.scratch(tokens * HIDDEN)?;
        let hidden = Matrix::new(at(&before), HIDDEN);
        apply_without_bias(gpu, &self.expand, tokens, normed, hidden)?;
        let bias = address(&self.expand.bias);
        rows.gelu(&before, bias, &after, [tokens, HIDDEN])?;
        let hidden = Matrix::new(at(&after), HIDDEN);
        apply_without_bias(gpu, &self.contract, tokens, hidden, out)?;
        Ok([before, after])
    }

    fn backward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        [before, after]: Self::Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let rows = Rows { gpu, width: EMBED };
        let factors = (ends.dout, Matrix::new(at(&after), HIDDEN));
        let dhidden = back_without_bias(gpu, &self.contract, tokens, factors, gradients)?;
        let bias = address(&self.expand.bias);
        rows.gelu_backward(&before, bias, &dhidden, [tokens, HIDDEN])?;
        let factors = (Matrix::new(at(&dhidden), HIDDEN), ends.normed);
        let to = (ends.dnormed, Destination::Overwrite);
        back(gpu, &self.expand, tokens, factors, to, gradients)
    }
}
