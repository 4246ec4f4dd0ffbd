//! A cross-attention block: queries of one stream attend to keys of another, then the MLP sublayer.

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use crate::ops::attention::{AttentionDropout, Projections};
use crate::ops::cross_attention::{self, BoxedIncrementalCrossAttention, NewPairs, NormedStream};
use crate::ops::decoding::BoxedPointwise;
use crate::ops::dropout::Dropout;
use crate::ops::feed_forward::FeedForward;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::{LayerNorm, named_weights};
use crate::ops::{LabDevice, Stream};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
#[derive(Clone, Debug)]
pub struct CrossBlock<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const HIDDEN: usize,
    N: Dtype,
    D: Storage<N>,
> {
    pub ln1: LayerNorm<EMBED, N, D>,
    pub ln2: LayerNorm<EMBED, N, D>,
    pub attn: Projections<EMBED, EMBED, N, D>,
    pub mlp: FeedForward<EMBED, HIDDEN, N, D>,
}

impl<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const HIDDEN: usize,
    N: Dtype,
    D: LabDevice<N>,
> CrossBlock<EMBED, HEADS, HEAD_DIM, HIDDEN, N, D>
{
    /// `[queries, EMBED]` and `[keys, EMBED]` → `[queries, EMBED]`. `normed` is the stream that the first
    /// norm applies to, `starts` are the document starts of either stream; the last argument is the block's
    /// dropout with the model's context. For gradients see
    /// [`CrossAttentionOp`](crate::ops::cross_attention::CrossAttentionOp).
    pub(super) fn try_forward<T: Tape<N, D>>(
        &self,
        queries_and_keys: [&Stream<EMBED, N, D>; 2],
        normed: NormedStream,
        starts: [&[usize]; 2],
        (dropout, context): (Dropout, usize),
        tape: T,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let attention = AttentionDropout {
            weights: dropout.at(1),
            output: dropout.at(2),
            context,
        };
        let x = D::try_cross_attention::<EMBED, HEADS, HEAD_DIM, T>(
            queries_and_keys,
            (normed, &self.ln1),
            &self.attn,
            starts,
            attention,
            tape,
        )?;
        D::try_feed_forward(x, &self.ln2, &self.mlp, dropout.at(3))
    }

    /// Attention map of each head over one document.
    pub(super) fn maps(
        &self,
        queries_and_keys: [&Stream<EMBED, N, D>; 2],
        normed: NormedStream,
    ) -> Vec<HeadMap> {
        let norm = (normed, &self.ln1);
        cross_attention::maps::<EMBED, HEADS, HEAD_DIM, N, D>(queries_and_keys, norm, &self.attn)
    }

    /// The block for incremental decoding of some sequences with a maximum number of keys each.
    pub(super) fn incremental(
        &self,
        normed: NormedStream,
        rows_and_context: (usize, usize),
    ) -> IncrementalCrossBlock<'_, EMBED, N, D> {
        let (norm, weights) = ((normed, &self.ln1), &self.attn);
        IncrementalCrossBlock {
            attention: D::incremental_cross_attention::<EMBED, HEADS, HEAD_DIM>(
                norm,
                weights,
                rows_and_context,
            ),
            feed_forward: D::inference_feed_forward(&self.ln2, &self.mlp),
        }
    }
}

/// A cross-attention block during incremental decoding.
pub(super) struct IncrementalCrossBlock<'a, const EMBED: usize, N: Dtype, D: LabDevice<N>> {
    attention: BoxedIncrementalCrossAttention<'a, EMBED, N, D>,
    feed_forward: BoxedPointwise<'a, EMBED, N, D>,
}

impl<const EMBED: usize, N: Dtype, D: LabDevice<N>> IncrementalCrossBlock<'_, EMBED, N, D> {
    /// `[new queries, EMBED]` and `[new keys, EMBED]`, if there are any → `[new queries, EMBED]`.
    pub(super) fn try_decode(
        &mut self,
        queries: &Stream<EMBED, N, D>,
        keys: Option<&Stream<EMBED, N, D>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        let x = self.attention.try_decode(queries, keys, new)?;
        self.feed_forward.try_apply(x)
    }
}

named_weights! {
    impl [const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const HIDDEN: usize,]
        CrossBlock<EMBED, HEADS, HEAD_DIM, HIDDEN>
    {
        ln1: module("ln1"),
        ln2: module("ln2"),
        attn: module("attn"),
        mlp: module("mlp"),
    }
}
