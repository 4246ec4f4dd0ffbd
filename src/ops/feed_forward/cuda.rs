//! The GPU: cuBLAS, with one kernel for biases and activation in between.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{Activation, FeedForward, FeedForwardOp};
use crate::ops::Stream;
use crate::ops::bridge::cuda::address;
use crate::ops::cuda::linear::{back, back_through, weight};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::sublayer::{Branch, BranchBackward, try_apply, try_residual};
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at};
use crate::ops::decoding::BoxedPointwise;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::Norm;

impl FeedForwardOp<f32> for Cuda {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &Norm<EMBED, f32, Cuda>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cuda>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        try_residual(x, norm, weights.clone(), dropout)
    }

    fn inference_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a Norm<EMBED, f32, Cuda>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cuda>,
    ) -> BoxedPointwise<'a, EMBED, f32, Cuda> {
        Box::new(move |x| try_apply(x, norm, weights))
    }
}

impl<const EMBED: usize, const HIDDEN: usize> Branch<EMBED>
    for FeedForward<EMBED, HIDDEN, f32, Cuda>
{
    /// Outputs of the layers to the hidden activations, side by side and without their biases, and the activations:
    /// `[tokens, hidden_width]` and `[tokens, HIDDEN]`.
    type Saved = [Buffer; 2];

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.contract.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        [tokens]: [usize; 1],
        [normed]: [Matrix; 1],
        out: Matrix,
    ) -> Result<Self::Saved, CudaError> {
        let before = gpu.scratch(tokens * self.hidden_width())?;
        let after = gpu.scratch(tokens * HIDDEN)?;
        for (layer, hidden) in self.hidden_layers().zip(self.columns(&before)) {
            gpu.apply(weight(&layer.weight), tokens, normed, hidden)?;
        }
        let (kernel, sizes) = (self.kernels()[0], [tokens, HIDDEN]);
        let rows = Rows::of(gpu, EMBED);
        rows.activate(kernel, (&before, self.hidden_biases()), &after, sizes)?;
        let hidden = Matrix::new(at(&after), HIDDEN);
        gpu.apply(weight(&self.contract.weight), tokens, hidden, out)?;
        Ok([before, after])
    }

    fn backward(
        &self,
        gpu: &Gpu,
        [tokens]: [usize; 1],
        [before, after]: Self::Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let factors = (ends.dout, Matrix::new(at(&after), HIDDEN));
        let dafter = gpu.scratch(tokens * HIDDEN)?;
        let to = (Matrix::new(at(&dafter), HIDDEN), Destination::Overwrite);
        back_through(gpu, &self.contract.weight, tokens, factors, to, gradients)?;
        let (kernel, sizes) = (self.kernels()[1], [tokens, HIDDEN]);
        let rows = Rows::of(gpu, EMBED);
        rows.activate(kernel, (&before, self.hidden_biases()), &dafter, sizes)?;
        // The gradient of a gated layer's two outputs has replaced them.
        let dhidden = match self.activation {
            Activation::Gelu | Activation::SquaredRelu => dafter,
            Activation::SwiGlu => before,
        };
        let ([normed], [(dnormed, mut destination)]) = (ends.inputs, ends.dinputs);
        for (layer, dhidden) in self.hidden_layers().zip(self.columns(&dhidden)) {
            let (factors, to) = ((dhidden, normed), (dnormed, destination));
            back(gpu, layer, tokens, factors, to, gradients)?;
            destination = Destination::Accumulate;
        }
        Ok(())
    }
}

impl<const EMBED: usize, const HIDDEN: usize> FeedForward<EMBED, HIDDEN, f32, Cuda> {
    /// The kernels of the activation, forward and backward.
    fn kernels(&self) -> [&'static str; 2] {
        match self.activation {
            Activation::Gelu => ["gelu", "gelu_backward"],
            Activation::SquaredRelu => ["squared_relu", "squared_relu_backward"],
            Activation::SwiGlu => ["swiglu", "swiglu_backward"],
        }
    }

    /// Addresses of the biases of the gate, null without one, and of [`Self::expand`].
    fn hidden_biases(&self) -> [Address; 2] {
        let gate = self.gate.as_ref();
        let gate = gate.map_or(NULL, |gate| address(&gate.bias));
        [gate, address(&self.expand.bias)]
    }

    /// The columns of each layer to the hidden activations.
    fn columns(&self, hidden: &Buffer) -> impl Iterator<Item = Matrix> + use<EMBED, HIDDEN> {
        let all = Matrix::new(at(hidden), self.hidden_width());
        (0..).map(move |layer| all.columns_from(layer * HIDDEN))
    }
}
