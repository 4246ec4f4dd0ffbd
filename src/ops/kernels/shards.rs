//! The division of a batch into shards of whole documents.
//!
//! A shard is the unit of parallel work and of weight-gradient sums. The division depends only on the
//! batch, never on the number of threads, and shards are summed in order: that is why results have the same
//! bits for 1, 2 or 64 threads.

use std::ops::Range;

use rayon::prelude::*;

/// Maximum number of shards per batch: enough to balance 16 threads, few enough to sum quickly.
const MOST_SHARDS: usize = 16;
/// A much smaller shard would not be worth its own weight-gradient buffer; the minimum is half of this.
const LEAST_TOKENS: usize = 64;

/// Some whole documents of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// First token of each document within the batch, and the end of the last.
    pub starts: Vec<usize>,
}

impl Shard {
    /// The shard's tokens within the batch.
    pub fn tokens(&self) -> Range<usize> {
        self.starts[0]..self.starts[self.starts.len() - 1]
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens().len()
    }

    /// Divides the shard into tiles of whole documents with at least `least` tokens each, if there are as
    /// many. The working set of a tile fits into a core's cache.
    pub fn tiles(&self, least: usize) -> Vec<Shard> {
        let (mut tiles, mut current) = (vec![], vec![self.starts[0]]);
        for &end in &self.starts[1..] {
            current.push(end);
            if end - current[0] >= least {
                let starts = std::mem::replace(&mut current, vec![end]);
                tiles.push(Shard { starts });
            }
        }
        if current.len() > 1 {
            tiles.push(Shard { starts: current });
        }
        tiles
    }

    /// The tile's tokens, counted from the first of the shard that it belongs to.
    pub fn range_in(&self, shard: &Shard) -> Range<usize> {
        let first = shard.starts[0];
        self.tokens().start - first..self.tokens().end - first
    }

    /// The rows of a `[tokens, width]` matrix of the batch that belong to this shard.
    pub fn rows<'a>(&self, matrix: &'a [f32], width: usize) -> &'a [f32] {
        &matrix[self.starts[0] * width..self.tokens().end * width]
    }

    /// Each document's tokens, counted from the shard's first.
    pub fn documents(&self) -> impl Iterator<Item = Range<usize>> {
        let first = self.starts[0];
        self.starts
            .windows(2)
            .map(move |w| w[0] - first..w[1] - first)
    }
}

/// Divides documents, given by their starts, into shards with about equal numbers of tokens.
pub fn plan(starts: &[usize]) -> Vec<Shard> {
    let total = starts[starts.len() - 1];
    // A power of two, so that two, four or eight threads get equal numbers of shards.
    let count = (total / LEAST_TOKENS).next_power_of_two().min(MOST_SHARDS);
    let mut shards = Vec::with_capacity(count);
    let mut current = vec![starts[0]];
    for &end in &starts[1..] {
        current.push(end);
        if end * count >= total * (shards.len() + 1) {
            shards.push(Shard {
                starts: std::mem::replace(&mut current, vec![end]),
            });
        }
    }
    shards
}

/// Extends shards of the first of some streams to the same documents of all of them, whose starts are given.
pub fn pair<const STREAMS: usize>(
    pieces: Vec<Shard>,
    starts: [&[usize]; STREAMS],
) -> Vec<[Shard; STREAMS]> {
    let mut first = 0;
    let extend = |piece: Shard| {
        let end = first + piece.starts.len() - 1;
        let own = starts.map(|starts| Shard {
            starts: starts[first..=end].to_vec(),
        });
        first = end;
        own
    };
    pieces.into_iter().map(extend).collect()
}

/// Splits a `[tokens, width]` matrix into one slice per shard.
pub fn split<'a, 's>(
    shards: impl IntoIterator<Item = &'s Shard>,
    width: usize,
    mut matrix: &'a mut [f32],
) -> Vec<&'a mut [f32]> {
    let own = |shard: &Shard| take(&mut matrix, shard.len() * width);
    shards.into_iter().map(own).collect()
}

/// Splits off the first elements of a slice.
pub fn take<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(count);
    *rest = others;
    first
}

/// Splits a slice into parts of the given lengths, which must add up to its length.
pub fn cut<const N: usize>(lengths: [usize; N], mut whole: &mut [f32]) -> [&mut [f32]; N] {
    assert_eq!(
        lengths.iter().sum::<usize>(),
        whole.len(),
        "parts of a whole"
    );
    lengths.map(|length| take(&mut whole, length))
}

/// `total[i] += parts[0][i] + parts[1][i] + …`, in that order for each element.
pub fn add_in_order(parts: &[&[f32]], total: &mut [f32]) {
    const CHUNK: usize = 16 * 1024;
    total
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(c, total)| {
            for part in parts {
                let part = &part[c * CHUNK..c * CHUNK + total.len()];
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_document_once_and_are_balanced() {
        let lengths: Vec<usize> = (0..128).map(|i| 4 + (i * 37) % 110).collect();
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |end, l| {
            *end += l;
            Some(*end)
        }));
        let shards = plan(&starts);
        assert_eq!(shards.len(), MOST_SHARDS);
        let joined: Vec<usize> = shards.iter().flat_map(|s| s.starts[1..].to_vec()).collect();
        assert_eq!(joined, starts[1..]);
        let longest = shards.iter().map(Shard::len).max();
        assert!(
            longest < Some(starts[128] / MOST_SHARDS + 114),
            "{longest:?}"
        );
    }

    #[test]
    fn tiles_are_whole_documents_in_order() {
        let shard = Shard {
            starts: vec![7, 10, 12, 20, 21],
        };
        let tiles = shard.tiles(5);
        let starts: Vec<_> = tiles.iter().map(|tile| &tile.starts[..]).collect();
        assert_eq!(starts, [&[7, 10, 12][..], &[12, 20], &[20, 21]]);
        let ranges: Vec<_> = tiles.iter().map(|tile| tile.range_in(&shard)).collect();
        assert_eq!(ranges, [0..5, 5..13, 13..14]);
    }

    #[test]
    fn a_single_long_document_is_one_shard() {
        assert_eq!(
            plan(&[0, 5000]),
            [Shard {
                starts: vec![0, 5000]
            }]
        );
        assert_eq!(plan(&[0, 1]).len(), 1);
    }

    #[test]
    fn parts_are_summed_in_order() {
        let (a, b) = (vec![1.0; 40_000], vec![2.0; 40_000]);
        let mut total = vec![0.5; 40_000];
        add_in_order(&[&a, &b], &mut total);
        assert!(total.iter().all(|&t| t == 3.5));
    }
}
