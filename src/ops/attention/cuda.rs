//! The GPU: cuBLAS for the projections, one kernel for what heads do with a document.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{AttentionDropout, AttentionOp, Projections, Scoring, assert_heads, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::cuda::heads::{Attention, Found, Layout, Three, WIDEST};
use crate::ops::cuda::linear::{Joined, Layer, apply_without_bias, back_without_bias};
use crate::ops::cuda::products::{Into, Matrix};
use crate::ops::cuda::reading::{HeadMemory, LookBack, Remembering, Seen};
use crate::ops::cuda::sublayer::{Around, Branch, stream_of, try_residual};
use crate::ops::cuda::{Buffer, Gpu, NOWHERE, at, gpu};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Rereading};

impl AttentionOp<f32> for Cuda {
    fn try_attention<
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
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
        const { assert_heads(EMBED, KV, HEADS, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return reference::attention::<EMBED, KV, HEADS, HEAD_DIM, _, _, _>(
                x, norm, weights, scoring, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Heads {
            weights: weights.clone(),
            attention: Attention {
                layout: layout::<KV, HEADS, HEAD_DIM>(scoring),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
            comparison: OneMap,
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn attention_reader<
        'a,
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        (rows, context): (usize, usize),
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        if HEAD_DIM > WIDEST {
            return Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::attention::<EMBED, KV, HEADS, HEAD_DIM, _, _, _>(
                    x, norm, weights, scoring, batch, none,
                )
            }));
        }
        let layout = layout::<KV, HEADS, HEAD_DIM>(scoring);
        let size = (rows, context);
        Box::new(Remembering::new(norm, weights, OneMap, layout, size))
    }
}

/// How heads are cut whose keys and values are `KV` wide.
pub(in crate::ops) fn layout<const KV: usize, const HEADS: usize, const HEAD_DIM: usize>(
    scoring: Scoring,
) -> Layout {
    Layout {
        head_dim: HEAD_DIM,
        heads: HEADS,
        key_heads: KV / HEAD_DIM,
        scoring,
        of_places: NOWHERE,
    }
}

/// What heads make of queries, keys and values.
pub(in crate::ops) trait Comparison: 'static {
    /// What backward needs.
    type Kept: 'static;

    /// Compares them and blends.
    ///
    /// # Errors
    /// The device's.
    fn attend(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        three: Three,
    ) -> Result<Self::Kept, CudaError>;

    /// What that gave: `[queries, heads * head_dim]`.
    fn found(kept: &Self::Kept) -> &Buffer;

    /// Backward of three that have `met`, with what was kept of it. Of `back` the first is the gradient of what was
    /// found; the other says where the gradients of the three are to be written. Adds to those of what is learned here.
    ///
    /// # Errors
    /// The device's.
    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        met: (Three, &Self::Kept),
        back: (&Buffer, Three),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError>;
}

/// One map of weights.
pub(in crate::ops) struct OneMap;

impl<const EMBED: usize, const KV: usize> LookBack<EMBED, KV> for OneMap {
    fn look_back(
        &self,
        gpu: &Gpu,
        memory: &HeadMemory<EMBED, KV>,
        queries: &Buffer,
        seen: &Seen,
    ) -> Result<Buffer, CudaError> {
        memory.look_back(gpu, queries, seen)
    }
}

impl Comparison for OneMap {
    type Kept = Found;

    fn attend(&self, gpu: &Gpu, attention: &Attention, three: Three) -> Result<Found, CudaError> {
        attention.attend(gpu, three)
    }

    fn found(kept: &Found) -> &Buffer {
        &kept.out
    }

    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (three, found): (Three, &Found),
        (dfound, dthree): (&Buffer, Three),
        _: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        attention.backward(gpu, three, (found, dfound), (dthree, NOWHERE))
    }
}

/// The branch of a sublayer whose heads compare queries with keys.
pub(in crate::ops) struct Heads<const EMBED: usize, const KV: usize, C> {
    pub(in crate::ops) weights: Projections<EMBED, KV, f32, Cuda>,
    pub(in crate::ops) attention: Attention,
    pub(in crate::ops) comparison: C,
}

/// What backward needs.
pub(in crate::ops) struct Saved<K> {
    /// The projections to queries, keys and values.
    joined: Joined<3>,
    /// Queries, keys and values side by side, as they met: `[tokens, EMBED + 2 KV]`.
    heads: Buffer,
    kept: K,
}

impl<const EMBED: usize, const KV: usize, C> Heads<EMBED, KV, C> {
    const STEP: usize = EMBED + 2 * KV;

    /// Queries, keys and values that lie side by side.
    fn three(heads: &Buffer) -> Three {
        let queries = Matrix::new(at(heads), Self::STEP);
        Three {
            queries,
            keys: queries.columns_from(EMBED),
            values: queries.columns_from(EMBED + KV),
        }
    }
}

impl<const EMBED: usize, const KV: usize, C: Comparison> Branch<EMBED> for Heads<EMBED, KV, C> {
    type Saved = Saved<C::Kept>;

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
        let three = Self::three(&heads);
        joined.apply(gpu, tokens, normed, three.queries)?;
        (attention.layout).map(gpu, three.queries, EMBED + KV, attention.places())?;
        let kept = self.comparison.attend(gpu, attention, three)?;
        let found = stream_of::<EMBED>(C::found(&kept));
        apply_without_bias(gpu, &of.proj, tokens, found, out)?;
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
        around: Around,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let factors = (around.dout, stream_of::<EMBED>(C::found(&saved.kept)));
        let dfound = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;

        let dheads = gpu.scratch(tokens * Self::STEP)?;
        let (three, dthree) = (Self::three(&saved.heads), Self::three(&dheads));
        let (met, back) = ((three, &saved.kept), (&dfound, dthree));
        (self.comparison).attend_backward(gpu, attention, met, back, gradients)?;
        let mapped = (dthree.queries, three.queries);
        (attention.layout).map_backward(gpu, mapped, EMBED + KV, attention.places())?;

        let to = [
            Layer::gradient_of(&of.query, gradients)?,
            Layer::gradient_of(&of.key, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let factors = (dthree.queries, around.normed);
        let dnormed = (around.dnormed, Into::Replaced);
        (saved.joined).back(gpu, tokens, factors, dnormed, to)
    }
}
