//! Shards over the streams of queries and keys, and the norm of one of them.

use std::ops::Range;

use super::NormedStream;
use crate::ops::attention::TILE_TOKENS;
use crate::ops::kernels::rows::{RowNorm, normalise};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, plan, take};

/// Some whole documents: their queries and keys.
pub(super) struct CrossShard {
    pub(super) queries: Shard,
    /// All keys of the stream.
    pub(super) keys: Shard,
    /// The keys that are attended to, counted from the first of them.
    pub(super) read: Shard,
}

impl CrossShard {
    /// Cuts the documents into shards.
    pub(super) fn plan([queries, keys]: [&[usize]; 2]) -> Vec<Self> {
        let shards = pair_documents(plan(queries), keys);
        let sides = shards.into_iter().map(|[queries, keys]| {
            let mut starts = vec![0];
            for (queries, keys) in queries.documents().zip(keys.documents()) {
                assert!(queries.is_empty() == keys.is_empty(), "keys to attend to");
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

    /// Tiles of a few documents: their queries and attended keys.
    pub(super) fn tiles(&self) -> Vec<[Shard; 2]> {
        pair_documents(self.queries.tiles(TILE_TOKENS), &self.read.starts)
    }

    /// For each document, the range of its attended keys within the shard.
    pub(super) fn rows_read(&self) -> impl Iterator<Item = Range<usize>> {
        let documents = self.keys.documents().zip(self.read.documents());
        documents.map(|(keys, read)| keys.start..keys.start + read.len())
    }

    /// The attended keys' rows, contiguous; `keys` is the whole stream.
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

/// Pairs shards of one stream with the same documents of another.
pub(super) fn pair_documents(pieces: Vec<Shard>, starts: &[usize]) -> Vec<[Shard; 2]> {
    let mut first = 0;
    let pairs = pieces.into_iter().map(|piece| {
        let end = first + piece.documents().count();
        let starts = starts[first..=end].to_vec();
        first = end;
        [piece, Shard { starts }]
    });
    pairs.collect()
}

/// The rows of the stream that the norm applies to, after it.
pub(super) fn normed(
    (which, norm): (NormedStream, RowNorm<'_>),
    queries_and_keys: [&[f32]; 2],
) -> Scratch {
    let x = queries_and_keys[which as usize];
    let mut normed = Scratch::new(x.len());
    normalise(x, norm, &mut normed);
    normed
}
