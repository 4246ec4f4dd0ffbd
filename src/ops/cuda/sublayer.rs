//! What all residual sublayers have in common on the GPU: `y = x + dropout(branch(norm(x)))`, where the branch of
//! cross-attention reads a second stream.
//!
//! A sublayer implements [`Branch`]. Here is the rest: the norm, dropout and residual, the tape, and the
//! gradients of the norm and of the last bias.

use std::rc::Rc;

use dfdx::shapes::{HasShape, Rank1};
use dfdx::tensor::{Cuda, CudaError, Gradients, PutTape, SplitTape, Tape, Tensor, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::products::{Destination, Matrix};
use super::rows::{NormAddresses, NormedRows, Rows};
use super::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address, start_of};
use crate::ops::bridge::take_gradient;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::Norm;

/// The branch of a residual sublayer, as a function of streams, `[tokens, EMBED]` each → the shape of the first, to which
/// it is added. One of them has been normalised.
pub trait Branch<const EMBED: usize, const STREAMS: usize = 1>: 'static {
    /// What backward needs of the forward pass.
    type Saved: 'static;

    /// The last layer's bias, which is added by the caller, who also sums its gradient.
    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda>;

    /// Writes all of `out`, without the last bias.
    fn forward(
        &self,
        gpu: &Gpu,
        tokens: [usize; STREAMS],
        inputs: [Matrix; STREAMS],
        out: Matrix,
    ) -> Result<Self::Saved, CudaError>;

    /// Computes all of `dinputs`, and accumulates every parameter's gradient except the last bias's.
    fn backward(
        &self,
        gpu: &Gpu,
        tokens: [usize; STREAMS],
        saved: Self::Saved,
        ends: BranchBackward<STREAMS>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError>;
}

/// The inputs and the gradients of a branch in the backward pass: `[tokens, EMBED]` each.
#[derive(Clone, Copy)]
pub struct BranchBackward<const STREAMS: usize = 1> {
    /// The inputs.
    pub inputs: [Matrix; STREAMS],
    /// Gradient of the output. It may be where the gradient of an input goes: read it before.
    pub dout: Matrix,
    /// Where the gradients of the inputs go, and how.
    pub dinputs: [(Matrix, Destination); STREAMS],
}

/// The addresses of a norm's parameters.
pub fn norm_of<const EMBED: usize>(norm: &Norm<EMBED, f32, Cuda>) -> NormAddresses {
    NormAddresses {
        weight: address(&norm.weight),
        bias: norm.bias.as_ref().map_or(NULL, address),
    }
}

/// The addresses of the gradients of a norm's parameters.
pub fn norm_gradient<const EMBED: usize>(
    gradients: &mut Gradients<f32, Cuda>,
    norm: &Norm<EMBED, f32, Cuda>,
) -> Result<NormAddresses, CudaError> {
    let bias = norm.bias.as_ref();
    let bias = bias.map(|bias| gradient_address(gradients, bias));
    Ok(NormAddresses {
        weight: gradient_address(gradients, &norm.weight)?,
        bias: bias.transpose()?.unwrap_or(NULL),
    })
}

/// `x + dropout(branch(norm(x)))`: see [`try_residual_of`].
pub fn try_residual<const EMBED: usize, B: Branch<EMBED>, T: Tape<f32, Cuda>>(
    x: Stream<EMBED, f32, Cuda, T>,
    norm: &Norm<EMBED, f32, Cuda>,
    branch: B,
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
    let (x, tape) = x.try_contiguous()?.split_tape();
    try_residual_of(([x], tape), (0, norm), branch, dropout)
}

/// `x + dropout(branch(inputs))`, where `x` is the first of the streams, and the inputs are the streams after the norm of
/// one of them. Dropout index: token × EMBED + channel.
///
/// The gradient of `x` is set, those of other streams are accumulated.
pub fn try_residual_of<
    const EMBED: usize,
    const STREAMS: usize,
    B: Branch<EMBED, STREAMS>,
    T: Tape<f32, Cuda>,
>(
    (streams, mut tape): ([Stream<EMBED, f32, Cuda>; STREAMS], T),
    (which, norm): (usize, &Norm<EMBED, f32, Cuda>),
    branch: B,
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
    let y: Stream<EMBED, f32, Cuda> = streams[0].device().try_zeros_like(&streams[0])?;
    let (gpu, norm) = (gpu(), norm.clone());
    let (normed, saved) = forward(&gpu, &streams, ((which, &norm), &branch), &y, dropout)?;
    if T::OWNS_TAPE {
        let of_y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, of_y.device(), &of_y)?;
            let net = ((which, &norm), &branch, saved);
            backward(
                &gpu,
                &streams,
                net,
                &normed,
                (start_of(&dy), dropout),
                gradients,
            )?;
            *gradients.get_or_alloc_mut(&streams[0])? = dy;
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// The sublayer without dropout or gradients.
pub fn try_apply<const EMBED: usize, B: Branch<EMBED>>(
    x: Stream<EMBED, f32, Cuda>,
    norm: &Norm<EMBED, f32, Cuda>,
    branch: &B,
) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
    let x = x.try_contiguous()?;
    let y = x.device().try_zeros_like(&x)?;
    forward(&gpu(), &[x], ((0, norm), branch), &y, Dropout::NONE)?;
    Ok(y)
}

