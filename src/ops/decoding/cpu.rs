//! What all attention sublayers have in common during incremental decoding on the CPU.
//!
//! A sublayer implements [`CachedLayer`]. Here is the rest: shards of sequences over the threads, the norm,
//! residual, and a KV cache for each sequence.

use std::borrow::Cow;
use std::ops::Range;

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::{BoxedIncremental, BoxedIncrementalPairs, NewPairs, NewTokens, OutputTokens};
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{RowNorm, normalise};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, plan, split, take};
use crate::ops::parameters::Norm;
use crate::ops::residual::norm_of;

/// The cached keys and values of one sequence, in blocks whose layout the sublayer defines.
#[derive(Default)]
pub struct KvCache {
    /// Number of cached tokens.
    pub tokens: usize,
    /// The running sums of each token's forget gates: `[tokens, heads]`, or nothing.
    pub sums: Vec<f32>,
    pub blocks: Vec<Vec<f32>>,
}

/// How an attention sublayer caches tokens and attends to them, as functions of the normalised stream.
/// Queries have rows of `queries_width` elements, the heads' outputs of `heads_width`, other matrices of `EMBED` unless
/// stated otherwise.
pub trait CachedLayer: Sync {
    /// Number of cached elements per token.
    fn width(&self) -> usize;

    /// Total width of the heads' queries and of what goes with them.
    fn queries_width(&self) -> usize;

    /// Total width of the heads' outputs.
    fn heads_width(&self) -> usize;

    /// Cache entries of tokens at `positions`: `[tokens, EMBED]` → `[tokens, width]`, written.
    fn cache_entries(&self, normed: &[f32], positions: &[usize], entries: &mut [f32]);

    /// Appends the entries of a sequence's next tokens, `[tokens, width]`, to its cache.
    fn append(&self, cache: &mut KvCache, entries: &[f32]);

    /// Queries of tokens at `positions`, written.
    fn queries(&self, normed: &[f32], positions: &[usize], queries: &mut [f32]);

    /// The heads' outputs for the last tokens of a sequence, which are in the cache themselves; written.
    fn attend(&self, cache: &KvCache, queries: &[f32], heads: &mut [f32]);

    /// The output projection, written.
    fn project(&self, heads: &[f32], out: &mut [f32]);
}

/// A [`CachedLayer`] with its norm and the caches of some sequences.
struct CachedSublayer<'a, L> {
    norm: RowNorm<'a>,
    layer: L,
    caches: Vec<KvCache>,
}

/// A [`CachedLayer`] after a norm, with an empty cache for each of `sequences`.
pub fn cached<'a, const EMBED: usize>(
    norm: &'a Norm<EMBED, f32, Cpu>,
    layer: impl CachedLayer + 'a,
    sequences: usize,
) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
    let mut sublayer = CachedSublayer::new(norm, layer, sequences);
    Box::new(move |x, new, outputs| sublayer.try_decode(x, new, outputs))
}

/// The same where queries come from a stream of their own. The norm applies to queries (0) or to keys (1).
pub fn cached_pairs<'a, const EMBED: usize>(
    (which, norm): (usize, &'a Norm<EMBED, f32, Cpu>),
    layer: impl CachedLayer + 'a,
    sequences: usize,
) -> BoxedIncrementalPairs<'a, EMBED, f32, Cpu> {
    let mut sublayer = CachedSublayer::new(norm, layer, sequences);
    Box::new(move |queries, keys, new| sublayer.try_decode_pairs(which, queries, keys, new))
}

/// The cache and the new tokens of one sequence, during a call.
struct ActiveSequence<'a> {
    cache: KvCache,
    prefix: &'a [Range<usize>],
    own: Range<usize>,
    /// The rows with its queries.
    outputs: Range<usize>,
}

/// Rows that queries are computed from: the stream, the same after the norm if it applies, and positions.
#[derive(Clone, Copy)]
struct Queries<'a> {
    x: &'a [f32],
    inputs: &'a [f32],
    positions: &'a [usize],
}

