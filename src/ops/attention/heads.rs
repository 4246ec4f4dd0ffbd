//! One head over one document: softmax attention and its backward, on slices.

use std::ops::Range;

use super::AttentionDropout;
use crate::ops::kernels::matmul::{Left, Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::{LANES, softmax, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;

/// How far apart the rows of attention weights over so many keys are: rows of whole vectors.
fn step(keys: usize) -> usize {
    keys.next_multiple_of(LANES)
}

/// Elements of a document's attention weights, one head.
pub(super) fn squares(tokens: usize) -> usize {
    tokens * step(tokens)
}

/// The weights of the keys that a query sees, filled up to whole vectors, and the rest of the row.
/// Loops over whole vectors have no tail of single elements.
#[inline(always)]
fn whole_vectors(row: &mut [f32], query: usize) -> (&mut [f32], &mut [f32]) {
    row.split_at_mut((query + 1).next_multiple_of(LANES))
}

/// Which head of which document.
pub(super) struct Head<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    /// The document's rows in the matrices at hand.
    pub(super) tokens: Range<usize>,
    /// Its first token in the batch: what dropout counts by.
    pub(super) first: usize,
    pub(super) head: usize,
    pub(super) dropout: AttentionDropout,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> Head<EMBED, HEADS, HEAD_DIM> {
    /// Width of queries, keys and values side by side.
    const WIDTH: usize = 3 * EMBED;

    /// Of the scores, so that their variance does not grow with the width.
    fn scale() -> f32 {
        1.0 / (HEAD_DIM as f32).sqrt()
    }

    /// Number of elements that its attention weights take, those above the diagonal counted too.
    pub(super) fn squares(&self) -> usize {
        squares(self.tokens.len())
    }

    /// Number of keys, and how far apart the rows of their weights are.
    fn size(&self) -> (usize, usize) {
        (self.tokens.len(), step(self.tokens.len()))
    }

    /// Where its columns begin in a matrix of heads side by side.
    fn place(&self) -> usize {
        self.tokens.start * EMBED + self.head * HEAD_DIM
    }

    /// Where its queries, keys and values begin.
    fn places(&self) -> [usize; 3] {
        let first = self.tokens.start * Self::WIDTH + self.head * HEAD_DIM;
        [first, first + EMBED, first + 2 * EMBED]
    }

    /// Writes `attention: [length, length]`, its rows in whole vectors, and the head's columns of `heads`.
    pub(super) fn attend(&self, qkv: &[f32], attention: &mut [f32], heads: &mut [f32]) {
        let (n, step) = self.size();
        let [q, k, v] = self.places().map(|at| View::rows(&qkv[at..], Self::WIDTH));
        let (keys, target) = (
            Packed::new(k.t(), HEAD_DIM, n),
            Target::set(attention, step),
        );
        multiply(n, q.left(), &keys, Self::scale(), Part::LowerResult, target);
        wide(
            #[inline(always)]
            || {
                for (query, row) in attention.chunks_exact_mut(step).enumerate() {
                    row[query + 1..].fill(f32::NEG_INFINITY);
                    let (seen, hidden) = whole_vectors(row, query);
                    softmax(seen);
                    // What is left of a key after the query is below the precision of the sum.
                    seen[query + 1..].fill(0.0);
                    hidden.fill(0.0);
                }
            },
        );
        let dropped = self.dropped(attention);
        let kept = Left::Rows(dropped.as_deref().unwrap_or(attention), step);
        let (values, target) = (
            Packed::new(v, n, HEAD_DIM),
            Target::set(&mut heads[self.place()..], EMBED),
        );
        multiply(n, kept, &values, 1.0, Part::LowerLeft, target);
    }

    /// `attention` after dropout, where there is any.
    fn dropped(&self, attention: &[f32]) -> Option<Scratch> {
        let (step, dropout) = (self.size().1, self.dropout.weights);
        (!dropout.is_none()).then(|| {
            let mut dropped = Scratch::new(attention.len());
            wide(
                #[inline(always)]
                || {
                    let rows = dropped
                        .chunks_exact_mut(step)
                        .zip(attention.chunks_exact(step));
                    for (query, (to, from)) in rows.enumerate() {
                        let index = self.dropout_index(query);
                        let (to, hidden) = whole_vectors(to, query);
                        hidden.fill(0.0);
                        for (key, (to, from)) in to.iter_mut().zip(from).enumerate() {
                            *to = from * dropout.factor((index + key) as u32);
                        }
                    }
                },
            );
            dropped
        })
    }

    /// Of the weight of a query's first key.
    #[inline(always)]
    fn dropout_index(&self, query: usize) -> usize {
        ((self.first + query) * HEADS + self.head) * self.dropout.context
    }

    /// Backward of [`Self::attend`]: writes the head's columns of `dqkv`.
    pub(super) fn attend_backward(
        &self,
        qkv: &[f32],
        attention: &[f32],
        dheads: &[f32],
        dqkv: &mut [f32],
    ) {
        let ((n, step), width) = (self.size(), Self::WIDTH);
        let [q, k, v] = self.places().map(|at| View::rows(&qkv[at..], width));
        let [dq, dk, dv] = self.places();
        let dout = View::rows(&dheads[self.place()..], EMBED);
        let dropped = self.dropped(attention);
        let kept = Left::Columns(dropped.as_deref().unwrap_or(attention), step);
        let (douts, target) = (
            Packed::new(dout, n, HEAD_DIM),
            Target::set(&mut dqkv[dv..], width),
        );
        multiply(n, kept, &douts, 1.0, Part::UpperLeft, target);
        let mut dscores = Scratch::new(attention.len());
        let (values, target) = (
            Packed::new(v.t(), HEAD_DIM, n),
            Target::set(&mut dscores, step),
        );
        multiply(n, dout.left(), &values, 1.0, Part::LowerResult, target);
        let (scale, dropout) = (Self::scale(), self.dropout.weights);
        wide(
            #[inline(always)]
            || {
                let rows = dscores
                    .chunks_exact_mut(step)
                    .zip(attention.chunks_exact(step));
                for (query, (d, a)) in rows.enumerate() {
                    d[query + 1..].fill(0.0);
                    let d = whole_vectors(d, query).0;
                    if !dropout.is_none() {
                        let index = self.dropout_index(query);
                        for (key, d) in d.iter_mut().enumerate() {
                            *d *= dropout.factor((index + key) as u32);
                        }
                    }
                    let a = &a[..d.len()];
                    let along = sum_of(d, a, |d, a| d * a);
                    d.iter_mut()
                        .zip(a)
                        .for_each(|(d, a)| *d = a * (*d - along) * scale);
                }
            },
        );
        let (keys, target) = (
            Packed::new(k, n, HEAD_DIM),
            Target::set(&mut dqkv[dq..], width),
        );
        let left = Left::Rows(&dscores, step);
        multiply(n, left, &keys, 1.0, Part::LowerLeft, target);
        let (queries, target) = (
            Packed::new(q, n, HEAD_DIM),
            Target::set(&mut dqkv[dk..], width),
        );
        let left = Left::Columns(&dscores, step);
        multiply(n, left, &queries, 1.0, Part::UpperLeft, target);
    }
}
