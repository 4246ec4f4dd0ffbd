//! Kinds of attention: one type and one file each, chosen when the model type is.
//!
//! Those that compare queries with keys are a `Rule` each (`compared.rs`). `README.md` says how to add a kind.
// The experiments say which kinds are compiled in; the tests have all of them.
#![cfg_attr(not(test), allow(dead_code))]

pub(super) mod alibi;
mod compared;
pub(super) mod differential;
pub(super) mod grouped_query;
pub(super) mod linear;
pub(super) mod multi_query;
pub(super) mod rope;
pub(super) mod sliding_window;
pub(super) mod synthesizer;
pub(super) mod vanilla;

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::BoxedReader;
use crate::ops::{LabDevice, Stream};

/// The attention sublayer of a block. The type says the kind; nothing is matched in the hot loop.
pub(super) trait Attention<const EMBED: usize, N: Dtype, D: LabDevice<N>>:
    TensorCollection<N, D>
{
    /// The kind's name in a TOML.
    const KIND: &'static str;
    /// A document has at most so many tokens, whatever the context.
    const LONGEST: usize = usize::MAX;

    /// `y = x + dropout(attention(norm(x)))`, `[tokens, EMBED]` → the same.
    ///
    /// # Errors
    /// The device's.
    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err>;

    /// The same sublayer for reading so many rows of at most `context` tokens bit by bit, without
    /// dropout.
    fn reader<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        context: usize,
    ) -> BoxedReader<'a, EMBED, N, D>;

    /// How each head weighs what it sees of one document: `x: [tokens, EMBED]` is what goes into the
    /// sublayer. Values blended by these weights are what it computes, without dropout.
    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap>;
}
