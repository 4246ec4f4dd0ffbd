//! From the scores of a query to its attention weights, and back: one head, one row at a time.

use super::{Scoring, Similarity};
use crate::ops::kernels::rows::{LANES, exp, sigmoid, softmax, softmax_with_sink, sum_of, wide};

/// How one head over one document makes weights of scores.
pub struct HeadScores<'a> {
    pub scoring: Scoring,
    pub addend: Addend<'a>,
    /// The score of the sink.
    pub sink: Option<f32>,
}

/// What positions add to the scores of a head.
pub enum Addend<'a> {
    None,
    /// Subtracted per unit of distance.
    Slope(f32),
    /// For each distance from 0 on.
    ByDistance(&'a [f32]),
    /// The growth, from key to query, of a running sum over the document's tokens.
    Growth(Vec<f32>),
}

impl Addend<'_> {
    /// Calls `f` with each cell of a query's row and what is added to its score; the cells are those of the keys from
    /// `first` on.
    #[inline(always)]
    fn each(&self, cells: &mut [f32], [query, first]: [usize; 2], f: impl Fn(&mut f32, f32)) {
        match self {
            Self::None => {}
            Self::Slope(slope) => {
                // Counted in 32 bits, which SIMD instructions can convert to floats.
                let keys = first as i32..;
                let cells = cells.iter_mut().zip(keys);
                cells.for_each(|(cell, key)| f(cell, -(slope * (query as i32 - key) as f32)));
            }
            Self::ByDistance(table) => {
                let added = table[..=query - first].iter().rev();
                cells
                    .iter_mut()
                    .zip(added)
                    .for_each(|(cell, &added)| f(cell, added));
            }
            Self::Growth(sums) => {
                let (own, sums) = (sums[query], &sums[first..=query]);
                cells
                    .iter_mut()
                    .zip(sums)
                    .for_each(|(cell, sum)| f(cell, own - sum));
            }
        }
    }

    /// Adds to the scores of a query and the keys from `first` on.
    #[inline(always)]
    fn add_to(&self, scores: &mut [f32], query: usize, first: usize) {
        self.each(scores, [query, first], |score, added| *score += added);
    }

    /// Multiplies by e to the power of the bias, where scores are not exponentiated.
    #[inline(always)]
    pub fn grow(&self, cells: &mut [f32], query: usize, first: usize) {
        self.each(cells, [query, first], |cell, added| *cell *= exp(added));
    }

    /// The place for its gradients, with `room` for a number for each of `tokens` tokens or distances.
    pub fn gradient<'g>(&self, room: &'g mut Vec<f32>, tokens: usize) -> AddendGradient<'g> {
        match self {
            Self::None | Self::Slope(_) => return AddendGradient::None,
            Self::ByDistance(_) | Self::Growth(_) => room.resize(tokens, 0.0),
        }
        match self {
            Self::ByDistance(_) => AddendGradient::ByDistance(room),
            _ => AddendGradient::Growth(room),
        }
    }
}

/// Gradients of [`Addend`], accumulated.
pub enum AddendGradient<'a> {
    /// Of what is not learned.
    None,
    /// For each distance from 0 on.
    ByDistance(&'a mut [f32]),
    /// Of the running sums.
    Growth(&'a mut [f32]),
}

impl AddendGradient<'_> {
    /// Adds the gradients `f(a, b)` of what was added to the scores of a query with the keys from `first` on.
    #[inline(always)]
    pub fn add(
        &mut self,
        [query, first]: [usize; 2],
        (a, b): (&[f32], &[f32]),
        f: impl Fn(f32, f32) -> f32,
    ) {
        let cells = a.iter().zip(b);
        match self {
            Self::None => {}
            Self::ByDistance(table) => {
                let distances = table[..=query - first].iter_mut().rev();
                distances
                    .zip(cells)
                    .for_each(|(to, (&a, &b))| *to += f(a, b));
            }
            Self::Growth(sums) => {
                let of_keys = sums[first..=query].iter_mut();
                of_keys.zip(cells).for_each(|(to, (&a, &b))| *to -= f(a, b));
                sums[query] += sum_of(a, b, f);
            }
        }
    }
}

