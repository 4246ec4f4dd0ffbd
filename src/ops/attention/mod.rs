//! The attention sublayer of a pre-norm block: norm, causal multi-head attention, dropout, residual.
//!
//! One op for all kinds: they differ in their [`Layout`]. Keys and values come from the stream of the queries
//! (self-attention) or from another (cross-attention).

pub(crate) mod cached;
pub(crate) mod cpu;
mod cross;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod delta;
pub(crate) mod differential;
mod forget;
mod gate;
pub(crate) mod head_attention;
pub(crate) mod head_scores;
pub(crate) mod heads;
mod incremental;
pub(crate) mod kv_cache;
mod maps;
mod qk_norm;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;
mod relative;
mod scoring;
mod separate_heads;
pub(crate) mod synthesizer;
mod talking_heads;
#[cfg(test)]
pub(crate) mod tests;
mod transform;
mod weights;

use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;
use dfdx::tensor_ops::Device;

use super::Stream;
use super::decoding::BoxedIncremental;
use super::dropout::Dropout;
use super::parameters::Norm;
use crate::data::ragged::Ragged;
pub use cross::NormedStream;
pub use differential::DifferenceWeights;
pub use gate::Gate;
pub use heads::MOST_KEPT;
pub use maps::{cross_maps, maps};
pub use qk_norm::{FIRST_SCALE, QkNorm, QkNormWeights};
pub use relative::BUCKETS;
pub use scoring::{Bias, Rotary, Scoring, Similarity, Sink};
pub use synthesizer::PositionWeights;
pub use talking_heads::TalkingWeights;
pub use weights::{AttentionWeights, FromHeads, HeadKind, Layout, ToHeads};

/// The two dropout sites of the sublayer: attention weights and output.
#[derive(Clone, Copy, Debug)]
pub struct AttentionDropout {
    /// Index: (token × heads + head) × `context` + position of the key.
    pub weights: Dropout,
    /// Index: token × EMBED + channel.
    pub output: Dropout,
    /// Number of keys that an index of `weights` reserves per query: the model's context.
    pub context: usize,
}

impl AttentionDropout {
    /// The sites of a block, given the block's dropout.
    pub fn of_block(dropout: Dropout, context: usize) -> Self {
        Self {
            weights: dropout.at(1),
            output: dropout.at(2),
            context,
        }
    }

    /// No dropout.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn none(context: usize) -> Self {
        Self {
            weights: Dropout::NONE,
            output: Dropout::NONE,
            context,
        }
    }
}

/// A device that runs the causal attention sublayer over ragged batches.
pub trait AttentionOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(proj(attend(norm(x))))`, `[tokens, EMBED]` → the same.
    ///
    /// Within each document and head, `attend` is the sum of values weighted by the attention weights that
    /// the layout defines over the keys at or before the query, with dropout on the weights. Tokens do not
    /// attend across documents. `x` must not be used by another op on a tape: the residual stream is a
    /// chain.
    ///
    /// Source: Vaswani et al. 2017, §3.2; pre-norm as in GPT-2 (Radford et al. 2019); variants as cited at
    /// [`Layout`], [`Scoring`], [`DifferenceWeights`] and [`PositionWeights`].
    ///
    /// # Panics
    /// If a document has more tokens than the layout allows.
    fn try_attention<const EMBED: usize, T: Tape<N, Self>>(
        x: Stream<EMBED, N, Self, T>,
        norm: &Norm<EMBED, N, Self>,
        weights: &AttentionWeights<EMBED, N, Self>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for incremental decoding of a number of sequences of at most `context` tokens
    /// each.
    ///
    /// Source: Shazeer 2019, Fast Transformer Decoding, §2.4.
    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a Norm<EMBED, N, Self>,
        weights: &'a AttentionWeights<EMBED, N, Self>,
        rows_and_context: (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, N, Self>;

    /// Cross-attention: `y = queries + dropout(proj(attend(queries, keys)))`, `[queries, EMBED]` and
    /// `[keys, EMBED]` → `[queries, EMBED]`, on `tape`. One of the streams goes through `norm` first.
    ///
    /// `starts` are the document starts in either stream; both have the same number of documents, and those
    /// with queries have keys. Within each document and head, query i attends to the keys 0 to i, or to all keys if there are
    /// fewer, as in [`Self::try_attention`]; keys beyond the number of queries are not used. Dropout of weights
    /// is indexed by query and key.
    ///
    /// The gradient of `queries` is set: no op whose backward runs before this one may have used them. The
    /// gradient of `keys` is accumulated: other ops may use them too.
    ///
    /// # Panics
    /// If the layout has no meaning for two streams: if it has biases, a window, the delta rule, stick-breaking or no
    /// keys.
    ///
    /// Source: Jaegle et al. 2021, Perceiver, §3.1; the causal mask as in Hawthorne et al. 2022, Perceiver
    /// AR, §2.
    fn try_cross_attention<const EMBED: usize, T: Tape<N, Self>>(
        queries_and_keys: [&Stream<EMBED, N, Self>; 2],
        norm: (NormedStream, &Norm<EMBED, N, Self>),
        weights: &AttentionWeights<EMBED, N, Self>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same for incremental decoding of a number of sequences, with the most queries and keys that each may have.
    fn incremental_cross_attention<'a, const EMBED: usize>(
        norm: (NormedStream, &'a Norm<EMBED, N, Self>),
        weights: &'a AttentionWeights<EMBED, N, Self>,
        rows_and_longest: (usize, [usize; 2]),
    ) -> BoxedIncremental<'a, EMBED, N, Self>;
}
