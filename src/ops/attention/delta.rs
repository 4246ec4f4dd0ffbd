//! The delta rule: before a value is written to the state, what its key already retrieves is subtracted from it (Schlag et al.
//! 2021, Fast Weight Programmers, §4.2; Yang et al. 2024, DeltaNet, §3.1, and Gated DeltaNet, §3.1).
//!
//! The recurrence `S ← α S (I - β k kᵀ) + β v kᵀ` has the state `S = Σ u kᵀ` with the corrected values
//! `u_i = β_i (v_i - Σ_{j<i} growth_ij (k_i · k_j) u_j)`. They need no state: queries weigh them like other values.
//! Keys have length 1, and β is the sigmoid of a projection.

use super::head_scores::{AddendGradient, HeadScores};
use super::heads::step;
use crate::ops::kernels::matmul::{Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::{sigmoid, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::maps::HeadMap;

/// One head over one document: keys and values are `[tokens, head_dim]`.
#[derive(Clone, Copy)]
pub(super) struct Correction<'a> {
    pub tokens: usize,
    pub head_dim: usize,
    pub scores: &'a HeadScores<'a>,
    pub keys: View<'a>,
    /// Values, and β before the sigmoid, with their row strides.
    pub values: (&'a [f32], usize),
    pub beta: (&'a [f32], usize),
}

/// Lengths of what is kept for backward: the products of keys, the errors of retrieval and the corrected values.
fn lengths(tokens: usize, head_dim: usize) -> [usize; 3] {
    [tokens * step(tokens), tokens * head_dim, tokens * head_dim]
}

/// Number of elements that [`Correction::forward`] keeps.
pub(super) fn kept_len(tokens: usize, head_dim: usize) -> usize {
    lengths(tokens, head_dim).iter().sum()
}

/// The corrected values among what is kept: `[tokens, head_dim]`.
pub(super) fn corrected(kept: &[f32], tokens: usize, head_dim: usize) -> &[f32] {
    &kept[kept.len() - tokens * head_dim..]
}

impl Correction<'_> {
    /// How much of a token's error is corrected.
    fn beta(&self, token: usize) -> f32 {
        sigmoid(self.beta.0[token * self.beta.1])
    }

    /// Keeps what each key retrieves of those before it, the errors, and the corrected values.
    pub fn forward(&self, kept: &mut [f32]) {
        let (n, head_dim, step) = (self.tokens, self.head_dim, step(self.tokens));
        let [retrieved, errors, corrected] = cut(lengths(n, head_dim), kept);
        let keys = Packed::new(self.keys.t(), head_dim, n);
        let target = Target::set(retrieved, step);
        multiply(n, self.keys, &keys, 1.0, Part::LowerResult, target);
        wide!({
            for (query, row) in retrieved.chunks_exact_mut(step).enumerate() {
                self.scores.addend.grow(&mut row[..query], query, 0);
                row[query..].fill(0.0);
                let (before, own) = corrected.split_at_mut(query * head_dim);
                let error = &mut errors[query * head_dim..][..head_dim];
                error.copy_from_slice(&self.values.0[query * self.values.1..][..head_dim]);
                for (part, u) in row.iter().zip(before.chunks_exact(head_dim)) {
                    (error.iter_mut().zip(u)).for_each(|(e, u)| *e -= part * u);
                }
                let beta = self.beta(query);
                (own.iter_mut().zip(error)).for_each(|(u, e)| *u = beta * *e);
            }
        });
    }

    /// Backward of [`Self::forward`]: turns the gradient of the corrected values into that of the values, and
    /// returns those of the keys, `[tokens, head_dim]`, and of β before the sigmoid; accumulates that of the growth.
    pub fn backward(
        &self,
        kept: &[f32],
        dcorrected: &mut [f32],
        of_addend: &mut AddendGradient<'_>,
    ) -> (Scratch, Vec<f32>) {
        let (n, head_dim, step) = (self.tokens, self.head_dim, step(self.tokens));
        let (retrieved, rest) = kept.split_at(n * step);
        let (errors, corrected) = rest.split_at(n * head_dim);
        let mut dbeta = vec![0.0; n];
        wide!({
            for token in (0..n).rev() {
                let (before, d) = dcorrected.split_at_mut(token * head_dim);
                let d = &mut d[..head_dim];
                let (beta, error) = (self.beta(token), &errors[token * head_dim..][..head_dim]);
                dbeta[token] = beta * (1.0 - beta) * sum_of(d, error, |d, e| d * e);
                d.iter_mut().for_each(|d| *d *= beta);
                let row = &retrieved[token * step..];
                for (part, before) in row.iter().zip(before.chunks_exact_mut(head_dim)) {
                    (before.iter_mut().zip(&*d)).for_each(|(to, d)| *to -= part * d);
                }
            }
        });
        // Now they are the gradients of the errors, and so of the values.
        let dretrieved = self.retrieved_gradient((retrieved, corrected), dcorrected, of_addend);
        (self.keys_gradient(&dretrieved), dbeta)
    }

    /// The gradient of the product of each key with those before it: `[tokens, tokens]` in whole vectors.
    fn retrieved_gradient(
        &self,
        (retrieved, corrected): (&[f32], &[f32]),
        derrors: &[f32],
        of_addend: &mut AddendGradient<'_>,
    ) -> Scratch {
        let (n, head_dim, step) = (self.tokens, self.head_dim, step(self.tokens));
        let mut dretrieved = Scratch::new(n * step);
        let values = Packed::new(View::rows(corrected, head_dim).t(), head_dim, n);
        let left = View::rows(derrors, head_dim);
        let target = Target::set(&mut dretrieved, step);
        multiply(n, left, &values, -1.0, Part::LowerResult, target);
        wide!({
            for (query, row) in dretrieved.chunks_exact_mut(step).enumerate() {
                let cells = (&row[..query], &retrieved[query * step..][..query]);
                of_addend.add([query, 0], cells, |d, part| d * part);
                self.scores.addend.grow(&mut row[..query], query, 0);
                row[query..].fill(0.0);
            }
        });
        dretrieved
    }

    /// The gradient of the keys, on both sides of their products.
    fn keys_gradient(&self, dretrieved: &[f32]) -> Scratch {
        let (n, head_dim, step) = (self.tokens, self.head_dim, step(self.tokens));
        let mut dkeys = Scratch::new(n * head_dim);
        let keys = Packed::new(self.keys, n, head_dim);
        let target = Target::set(&mut dkeys, head_dim);
        let left = View::rows(dretrieved, step);
        multiply(n, left, &keys, 1.0, Part::LowerLeft, target);
        let target = Target {
            add: true,
            ..Target::set(&mut dkeys, head_dim)
        };
        let left = View::rows(dretrieved, step).t();
        multiply(n, left, &keys, 1.0, Part::UpperLeft, target);
        dkeys
    }
}

/// Turns the weights of corrected values, in place, into those of the values themselves, given β of each token and
/// what a key retrieves of one before it: the weight of each corrected value also counts, with β and a minus sign, for
/// the earlier values that were subtracted from it.
pub(super) fn unroll(
    map: &mut HeadMap,
    beta: impl Fn(usize) -> f32,
    retrieved: impl Fn(usize, usize) -> f32,
) {
    let keys = map.keys;
    for row in map.weights.chunks_exact_mut(keys) {
        for token in (0..keys).rev() {
            let own = beta(token) * row[token];
            row[token] = own;
            for (before, weight) in row[..token].iter_mut().enumerate() {
                *weight -= own * retrieved(token, before);
            }
        }
    }
}