impl HeadScores<'_> {
    /// Turns the scores of the last queries of a sequence of `tokens` into weights, with row stride `step`:
    /// see [`Self::scores_to_weights`].
    pub fn last_scores_to_weights(&self, scores: &mut [f32], step: usize, tokens: usize) {
        wide!({
            let positions = tokens - scores.len() / step..;
            for (position, row) in positions.zip(scores.chunks_exact_mut(step)) {
                self.scores_to_weights(row, position, None);
            }
        });
    }

    /// Turns the scores of one query over the keys `0..=query` into weights; masked keys and the rest of
    /// the row become 0. Keeps the scores, after the softcap if there is one, in `kept`. Returns the factor that
    /// normalised them, if they were divided by their sum.
    #[inline(always)]
    pub fn scores_to_weights(
        &self,
        row: &mut [f32],
        query: usize,
        kept: Option<&mut [f32]>,
    ) -> f32 {
        let first = self.scoring.first_key(query);
        // Whole vectors, so that loops have no scalar tail.
        let end = (query + 1).next_multiple_of(LANES).min(row.len());
        let (seen, hidden) = row.split_at_mut(end);
        hidden.fill(0.0);
        if let Some(bound) = self.scoring.softcap {
            let bound = bound as f32;
            let scale = 1.0 / bound;
            seen.iter_mut()
                .for_each(|score| *score = bound * tanh(*score * scale));
        }
        if let Some(kept) = kept {
            kept[..end].copy_from_slice(seen);
        }
        let factor = self.normalise(seen, first, query);
        let last = (query + 1).saturating_sub(self.scoring.hidden_keys());
        // Softmax leaves masked keys a weight below the precision of the sum.
        seen[..first].fill(0.0);
        seen[last..].fill(0.0);
        factor
    }

    /// Makes weights of the scores of the keys `first..=query`; the other cells may become anything.
    #[inline(always)]
    fn normalise(&self, seen: &mut [f32], first: usize, query: usize) -> f32 {
        match self.scoring.similarity {
            Similarity::Softmax => {
                self.addend.add_to(seen, query, 0);
                seen[..first].fill(f32::NEG_INFINITY);
                seen[query + 1..].fill(f32::NEG_INFINITY);
                match self.sink {
                    None => softmax(seen),
                    Some(sink) => softmax_with_sink(seen, sink),
                }
                1.0
            }
            Similarity::Sigmoid => {
                self.addend.add_to(seen, query, 0);
                let share = ((query + 1 - first) as f32).ln();
                seen.iter_mut().for_each(|s| *s = sigmoid(*s - share));
                1.0
            }
            Similarity::StickBreaking => {
                self.addend.add_to(seen, query, 0);
                seen.iter_mut().for_each(|s| *s = sigmoid(*s));
                break_stick(&mut seen[first..query]);
                1.0
            }
            Similarity::FeatureMap => divide_by_sum(seen, first, query),
            Similarity::Taylor => {
                seen.iter_mut().for_each(|s| *s = taylor(*s));
                divide_by_sum(seen, first, query)
            }
            Similarity::Product => {
                self.addend.grow(&mut seen[..=query], query, 0);
                1.0
            }
        }
    }

    /// Backward of [`Self::scores_to_weights`] for one query, in place: from the gradient of the weights of
    /// the keys up to `query`, in whole vectors, to that of the scores; 0 where keys are masked. Returns the
    /// gradient of the sink's score.
    #[inline(always)]
    pub fn backward(
        &self,
        d: &mut [f32],
        (weights, scores, factor): (&[f32], &[f32], f32),
        query: usize,
        of_addend: &mut AddendGradient<'_>,
    ) -> f32 {
        let first = self.scoring.first_key(query);
        d[..first].fill(0.0);
        d[query + 1..].fill(0.0);
        let (seen, mut of_sink) = (first..query + 1, 0.0);
        match self.scoring.similarity {
            Similarity::Softmax => {
                let along = sum_of(d, weights, |d, w| d * w);
                (d.iter_mut().zip(weights)).for_each(|(d, w)| *d = w * (*d - along));
                if self.sink.is_some() {
                    of_sink = -along * (1.0 - sum_of(weights, weights, |w, _| w));
                }
            }
            Similarity::Sigmoid => {
                (d.iter_mut().zip(weights)).for_each(|(d, w)| *d *= w * (1.0 - w));
            }
            Similarity::StickBreaking => {
                d[query] = 0.0;
                // Σ over the keys before, whose weights shrink if this key takes more.
                let (mut along, mut taken) = (0.0, [0.0; LANES]);
                for keys in (first..query).step_by(LANES) {
                    let count = LANES.min(query - keys);
                    let taken = &mut taken[..count];
                    taken.copy_from_slice(&scores[keys..][..count]);
                    self.addend.add_to(taken, query, keys);
                    taken.iter_mut().for_each(|s| *s = sigmoid(*s));
                    for (key, taken) in (keys..).zip(taken) {
                        let own = d[key] * weights[key];
                        along += own;
                        d[key] = own - *taken * along;
                    }
                }
            }
            Similarity::FeatureMap => {
                let along = sum_of(d, weights, |d, w| d * w);
                d[seen.clone()]
                    .iter_mut()
                    .for_each(|d| *d = (*d - along) * factor);
            }
            Similarity::Taylor => {
                let along = sum_of(d, weights, |d, w| d * w);
                let cells = d[seen.clone()].iter_mut().zip(&scores[seen.clone()]);
                cells.for_each(|(d, s)| *d = (*d - along) * factor * (1.0 + s));
            }
            Similarity::Product => {
                // The addend's gradient is that of the weight, times the weight.
                let cells = (&d[seen.clone()], &weights[seen.clone()]);
                of_addend.add([query, first], cells, |d, w| d * w);
                self.addend.grow(&mut d[seen], query, first);
                return 0.0;
            }
        }
        let cells = (&d[seen.clone()], &d[seen]);
        of_addend.add([query, first], cells, |d, _| d);
        if let Some(bound) = self.scoring.softcap {
            let scale = 1.0 / bound as f32;
            let slope = |s: f32| 1.0 - s * scale * (s * scale);
            (d.iter_mut().zip(scores)).for_each(|(d, &s)| *d *= slope(s));
        }
        of_sink
    }
}

/// `1 + s + s² / 2`.
#[inline(always)]
fn taylor(s: f32) -> f32 {
    1.0 + s + 0.5 * s * s
}

/// The hyperbolic tangent to about 5e-7, relative; near 0 by its Taylor series.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let square = x * x;
    let series = x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))));
    let quotient = 1.0 - 2.0 / (1.0 + exp(2.0 * x));
    if square < 0.0625 { series } else { quotient }
}

/// Divides by the sum over the keys `first..=query`; returns the factor.
#[inline(always)]
fn divide_by_sum(seen: &mut [f32], first: usize, query: usize) -> f32 {
    seen[..first].fill(0.0);
    seen[query + 1..].fill(0.0);
    let factor = 1.0 / sum_of(seen, seen, |s, _| s);
    seen.iter_mut().for_each(|s| *s *= factor);
    factor
}

/// From the fraction that each key takes of what is left of the stick to its weight; the last key takes first.
#[inline(always)]
fn break_stick(taken: &mut [f32]) {
    let mut left = 1.0;
    for part in taken.iter_mut().rev() {
        let rest = left * (1.0 - *part);
        *part *= left;
        left = rest;
    }
}
