//! The GPU: cuBLAS for the projections, and kernels for what the heads do with a document.

mod branch;
mod cached;
mod heads;

use dfdx::tensor::{Cuda, CudaError, NoneTape, Tape};
use dfdx::tensor_ops::ReshapeTo;

use super::cross::check_starts;
use super::{AttentionDropout, AttentionOp, AttentionWeights, Layout, NormedStream, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::cuda::gpu;
use crate::ops::cuda::heads::{Attention, HeadLayout, WIDEST};
use crate::ops::cuda::sublayer::{try_residual, try_residual_of};
use crate::ops::decoding::{BoxedIncremental, recomputing};
use crate::ops::parameters::Norm;
use branch::AttentionBranch;
use cached::CachedAttention;

impl AttentionOp<f32> for Cuda {
    fn try_attention<const EMBED: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &Norm<EMBED, f32, Cuda>,
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        if !has_kernels(&weights.layout, 1) {
            return reference::attention(x, norm, weights, batch, dropout);
        }
        weights.layout.check_longest(batch);
        let documents = gpu().documents(&batch.starts)?;
        let attention = Attention {
            layout: HeadLayout::of(weights),
            dropout,
            queries: documents.clone(),
            keys: documents,
        };
        let branch = AttentionBranch::<EMBED, 1>::new(weights, attention);
        try_residual(x, norm, branch, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a Norm<EMBED, f32, Cuda>,
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        if !has_kernels(&weights.layout, 1) {
            return recomputing(rows, move |[_, x], [_, starts]| {
                let documents = Ragged::of_starts(starts.to_vec());
                let none = AttentionDropout::none(documents.longest());
                reference::attention(x.clone(), norm, weights, &documents, none)
            });
        }
        CachedAttention::new(([true; 2], norm), weights, (rows, context)).boxed()
    }

    fn try_cross_attention<const EMBED: usize, T: Tape<f32, Cuda>>(
        streams: [&Stream<EMBED, f32, Cuda>; 2],
        (which, norm): (NormedStream, &Norm<EMBED, f32, Cuda>),
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        weights.layout.check_pair();
        check_starts(starts);
        if !has_kernels(&weights.layout, 2) {
            let norm = (which, norm);
            return reference::cross_attention(streams, norm, weights, starts, dropout, tape);
        }
        let attention = Attention {
            layout: HeadLayout::of(weights),
            dropout,
            queries: gpu().documents(starts[0])?,
            keys: gpu().documents(starts[1])?,
        };
        let [queries, keys] = streams.map(|stream| stream.clone().try_contiguous());
        let streams = ([queries?, keys?], tape);
        let branch = AttentionBranch::<EMBED, 2>::new(weights, attention);
        try_residual_of(streams, (which as usize, norm), branch, dropout.output)
    }

    fn incremental_cross_attention<'a, const EMBED: usize>(
        (which, norm): (NormedStream, &'a Norm<EMBED, f32, Cuda>),
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        (rows, [_, keys]): (usize, [usize; 2]),
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        weights.layout.check_pair();
        if !has_kernels(&weights.layout, 2) {
            return recomputing(rows, move |streams, starts| {
                let (norm, none) = ((which, norm), AttentionDropout::none(keys));
                reference::cross_attention(streams, norm, weights, starts, none, NoneTape)
            });
        }
        CachedAttention::new((which.flags(), norm), weights, (rows, keys)).boxed()
    }
}

/// Whether there are kernels for heads that read so many streams; the reference computes others.
fn has_kernels(layout: &Layout, streams: usize) -> bool {
    layout.head_dim <= WIDEST && (streams == 1 || !layout.talking)
}
