//! What all residual sublayers have in common on the GPU: `y = x + dropout(branch(norm(x)))`.
//!
//! A sublayer implements [`Branch`]. Here is the rest: the norm, dropout and residual, the tape, and the
//! gradients of the norm and of the last bias.

use std::rc::Rc;

use dfdx::shapes::{HasShape, Rank1};
use dfdx::tensor::{Cuda, CudaError, Gradients, PutTape, SplitTape, Tape, Tensor, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::products::Matrix;
use super::rows::{NormAddresses, NormedRows, Rows};
use super::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address, set_gradient, start_of, take_gradient};
use crate::ops::dropout::Dropout;
use crate::ops::parameters::Norm;

/// The branch of a residual sublayer, as a function of the normalised stream, `[tokens, EMBED]` → the same.
pub trait Branch<const EMBED: usize>: 'static {
    /// What backward needs of the forward pass.
    type Saved: 'static;

    /// The last layer's bias, which is added by the caller, who also sums its gradient.
    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda>;

    /// Writes all of `out`, without the last bias.
    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Self::Saved, CudaError>;

    /// Writes all of `dnormed`, and accumulates every parameter's gradient except the last bias's.
    fn backward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        saved: Self::Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError>;
}

/// The input and the gradients of a branch in the backward pass: `[tokens, EMBED]` each.
#[derive(Clone, Copy)]
pub struct BranchBackward {
    /// The input.
    pub normed: Matrix,
    /// Gradient of the output.
    pub dout: Matrix,
    /// Gradient of the input, to be written.
    pub dnormed: Matrix,
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

/// `x + dropout(branch(norm(x)))`. Dropout index: token × EMBED + channel.
pub fn try_residual<const EMBED: usize, B: Branch<EMBED>, T: Tape<f32, Cuda>>(
    x: Stream<EMBED, f32, Cuda, T>,
    norm: &Norm<EMBED, f32, Cuda>,
    branch: B,
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let y: Stream<EMBED, f32, Cuda> = x.device().try_zeros_like(&x)?;
    let (gpu, norm) = (gpu(), norm.clone());
    let (normed, saved) = forward(&gpu, &x, &norm, &branch, &y, dropout)?;
    if T::OWNS_TAPE {
        let of_y = y.clone();
        tape.add_backward_op(move |gradients| {
            let dy = take_gradient(gradients, x.device(), &of_y)?;
            let net = (&norm, &branch, saved);
            backward(&gpu, &x, net, &normed, start_of(&dy), dropout, gradients)?;
            set_gradient(gradients, &x, dy)
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
    forward(&gpu(), &x, norm, branch, &y, Dropout::NONE)?;
    Ok(y)
}

fn forward<const EMBED: usize, B: Branch<EMBED>>(
    gpu: &Rc<Gpu>,
    x: &Stream<EMBED, f32, Cuda>,
    norm: &Norm<EMBED, f32, Cuda>,
    branch: &B,
    y: &Stream<EMBED, f32, Cuda>,
    dropout: Dropout,
) -> Result<(NormedRows, B::Saved), CudaError> {
    let tokens = x.shape().0;
    let rows = Rows { gpu, width: EMBED };
    let normed = rows.normalise(address(x), norm_of(norm), NULL, tokens)?;
    let out = gpu.scratch(tokens * EMBED)?;
    let saved = branch.forward(
        gpu,
        tokens,
        stream_of::<EMBED>(&normed.rows),
        stream_of::<EMBED>(&out),
    )?;
    let added = (at(&out), address(branch.last_bias()));
    rows.residual((address(x), NULL), added, address(y), dropout, tokens)?;
    Ok((normed, saved))
}

/// `dy` is the gradient of the output, and becomes that of `x`.
fn backward<const EMBED: usize, B: Branch<EMBED>>(
    gpu: &Rc<Gpu>,
    x: &Stream<EMBED, f32, Cuda>,
    (norm, branch, saved): (&Norm<EMBED, f32, Cuda>, &B, B::Saved),
    normed: &NormedRows,
    dy: Address,
    dropout: Dropout,
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let tokens = x.shape().0;
    let rows = Rows { gpu, width: EMBED };
    let dropped = dropped(&rows, dy, dropout, tokens)?;
    let dout = dropped.as_ref().map_or(dy, at);
    let dbias = gradient_address(gradients, branch.last_bias())?;
    rows.add_column_sums(Matrix::new(dout, EMBED), tokens, &[(dbias, EMBED)])?;
    let dnormed = gpu.scratch(tokens * EMBED)?;
    let ends = BranchBackward {
        normed: stream_of::<EMBED>(&normed.rows),
        dout: Matrix::new(dout, EMBED),
        dnormed: stream_of::<EMBED>(&dnormed),
    };
    branch.backward(gpu, tokens, saved, ends, gradients)?;
    let went_in = (address(x), norm_of(norm), NULL);
    let dnorm = norm_gradient(gradients, norm)?;
    rows.normalise_backward(normed, at(&dnormed), went_in, dy, dnorm)
}

/// The gradient of the branch's output, if dropout makes it differ from `dy`.
pub fn dropped(
    rows: &Rows<'_>,
    dy: Address,
    dropout: Dropout,
    tokens: usize,
) -> Result<Option<Buffer>, CudaError> {
    if dropout.is_none() {
        return Ok(None);
    }
    let dropped = rows.gpu.scratch(tokens * rows.width)?;
    rows.drop(dy, at(&dropped), dropout, tokens)?;
    Ok(Some(dropped))
}

/// A buffer as a matrix of stream rows.
pub fn stream_of<const EMBED: usize>(buffer: &Buffer) -> Matrix {
    Matrix::new(at(buffer), EMBED)
}
