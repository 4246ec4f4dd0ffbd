//! Differential attention with a KV cache: the cache of attention, attended to twice.

use dfdx::tensor::Cpu;

use super::DifferentialWeights;
use super::head::{Lambda, difference, norm};
use crate::ops::attention::cached::CachedAttention;
use crate::ops::attention::{Scoring, kv_cache};
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::scratch::Scratch;

/// The packed projections, λ and the gain.
pub(super) struct CachedDifferential<'a, const EMBED: usize, const HEAD_DIM: usize> {
    attention: CachedAttention<'a, EMBED, EMBED, HEAD_DIM>,
    lambda: f32,
    gain: &'a [f32],
}

impl<'a, const EMBED: usize, const HEAD_DIM: usize> CachedDifferential<'a, EMBED, HEAD_DIM> {
    pub(super) fn new(weights: &'a DifferentialWeights<EMBED, HEAD_DIM, f32, Cpu>) -> Self {
        Self {
            // No table of rotations: positions do not enter a score.
            attention: CachedAttention::new(&weights.projections, Scoring::SOFTMAX, 0),
            lambda: Lambda::of(host(&weights.lambda)).value,
            gain: host(&weights.head_norm),
        }
    }

    /// The attention weights of one of a head's two maps, given all queries: `[queries, tokens]`.
    fn weights(&self, cache: &KvCache, head: usize, half: usize, queries: &[f32]) -> Scratch {
        let (n, step) = (queries.len() / EMBED, kv_cache::score_step(cache));
        // Zeros for the other half: the cache has keys as whole heads.
        let mut padded = Scratch::zeros(n * HEAD_DIM);
        let channels = half * HEAD_DIM / 2..(half + 1) * HEAD_DIM / 2;
        for (to, from) in padded
            .chunks_exact_mut(HEAD_DIM)
            .zip(queries.chunks_exact(EMBED))
        {
            to[channels.clone()].copy_from_slice(&from[head * HEAD_DIM..][channels.clone()]);
        }
        let mut weights = Scratch::new(n * step);
        let scale = Scoring::SOFTMAX.scale(HEAD_DIM / 2) as f32;
        kv_cache::scores::<HEAD_DIM>(cache, head, (n, &padded, HEAD_DIM), scale, &mut weights);
        Scoring::SOFTMAX.last_scores_to_weights(&mut weights, step, cache.tokens, 0.0);
        weights
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize> CachedLayer
    for CachedDifferential<'_, EMBED, HEAD_DIM>
{
    fn width(&self) -> usize {
        self.attention.width()
    }

    fn cache_entries(&self, normed: &[f32], positions: &[usize], entries: &mut [f32]) {
        self.attention.cache_entries(normed, positions, entries);
    }

    fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        self.attention.append(cache, entries);
    }

    fn queries(&self, normed: &[f32], positions: &[usize], queries: &mut [f32]) {
        self.attention.queries(normed, positions, queries);
    }

    fn attend(&self, cache: &KvCache, queries: &[f32], heads: &mut [f32]) {
        let mut weighted = Scratch::new(queries.len() / EMBED * HEAD_DIM);
        for head in 0..EMBED / HEAD_DIM {
            let [first, second] = [0, 1].map(|half| self.weights(cache, head, half, queries));
            let weights = difference(&first, &second, self.lambda);
            kv_cache::apply_weights::<HEAD_DIM>(cache, head, &weights, &mut weighted, HEAD_DIM);
            norm(&weighted, self.gain, &mut heads[head * HEAD_DIM..], EMBED);
        }
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        self.attention.project(heads, out);
    }
}
