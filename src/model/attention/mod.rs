//! Kinds of attention: one type and one file each, chosen when the model type is.

mod vanilla;

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

pub(super) use vanilla::Vanilla;

use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::cached_attention::{Cache, NewTokens};
use crate::ops::parameters::LayerNorm;
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

    /// The same for new tokens of rows read in part, without dropout:
    /// `[new tokens, EMBED]` → `[wanted tokens, EMBED]`.
    ///
    /// # Errors
    /// The device's.
    fn try_cached_sublayer(
        &self,
        x: Stream<EMBED, N, D>,
        norm: &LayerNorm<EMBED, N, D>,
        new: NewTokens<'_>,
        cache: &mut Cache<N>,
    ) -> Result<Stream<EMBED, N, D>, D::Err>;
}
