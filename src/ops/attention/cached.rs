//! Attention with a KV cache: the keys and values of processed tokens.
//!
//! `kv_cache.rs` defines their layout in memory.

use dfdx::tensor::Cpu;

use super::differential::attend_twice;
use super::scoring::HeadTransform;
use super::{AttentionWeights, Layout, kv_cache};
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::matmul::Pass;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear};

/// The projections, packed, and how heads attend to a cache.
pub struct CachedAttention<'a> {
    layout: Layout,
    key: PackedLinear<'a>,
    value: PackedLinear<'a>,
    query: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    transform: HeadTransform,
    attend: Box<Attend<'a>>,
}

/// See [`CachedLayer::attend`].
pub type Attend<'a> = dyn Fn(&KvCache, &[f32], &mut [f32]) + Sync + 'a;

impl<'a> CachedAttention<'a> {
    /// For sequences of at most `context` tokens.
    pub fn new<const EMBED: usize>(
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        context: usize,
    ) -> Self {
        let (layout, comparison) = (weights.layout, weights.comparison());
        let attend: Box<Attend<'a>> = match &weights.difference {
            Some(difference) => Box::new(attend_twice(layout, difference)),
            None => Box::new(move |cache, queries, heads| attend(layout, cache, queries, heads)),
        };
        Self {
            layout,
            key: pack_linear(&comparison.key, Pass::Forward),
            value: pack_linear(&weights.value, Pass::Forward),
            query: pack_linear(&comparison.query, Pass::Forward),
            proj: pack_linear(&weights.proj, Pass::Forward),
            transform: HeadTransform::new(&layout, context),
            attend,
        }
    }
}

/// Every head attends to the cache by one attention map.
fn attend(layout: Layout, cache: &KvCache, queries: &[f32], heads: &mut [f32]) {
    let (width, head_dim, scoring) = (layout.width(), layout.head_dim, layout.scoring);
    let (n, step) = (queries.len() / width, kv_cache::score_step(cache));
    let mut scores = Scratch::new(n * step);
    for head in 0..layout.heads {
        let (columns, shared) = (head * head_dim, (head / layout.group(), head_dim));
        let queries = (n, &queries[columns..], width);
        kv_cache::scores(cache, shared, queries, layout.scale() as f32, &mut scores);
        let slope = scoring.slope(head, layout.heads) as f32;
        scoring.last_scores_to_weights(&mut scores, step, cache.tokens, slope);
        kv_cache::apply_weights(cache, shared, &scores, &mut heads[columns..], width);
    }
}

impl CachedLayer for CachedAttention<'_> {
    fn width(&self) -> usize {
        2 * self.layout.kv_width()
    }

    fn heads_width(&self) -> usize {
        self.layout.width()
    }

    fn cache_entries(&self, normed: &[f32], positions: &[usize], entries: &mut [f32]) {
        let (kv, width) = (self.layout.kv_width(), self.width());
        apply(&self.key, normed, entries, width);
        apply(&self.value, normed, &mut entries[kv..], width);
        for (entry, &position) in entries.chunks_exact_mut(width).zip(positions) {
            let keys = &mut entry[..kv];
            self.transform.apply(keys, self.layout.head_dim, position);
        }
    }

    fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        kv_cache::append(cache, entries, self.layout.kv_width(), self.layout.head_dim);
    }

    fn queries(&self, normed: &[f32], positions: &[usize], queries: &mut [f32]) {
        let width = self.layout.width();
        apply(&self.query, normed, queries, width);
        for (queries, &position) in queries.chunks_exact_mut(width).zip(positions) {
            self.transform
                .apply(queries, self.layout.head_dim, position);
        }
    }

    fn attend(&self, cache: &KvCache, queries: &[f32], heads: &mut [f32]) {
        (self.attend)(cache, queries, heads);
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, self.proj.1.len());
    }
}
