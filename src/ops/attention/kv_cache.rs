//! The layout of the KV cache of a sequence: blocks of 32 tokens, each block head by head.
//!
//! A head has first its keys, `[HEAD_DIM, 32]`, so that 32 scores are accumulated side by side, then its
//! values, `[32, HEAD_DIM]`. Cached entries never move.

use crate::ops::decoding::KvCache;
use crate::ops::kernels::matmul::{Left, PANEL, Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::wide;

/// Tokens per block: the columns of a panel of the matrix kernel.
const BLOCK: usize = PANEL;

/// Appends new tokens to the cache: `entries: [tokens, 2 * kv]` has their keys, `kv` wide, and values side
/// by side.
pub(super) fn append<const HEAD_DIM: usize>(cache: &mut KvCache, entries: &[f32], kv: usize) {
    let width = 2 * kv;
    let mut rest = entries;
    while !rest.is_empty() {
        let first = cache.tokens % BLOCK;
        if first == 0 {
            cache.blocks.push(vec![0.0; width * BLOCK]);
        }
        let count = (BLOCK - first).min(rest.len() / width);
        let (now, later) = rest.split_at(count * width);
        let block = cache.blocks.last_mut().expect("a block that is not full");
        for (head, of_head) in block.chunks_exact_mut(2 * HEAD_DIM * BLOCK).enumerate() {
            let (keys, values) = of_head.split_at_mut(HEAD_DIM * BLOCK);
            for (channel, row) in keys.chunks_exact_mut(BLOCK).enumerate() {
                let new_keys = now[head * HEAD_DIM + channel..].iter().step_by(width);
                (row[first..first + count].iter_mut().zip(new_keys))
                    .for_each(|(key, new)| *key = *new);
            }
            let values = values[first * HEAD_DIM..].chunks_exact_mut(HEAD_DIM);
            for (value, new) in values.zip(now.chunks_exact(width)) {
                value.copy_from_slice(&new[kv + head * HEAD_DIM..][..HEAD_DIM]);
            }
        }
        cache.tokens += count;
        rest = later;
    }
}

/// Number of tokens, keys and values of one head, block by block.
fn blocks<const HEAD_DIM: usize>(
    cache: &KvCache,
    head: usize,
) -> impl Iterator<Item = (usize, &[f32], &[f32])> {
    cache.blocks.iter().enumerate().map(move |(i, block)| {
        let size = HEAD_DIM * BLOCK;
        let (keys, values) = block[head * 2 * size..][..2 * size].split_at(size);
        (BLOCK.min(cache.tokens - i * BLOCK), keys, values)
    })
}

/// Row stride of scores: whole blocks.
pub fn score_step(cache: &KvCache) -> usize {
    cache.blocks.len() * BLOCK
}

/// `scale * queries · keysᵀ` of one head: `queries: [rows, HEAD_DIM]` with row stride `step` →
/// `scores: [rows, tokens]` with row stride [`score_step`], written.
pub fn scores<const HEAD_DIM: usize>(
    cache: &KvCache,
    head: usize,
    (rows, queries, step): (usize, &[f32], usize),
    scale: f32,
    scores: &mut [f32],
) {
    for (i, (tokens, keys, _)) in blocks::<HEAD_DIM>(cache, head).enumerate() {
        let scores = &mut scores[i * BLOCK..];
        if rows > 1 {
            let keys = Packed::new(View::rows(keys, BLOCK), HEAD_DIM, tokens);
            let left = Left::Rows(queries, step);
            let target = Target::set(scores, score_step(cache));
            multiply(rows, left, &keys, scale, Part::Whole, target);
            continue;
        }
        // A single query: one pass over the keys in place.
        let sums: [f32; BLOCK] = wide!(weighted_sum(keys, &queries[..HEAD_DIM]));
        for (score, sum) in scores[..tokens].iter_mut().zip(sums) {
            *score = scale * sum;
        }
    }
}

/// The weighted sum of one head's values, `weights · values`: `weights: [rows, tokens]` with row stride
/// [`score_step`] → `heads: [rows, HEAD_DIM]` with row stride `step`, written. Values must be finite.
pub fn apply_weights<const HEAD_DIM: usize>(
    cache: &KvCache,
    head: usize,
    weights: &[f32],
    heads: &mut [f32],
    step: usize,
) {
    let rows = weights.len() / score_step(cache);
    for (i, (tokens, _, values)) in blocks::<HEAD_DIM>(cache, head).enumerate() {
        let weights = &weights[i * BLOCK..];
        if rows > 1 {
            let values = Packed::new(View::rows(values, HEAD_DIM), tokens, HEAD_DIM);
            let target = Target {
                add: i > 0,
                ..Target::set(heads, step)
            };
            let left = Left::Rows(weights, score_step(cache));
            multiply(rows, left, &values, 1.0, Part::Whole, target);
            continue;
        }
        let heads: &mut [f32; HEAD_DIM] = (&mut heads[..HEAD_DIM]).try_into().expect("a head");
        if i == 0 {
            heads.fill(0.0);
        }
        let sums: [f32; HEAD_DIM] = wide!(weighted_sum(values, &weights[..tokens]));
        heads
            .iter_mut()
            .zip(sums)
            .for_each(|(head, sum)| *head += sum);
    }
}

/// `Σ weights[i] * rows[i]`, rows of `WIDTH` elements.
#[inline(always)]
fn weighted_sum<const WIDTH: usize>(rows: &[f32], weights: &[f32]) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for (row, weight) in rows.as_chunks::<WIDTH>().0.iter().zip(weights) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += weight * x);
    }
    sums
}
