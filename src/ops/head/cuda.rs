//! The GPU: cuBLAS for the projection, one warp per row for softmax and loss.

use dfdx::shapes::{Const, Rank0, Rank2};
use dfdx::tensor::{Cuda, CudaError, PutTape, SplitTape, Tape, Tensor, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::HeadOp;
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::kernels::Source;
use crate::ops::cuda::linear::{back_through, weight};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::sublayer::{norm_gradient, norm_of, stream_of};
use crate::ops::cuda::{at, gpu};
use crate::ops::parameters::Norm;

pub static LOSS: Source = Source {
    name: "loss",
    text: include_str!("kernel.cu"),
    constant: "COLUMNS",
};

impl HeadOp<f32> for Cuda {
    fn try_loss<const EMBED: usize, const VOCAB: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &Norm<EMBED, f32, Cuda>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cuda>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, f32, Cuda, T>, CudaError> {
        let (x, mut tape) = x.try_contiguous()?.split_tape();
        let gpu = gpu();
        let rows = Rows::of(&gpu, EMBED);
        let (picked, targets) = super::scored(batch);
        let count = picked.len();
        let (picked, targets) = (gpu.upload_indices(picked)?, gpu.upload_indices(targets)?);

        let normed = rows.normalise(address(&x), norm_of(norm), at(&picked), count)?;
        let logits = gpu.scratch(count * VOCAB)?;
        let (from, to) = (
            stream_of::<EMBED>(&normed.rows),
            Matrix::new(at(&logits), VOCAB),
        );
        gpu.apply(weight(head), count, from, to)?;
        let (losses, log_sums) = (gpu.scratch(count)?, gpu.scratch(count)?);
        let arguments = (
            at(&logits),
            at(&targets),
            at(&losses),
            at(&log_sums),
            count as u32,
        );
        gpu.launch_rows(LOSS.kernel(VOCAB, "cross_entropy"), count, arguments)?;
        let loss: Tensor<Rank0, f32, Cuda> = x.device().try_zeros()?;
        let arguments = (at(&losses), count as u32, address(&loss));
        gpu.launch(LOSS.kernel(VOCAB, "mean"), (1, 1, 1), arguments)?;

        if T::OWNS_TAPE {
            let (gpu, norm, head, of_loss) =
                (gpu.clone(), norm.clone(), head.clone(), loss.clone());
            tape.add_backward_op(move |gradients| {
                let rows = Rows::of(&gpu, EMBED);
                let dloss = gradient_address(gradients, &of_loss)?;
                let arguments = (
                    at(&logits),
                    at(&targets),
                    at(&log_sums),
                    dloss,
                    count as u32,
                );
                let kernel = LOSS.kernel(VOCAB, "cross_entropy_backward");
                gpu.launch_each(kernel, count * VOCAB, arguments)?;
                let dlogits = Matrix::new(at(&logits), VOCAB);
                let factors = (dlogits, stream_of::<EMBED>(&normed.rows));
                let dnormed = gpu.scratch(count * EMBED)?;
                let to = (stream_of::<EMBED>(&dnormed), Destination::Overwrite);
                back_through(&gpu, &head, count, factors, to, gradients)?;
                let went_in = (address(&x), norm_of(&norm), at(&picked));
                let dnorm = norm_gradient(gradients, &norm)?;
                // Zero so far: nothing else has used the stream.
                let dx = gradient_address(gradients, &x)?;
                rows.normalise_backward(&normed, at(&dnormed), went_in, dx, dnorm)
            });
        }
        Ok(loss.put_tape(tape))
    }

    fn try_logits<const EMBED: usize, const VOCAB: usize>(
        x: Stream<EMBED, f32, Cuda>,
        norm: &Norm<EMBED, f32, Cuda>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cuda>,
        rows: &[usize],
    ) -> Result<Stream<VOCAB, f32, Cuda>, CudaError> {
        let (x, gpu, count) = (x.try_contiguous()?, gpu(), rows.len());
        let picked = gpu.upload_indices(rows.iter().copied())?;
        let rows = Rows::of(&gpu, EMBED);
        let normed = rows.normalise(address(&x), norm_of(norm), at(&picked), count)?;
        let logits: Stream<VOCAB, f32, Cuda> =
            x.device().try_zeros_like(&(count, Const::<VOCAB>))?;
        let to = Matrix::new(address(&logits), VOCAB);
        gpu.apply(weight(head), count, stream_of::<EMBED>(&normed.rows), to)?;
        Ok(logits)
    }
}
