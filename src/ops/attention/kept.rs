//! How the CPU keeps keys and values: each head's by themselves, in the order in which they are read.
//!
//! Of a head first the keys, `[HEAD_DIM, room]`, so that the scores of many keys grow side by side,
//! then the values, `[room, HEAD_DIM]`. Room is made for whole panels of tokens.

use crate::ops::kernels::matmul::{Left, Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::wide;
use crate::ops::reading::Kept;

/// Tokens that room is made for at a time: an answer seldom moves what is kept.
const ROOM: usize = 32;

/// Keys and values of one head.
#[derive(Clone, Copy)]
pub(super) struct HeadKept<'a, const HEAD_DIM: usize> {
    /// Number of tokens, and of those there is room for.
    pub(super) tokens: usize,
    room: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

impl Kept {
    /// Appends new tokens, `[tokens, 2 * EMBED]`: their keys and values side by side.
    pub(super) fn append<const HEADS: usize, const HEAD_DIM: usize>(&mut self, news: &[f32]) {
        let embed = HEADS * HEAD_DIM;
        let count = news.len() / (2 * embed);
        self.make_room::<HEADS, HEAD_DIM>(self.tokens + count);
        let room = self.numbers.len() / (2 * embed);
        for (head, kept) in self
            .numbers
            .chunks_exact_mut(2 * HEAD_DIM * room)
            .enumerate()
        {
            let (keys, values) = kept.split_at_mut(HEAD_DIM * room);
            for (token, new) in (self.tokens..).zip(news.chunks_exact(2 * embed)) {
                let (key, value) = new.split_at(embed);
                let columns = head * HEAD_DIM..(head + 1) * HEAD_DIM;
                for (row, key) in keys.chunks_exact_mut(room).zip(&key[columns.clone()]) {
                    row[token] = *key;
                }
                values[token * HEAD_DIM..][..HEAD_DIM].copy_from_slice(&value[columns]);
            }
        }
        self.tokens += count;
    }

    /// Moves what is kept where there is room for so many tokens.
    fn make_room<const HEADS: usize, const HEAD_DIM: usize>(&mut self, tokens: usize) {
        let width = 2 * HEADS * HEAD_DIM;
        let (old, new) = (self.numbers.len() / width, tokens.next_multiple_of(ROOM));
        if tokens <= old {
            return;
        }
        let mut numbers = vec![0.0; width * new];
        // The keys of a head are `HEAD_DIM` rows, its values one.
        for head in 0..HEADS {
            let [from, to] = [old, new].map(|room| head * 2 * HEAD_DIM * room);
            for row in 0..HEAD_DIM {
                let [from, to] = [from + row * old, to + row * new];
                numbers[to..to + self.tokens]
                    .copy_from_slice(&self.numbers[from..from + self.tokens]);
            }
            let [from, to] = [from + HEAD_DIM * old, to + HEAD_DIM * new];
            let count = self.tokens * HEAD_DIM;
            numbers[to..to + count].copy_from_slice(&self.numbers[from..from + count]);
        }
        self.numbers = numbers;
    }

    /// One head's keys and values.
    pub(super) fn head<const HEADS: usize, const HEAD_DIM: usize>(
        &self,
        head: usize,
    ) -> HeadKept<'_, HEAD_DIM> {
        let room = self.numbers.len() / (2 * HEADS * HEAD_DIM);
        let size = HEAD_DIM * room;
        let (keys, values) = self.numbers[head * 2 * size..][..2 * size].split_at(size);
        HeadKept {
            tokens: self.tokens,
            room,
            keys,
            values,
        }
    }
}

impl<const HEAD_DIM: usize> HeadKept<'_, HEAD_DIM> {
    /// `scale * queries · keysᵀ`: `queries`, rows `step` apart, → `scores: [rows, tokens]`, written.
    pub(super) fn scores(
        &self,
        (rows, queries, step): (usize, &[f32], usize),
        scale: f32,
        scores: &mut [f32],
    ) {
        if rows == 1 {
            // One pass over the keys where they lie.
            scores.fill(0.0);
            wide(
                #[inline(always)]
                || {
                    for (row, query) in self.keys.chunks_exact(self.room).zip(queries) {
                        let query = scale * query;
                        for (score, key) in scores.iter_mut().zip(row) {
                            *score += query * key;
                        }
                    }
                },
            );
            return;
        }
        let keys = Packed::new(View::rows(self.keys, self.room), HEAD_DIM, self.tokens);
        let (left, target) = (Left::Rows(queries, step), Target::set(scores, self.tokens));
        multiply(rows, left, &keys, scale, Part::Whole, target);
    }

    /// `weights · values`: `weights: [rows, tokens]` → `heads: [rows, HEAD_DIM]`, rows `step` apart,
    /// written.
    pub(super) fn blend(&self, weights: &[f32], heads: &mut [f32], step: usize) {
        if weights.len() == self.tokens {
            wide(
                #[inline(always)]
                || {
                    let mut sums = [0.0; HEAD_DIM];
                    for (value, weight) in self.values.chunks_exact(HEAD_DIM).zip(weights) {
                        for (sum, value) in sums.iter_mut().zip(value) {
                            *sum += weight * value;
                        }
                    }
                    heads[..HEAD_DIM].copy_from_slice(&sums);
                },
            );
            return;
        }
        let values = Packed::new(View::rows(self.values, HEAD_DIM), self.tokens, HEAD_DIM);
        let (left, target) = (Left::Rows(weights, self.tokens), Target::set(heads, step));
        let rows = weights.len() / self.tokens;
        multiply(rows, left, &values, 1.0, Part::Whole, target);
    }
}
