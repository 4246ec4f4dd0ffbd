//! One pre-norm block: attention sublayer, then MLP sublayer.

use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use crate::data::ragged::Ragged;
use crate::ops::attention::{self, AttentionDropout, AttentionWeights, Layout};
use crate::ops::decoding::BoxedIncremental;
use crate::ops::dropout::Dropout;
use crate::ops::feed_forward::FeedForward;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::{LayerNorm, named_weights};
use crate::ops::{LabDevice, Stream};

/// What its attention computes is known at run time: [`AttentionWeights::layout`].
#[derive(Clone, Debug)]
pub(super) struct Block<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Storage<N>> {
    pub(super) ln1: LayerNorm<EMBED, N, D>,
    pub(super) ln2: LayerNorm<EMBED, N, D>,
    pub(super) attn: AttentionWeights<EMBED, N, D>,
    pub(super) mlp: FeedForward<EMBED, HIDDEN, N, D>,
}

impl<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Device<N>> Block<EMBED, HIDDEN, N, D> {
    /// All weights zero.
    pub(super) fn zeros(device: &D, layout: Layout) -> Result<Self, D::Err> {
        Ok(Self {
            ln1: LayerNorm::zeros(device)?,
            ln2: LayerNorm::zeros(device)?,
            attn: AttentionWeights::zeros(device, layout)?,
            mlp: FeedForward::zeros(device)?,
        })
    }
}

impl<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: LabDevice<N>>
    Block<EMBED, HIDDEN, N, D>
{
    /// `[tokens, EMBED]` → the same.
    pub(super) fn try_forward<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        batch: &Ragged,
        context: usize,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let x = self.try_attend(x, batch, context, dropout)?;
        self.try_feed_forward(x, dropout)
    }

    /// The attention sublayer alone.
    pub(super) fn try_attend<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        batch: &Ragged,
        context: usize,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let dropout = AttentionDropout::of_block(dropout, context);
        D::try_attention(x, &self.ln1, &self.attn, batch, dropout)
    }

    /// The MLP sublayer alone.
    pub(super) fn try_feed_forward<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        D::try_feed_forward(x, &self.ln2, &self.mlp, dropout.at(3))
    }

    /// Attention map of each head over one document, `x` being the input of the block.
    pub(super) fn maps(&self, x: &Stream<EMBED, N, D>) -> Vec<HeadMap> {
        attention::maps(x, &self.ln1, &self.attn)
    }

    /// The block for incremental decoding of `rows` sequences of at most `context` tokens:
    /// `[new tokens, EMBED]` → `[output tokens, EMBED]`.
    pub(super) fn incremental(
        &self,
        rows: usize,
        context: usize,
    ) -> BoxedIncremental<'_, EMBED, N, D> {
        let mut attention = D::incremental_attention(&self.ln1, &self.attn, (rows, context));
        let feed_forward = D::inference_feed_forward(&self.ln2, &self.mlp);
        Box::new(move |x, new, outputs| feed_forward(attention(x, new, outputs)?))
    }
}

named_weights! {
    impl [const EMBED: usize, const HIDDEN: usize,] Block<EMBED, HIDDEN> {
        ln1: "ln1",
        ln2: "ln2",
        attn: "attn",
        mlp: "mlp",
    }
}
