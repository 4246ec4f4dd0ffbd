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

use super::{BoxedIncremental, NewTokens, OutputTokens};
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{RowNorm, normalise};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{plan, split, take};
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
    let mut sublayer = CachedSublayer {
        norm: norm_of(norm),
        layer,
        caches: (0..sequences).map(|_| KvCache::default()).collect(),
    };
    Box::new(move |x, new, outputs| sublayer.try_decode(x, new, outputs))
}

/// The cache and the new tokens of one sequence, during a call.
struct ActiveSequence<'a> {
    cache: KvCache,
    prefix: &'a [Range<usize>],
    own: Range<usize>,
    outputs: Range<usize>,
}

/// Number of output tokens of some sequences.
fn output_count(sequences: &[ActiveSequence<'_>]) -> usize {
    sequences.iter().map(|s| s.outputs.len()).sum()
}

impl<L: CachedLayer> CachedSublayer<'_, L> {
    fn try_decode<const EMBED: usize>(
        &mut self,
        x: Stream<EMBED, f32, Cpu>,
        new: &NewTokens<'_>,
        outputs: OutputTokens,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        new.check();
        let x = x.try_contiguous()?;
        let device = x.device();
        let (x, shards, width) = (host(&x), plan(new.starts), self.layer.width());

        // The entries of all tokens come first: a prefix may belong to a sequence of another shard.
        let mut normed = Scratch::new(x.len());
        let mut entries = Scratch::new(x.len() / EMBED * width);
        let parts = split(&shards, EMBED, &mut normed).into_par_iter();
        (parts.zip(split(&shards, width, &mut entries)).zip(&shards)).for_each(
            |((normed, entries), shard)| {
                normalise(shard.rows(x, EMBED), self.norm, normed);
                self.layer
                    .cache_entries(normed, &new.positions[shard.tokens()], entries);
            },
        );

        let mut active: Vec<ActiveSequence<'_>> =
            (new.sequences.iter().zip(new.prefixes).zip(new.own()))
                .map(|((&sequence, prefix), own)| ActiveSequence {
                    cache: std::mem::take(&mut self.caches[sequence]),
                    prefix,
                    outputs: outputs.of(&own),
                    own,
                })
                .collect();
        let count = output_count(&active);
        let mut y = vec![0.0; count * EMBED];
        let (mut rest_of_active, mut rest_of_y) = (&mut active[..], &mut y[..]);
        let mut work = vec![];
        for shard in &shards {
            let sequences = take(&mut rest_of_active, shard.documents().count());
            let count = output_count(sequences);
            work.push((sequences, take(&mut rest_of_y, count * EMBED)));
        }
        (work.into_par_iter()).for_each(|(sequences, y)| {
            self.append_and_attend::<EMBED>(x, (&normed, &entries), new.positions, sequences, y)
        });

        for (sequence, &at) in active.into_iter().zip(new.sequences) {
            self.caches[at] = sequence.cache;
        }
        device.try_tensor_from_vec(y, (count, Const::<EMBED>))
    }

    /// Extends the caches of a shard's sequences and attends to them. `x`, `normed`, `entries` and
    /// `positions` cover all new tokens; `y: [output tokens of the shard, EMBED]` is written.
    fn append_and_attend<const EMBED: usize>(
        &self,
        x: &[f32],
        (normed, entries): (&[f32], &[f32]),
        positions: &[usize],
        sequences: &mut [ActiveSequence<'_>],
        y: &mut [f32],
    ) {
        let (layer, width) = (&self.layer, self.layer.width());
        let tokens: Vec<usize> = sequences.iter().flat_map(|s| s.outputs.clone()).collect();
        let positions: Vec<usize> = tokens.iter().map(|&token| positions[token]).collect();
        let widths = [layer.queries_width(), layer.heads_width()];
        let [mut queries, mut heads] = widths.map(|width| Scratch::new(tokens.len() * width));
        layer.queries(&rows_of::<EMBED>(&tokens, normed), &positions, &mut queries);
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
        let x = rows_of::<EMBED>(&tokens, x);
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
