//! The work plan of two streams: whole documents with what stands in either.

use std::ops::Range;

use crate::ops::attention::TILE_TOKENS;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, plan, take};

/// Some whole documents: the queries of each, and the keys.
pub(super) struct Sides {
    pub(super) queries: Shard,
    /// All of the stream's, read or not.
    pub(super) keys: Shard,
    /// Those that are read, counted from the first of them.
    pub(super) read: Shard,
}

impl Sides {
    /// Cuts the documents into shards.
    pub(super) fn plan([queries, keys]: [&[usize]; 2]) -> Vec<Self> {
        let shards = alongside(plan(queries), keys);
        let sides = shards.into_iter().map(|[queries, keys]| {
            let mut starts = vec![0];
            for (queries, keys) in queries.documents().zip(keys.documents()) {
                assert!(queries.is_empty() == keys.is_empty(), "keys to look at");
                starts.push(starts[starts.len() - 1] + queries.len().min(keys.len()));
            }
            let read = Shard { starts };
            Self {
                queries,
                keys,
                read,
            }
        });
        sides.collect()
    }

    /// Splits a matrix of one side into one slice a shard, given the length of each.
    pub(super) fn split<'a>(
        shards: &[Self],
        length: impl Fn(&Self) -> usize,
        mut matrix: &'a mut [f32],
    ) -> Vec<&'a mut [f32]> {
        let own = |sides: &Self| take(&mut matrix, length(sides));
        shards.iter().map(own).collect()
    }

    /// A few documents at a time: their queries, and those of their keys that are read.
    pub(super) fn tiles(&self) -> Vec<[Shard; 2]> {
        alongside(self.queries.tiles(TILE_TOKENS), &self.read.starts)
    }

    /// Where the keys that are read lie among those of the shard, document by document.
    pub(super) fn rows_read(&self) -> impl Iterator<Item = Range<usize>> {
        let documents = self.keys.documents().zip(self.read.documents());
        documents.map(|(keys, read)| keys.start..keys.start + read.len())
    }

    /// Rows of the keys that are read, side by side; `keys` is the whole stream.
    pub(super) fn keys_read(&self, keys: &[f32], width: usize) -> Scratch {
        let keys = self.keys.rows(keys, width);
        let mut read = Scratch::new(self.read.len() * width);
        let mut rest = &mut read[..];
        for rows in self.rows_read() {
            let own = take(&mut rest, rows.len() * width);
            own.copy_from_slice(&keys[rows.start * width..rows.end * width]);
        }
        read
    }
}

/// Pieces of one stream with those of another, which has as many documents.
pub(super) fn alongside(pieces: Vec<Shard>, starts: &[usize]) -> Vec<[Shard; 2]> {
    let mut first = 0;
    let pairs = pieces.into_iter().map(|piece| {
        let end = first + piece.documents().count();
        let starts = starts[first..=end].to_vec();
        first = end;
        [piece, Shard { starts }]
    });
    pairs.collect()
}
