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
#[cfg(any(test, feature = "cuda"))]
pub(in crate::ops) use rereading::Rereading;

/// A sublayer that looks back, in the middle of reading some rows: it has what their further tokens need.
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
        wanted: Wanted,
    ) -> Result<Stream<EMBED, N, D>, D::Err>;
}

/// Some sublayer's reader, borrowing its weights.
pub type BoxedReader<'a, const EMBED: usize, N, D> = Box<dyn Reader<EMBED, N, D> + 'a>;

/// A sublayer in which every token stands alone, ready to be applied again and again.
pub trait Pointwise<const EMBED: usize, N: Dtype, D: Device<N>> {
    /// `[tokens, EMBED]` → the same.
    ///
    /// # Errors
    /// The device's.
    fn try_apply(&self, x: Stream<EMBED, N, D>) -> Result<Stream<EMBED, N, D>, D::Err>;
}

/// Some sublayer in which every token stands alone, borrowing its weights.
pub type BoxedPointwise<'a, const EMBED: usize, N, D> = Box<dyn Pointwise<EMBED, N, D> + 'a>;

/// Tokens that some rows read next, a row's after another's.
///
/// What rows begin with alike is there once, with the first of them; the others say where.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// Which rows read something, each at most once.
    pub rows: &'a [usize],
    /// Where each one's own new tokens start, and where the last one's end: `[rows + 1]`; each has some.
    pub starts: &'a [usize],
    /// The place of each new token in its row, counted from 0.
    pub places: &'a [usize],
    /// New tokens of the rows above that each row reads before its own.
    pub before: &'a [Vec<Range<usize>>],
}

/// Which of the own new tokens are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// The last of each row: of the others nothing is computed but what is remembered.
    Last,
}

impl NewTokens<'_> {
    /// Each row's own new tokens.
    pub(in crate::ops) fn own(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }

    /// Refuses what cannot be read.
    pub(in crate::ops) fn check(&self) {
        let rows = self.rows.len();
        assert_eq!((self.starts.len(), self.before.len()), (rows + 1, rows));
        assert_eq!(self.places.len(), self.starts[rows], "a place a token");
        assert!(
            self.starts.is_sorted_by(|a, b| a < b),
            "a row reads something"
        );
    }
}

impl Wanted {
    /// Of a row's own new tokens.
    pub(in crate::ops) fn of(self, own: &Range<usize>) -> Range<usize> {
        match self {
            Self::All => own.clone(),
            Self::Last => own.end - 1..own.end,
        }
    }
}
