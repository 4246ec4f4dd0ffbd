//! Differential attention with a KV cache: the cache of attention, attended to twice.

use dfdx::tensor::Cpu;

use super::DifferentialWeights;
use super::head::{Lambda, difference, norm};
use crate::ops::attention::cached::CachedAttention;
use crate::ops::attention::{Scoring, kv_cache};
use crate::ops::bridge::host;
use crate::ops::decoding::KvCache;
use crate::ops::kernels::scratch::Scratch;

/// The attention weights of a head are the difference of its two maps.
pub(super) fn differences<const EMBED: usize, const HEAD_DIM: usize>(
    weights: &DifferentialWeights<EMBED, HEAD_DIM, f32, Cpu>,
) -> CachedAttention<'_, EMBED, EMBED, HEAD_DIM> {
    let (lambda, gain) = (
        Lambda::of(host(&weights.lambda)).value,
        host(&weights.head_norm),
    );
    CachedAttention::untransformed(&weights.projections, move |cache, queries, heads| {
        let mut weighted = Scratch::new(queries.len() / EMBED * HEAD_DIM);
        for head in 0..EMBED / HEAD_DIM {
            let column = head * HEAD_DIM;
            let map = |half| map_of::<EMBED, HEAD_DIM>(cache, head, half, &queries[column..]);
            let [first, second] = [0, 1].map(map);
            let weights = difference(&first, &second, lambda);
            kv_cache::apply_weights::<HEAD_DIM>(cache, head, &weights, &mut weighted, HEAD_DIM);
            norm(&weighted, gain, &mut heads[column..], EMBED);
        }
    })
}

/// The attention weights of one of a head's two maps, given its columns of all queries: `[queries, tokens]`.
fn map_of<const EMBED: usize, const HEAD_DIM: usize>(
    cache: &KvCache,
    head: usize,
    half: usize,
    queries: &[f32],
) -> Scratch {
    let (n, step) = (queries.len().div_ceil(EMBED), kv_cache::score_step(cache));
    // Zeros for the other half: the cache has keys as whole heads.
    let mut padded = Scratch::zeros(n * HEAD_DIM);
    let channels = half * HEAD_DIM / 2..(half + 1) * HEAD_DIM / 2;
    for (to, from) in padded.chunks_exact_mut(HEAD_DIM).zip(queries.chunks(EMBED)) {
        to[channels.clone()].copy_from_slice(&from[channels.clone()]);
    }
    let mut weights = Scratch::new(n * step);
    let scale = Scoring::SOFTMAX.scale(HEAD_DIM / 2) as f32;
    kv_cache::scores::<HEAD_DIM>(cache, head, (n, &padded, HEAD_DIM), scale, &mut weights);
    Scoring::SOFTMAX.last_scores_to_weights(&mut weights, step, cache.tokens, 0.0);
    weights
}
