//! The GPU: cuBLAS for the projections, and one kernel for everything that the heads do with a document.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{AttentionDropout, AttentionOp, Projections, Scoring, assert_heads, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::cuda::decoding::{AttendToCache, GpuCachedSublayer, GpuKvCache, VisibleKeys};
use crate::ops::cuda::heads::{Attention, AttentionOutput, HeadLayout, Qkv, WIDEST};
use crate::ops::cuda::linear::{Joined, Layer, apply_without_bias, back_without_bias};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::sublayer::{Branch, BranchBackward, stream_of, try_residual};
use crate::ops::cuda::{Buffer, Gpu, NULL, at, gpu};
use crate::ops::decoding::{BoxedIncremental, recomputing};
use crate::ops::parameters::LayerNorm;

impl AttentionOp<f32> for Cuda {
    fn try_attention<
        const EMBED: usize,
        const KV: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        const { assert_heads(EMBED, KV, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return reference::attention::<EMBED, KV, HEAD_DIM, _, _, _>(
                x, norm, weights, scoring, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Heads {
            weights: weights.clone(),
            attention: Attention {
                layout: layout::<EMBED, KV, HEAD_DIM>(scoring),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
            head_attention: GpuStandardHeads,
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize, const KV: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        if HEAD_DIM > WIDEST {
            return recomputing(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::attention::<EMBED, KV, HEAD_DIM, _, _, _>(
                    x, norm, weights, scoring, batch, none,
                )
            });
        }
        let layout = layout::<EMBED, KV, HEAD_DIM>(scoring);
        let size = (rows, context);
        GpuCachedSublayer::new(norm, weights, GpuStandardHeads, layout, size).boxed()
    }
}

/// The layout of heads whose keys and values are `KV` wide in total.
pub fn layout<const EMBED: usize, const KV: usize, const HEAD_DIM: usize>(
    scoring: Scoring,
) -> HeadLayout {
    HeadLayout {
        head_dim: HEAD_DIM,
        heads: EMBED / HEAD_DIM,
        key_heads: KV / HEAD_DIM,
        scoring,
        position_bias: NULL,
    }
}

/// What heads compute from queries, keys and values.
pub trait GpuHeadAttention: 'static {
    /// What backward needs.
    type Saved: 'static;

    /// The heads' outputs, and what backward needs.
    fn attend(&self, gpu: &Gpu, attention: &Attention, qkv: Qkv) -> Result<Self::Saved, CudaError>;

    /// The heads' outputs: `[queries, heads * head_dim]`.
    fn output(saved: &Self::Saved) -> &Buffer;

    /// Backward of [`Self::attend`], given the inputs and the saved state of `forward`. The last argument
    /// but one has the gradient of the output, and where to write the gradients of queries, keys and
    /// values. Accumulates the gradients of learned parameters.
    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        forward: (Qkv, &Self::Saved),
        gradients_of: (&Buffer, Qkv),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError>;
}

/// A single attention map.
pub struct GpuStandardHeads;

impl<const EMBED: usize, const KV: usize> AttendToCache<EMBED, KV> for GpuStandardHeads {
    fn attend_to_cache(
        &self,
        gpu: &Gpu,
        cache: &GpuKvCache<EMBED, KV>,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        cache.attend_to_cache(gpu, queries, visible)
    }
}

impl GpuHeadAttention for GpuStandardHeads {
    type Saved = AttentionOutput;

    fn attend(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
    ) -> Result<AttentionOutput, CudaError> {
        attention.attend(gpu, qkv)
    }

    fn output(saved: &AttentionOutput) -> &Buffer {
        &saved.out
    }

    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (qkv, output): (Qkv, &AttentionOutput),
        (dout, dqkv): (&Buffer, Qkv),
        _: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        attention.backward(gpu, qkv, (output, dout), (dqkv, NULL))
    }
}

/// The branch of a sublayer whose heads compare queries with keys.
pub struct Heads<const EMBED: usize, const KV: usize, C> {
    pub weights: Projections<EMBED, KV, f32, Cuda>,
    pub attention: Attention,
    pub head_attention: C,
}

/// What backward needs.
pub struct Saved<K> {
    /// The projections to queries, keys and values.
    joined: Joined<3>,
    /// Transformed queries and keys, and values, side by side: `[tokens, EMBED + 2 KV]`.
    heads: Buffer,
    kept: K,
}

impl<const EMBED: usize, const KV: usize, C> Heads<EMBED, KV, C> {
    const STEP: usize = EMBED + 2 * KV;

    /// Views of queries, keys and values that lie side by side.
    fn qkv(heads: &Buffer) -> Qkv {
        let queries = Matrix::new(at(heads), Self::STEP);
        Qkv {
            queries,
            keys: queries.columns_from(EMBED),
            values: queries.columns_from(EMBED + KV),
        }
    }
}

impl<const EMBED: usize, const KV: usize, C: GpuHeadAttention> Branch<EMBED>
    for Heads<EMBED, KV, C>
{
    type Saved = Saved<C::Saved>;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Self::Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let layers = [
            Layer::of(&of.query),
            Layer::of(&of.key),
            Layer::of(&of.value),
        ];
        let joined = Joined::new(gpu, layers)?;
        let heads = gpu.scratch(tokens * Self::STEP)?;
        let qkv = Self::qkv(&heads);
        joined.apply(gpu, tokens, normed, qkv.queries)?;
        (attention.layout).transform(gpu, qkv.queries, EMBED + KV, attention.positions())?;
        let kept = self.head_attention.attend(gpu, attention, qkv)?;
        let output = stream_of::<EMBED>(C::output(&kept));
        apply_without_bias(gpu, &of.proj, tokens, output, out)?;
        Ok(Saved {
            joined,
            heads,
            kept,
        })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        saved: Self::Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let factors = (ends.dout, stream_of::<EMBED>(C::output(&saved.kept)));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;

        let dheads = gpu.scratch(tokens * Self::STEP)?;
        let (qkv, dqkv) = (Self::qkv(&saved.heads), Self::qkv(&dheads));
        let (met, back) = ((qkv, &saved.kept), (&dout, dqkv));
        (self.head_attention).attend_backward(gpu, attention, met, back, gradients)?;
        let mapped = (dqkv.queries, qkv.queries);
        (attention.layout).transform_backward(gpu, mapped, EMBED + KV, attention.positions())?;

        let to = [
            Layer::gradient_of(&of.query, gradients)?,
            Layer::gradient_of(&of.key, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let factors = (dqkv.queries, ends.normed);
        let dnormed = (ends.dnormed, Destination::Overwrite);
        (saved.joined).back(gpu, tokens, factors, dnormed, to)
    }
}