/// Number of output tokens of some sequences.
fn output_count(sequences: &[ActiveSequence<'_>]) -> usize {
    sequences.iter().map(|s| s.outputs.len()).sum()
}

impl<'a, L: CachedLayer> CachedSublayer<'a, L> {
    fn new<const EMBED: usize>(
        norm: &'a Norm<EMBED, f32, Cpu>,
        layer: L,
        sequences: usize,
    ) -> Self {
        Self {
            norm: norm_of(norm),
            layer,
            caches: (0..sequences).map(|_| KvCache::default()).collect(),
        }
    }

    fn try_decode<const EMBED: usize>(
        &mut self,
        x: Stream<EMBED, f32, Cpu>,
        new: &NewTokens<'_>,
        outputs: OutputTokens,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        new.check();
        let x = x.try_contiguous()?;
        let (rows, shards) = (host(&x), plan(new.starts));
        let (normed, entries) = self.entries::<EMBED>((rows, true), new.positions, &shards);
        let sequences = new.sequences.iter().zip(new.prefixes).zip(new.own());
        let active = sequences.map(|((&sequence, prefix), own)| ActiveSequence {
            cache: std::mem::take(&mut self.caches[sequence]),
            prefix,
            outputs: outputs.of(&own),
            own,
        });
        let active: Vec<_> = active.collect();
        let queries = Queries {
            x: rows,
            inputs: &normed,
            positions: new.positions,
        };
        let y = self.attend::<EMBED>(queries, &entries, &shards, (new.sequences, active));
        let shape = (y.len() / EMBED, Const::<EMBED>);
        x.device().try_tensor_from_vec(y, shape)
    }

    fn try_decode_pairs<const EMBED: usize>(
        &mut self,
        which: usize,
        x: &Stream<EMBED, f32, Cpu>,
        keys: Option<&Stream<EMBED, f32, Cpu>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        new.check();
        let (rows, shards) = (host(x), plan(new.queries));
        let positions = new.positions_of_keys(|sequence| self.caches[sequence].tokens);
        let keys = (keys.map_or(&[][..], host), which == 1);
        let (_, entries) = self.entries::<EMBED>(keys, &positions, &plan(new.keys));
        let active = new.pairs().map(|(sequence, outputs, own)| ActiveSequence {
            cache: std::mem::take(&mut self.caches[sequence]),
            prefix: &[],
            own,
            outputs,
        });
        let active: Vec<_> = active.collect();
        let normed = (which == 0).then(|| self.normed::<EMBED>(rows, &shards));
        let queries = Queries {
            x: rows,
            inputs: normed.as_deref().unwrap_or(rows),
            positions: new.positions,
        };
        let y = self.attend::<EMBED>(queries, &entries, &shards, (new.sequences, active));
        let shape = (y.len() / EMBED, Const::<EMBED>);
        x.device().try_tensor_from_vec(y, shape)
    }

    /// The rows of a stream after the norm.
    fn normed<const EMBED: usize>(&self, x: &[f32], shards: &[Shard]) -> Scratch {
        let mut normed = Scratch::new(x.len());
        let parts = split(shards, EMBED, &mut normed).into_par_iter();
        parts
            .zip(shards)
            .for_each(|(normed, shard)| normalise(shard.rows(x, EMBED), self.norm, normed));
        normed
    }

    /// The rows of a stream after the norm, if it applies to them, and their cache entries.
    fn entries<const EMBED: usize>(
        &self,
        (x, is_normed): (&[f32], bool),
        positions: &[usize],
        shards: &[Shard],
    ) -> (Scratch, Scratch) {
        let (width, kept) = (self.layer.width(), if is_normed { EMBED } else { 0 });
        let mut normed = Scratch::new(x.len() / EMBED * kept);
        let mut entries = Scratch::new(x.len() / EMBED * width);
        let parts = split(shards, kept, &mut normed).into_par_iter();
        (parts.zip(split(shards, width, &mut entries)).zip(shards)).for_each(
            |((normed, entries), shard)| {
                let mut rows = shard.rows(x, EMBED);
                if is_normed {
                    normalise(rows, self.norm, normed);
                    rows = normed;
                }
                if !rows.is_empty() {
                    (self.layer).cache_entries(rows, &positions[shard.tokens()], entries);
                }
            },
        );
        (normed, entries)
    }

    /// Extends the caches of sequences by `entries`, which are all there before: a prefix may belong to a sequence of
    /// another shard. Returns the output for their queries.
    fn attend<const EMBED: usize>(
        &mut self,
        queries: Queries<'_>,
        entries: &[f32],
        shards: &[Shard],
        (sequences, mut active): (&[usize], Vec<ActiveSequence<'_>>),
    ) -> Vec<f32> {
        let mut y = vec![0.0; output_count(&active) * EMBED];
        let (mut rest_of_active, mut rest_of_y) = (&mut active[..], &mut y[..]);
        let mut work = vec![];
        for shard in shards {
            let sequences = take(&mut rest_of_active, shard.documents().count());
            let count = output_count(sequences);
            work.push((sequences, take(&mut rest_of_y, count * EMBED)));
        }
        (work.into_par_iter()).for_each(|(sequences, y)| {
            self.append_and_attend::<EMBED>(queries, entries, sequences, y)
        });
        for (sequence, &at) in active.into_iter().zip(sequences) {
            self.caches[at] = sequence.cache;
        }
        y
    }

    /// Extends the caches of a shard's sequences and attends to them. `from` and `entries` cover all new tokens; `y:
    /// [output tokens of the shard, EMBED]` is written.
    fn append_and_attend<const EMBED: usize>(
        &self,
        from: Queries<'_>,
        entries: &[f32],
        sequences: &mut [ActiveSequence<'_>],
        y: &mut [f32],
    ) {
        let (layer, width) = (&self.layer, self.layer.width());
        let tokens: Vec<usize> = sequences.iter().flat_map(|s| s.outputs.clone()).collect();
        let positions = tokens.iter().map(|&token| from.positions[token]);
        let positions: Vec<usize> = positions.collect();
        let widths = [layer.queries_width(), layer.heads_width()];
        let [mut queries, mut heads] = widths.map(|width| Scratch::new(tokens.len() * width));
        let inputs = rows_of::<EMBED>(&tokens, from.inputs);
        layer.queries(&inputs, &positions, &mut queries);
        let mut end = 0;
        for sequence in sequences {
            // Extending a cache and attending to it at once brings it into the processor's cache once.
            for tokens in sequence.prefix.iter().chain([&sequence.own]) {
                let entries = &entries[tokens.start * width..tokens.end * width];
                layer.append(&mut sequence.cache, entries);
            }
            let own = end..end + sequence.outputs.len();
            end = own.end;
            let [of_queries, of_heads] = widths.map(|width| own.start * width..own.end * width);
            layer.attend(&sequence.cache, &queries[of_queries], &mut heads[of_heads]);
        }
        layer.project(&heads, y);
        let x = rows_of::<EMBED>(&tokens, from.x);
        y.iter_mut().zip(&*x).for_each(|(y, x)| *y += x);
    }
}

/// The rows of some tokens, in ascending order, of a `[tokens, EMBED]` matrix.
fn rows_of<'a, const EMBED: usize>(tokens: &[usize], matrix: &'a [f32]) -> Cow<'a, [f32]> {
    let (first, last) = (tokens[0], tokens[tokens.len() - 1]);
    if last - first + 1 == tokens.len() {
        return Cow::Borrowed(&matrix[first * EMBED..(last + 1) * EMBED]);
    }
    let rows = tokens
        .iter()
        .flat_map(|&token| &matrix[token * EMBED..][..EMBED]);
    Cow::Owned(rows.copied().collect())
}
