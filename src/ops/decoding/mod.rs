//! Incremental decoding with a KV cache: each token goes through a sublayer once, without dropout or
//! gradients.
//!
//! A call may bring many new tokens of a sequence (prefill of a prompt) or one (a decoding step).
//! Sequences with a common prefix share the computation of its cached keys and values.

#[cfg(any(test, feature = "cuda"))]
mod recomputing;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

use dfdx::tensor::HasErr;

use super::Stream;
#[cfg(any(test, feature = "cuda"))]
pub(crate) use recomputing::recomputing;

/// A sublayer, or a whole block, during incremental decoding: it holds what further queries need of the keys that have
/// been processed, and borrows its weights.
///
/// It computes the output for new queries of some sequences, `[new queries, EMBED]` and `[new keys, EMBED]` →
/// `[new queries, EMBED]`, without dropout. In self-attention the keys are the new tokens, and the queries those whose
/// output is needed: all of them, then both are the same tensor, or the last ones. Without new keys pass `None`: dfdx has
/// no empty tensors. After a failure of the device the sublayer cannot be used any more.
pub type BoxedIncremental<'a, const EMBED: usize, N, D> = Box<
    dyn FnMut(
            &Stream<EMBED, N, D>,
            Option<&Stream<EMBED, N, D>>,
            &NewTokens<'_>,
        ) -> Result<Stream<EMBED, N, D>, <D as HasErr>::Err>
        + 'a,
>;

/// A sublayer that treats every token independently, such as the MLP, prepared for repeated use:
/// `[tokens, EMBED]` → the same.
pub type BoxedPointwise<'a, const EMBED: usize, N, D> =
    Box<dyn Fn(Stream<EMBED, N, D>) -> Result<Stream<EMBED, N, D>, <D as HasErr>::Err> + 'a>;

/// The next queries and keys of some sequences, concatenated.
///
/// The last new query of a sequence attends to all its keys, the new ones included; the one before it to all but the
/// last; and so on.
///
/// A prefix that several sequences have in common is listed once, with the first of them; the others refer to it.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// The sequences, by number, each at most once.
    pub sequences: &'a [usize],
    /// Where the new queries of each sequence start, and where the last one's end: `[sequences + 1]`. Each
    /// sequence has at least one, and at most as many as it has keys.
    pub queries: &'a [usize],
    /// Position of each new query in its sequence, counted from 0. The last query attends to all keys, so its position is
    /// that of the sequence's last key, or a later one.
    pub positions: &'a [usize],
    /// Where the new keys of each sequence start (without a prefix that is listed with an earlier sequence), as for
    /// queries; a sequence that has keys already may get none.
    pub keys: &'a [usize],
    /// For each sequence the new keys of earlier sequences that precede its own.
    pub prefixes: &'a [Vec<Range<usize>>],
}

/// One sequence of [`NewTokens`].
pub(crate) struct NewOfSequence<'a> {
    pub sequence: usize,
    pub queries: Range<usize>,
    pub prefix: &'a [Range<usize>],
    /// The new keys after the prefix.
    pub own: Range<usize>,
}

impl<'a> NewOfSequence<'a> {
    /// The new keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.prefix.iter().cloned().chain([self.own.clone()])
    }
}

/// What lies between one start and the next.
fn ranges(starts: &[usize]) -> impl Iterator<Item = Range<usize>> {
    starts.windows(2).map(|w| w[0]..w[1])
}

impl NewTokens<'_> {
    /// Panics if the lists do not fit together.
    pub(crate) fn check(&self) {
        let count = self.sequences.len();
        let lengths = [self.queries.len(), self.keys.len()];
        assert_eq!(lengths, [count + 1; 2]);
        assert_eq!(self.prefixes.len(), count);
        let positions = self.positions.len();
        assert_eq!(positions, self.queries[count], "one position per query");
        let grows = self.queries.is_sorted_by(|a, b| a < b);
        assert!(grows, "every sequence has a new query");
        assert!(self.keys.is_sorted(), "keys of each sequence");
    }

    /// Each sequence with its new queries and keys.
    pub(crate) fn of_sequences(&self) -> impl Iterator<Item = NewOfSequence<'_>> {
        let ranges = ranges(self.queries).zip(ranges(self.keys));
        let prefixes = self.sequences.iter().zip(self.prefixes);
        (prefixes.zip(ranges)).map(|((&sequence, prefix), (queries, own))| NewOfSequence {
            sequence,
            queries,
            prefix,
            own,
        })
    }

    /// Position of each new key, given the number of keys that a sequence has already.
    pub(crate) fn positions_of_keys(&self, known: impl Fn(usize) -> usize) -> Vec<usize> {
        let positions = self.of_sequences().flat_map(|new| {
            let before: usize = new.prefix.iter().map(ExactSizeIterator::len).sum();
            let first = known(new.sequence) + before;
            first..first + new.own.len()
        });
        positions.collect()
    }
}
