//! A cross-attention block: queries of one stream attend to keys of another, then the MLP sublayer.

use dfdx::tensor::Tape;

use crate::model::block::Block;
use crate::ops::attention::{AttentionDropout, NormedStream, cross_maps};
use crate::ops::decoding::BoxedIncremental;
use crate::ops::dropout::Dropout;
use crate::ops::maps::HeadMap;
use crate::ops::{LabDevice, Stream};

impl<const EMBED: usize, const HIDDEN: usize, D: LabDevice<f32>> Block<EMBED, HIDDEN, f32, D> {
    /// `[queries, EMBED]` and `[keys, EMBED]` → `[queries, EMBED]`. `normed` is the stream that the first
    /// norm applies to, `starts` are the document starts of either stream; the last argument is the block's
    /// dropout with the model's context. For gradients see
    /// [`AttentionOp::try_cross_attention`](crate::ops::attention::AttentionOp::try_cross_attention).
    pub(super) fn try_cross<T: Tape<f32, D>>(
        &self,
        queries_and_keys: [&Stream<EMBED, f32, D>; 2],
        normed: NormedStream,
        starts: [&[usize]; 2],
        (dropout, context): (Dropout, usize),
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let x = D::try_cross_attention(
            queries_and_keys,
            (normed, &self.ln1),
            &self.attn,
            starts,
            AttentionDropout::of_block(dropout, context),
            tape,
        )?;
        self.try_feed_forward(x, dropout)
    }

    /// Attention map of each head over one document.
    pub(super) fn cross_maps(
        &self,
        queries_and_keys: [&Stream<EMBED, f32, D>; 2],
        normed: NormedStream,
    ) -> Vec<HeadMap> {
        let norm = (normed, &self.ln1);
        cross_maps(queries_and_keys, norm, &self.attn)
    }

    /// The block for incremental decoding of some sequences, with the most queries and keys that each may have:
    /// `[new queries, EMBED]` and `[new keys, EMBED]`, if there are any → `[new queries, EMBED]`.
    pub(super) fn incremental_cross(
        &self,
        normed: NormedStream,
        rows_and_longest: (usize, [usize; 2]),
    ) -> BoxedIncremental<'_, EMBED, f32, D> {
        let norm = (normed, &self.ln1);
        let mut attention = D::incremental_cross_attention(norm, &self.attn, rows_and_longest);
        let feed_forward = self.inference_feed_forward();
        Box::new(move |queries, keys, new| feed_forward(attention(queries, keys, new)?))
    }
}
