//! Kinds of attention: one type and one file each, chosen when the model type is.

mod vanilla;

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

pub(super) use vanilla::Vanilla;

use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::BoxedReader;
use crate::ops::{LabDevice, Stream};

/// The attention sublayer of a block. The type says the kind; nothing is matched in the hot loop.
pub(super) trait Attention<const EMBED: usize, N: Dtype, D: LabDevice<N>>:
    TensorCollection<N, D>
{
    /// The kind's name in a TOML.
    const KIND: &'static str;

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

    /// The same sublayer for reading so many rows bit by bit, without dropout.
    fn reader<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, N, D>;
}
