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
pub(crate) use cpu::{CachedLayer, KvCache, cached, cached_pairs};
#[cfg(any(test, feature = "cuda"))]
pub(crate) use recomputing::{recomputing, recomputing_pairs};

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

/// A sublayer of two streams during incremental decoding, with what further queries need; it borrows its weights.
///
/// It computes the output for new queries of some sequences, `[new queries, EMBED]` and `[new keys, EMBED]` →
/// `[new queries, EMBED]`, without dropout. The last new query of a sequence attends to all its keys, the new
/// ones included; the one before it to all but the last; and so on. Without new keys pass `None`: dfdx has no
/// empty tensors. After a failure of the device the sublayer cannot be used any more.
pub type BoxedIncrementalPairs<'a, const EMBED: usize, N, D> = Box<
    dyn FnMut(
            &Stream<EMBED, N, D>,
            Option<&Stream<EMBED, N, D>>,
            &NewPairs<'_>,
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

/// New queries and keys of some sequences, concatenated.
#[derive(Clone, Copy, Debug)]
pub struct NewPairs<'a> {
    /// The sequences, by number, each at most once.
    pub sequences: &'a [usize],
    /// Where the new queries of each sequence start, and where the last one's end: `[sequences + 1]`. Each
    /// sequence has at least one, and at most as many as it has keys.
    pub queries: &'a [usize],
    /// Position of each new query in its sequence, counted from 0: of the last one that of the sequence's last key, or
    /// later, because it attends to all keys.
    pub positions: &'a [usize],
    /// Where the new keys of each sequence start, as for queries; a sequence that has keys already may get none.
    pub keys: &'a [usize],
}

/// For which of a sequence's own new tokens the output is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputTokens {
    /// All of them.
    All,
    /// The last one; of the others only the cache entries are computed.
    Last,
}

/// What lies between one start and the next.
fn ranges(starts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    starts.windows(2).map(|w| w[0]..w[1])
}

impl NewTokens<'_> {
    /// The own new tokens of each sequence.
    pub(crate) fn own(&self) -> impl Iterator<Item = Range<usize>> {
        ranges(self.starts)
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

impl NewPairs<'_> {
    /// Panics if the lists do not fit together.
    pub(crate) fn check(&self) {
        let count = self.sequences.len();
        let starts = (self.queries.len(), self.keys.len());
        assert_eq!(starts, (count + 1, count + 1));
        let positions = self.positions.len();
        assert_eq!(positions, self.queries[count], "one position per query");
        let grows = self.queries.is_sorted_by(|a, b| a < b);
        assert!(grows, "every sequence has a new query");
        assert!(self.keys.is_sorted(), "keys of each sequence");
    }

    /// Each sequence with its new queries and its new keys.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
        let pairs = ranges(self.queries).zip(ranges(self.keys));
        (self.sequences.iter().zip(pairs))
            .map(|(&sequence, (queries, keys))| (sequence, queries, keys))
    }

    /// Position of each new key, given the number of keys that a sequence has already.
    pub(crate) fn positions_of_keys(&self, known: impl Fn(usize) -> usize) -> Vec<usize> {
        let of_pair = |(sequence, _, keys): (usize, Range<usize>, Range<usize>)| {
            (0..keys.len()).map(move |key| (sequence, key))
        };
        let keys = self.pairs().flat_map(of_pair);
        keys.map(|(sequence, key)| known(sequence) + key).collect()
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
