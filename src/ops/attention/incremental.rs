//! The attention sublayer during incremental decoding on the CPU: shards of sequences over the threads, the norm, the
//! residual, and a KV cache for each sequence.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};

use super::cached::CachedAttention;
use super::kv_cache::KvCache;
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::decoding::{BoxedIncremental, NewOfSequence, NewTokens};
use crate::ops::kernels::rows::{RowNorm, normalise};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, plan, split, take};
use crate::ops::kernels::threads;
use crate::ops::parameters::Norm;
use crate::ops::residual::norm_of;

/// The sublayer with its norm and the caches of some sequences.
struct CachedSublayer<'a> {
    norm: RowNorm<'a>,
    /// Whether the norm applies to queries, and to keys.
    normed: [bool; 2],
    layer: CachedAttention<'a>,
    caches: Vec<KvCache>,
}

/// The sublayer with an empty cache for each of `sequences`, given whether the norm applies to queries, and to keys.
pub fn cached<'a, const EMBED: usize>(
    (normed, norm): ([bool; 2], &'a Norm<EMBED, f32, Cpu>),
    layer: CachedAttention<'a>,
    sequences: usize,
) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
    let mut sublayer = CachedSublayer {
        norm: norm_of(norm),
        normed,
        layer,
        caches: (0..sequences).map(|_| KvCache::default()).collect(),
    };
    Box::new(move |queries, keys, new| sublayer.try_decode(queries, keys, new))
}

/// A sequence with its cache, during a call.
struct ActiveSequence<'a> {
    cache: KvCache,
    new: NewOfSequence<'a>,
}

impl CachedSublayer<'_> {
    fn try_decode<const EMBED: usize>(
        &mut self,
        queries: &Stream<EMBED, f32, Cpu>,
        keys: Option<&Stream<EMBED, f32, Cpu>>,
        new: &NewTokens<'_>,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        new.check();
        let (x, keys) = (host(queries), keys.map_or(&[][..], host));
        // Before the caches are taken out: the positions of new keys start at their lengths.
        let entries = self.entries::<EMBED>(keys, new);
        let active = new.of_sequences().map(|new| ActiveSequence {
            cache: std::mem::take(&mut self.caches[new.sequence]),
            new,
        });
        let mut active: Vec<_> = active.collect();
        let y = self.attend::<EMBED>((x, new), &entries, &mut active);
        for sequence in active {
            self.caches[sequence.new.sequence] = sequence.cache;
        }
        let shape = (y.len() / EMBED, Const::<EMBED>);
        queries.device().try_tensor_from_vec(y, shape)
    }

    /// The cache entries of new keys, given their stream.
    fn entries<const EMBED: usize>(&self, keys: &[f32], new: &NewTokens<'_>) -> Scratch {
        let (width, shards) = (self.layer.width(), plan(new.keys));
        let positions = new.positions_of_keys(|sequence| self.caches[sequence].tokens);
        let mut entries = Scratch::new(keys.len() / EMBED * width);
        let parts = split(&shards, width, &mut entries).into_iter();
        threads::map(parts.zip(&shards), |(entries, shard)| {
            let rows = shard.rows(keys, EMBED);
            if !rows.is_empty() {
                let normed = self.normed[1].then(|| self.normalised(rows));
                let rows = normed.as_deref().unwrap_or(rows);
                (self.layer).cache_entries(rows, &positions[shard.tokens()], entries);
            }
        });
        entries
    }

    /// Rows of a stream after the norm.
    fn normalised(&self, rows: &[f32]) -> Scratch {
        let mut normed = Scratch::new(rows.len());
        normalise(rows, self.norm, &mut normed);
        normed
    }

    /// Extends the caches of sequences by `entries`, which have all been computed: a prefix may belong to a sequence of
    /// another shard. Returns the output for their queries, `x`.
    fn attend<const EMBED: usize>(
        &self,
        (x, new): (&[f32], &NewTokens<'_>),
        entries: &[f32],
        active: &mut [ActiveSequence<'_>],
    ) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        let (mut rest_of_active, mut rest_of_y) = (active, &mut y[..]);
        let mut work = vec![];
        for shard in shards(new) {
            let active = take(&mut rest_of_active, shard.documents().count());
            let queries = active[0].new.queries.start..active[active.len() - 1].new.queries.end;
            let y = take(&mut rest_of_y, queries.len() * EMBED);
            work.push((queries, active, y));
        }
        threads::map(work, |(queries, sequences, y)| {
            let x = &x[queries.start * EMBED..queries.end * EMBED];
            let positions = &new.positions[queries];
            self.append_and_attend::<EMBED>((x, positions), entries, sequences, y)
        });
        y
    }

    /// Extends the caches of some sequences and attends to them, given their queries. `entries` covers all new keys; `y:
    /// [queries, EMBED]` is written.
    fn append_and_attend<const EMBED: usize>(
        &self,
        (x, positions): (&[f32], &[usize]),
        entries: &[f32],
        sequences: &mut [ActiveSequence<'_>],
        y: &mut [f32],
    ) {
        let (layer, width) = (&self.layer, self.layer.width());
        let widths = [layer.queries_width(), layer.heads_width()];
        let [mut queries, mut heads] = widths.map(|width| Scratch::new(positions.len() * width));
        let normed = self.normed[0].then(|| self.normalised(x));
        layer.queries(normed.as_deref().unwrap_or(x), positions, &mut queries);
        let (mut rest_of_queries, mut rest_of_heads) = (&mut queries[..], &mut heads[..]);
        for ActiveSequence { cache, new } in sequences {
            // Extending a cache and attending to it at once brings it into the processor's cache once.
            for tokens in new.keys() {
                let entries = &entries[tokens.start * width..tokens.end * width];
                layer.append(cache, entries);
            }
            let [of_queries, of_heads] = widths.map(|width| new.queries.len() * width);
            let queries = take(&mut rest_of_queries, of_queries);
            layer.attend(cache, queries, take(&mut rest_of_heads, of_heads));
        }
        layer.project(&heads, y);
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
}

/// The sequences in shards with about equal numbers of new keys, or of queries where there are more.
fn shards(new: &NewTokens<'_>) -> Vec<Shard> {
    let mut starts = vec![0];
    for new in new.of_sequences() {
        starts.push(starts[starts.len() - 1] + new.queries.len().max(new.own.len()));
    }
    plan(&starts)
}
