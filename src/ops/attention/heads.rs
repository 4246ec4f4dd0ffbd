//! One head over one document, on slices: scores become weights, weights blend values, and backward.

use super::{AttentionDropout, Scoring, Weights};
use crate::ops::kernels::matmul::{Left, Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::{LANES, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::maps::HeadMap;

/// How far apart the rows of attention weights over so many keys are: rows of whole vectors.
pub(in crate::ops) fn step(keys: usize) -> usize {
    keys.next_multiple_of(LANES)
}

/// The weights that queries give keys in one head of one document: `[queries, keys]`, rows in whole
/// vectors; 0 for keys that a query does not see. It says how they are computed, and holds none.
///
/// There are at least as many queries as keys, and the first of them stand where the keys stand; those
/// beyond the last key see what the last of these sees.
#[derive(Clone, Copy)]
pub(in crate::ops) struct WeightMap {
    pub(in crate::ops) queries: usize,
    pub(in crate::ops) keys: usize,
    /// The document's first query in the batch: what dropout counts by.
    pub(in crate::ops) first: usize,
    pub(in crate::ops) head: usize,
    /// Number of heads.
    pub(in crate::ops) heads: usize,
    pub(in crate::ops) scoring: Scoring,
    pub(in crate::ops) dropout: AttentionDropout,
}

impl WeightMap {
    /// Of the first document of a batch, without dropout.
    pub(in crate::ops) fn shown(
        [queries, keys]: [usize; 2],
        [head, heads]: [usize; 2],
        scoring: Scoring,
    ) -> Self {
        Self {
            queries,
            keys,
            first: 0,
            head,
            heads,
            scoring,
            dropout: AttentionDropout::none(0),
        }
    }

    /// Number of elements that are kept for backward.
    pub(in crate::ops) fn elements(&self) -> usize {
        let sums = match self.scoring.weights {
            Weights::Softmax => 0,
            Weights::Features => self.queries,
        };
        self.queries * step(self.keys) + sums
    }

    /// The weights in what is kept, and for [`Weights::Features`] what each row was multiplied by.
    fn parts<'a>(&self, kept: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        kept.split_at(self.queries * step(self.keys))
    }

    /// Makes weights of scores, in place; of `scores` what lies above the diagonal may be anything.
    pub(in crate::ops) fn weigh(&self, kept: &mut [f32]) {
        let slope = self.scoring.slope(self.head, self.heads) as f32;
        let (scores, scales) = kept.split_at_mut(self.queries * step(self.keys));
        wide(
            #[inline(always)]
            || {
                for (query, row) in scores.chunks_exact_mut(step(self.keys)).enumerate() {
                    let scale = self.scoring.weigh(row, self.last_seen(query), slope);
                    if let Some(kept) = scales.get_mut(query) {
                        *kept = scale;
                    }
                }
            },
        );
    }

    /// The weights by themselves, given the score of every query and key that it sees.
    pub(in crate::ops) fn of_scores(&self, score: impl Fn(usize, usize) -> f32) -> HeadMap {
        let mut kept = vec![0.0; self.elements()];
        for (query, row) in kept[..self.queries * step(self.keys)]
            .chunks_exact_mut(step(self.keys))
            .enumerate()
        {
            let seen = row[..=self.last_seen(query)].iter_mut().enumerate();
            seen.for_each(|(key, place)| *place = score(query, key));
        }
        self.weigh(&mut kept);
        let rows = self.parts(&kept).0.chunks_exact(step(self.keys));
        HeadMap {
            queries: self.queries,
            keys: self.keys,
            weights: rows.flat_map(|row| &row[..self.keys]).copied().collect(),
        }
    }

    /// `out = dropout(weights) · values`, `[queries, width]`.
    pub(in crate::ops) fn blend(&self, kept: &[f32], values: Values<'_>, out: Target<'_>) {
        let weights = self.parts(kept).0;
        let dropped = self.dropped(weights);
        let left = Left::Rows(dropped.as_deref().unwrap_or(weights), step(self.keys));
        let values = Packed::new(values.rows, self.keys, values.width);
        multiply(self.queries, left, &values, 1.0, Part::LowerLeft, out);
    }

    /// Backward of [`Self::blend`]: writes `dvalues`, or adds to it, and returns the gradient of the
    /// weights; what that holds above the diagonal means nothing.
    pub(in crate::ops) fn blend_backward(
        &self,
        kept: &[f32],
        values: Values<'_>,
        dout: View<'_>,
        dvalues: Target<'_>,
    ) -> Scratch {
        let (queries, keys, step) = (self.queries, self.keys, step(self.keys));
        let weights = self.parts(kept).0;
        let dropped = self.dropped(weights);
        let left = Left::Columns(dropped.as_deref().unwrap_or(weights), step);
        let douts = Packed::new(dout, queries, values.width);
        multiply(keys, left, &douts, 1.0, Part::UpperLeft, dvalues);

        let mut dweights = Scratch::new(queries * step);
        let target = Target::set(&mut dweights, step);
        let values = Packed::new(values.rows.t(), values.width, keys);
        multiply(
            queries,
            dout.left(),
            &values,
            1.0,
            Part::LowerResult,
            target,
        );
        let dropout = self.dropout.weights;
        if !dropout.is_none() {
            wide(
                #[inline(always)]
                || {
                    for (query, row) in dweights.chunks_exact_mut(step).enumerate() {
                        let index = self.dropout_index(query);
                        for (key, d) in row[..=self.last_seen(query)].iter_mut().enumerate() {
                            *d *= dropout.factor((index + key) as u32);
                        }
                    }
                },
            );
        }
        dweights
    }

    /// Backward of [`Self::weigh`], in place: the gradient of the scores, 0 where the weights are.
    pub(in crate::ops) fn weigh_backward(&self, kept: &[f32], dweights: &mut [f32]) {
        let (weights, scales) = self.parts(kept);
        let step = step(self.keys);
        wide(
            #[inline(always)]
            || {
                let rows = dweights
                    .chunks_exact_mut(step)
                    .zip(weights.chunks_exact(step));
                for (query, (d, weights)) in rows.enumerate() {
                    let last = self.last_seen(query);
                    let first = self.scoring.first_seen(last);
                    d[..first].fill(0.0);
                    d[last + 1..].fill(0.0);
                    // Whole vectors: loops over them have no tail of single elements.
                    let end = (last + 1).next_multiple_of(LANES);
                    let (d, weights) = (&mut d[..end], &weights[..end]);
                    let along = sum_of(d, weights, |d, w| d * w);
                    match scales.get(query) {
                        None => {
                            (d.iter_mut().zip(weights)).for_each(|(d, w)| *d = w * (*d - along))
                        }
                        Some(scale) => {
                            (d[first..=last].iter_mut()).for_each(|d| *d = (*d - along) * scale)
                        }
                    }
                }
            },
        );
    }

    /// `weights` after dropout, where there is any.
    fn dropped(&self, weights: &[f32]) -> Option<Scratch> {
        let (step, dropout) = (step(self.keys), self.dropout.weights);
        (!dropout.is_none()).then(|| {
            let mut dropped = Scratch::new(weights.len());
            wide(
                #[inline(always)]
                || {
                    let rows = dropped
                        .chunks_exact_mut(step)
                        .zip(weights.chunks_exact(step));
                    for (query, (to, from)) in rows.enumerate() {
                        let index = self.dropout_index(query);
                        let seen = (self.last_seen(query) + 1).next_multiple_of(LANES);
                        let (to, hidden) = to.split_at_mut(seen);
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

    /// The last key that a query sees.
    #[inline(always)]
    fn last_seen(&self, query: usize) -> usize {
        query.min(self.keys - 1)
    }

    /// Of the weight of a query's first key.
    #[inline(always)]
    fn dropout_index(&self, query: usize) -> usize {
        ((self.first + query) * self.heads + self.head) * self.dropout.context
    }
}

/// The values of one head: `[keys, width]` inside a wider matrix.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Values<'a> {
    pub(in crate::ops) rows: View<'a>,
    pub(in crate::ops) width: usize,
}
