//! One attention head over one document, on slices: from scores to weights to a weighted sum of values, and
//! back.

use std::ops::Range;

use super::head_scores::{AddendGradient, HeadScores};
use super::{AttentionDropout, Layout};
use crate::ops::kernels::matmul::{Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::{LANES, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;

/// The longest document, in queries, whose attention weights are kept for the backward pass, which computes those of
/// longer ones again. So memory does not grow with the square of the length.
pub const MOST_KEPT: usize = 256;

/// Queries per part of a longer document: their attention weights stay in a core's cache. Tests have short documents, and
/// should do both.
const PART_QUERIES: usize = if cfg!(test) { 5 } else { 28 };

/// Row stride of the attention weights over `keys` keys: whole vectors.
pub fn step(keys: usize) -> usize {
    keys.next_multiple_of(LANES)
}

/// The last key that a query attends to: its own, or the last of `keys` for queries beyond it.
#[inline(always)]
pub fn last_key(query: usize, keys: usize) -> usize {
    query.min(keys - 1)
}

/// What [`DocumentHead::starts`] and [`DocumentHead::views`] have at each index.
pub const QUERIES: usize = 0;
pub const KEYS: usize = 1;
pub const VALUES: usize = 2;

/// One head over one document: the shape of its attention weights `[queries, keys]`, how they are computed, and where
/// its queries, keys and values are among those of all tokens. It does not hold the weights. Their rows are padded to
/// whole vectors; weights of masked keys are 0.
///
/// There are at least as many queries as keys. Query i is aligned with key i; queries beyond the last key
/// attend to all keys. A part of such a head has some of its queries, and the keys up to the last that they see.
#[derive(Clone, Copy)]
pub struct DocumentHead {
    pub queries: usize,
    pub keys: usize,
    /// The key that the first query is aligned with: 0 except in a part.
    pub first_key: usize,
    /// Index of the first query in the batch, which seeds dropout.
    pub first_query: usize,
    /// Number of the head.
    pub index: usize,
    pub layout: Layout,
    pub dropout: AttentionDropout,
    /// Where queries, keys and values start, in matrices that lie in one slice; in self-attention they are one matrix.
    pub starts: [usize; 3],
    /// Where the running sums of forget gates start, if there are any.
    pub forget: usize,
    /// Where β of the delta rule starts, if it is applied.
    pub beta: usize,
    /// Row stride of queries.
    pub query_step: usize,
    /// Row stride of keys, values and what goes with them.
    pub kv_step: usize,
    /// Whether the gradients of these keys and values are added to what is there: by another head of the group, or
    /// another part.
    pub accumulate_kv: bool,
}

impl DocumentHead {
    /// Whether its attention weights are kept for the backward pass.
    pub fn is_kept(&self) -> bool {
        self.queries <= if cfg!(test) { 8 } else { MOST_KEPT }
    }

    /// Itself if its attention weights are kept, otherwise its parts.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let most = if self.is_kept() {
            self.queries
        } else {
            PART_QUERIES
        };
        (0..self.queries).step_by(most.max(1)).map(move |first| {
            let end = self.queries.min(first + most);
            let mut starts = self.starts;
            starts[QUERIES] += first * self.query_step;
            Self {
                queries: end - first,
                keys: self.keys.min(end),
                first_key: first,
                first_query: self.first_query + first,
                starts,
                accumulate_kv: self.accumulate_kv || !self.is_kept(),
                ..self
            }
        })
    }

    /// Where the rows of its queries are, among those of all parts, of so many elements each.
    pub fn rows(&self, width: usize) -> Range<usize> {
        self.first_key * width..(self.first_key + self.queries) * width
    }

    /// Zeros for the gradients of keys and values, to which parts add.
    pub fn clear_gradients(&self, dqkv: &mut [f32]) {
        for which in [KEYS, VALUES] {
            let rows = dqkv[self.starts[which]..].chunks_mut(self.kv_step);
            rows.take(self.keys)
                .for_each(|row| row[..self.layout.head_dim].fill(0.0));
        }
    }

    /// Where the queries or keys of a map or the values start, and their row stride.
    fn start(&self, which: usize, map: usize) -> (usize, usize) {
        let channel = map * self.layout.compared();
        match which {
            QUERIES => (self.starts[QUERIES] + channel, self.query_step),
            KEYS => (self.starts[KEYS] + channel, self.kv_step),
            _ => (self.starts[VALUES], self.kv_step),
        }
    }

    /// The queries and keys of a map, and the values.
    pub fn views<'a>(&self, qkv: &'a [f32], map: usize) -> [View<'a>; 3] {
        [QUERIES, KEYS, VALUES].map(|which| {
            let (start, step) = self.start(which, map);
            View::rows(&qkv[start..], step)
        })
    }

    /// Destination of the gradient of the queries or keys of a map, or of the values.
    pub fn gradient<'a>(&self, which: usize, map: usize, dqkv: &'a mut [f32]) -> Target<'a> {
        let (start, step) = self.start(which, map);
        let add = which != QUERIES && self.accumulate_kv;
        Target::set(&mut dqkv[start..], step).adding(add)
    }

    /// Adds to the gradients of the running sums of forget gates, if there are any.
    pub fn add_to_sums(&self, gradients: &[f32], dqkv: &mut [f32]) {
        let column = dqkv.iter_mut().skip(self.forget).step_by(self.kv_step);
        column.zip(gradients).for_each(|(to, d)| *to += d);
    }

    /// Number of elements saved for backward: weights, and for some scorings the scores or a factor for each
    /// query.
    pub fn saved_len(&self) -> usize {
        self.saved_lengths().iter().sum()
    }

    /// Number of elements of a matrix with a row for each query.
    pub fn cells(&self) -> usize {
        self.queries * step(self.keys)
    }

    /// Zeros for the keys that a query does not see, and the rest of its row.
    pub fn hide(&self, cells: &mut [f32]) {
        for (query, row) in cells.chunks_exact_mut(step(self.keys)).enumerate() {
            row[self.last_key(query) + 1..].fill(0.0);
        }
    }

    /// Lengths of the parts of what is saved: weights, scores and factors.
    fn saved_lengths(&self) -> [usize; 3] {
        let scoring = self.layout.scoring;
        let [scores, factors] = [scoring.keeps_scores(), scoring.keeps_factors()].map(usize::from);
        let cells = self.cells();
        [cells, cells * scores, self.queries * factors]
    }

    /// Splits what was saved: weights, scores and factors.
    fn split_saved<'a>(&self, saved: &'a [f32]) -> [&'a [f32]; 3] {
        let [weights, scores, factors] = self.saved_lengths();
        let (of_weights, rest) = saved.split_at(weights);
        let (of_scores, rest) = rest.split_at(scores);
        [of_weights, of_scores, &rest[..factors]]
    }

    /// Turns scores into attention weights, in place; scores above the diagonal may be anything.
    pub fn scores_to_weights(&self, scores: &HeadScores<'_>, saved: &mut [f32]) {
        let step = step(self.keys);
        let [weights, kept, factors] = cut(self.saved_lengths(), saved);
        wide!({
            for (query, row) in weights.chunks_exact_mut(step).enumerate() {
                let kept = kept.get_mut(query * step..(query + 1) * step);
                let factor = scores.scores_to_weights(row, self.last_key(query), kept);
                if let Some(slot) = factors.get_mut(query) {
                    *slot = factor;
                }
            }
        });
    }

    /// The keys of a map, or the values, as a right factor, for all parts of the head.
    pub fn packed<'a>(&self, rows: View<'a>, width: usize) -> Packed<'a> {
        Packed::new(rows, self.keys, width)
    }

    /// The transpose of [`Self::packed`].
    pub fn packed_transpose<'a>(&self, rows: View<'a>, width: usize) -> Packed<'a> {
        Packed::new(rows.t(), width, self.keys)
    }

    /// Writes the scores of a map's queries and keys, whose transpose is given, at and below the diagonal, to a target which
    /// may have a bias.
    pub fn products(&self, q: View<'_>, keys: &Packed<'_>, target: Target<'_>) {
        let (scale, part) = (self.scale(), Part::LowerResult(self.first_key));
        multiply(self.queries, q, keys, scale, part, target);
    }

    /// The gradient of the queries in [`Self::products`], from that of the scores.
    pub fn queries_gradient(&self, dscores: &[f32], keys: &Packed<'_>, to: Target<'_>) {
        let (left, scale) = (View::rows(dscores, step(self.keys)), self.scale());
        let part = Part::LowerLeft(self.first_key);
        multiply(self.queries, left, keys, scale, part, to);
    }

    /// The gradient of the keys.
    pub fn keys_gradient(&self, dscores: &[f32], q: View<'_>, to: Target<'_>) {
        let queries = Packed::new(q, self.queries, self.layout.compared());
        let (left, scale) = (View::rows(dscores, step(self.keys)).t(), self.scale());
        let part = Part::UpperLeft(self.first_key);
        multiply(self.keys, left, &queries, scale, part, to);
    }

    fn scale(&self) -> f32 {
        self.layout.scale() as f32
    }

    /// The weighted sum of values, `out = dropout(weights) · values`: `[queries, head_dim]`.
    pub fn apply_weights(&self, weights: &[f32], values: &Packed<'_>, out: Target<'_>) {
        let weights = &weights[..self.cells()];
        let dropped = self.with_dropout(weights);
        let left = View::rows(dropped.as_deref().unwrap_or(weights), step(self.keys));
        let part = Part::LowerLeft(self.first_key);
        multiply(self.queries, left, values, 1.0, part, out);
    }

    /// Backward of [`Self::apply_weights`], given the transpose of the values: writes or accumulates `dvalues`, and returns
    /// the gradient of the weights, which is undefined above the diagonal.
    pub fn apply_weights_backward(
        &self,
        weights: &[f32],
        values: &Packed<'_>,
        dout: View<'_>,
        dvalues: Target<'_>,
    ) -> Scratch {
        let (queries, keys, step) = (self.queries, self.keys, step(self.keys));
        let head_dim = self.layout.head_dim;
        let weights = &weights[..self.cells()];
        let dropped = self.with_dropout(weights);
        let left = View::rows(dropped.as_deref().unwrap_or(weights), step).t();
        let douts = Packed::new(dout, queries, head_dim);
        let part = Part::UpperLeft(self.first_key);
        multiply(keys, left, &douts, 1.0, part, dvalues);

        let mut dweights = Scratch::new(queries * step);
        let target = Target::set(&mut dweights, step);
        let part = Part::LowerResult(self.first_key);
        multiply(queries, dout, values, 1.0, part, target);
        let dropout = self.dropout.weights;
        if !dropout.is_none() {
            wide!({
                for (query, row) in dweights.chunks_exact_mut(step).enumerate() {
                    let index = self.dropout_index(query);
                    for (key, d) in row[..=self.last_key(query)].iter_mut().enumerate() {
                        *d *= dropout.factor((index + key) as u32);
                    }
                }
            });
        }
        dweights
    }

    /// Backward of [`Self::scores_to_weights`], in place: the gradient of the scores, 0 where keys are
    /// masked. Accumulates that of what was added to them, and returns that of the sink's score.
    pub fn scores_to_weights_backward(
        &self,
        scores: &HeadScores<'_>,
        saved: &[f32],
        dweights: &mut [f32],
        of_addend: &mut AddendGradient<'_>,
    ) -> f32 {
        let [weights, kept, factors] = self.split_saved(saved);
        let (step, mut of_sink) = (step(self.keys), 0.0);
        wide!({
            let rows = dweights
                .chunks_exact_mut(step)
                .zip(weights.chunks_exact(step));
            for (query, (d, weights)) in rows.enumerate() {
                let last = self.last_key(query);
                // Whole vectors, so that loops have no scalar tail.
                let end = (last + 1).next_multiple_of(LANES);
                d[end..].fill(0.0);
                let kept = kept.get(query * step..query * step + end);
                let kept = kept.unwrap_or_default();
                let factor = factors.get(query).copied().unwrap_or(1.0);
                let saved = (&weights[..end], kept, factor);
                of_sink += scores.backward(&mut d[..end], saved, last, of_addend);
            }
        });
        of_sink
    }

    /// `weights` after dropout; `None` without dropout.
    fn with_dropout(&self, weights: &[f32]) -> Option<Scratch> {
        let (step, dropout) = (step(self.keys), self.dropout.weights);
        (!dropout.is_none()).then(|| {
            let mut dropped = Scratch::new(weights.len());
            wide!({
                let rows = dropped
                    .chunks_exact_mut(step)
                    .zip(weights.chunks_exact(step));
                for (query, (to, from)) in rows.enumerate() {
                    let index = self.dropout_index(query);
                    let seen = (self.last_key(query) + 1).next_multiple_of(LANES);
                    let (to, hidden) = to.split_at_mut(seen);
                    hidden.fill(0.0);
                    for (key, (to, from)) in to.iter_mut().zip(from).enumerate() {
                        *to = from * dropout.factor((index + key) as u32);
                    }
                }
            });
            dropped
        })
    }

    /// The last key that a query attends to.
    #[inline(always)]
    pub fn last_key(&self, query: usize) -> usize {
        last_key(self.first_key + query, self.keys)
    }

    /// Dropout index of the weight of a query's first key.
    #[inline(always)]
    fn dropout_index(&self, query: usize) -> usize {
        ((self.first_query + query) * self.layout.heads + self.index) * self.dropout.context
    }
}