/// A norm, and which of the streams it applies to.
type NormOf<'a, const EMBED: usize> = (usize, &'a Norm<EMBED, f32, Cuda>);

/// Numbers of tokens of the streams, and what goes into the branch: the streams, one of them after the norm.
fn inputs<const EMBED: usize, const STREAMS: usize>(
    streams: &[Stream<EMBED, f32, Cuda>; STREAMS],
    (which, normed): (usize, &NormedRows),
) -> ([usize; STREAMS], [Matrix; STREAMS]) {
    let mut inputs = (streams.each_ref()).map(|stream| Matrix::new(address(stream), EMBED));
    inputs[which] = stream_of::<EMBED>(&normed.rows);
    (streams.each_ref().map(|stream| stream.shape().0), inputs)
}

fn forward<const EMBED: usize, const STREAMS: usize, B: Branch<EMBED, STREAMS>>(
    gpu: &Rc<Gpu>,
    streams: &[Stream<EMBED, f32, Cuda>; STREAMS],
    ((which, norm), branch): (NormOf<'_, EMBED>, &B),
    y: &Stream<EMBED, f32, Cuda>,
    dropout: Dropout,
) -> Result<(NormedRows, B::Saved), CudaError> {
    let rows = Rows::of(gpu, EMBED);
    let (x, count) = (address(&streams[which]), streams[which].shape().0);
    let normed = rows.normalise(x, norm_of(norm), NULL, count)?;
    let (tokens, inputs) = inputs(streams, (which, &normed));
    let out = gpu.scratch(tokens[0] * EMBED)?;
    let saved = branch.forward(gpu, tokens, inputs, stream_of::<EMBED>(&out))?;
    let (x, added) = (
        address(&streams[0]),
        (at(&out), address(branch.last_bias())),
    );
    rows.residual(x, added, address(y), dropout, tokens[0])?;
    Ok((normed, saved))
}

/// `dy` is the gradient of the output, and becomes that of the first stream; those of others are accumulated.
fn backward<const EMBED: usize, const STREAMS: usize, B: Branch<EMBED, STREAMS>>(
    gpu: &Rc<Gpu>,
    streams: &[Stream<EMBED, f32, Cuda>; STREAMS],
    ((which, norm), branch, saved): (NormOf<'_, EMBED>, &B, B::Saved),
    normed: &NormedRows,
    (dy, dropout): (Address, Dropout),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let (tokens, inputs) = inputs(streams, (which, normed));
    let rows = Rows::of(gpu, EMBED);
    let mut dstreams = [dy; STREAMS];
    for (dstream, stream) in dstreams.iter_mut().zip(streams).skip(1) {
        *dstream = gradient_address(gradients, stream)?;
    }
    let dropped = gpu.scratch_if(!dropout.is_none(), tokens[0] * EMBED)?;
    if let Some(dropped) = &dropped {
        rows.drop(dy, at(dropped), dropout, tokens[0])?;
    }
    let dout = dropped.as_ref().map_or(dy, at);
    let dbias = gradient_address(gradients, branch.last_bias())?;
    rows.add_column_sums(Matrix::new(dout, EMBED), tokens[0], &[(dbias, EMBED)])?;
    let dnormed = gpu.scratch(tokens[which] * EMBED)?;
    let mut dinputs =
        dstreams.map(|dstream| (Matrix::new(dstream, EMBED), Destination::Accumulate));
    dinputs[which] = (stream_of::<EMBED>(&dnormed), Destination::Overwrite);
    let ends = BranchBackward {
        inputs,
        dout: Matrix::new(dout, EMBED),
        dinputs,
    };
    branch.backward(gpu, tokens, saved, ends, gradients)?;
    let went_in = (address(&streams[which]), norm_of(norm), NULL);
    let dnorm = norm_gradient(gradients, norm)?;
    rows.normalise_backward(normed, at(&dnormed), went_in, dstreams[which], dnorm)
}

/// A buffer as a matrix of stream rows.
pub fn stream_of<const EMBED: usize>(buffer: &Buffer) -> Matrix {
    Matrix::new(at(buffer), EMBED)
}
