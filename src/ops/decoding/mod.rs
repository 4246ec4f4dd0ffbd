//! Incremental decoding with a KV cache: each token goes through a sublayer once, without dropout or
//! gradients.
//!
//! A call may bring many new tokens of a sequence (prefill of a prompt) or one (a decoding step).
//! Sequences with a common prefix share the computation of its cached keys and values.

mod cpu;
#[cfg(any(test, feature = "cuda"))]
mod recomputing;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

use dfdx::tensor::HasErr;

use super::Stream;
pub(crate) use cpu::{CachedLayer, KvCache, cached};
#[cfg(any(test, feature = "cuda"))]
pub(crate) use recomputing::recomputing;

/// A sublayer, or a whole block, during incremental decoding: it holds what further tokens need of those that
/// have been processed, and borrows its weights.
///
/// It computes the output for new tokens of some sequences, `[new tokens, EMBED]` → `[output tokens, EMBED]`.
/// A new token attends to the tokens that its sequence has processed before and to those that precede it in
/// the call. After a failure of the device the sublayer cannot be used any more.
pub type BoxedIncremental<'a, const EMBED: usize, N, D> = Box<
    dyn FnMut(
            Stream<EMBED, N, D>,
            &NewTokens<'_>,
            OutputTokens,
        ) -> Result<Stream<EMBED, N, D>, <D as HasErr>::Err>
        + 'a,
>;

/// A sublayer that treats every token independently, such as the MLP, prepared for repeated use:
/// `[tokens, EMBED]` → the same.
pub type BoxedPointwise<'a, const EMBED: usize, N, D> =
    Box<dyn Fn(Stream<EMBED, N, D>) -> Result<Stream<EMBED, N, D>, <D as HasErr>::Err> + 'a>;

/// The next tokens of some sequences, concatenated.
///
/// A prefix that several sequences have in common is listed once, with the first of them; the others
/// refer to it.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// The sequences that get new tokens, by number, each at most once.
    pub sequences: &'a [usize],
    /// Where each sequence's own new tokens (without a prefix that is listed with an earlier sequence) start,
    /// and where the last one's end: `[sequences + 1]`. Each sequence has at least one.
    pub starts: &'a [usize],
    /// Position of each new token in its sequence, counted from 0.
    pub positions: &'a [usize],
    /// For each sequence the new tokens of earlier sequences that precede its own.
    pub prefixes: &'a [Vec<Range<usize>>],
}

/// For which of a sequence's own new tokens the output is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputTokens {
    /// All of them.
    All,
    /// The last one; of the others only the cache entries are computed.
    Last,
}

impl NewTokens<'_> {
    /// The own new tokens of each sequence.
    pub(crate) fn own(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }

    /// Panics if the lists do not fit together.
    pub(crate) fn check(&self) {
        let count = self.sequences.len();
        assert_eq!((self.starts.len(), self.prefixes.len()), (count + 1, count));
        assert_eq!(
            self.positions.len(),
            self.starts[count],
            "one position per token"
        );
        assert!(
            self.starts.is_sorted_by(|a, b| a < b),
            "every sequence has a new token"
        );
    }
}

impl OutputTokens {
    /// Those among a sequence's own new tokens.
    pub(crate) fn of(self, own: &Range<usize>) -> Range<usize> {
        match self {
            Self::All => own.clone(),
            Self::Last => own.end - 1..own.end,
        }
    }
}
