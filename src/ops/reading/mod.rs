//! Reading rows of tokens bit by bit, as decoding does: each token once, without dropout or gradients.

mod cpu;
#[cfg(any(test, feature = "cuda"))]
mod rereading;
#[cfg(test)]
pub(in crate::ops) mod tests;

use std::ops::Range;

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::Stream;
pub(in crate::ops) use cpu::{Kept, Memory, Remembering};
#[cfg(feature = "cuda")]
pub(in crate::ops) use rereading::EachAlone;
#[cfg(any(test, feature = "cuda"))]
pub(in crate::ops) use rereading::Rereading;

/// A sublayer in the middle of reading some rows: it has what their further tokens need.
pub trait Reader<const EMBED: usize, N: Dtype, D: Device<N>> {
    /// What the sublayer gives for the new tokens of whole rows.
    ///
    /// `x: [new tokens, EMBED]` → `[wanted tokens, EMBED]`. A new token sees what its row has read
    /// and what comes before it in `new`.
    ///
    /// # Errors
    /// The device's; then the reader is of no more use.
    fn try_read(
        &mut self,
        x: Stream<EMBED, N, D>,
        new: &NewTokens<'_>,
    ) -> Result<Stream<EMBED, N, D>, D::Err>;
}

/// Some sublayer's reader, borrowing its weights.
pub type BoxedReader<'a, const EMBED: usize, N, D> = Box<dyn Reader<EMBED, N, D> + 'a>;

/// Tokens that some rows read next, a row's after another's.
///
/// What rows begin with alike is there once, with the first of them; the others say where.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// Which rows read something, each at most once.
    pub rows: &'a [usize],
    /// Where each one's own new tokens start, and where the last one's end: `[rows + 1]`, rising.
    pub starts: &'a [usize],
    /// New tokens of the rows above that each row reads before its own.
    pub before: &'a [Vec<Range<usize>>],
    /// Which of the own tokens are given back.
    pub wanted: Wanted,
}

/// Which of the new tokens are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// The last of each row: of the others nothing is computed but what is remembered.
    Last,
}

impl NewTokens<'_> {
    /// Those of a row's own new tokens that are given back.
    fn wanted_of(&self, tokens: &Range<usize>) -> Range<usize> {
        match self.wanted {
            Wanted::All => tokens.clone(),
            Wanted::Last => tokens.end - 1..tokens.end,
        }
    }
}
