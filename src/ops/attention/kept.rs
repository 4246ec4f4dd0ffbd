//! How keys and values of a row are kept: in blocks of 32 tokens, a block head by head.
//!
//! Of a head first the keys, `[HEAD_DIM, 32]`, so that the scores of 32 keys grow side by side, then
//! the values, `[32, HEAD_DIM]`. What is kept never moves.

use crate::ops::kernels::matmul::{Left, PANEL, Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::wide;
use crate::ops::reading::Kept;

/// Tokens of a block: as many as lie side by side in a panel of the matrix kernel.
const BLOCK: usize = PANEL;

/// Appends new tokens to what is kept of some heads: `news: [tokens, 2 * kv]` has their keys, `kv`
/// wide, and values side by side.
pub(super) fn append<const HEAD_DIM: usize>(kept: &mut Kept, news: &[f32], kv: usize) {
    let width = 2 * kv;
    let mut news = news;
    while !news.is_empty() {
        let first = kept.tokens % BLOCK;
        if first == 0 {
            kept.blocks.push(vec![0.0; width * BLOCK]);
        }
        let count = (BLOCK - first).min(news.len() / width);
        let (now, later) = news.split_at(count * width);
        let block = kept.blocks.last_mut().expect("a block that is not full");
        for (head, kept) in block.chunks_exact_mut(2 * HEAD_DIM * BLOCK).enumerate() {
            let (keys, values) = kept.split_at_mut(HEAD_DIM * BLOCK);
            for (channel, row) in keys.chunks_exact_mut(BLOCK).enumerate() {
                let news = now[head * HEAD_DIM + channel..].iter().step_by(width);
                (row[first..first + count].iter_mut().zip(news)).for_each(|(key, new)| *key = *new);
            }
            let values = values[first * HEAD_DIM..].chunks_exact_mut(HEAD_DIM);
            for (value, new) in values.zip(now.chunks_exact(width)) {
                value.copy_from_slice(&new[kv + head * HEAD_DIM..][..HEAD_DIM]);
            }
        }
        kept.tokens += count;
        news = later;
    }
}

/// Keys and values of one head, with the number of tokens that they are of, block by block.
fn blocks<const HEAD_DIM: usize>(
    kept: &Kept,
    head: usize,
) -> impl Iterator<Item = (usize, &[f32], &[f32])> {
    kept.blocks.iter().enumerate().map(move |(i, block)| {
        let size = HEAD_DIM * BLOCK;
        let (keys, values) = block[head * 2 * size..][..2 * size].split_at(size);
        (BLOCK.min(kept.tokens - i * BLOCK), keys, values)
    })
}

/// How far apart rows of scores are: whole blocks.
pub(in crate::ops) fn score_step(kept: &Kept) -> usize {
    kept.blocks.len() * BLOCK
}

/// `scale * queries · keysᵀ` of one head: `queries: [rows, HEAD_DIM]`, rows `step` apart, →
/// `scores: [rows, tokens]`, written, rows [`score_step`] apart.
pub(in crate::ops) fn scores<const HEAD_DIM: usize>(
    kept: &Kept,
    head: usize,
    (rows, queries, step): (usize, &[f32], usize),
    scale: f32,
    scores: &mut [f32],
) {
    for (i, (tokens, keys, _)) in blocks::<HEAD_DIM>(kept, head).enumerate() {
        let scores = &mut scores[i * BLOCK..];
        if rows > 1 {
            let keys = Packed::new(View::rows(keys, BLOCK), HEAD_DIM, tokens);
            let (left, target) = (
                Left::Rows(queries, step),
                Target::set(scores, score_step(kept)),
            );
            multiply(rows, left, &keys, scale, Part::Whole, target);
            continue;
        }
        // One pass over the keys where they lie.
        let sums: [f32; BLOCK] = wide(
            #[inline(always)]
            || weighted_sum(keys, &queries[..HEAD_DIM]),
        );
        for (score, sum) in scores[..tokens].iter_mut().zip(sums) {
            *score = scale * sum;
        }
    }
}

/// `weights · values` of one head: `weights: [rows, tokens]`, rows [`score_step`] apart, →
/// `heads: [rows, HEAD_DIM]`, rows `step` apart, written. Values are finite.
pub(in crate::ops) fn blend<const HEAD_DIM: usize>(
    kept: &Kept,
    head: usize,
    weights: &[f32],
    heads: &mut [f32],
    step: usize,
) {
    let rows = weights.len() / score_step(kept);
    for (i, (tokens, _, values)) in blocks::<HEAD_DIM>(kept, head).enumerate() {
        let weights = &weights[i * BLOCK..];
        if rows > 1 {
            let values = Packed::new(View::rows(values, HEAD_DIM), tokens, HEAD_DIM);
            let target = Target {
                add: i > 0,
                ..Target::set(heads, step)
            };
            let left = Left::Rows(weights, score_step(kept));
            multiply(rows, left, &values, 1.0, Part::Whole, target);
            continue;
        }
        let heads: &mut [f32; HEAD_DIM] = (&mut heads[..HEAD_DIM]).try_into().expect("a head");
        if i == 0 {
            heads.fill(0.0);
        }
        let sums: [f32; HEAD_DIM] = wide(
            #[inline(always)]
            || weighted_sum(values, &weights[..tokens]),
        );
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
