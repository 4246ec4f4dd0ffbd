//! Attention with a KV cache: the keys and values of processed tokens.
//!
//! `kv_cache.rs` defines their layout in memory.

use dfdx::tensor::Cpu;

use super::scoring::{HeadTransform, Scoring};
use super::{Projections, kv_cache};
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::matmul::Pass;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear};

/// The projections, packed, and how heads attend to a cache.
pub struct CachedAttention<'a, const EMBED: usize, const KV: usize, const HEAD_DIM: usize> {
    key: PackedLinear<'a>,
    value: PackedLinear<'a>,
    query: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    transform: HeadTransform,
    attend: Box<Attend<'a>>,
}

/// See [`CachedLayer::attend`].
type Attend<'a> = dyn Fn(&KvCache, &[f32], &mut [f32]) + Sync + 'a;

impl<'a, const EMBED: usize, const KV: usize, const HEAD_DIM: usize>
    CachedAttention<'a, EMBED, KV, HEAD_DIM>
{
    /// For sequences of at most `context` tokens.
    pub fn new(
        weights: &'a Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        context: usize,
    ) -> Self {
        let scale = scoring.scale(HEAD_DIM) as f32;
        let attend = move |cache: &KvCache, queries: &[f32], heads: &mut [f32]| {
            let (n, step) = (queries.len() / EMBED, kv_cache::score_step(cache));
            let mut scores = Scratch::new(n * step);
            for head in 0..EMBED / HEAD_DIM {
                let (columns, shared) = (head * HEAD_DIM, head / (EMBED / KV));
                let queries = (n, &queries[columns..], EMBED);
                kv_cache::scores::<HEAD_DIM>(cache, shared, queries, scale, &mut scores);
                let slope = scoring.slope(head, EMBED / HEAD_DIM) as f32;
                scoring.last_scores_to_weights(&mut scores, step, cache.tokens, slope);
                let heads = &mut heads[columns..];
                kv_cache::apply_weights::<HEAD_DIM>(cache, shared, &scores, heads, EMBED);
            }
        };
        Self {
            transform: HeadTransform::new(scoring, HEAD_DIM, context),
            ..Self::untransformed(weights, attend)
        }
    }

    /// With heads that attend to a cache in their own way.
    pub fn untransformed(
        weights: &'a Projections<EMBED, KV, f32, Cpu>,
        attend: impl Fn(&KvCache, &[f32], &mut [f32]) + Sync + 'a,
    ) -> Self {
        Self {
            key: pack_linear(&weights.key, Pass::Forward),
            value: pack_linear(&weights.value, Pass::Forward),
            query: pack_linear(&weights.query, Pass::Forward),
            proj: pack_linear(&weights.proj, Pass::Forward),
            transform: HeadTransform::Identity,
            attend: Box::new(attend),
        }
    }
}

impl<const EMBED: usize, const KV: usize, const HEAD_DIM: usize> CachedLayer
    for CachedAttention<'_, EMBED, KV, HEAD_DIM>
{
    fn width(&self) -> usize {
        2 * KV
    }

    fn cache_entries(&self, normed: &[f32], positions: &[usize], entries: &mut [f32]) {
        apply(&self.key, normed, entries, 2 * KV);
        apply(&self.value, normed, &mut entries[KV..], 2 * KV);
        for (entry, &position) in entries.chunks_exact_mut(2 * KV).zip(positions) {
            self.transform.apply(&mut entry[..KV], HEAD_DIM, position);
        }
    }

    fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        kv_cache::append::<HEAD_DIM>(cache, entries, KV);
    }

    fn queries(&self, normed: &[f32], positions: &[usize], queries: &mut [f32]) {
        apply(&self.query, normed, queries, EMBED);
        for (queries, &position) in queries.chunks_exact_mut(EMBED).zip(positions) {
            self.transform.apply(queries, HEAD_DIM, position);
        }
    }

    fn attend(&self, cache: &KvCache, queries: &[f32], heads: &mut [f32]) {
        (self.attend)(cache, queries, heads);
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, EMBED);
    }
}
