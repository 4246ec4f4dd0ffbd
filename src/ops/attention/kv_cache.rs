//! The layout of the KV cache of a sequence: blocks of 32 tokens, each block head by head.
//!
//! A head has first its keys, `[head_dim, 32]`, so that 32 scores are accumulated side by side, then its
//! values, `[32, head_dim]`. Cached entries never move.
//!
//! Without keys there is one block, which grows: the values of all heads, `[tokens, kv]`.

use std::ops::Range;

use crate::ops::kernels::matmul::{PANEL, Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::{weighted_sum, wide};

/// The cached keys and values of one sequence.
#[derive(Default)]
pub struct KvCache {
    /// Number of cached tokens.
    pub tokens: usize,
    /// The running sums of each token's forget gates: `[tokens, heads]`, or nothing.
    pub sums: Vec<f32>,
    blocks: Vec<Vec<f32>>,
}

/// Tokens per block: the columns of a panel of the matrix kernel.
const BLOCK: usize = PANEL;

/// Appends new tokens to the cache: `entries: [tokens, 2 * kv]` has their keys, `kv` wide, and values side
/// by side.
pub(super) fn append(cache: &mut KvCache, entries: &[f32], kv: usize, head_dim: usize) {
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
        for (head, of_head) in block.chunks_exact_mut(2 * head_dim * BLOCK).enumerate() {
            let (keys, values) = of_head.split_at_mut(head_dim * BLOCK);
            for (channel, row) in keys.chunks_exact_mut(BLOCK).enumerate() {
                let new_keys = now[head * head_dim + channel..].iter().step_by(width);
                (row[first..first + count].iter_mut().zip(new_keys))
                    .for_each(|(key, new)| *key = *new);
            }
            let values = values[first * head_dim..].chunks_exact_mut(head_dim);
            for (value, new) in values.zip(now.chunks_exact(width)) {
                value.copy_from_slice(&new[kv + head * head_dim..][..head_dim]);
            }
        }
        cache.tokens += count;
        rest = later;
    }
}

/// Appends new tokens to a cache without keys: `values: [tokens, kv]`.
pub(super) fn append_values(cache: &mut KvCache, values: &[f32], kv: usize) {
    if cache.blocks.is_empty() {
        cache.blocks.push(vec![]);
    }
    cache.blocks[0].extend_from_slice(values);
    cache.tokens += values.len() / kv;
}

/// The weighted sum of one head's values in a cache without keys: see [`apply_weights`]. The head starts at `column` of
/// the values, and is `head_dim` wide; `weights` has row stride `step`.
pub fn apply_weights_to_values(
    cache: &KvCache,
    (column, head_dim): (usize, usize),
    (weights, step): (&[f32], usize),
    heads: Target<'_>,
) {
    let (values, tokens) = (&cache.blocks[0], cache.tokens);
    let values = View::rows(&values[column..], values.len() / tokens);
    let values = Packed::new(values, tokens, head_dim);
    let (rows, left) = (weights.len() / step, View::rows(weights, step));
    multiply(rows, left, &values, 1.0, Part::Whole, heads);
}

/// Number of tokens, keys and values of one head, block by block.
fn blocks(
    cache: &KvCache,
    (head, head_dim): (usize, usize),
) -> impl Iterator<Item = (usize, &[f32], &[f32])> {
    cache.blocks.iter().enumerate().map(move |(i, block)| {
        let size = head_dim * BLOCK;
        let (keys, values) = block[head * 2 * size..][..2 * size].split_at(size);
        (BLOCK.min(cache.tokens - i * BLOCK), keys, values)
    })
}

/// Row stride of scores: whole blocks.
pub fn score_step(cache: &KvCache) -> usize {
    cache.blocks.len() * BLOCK
}

/// `scale * queries · keysᵀ` over some channels of one head, given its number and width: `queries: [rows, channels]` with
/// row stride `step` → `scores: [rows, tokens]` with row stride [`score_step`], written.
pub fn scores(
    cache: &KvCache,
    (head, channels): ((usize, usize), Range<usize>),
    (rows, queries, step): (usize, &[f32], usize),
    scale: f32,
    scores: &mut [f32],
) {
    for (i, (tokens, keys, _)) in blocks(cache, head).enumerate() {
        let scores = &mut scores[i * BLOCK..];
        let keys = &keys[channels.start * BLOCK..channels.end * BLOCK];
        if rows > 1 {
            let keys = Packed::new(View::rows(keys, BLOCK), channels.len(), tokens);
            let left = View::rows(queries, step);
            let target = Target::set(scores, score_step(cache));
            multiply(rows, left, &keys, scale, Part::Whole, target);
            continue;
        }
        // A single query: one pass over the keys in place.
        let keys = keys.as_chunks::<BLOCK>().0.iter();
        let sums: [f32; BLOCK] = wide!(weighted_sum(keys, &queries[..channels.len()]));
        for (score, sum) in scores[..tokens].iter_mut().zip(sums) {
            *score = scale * sum;
        }
    }
}

/// The weighted sum of one head's values, `weights · values`: `weights: [rows, tokens]` with row stride
/// [`score_step`] → `heads: [rows, head_dim]` with row stride `step`, written. Values must be finite.
pub fn apply_weights(
    cache: &KvCache,
    head: (usize, usize),
    weights: &[f32],
    heads: &mut [f32],
    step: usize,
) {
    let rows = weights.len() / score_step(cache);
    for (i, (tokens, _, values)) in blocks(cache, head).enumerate() {
        let weights = &weights[i * BLOCK..];
        if rows > 1 {
            let values = Packed::new(View::rows(values, head.1), tokens, head.1);
            let target = Target::set(heads, step).adding(i > 0);
            let left = View::rows(weights, score_step(cache));
            multiply(rows, left, &values, 1.0, Part::Whole, target);
            continue;
        }
        let heads = &mut heads[..head.1];
        if i == 0 {
            heads.fill(0.0);
        }
        add_weighted(values, &weights[..tokens], heads);
    }
}

/// Adds the weighted sum of some values to a head's output: a few channels at a time, whose sums fit in registers.
fn add_weighted(values: &[f32], weights: &[f32], head: &mut [f32]) {
    let mut first = 0;
    while first < head.len() {
        first += match head.len() - first {
            32.. => add_channels::<32>(values, weights, head, first),
            8.. => add_channels::<8>(values, weights, head, first),
            _ => add_channels::<1>(values, weights, head, first),
        };
    }
}

/// The same for `COUNT` channels from the `first` on; returns their number.
fn add_channels<const COUNT: usize>(
    values: &[f32],
    weights: &[f32],
    head: &mut [f32],
    first: usize,
) -> usize {
    let sums: [f32; COUNT] = wide!({
        // Chunks of a length that is not constant would cost a division.
        let starts = (first..).step_by(head.len()).take(weights.len());
        let rows = starts.map(|start| values[start..].first_chunk().expect("channels of a head"));
        weighted_sum(rows, weights)
    });
    let channels = head[first..].iter_mut();
    channels
        .zip(sums)
        .for_each(|(channel, sum)| *channel += sum);
    COUNT
}
