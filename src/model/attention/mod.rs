//! Kinds of attention: a type each, chosen at compile time with the model type.
//!
//! Those that compare queries with keys are entries of a list in `dot_product.rs`. `README.md` explains how to add a
//! kind.
// The experiments decide which kinds are compiled in; the tests use all of them.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

mod differential;
mod dot_product;
mod synthesizer;

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::decoding::BoxedIncremental;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::LayerNorm;
use crate::ops::{LabDevice, Stream};
pub(super) use differential::Differential;
pub(super) use dot_product::*;
pub(super) use synthesizer::Synthesizer;

/// The attention sublayer of a block. The kind is a type, so nothing is dispatched at run time.
pub(super) trait Attention<const EMBED: usize, N: Dtype, D: LabDevice<N>>:
    TensorCollection<N, D> + 'static
{
    /// The kind's name in a TOML.
    const KIND: &'static str;
    /// Longest document that the kind can process, if that is less than the context.
    const LONGEST: usize = usize::MAX;

    /// `y = x + dropout(attention(norm(x)))`, `[tokens, EMBED]` → the same.
    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err>;

    /// The same sublayer for incremental decoding of `rows` sequences of at most `context` tokens, without
    /// dropout.
    fn incremental<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        context: usize,
    ) -> BoxedIncremental<'a, EMBED, N, D>;

    /// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer. The
    /// sublayer's output is the sum of values weighted by these maps, without dropout.
    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap>;
}
