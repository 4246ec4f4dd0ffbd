//! What all residual sublayers have in common on the GPU: `y = x + dropout(branch(norm(x)))`.
//!
//! A sublayer brings its [`Branch`]. Here is the rest: layer norm, dropout and residual, the tape, and the
//! gradients of the norm and of the last bias.

use std::rc::Rc;

use dfdx::shapes::{HasShape, Rank1};
use dfdx::tensor::{Cuda, CudaError, Gradients, PutTape, SplitTape, Tape, Tensor, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::products::Matrix;
use super::rows::{Norm, Normed, Rows};
use super::{Address, Buffer, Gpu, NOWHERE, at, gpu};
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address, set_gradient, start_of, take_gradient};
use crate::ops::dropout::Dropout;
use crate::ops::parameters::LayerNorm;

/// What a sublayer adds to the stream, as a function of the normed stream, `[tokens, EMBED]` → the same.
pub(in crate::ops) trait Branch<const EMBED: usize>: 'static {
    /// What backward needs of the forward pass.
    type Saved: 'static;

    /// The last layer's bias, which is added and whose gradient is summed outside.
    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda>;

    /// Writes all of `out`, without the last bias.
    ///
    /// # Errors
    /// The device's.
    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Self::Saved, CudaError>;

    /// Writes all of `dnormed`, and adds to every parameter's gradient but the last bias's.
    ///
    /// # Errors
    /// The device's.
    fn backward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        saved: Self::Saved,
        around: Around,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError>;
}

/// The two ends of a branch on the way back: `[tokens, EMBED]` each.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Around {
    /// What went in.
    pub(in crate::ops) normed: Matrix,
    /// Gradient of what came out.
    pub(in crate::ops) dout: Matrix,
    /// Gradient of what went in, to be written.
    pub(in crate::ops) dnormed: Matrix,
}

/// Where a norm's vectors are.
pub(in crate::ops) fn norm_of<const EMBED: usize>(norm: &LayerNorm<EMBED, f32, Cuda>) -> Norm {
    Norm {
        weight: address(&norm.weight),
        bias: address(&norm.bias),
    }
}

/// Where the gradients of a norm's vectors are.
///
/// # Errors
/// Memory.
pub(in crate::ops) fn norm_gradient<const EMBED: usize>(
    gradients: &mut Gradients<f32, Cuda>,
    norm: &LayerNorm<EMBED, f32, Cuda>,
) -> Result<Norm, CudaError> {
    Ok(Norm {
        weight: gradient_address(gradients, &norm.weight)?,
        bias: gradient_address(gradients, &norm.bias)?,
    })
}

/// `x + dropout(branch(norm(x)))`. Dropout index: token × EMBED + channel.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn try_residual<const EMBED: usize, B: Branch<EMBED>, T: Tape<f32, Cuda>>(
    x: Stream<EMBED, f32, Cuda, T>,
    norm: &LayerNorm<EMBED, f32, Cuda>,
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
///
/// # Errors
/// The device's.
pub(in crate::ops) fn try_apply<const EMBED: usize, B: Branch<EMBED>>(
    x: Stream<EMBED, f32, Cuda>,
    norm: &LayerNorm<EMBED, f32, Cuda>,
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
    norm: &LayerNorm<EMBED, f32, Cuda>,
    branch: &B,
    y: &Stream<EMBED, f32, Cuda>,
    dropout: Dropout,
) -> Result<(Normed, B::Saved), CudaError> {
    let tokens = x.shape().0;
    let rows = Rows { gpu, width: EMBED };
    let normed = rows.normalise(address(x), norm_of(norm), NOWHERE, tokens)?;
    let out = gpu.scratch(tokens * EMBED)?;
    let saved = branch.forward(
        gpu,
        tokens,
        stream_of::<EMBED>(&normed.rows),
        stream_of::<EMBED>(&out),
    )?;
    let added = (at(&out), address(branch.last_bias()));
    rows.residual((address(x), NOWHERE), added, address(y), dropout, tokens)?;
    Ok((normed, saved))
}

/// `dy` is the gradient of the sum, and becomes that of `x`.
fn backward<const EMBED: usize, B: Branch<EMBED>>(
    gpu: &Rc<Gpu>,
    x: &Stream<EMBED, f32, Cuda>,
    (norm, branch, saved): (&LayerNorm<EMBED, f32, Cuda>, &B, B::Saved),
    normed: &Normed,
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
    let around = Around {
        normed: stream_of::<EMBED>(&normed.rows),
        dout: Matrix::new(dout, EMBED),
        dnormed: stream_of::<EMBED>(&dnormed),
    };
    branch.backward(gpu, tokens, saved, around, gradients)?;
    let went_in = (address(x), norm_of(norm), NOWHERE);
    let dnorm = norm_gradient(gradients, norm)?;
    rows.normalise_backward(normed, at(&dnormed), went_in, dy, dnorm)
}

/// What reaches the branch of `dy`, where that is something else.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn dropped(
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

/// A buffer as a stream's rows.
pub(in crate::ops) fn stream_of<const EMBED: usize>(buffer: &Buffer) -> Matrix {
    Matrix::new(at(buffer), EMBED)
}
