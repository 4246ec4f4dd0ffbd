//! The delta rule: before a value is written to the state, what its key already retrieves is subtracted from it (Schlag et al.
//! 2021, Fast Weight Programmers, §4.2; Yang et al. 2024, DeltaNet, §3.1, and Gated DeltaNet, §3.1).
//!
//! The recurrence `S ← α S (I - β k kᵀ) + β v kᵀ` has the state `S = Σ u kᵀ` with the corrected values
//! `u_i = β_i (v_i - Σ_{j<i} growth_ij (k_i · k_j) u_j)`. They need no state: queries weigh them like other values.
//! Keys have length 1, and β is the sigmoid of a projection.

use super::head_scores::{AddendGradient, HeadScores};
use super::heads::{DocumentHead, KEYS, VALUES, step};
use crate::ops::kernels::matmul::{Packed, Part, Target, View, multiply};
use crate::ops::kernels::rows::{sigmoid, sum_of, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::maps::HeadMap;

/// The correction of the values of one head over one document.
pub(super) struct Correction<'a> {
    pub head: &'a DocumentHead,
    pub scores: HeadScores<'a>,
    /// Keys, values and β before the sigmoid, at the places that `head` says.
    pub qkv: &'a [f32],
}

/// Lengths of what is kept for backward: the products of keys, the errors of retrieval and the corrected values.
fn lengths(head: &DocumentHead) -> [usize; 3] {
    let values = head.keys * head.layout.head_dim;
    [head.keys * step(head.keys), values, values]
}

/// Number of elements that [`Correction::forward`] keeps.
pub(super) fn kept_len(head: &DocumentHead) -> usize {
    lengths(head).iter().sum()
}

/// The corrected values among what is kept: `[tokens, head_dim]`.
pub(super) fn corrected<'a>(head: &DocumentHead, kept: &'a [f32]) -> View<'a> {
    let [retrieved, errors, _] = lengths(head);
    View::rows(&kept[retrieved + errors..], head.layout.head_dim)
}

impl Correction<'_> {
    /// Number of tokens, channels of a value, and row stride of the products of keys.
    fn sizes(&self) -> (usize, usize, usize) {
        let tokens = self.head.keys;
        (tokens, self.head.layout.head_dim, step(tokens))
    }

    /// How much of a token's error is corrected.
    fn beta(&self, token: usize) -> f32 {
        sigmoid(self.qkv[self.head.beta + token * self.head.kv_step])
    }

    /// Keeps what each key retrieves of those before it, the errors, and the corrected values.
    pub fn forward(&self, kept: &mut [f32]) {
        let (n, head_dim, step) = self.sizes();
        let [retrieved, errors, corrected] = cut(lengths(self.head), kept);
        let keys = self.head.views(self.qkv, 0)[KEYS];
        let transposed = Packed::new(keys.t(), head_dim, n);
        let target = Target::set(retrieved, step);
        multiply(n, keys, &transposed, 1.0, Part::LowerResult(0), target);
        let values = self.qkv[self.head.starts[VALUES]..].chunks(self.head.kv_step);
        wide!({
            let rows = retrieved.chunks_exact_mut(step).zip(values);
            for (query, (row, value)) in rows.enumerate() {
                self.scores.addend.grow(&mut row[..query], query, 0);
                row[query..].fill(0.0);
                let (before, own) = corrected.split_at_mut(query * head_dim);
                let error = &mut errors[query * head_dim..][..head_dim];
                error.copy_from_slice(&value[..head_dim]);
                for (part, u) in row.iter().zip(before.chunks_exact(head_dim)) {
                    (error.iter_mut().zip(u)).for_each(|(e, u)| *e -= part * u);
                }
                let beta = self.beta(query);
                (own.iter_mut().zip(error)).for_each(|(u, e)| *u = beta * *e);
            }
        });
    }

    /// Backward of [`Self::forward`], given the gradient of the corrected values: writes the gradients of values and β, adds
    /// those of keys and of the forget gates' sums.
    pub fn backward(&self, kept: &[f32], dcorrected: &mut [f32], dqkv: &mut [f32]) {
        let (head, (n, head_dim, step)) = (self.head, self.sizes());
        let (retrieved, rest) = kept.split_at(n * step);
        let (errors, corrected) = rest.split_at(n * head_dim);
        let dbeta = self.errors_gradient(retrieved, errors, dcorrected);
        let mut sums = vec![];
        let mut of_addend = self.scores.addend.gradient(&mut sums, n);
        let dretrieved =
            self.retrieved_gradient((retrieved, corrected), dcorrected, &mut of_addend);
        let dkeys = self.keys_gradient(&dretrieved);
        head.add_to_sums(&sums, dqkv);
        // The gradients of the errors are those of the values.
        let rows = dkeys
            .chunks_exact(head_dim)
            .zip(dcorrected.chunks_exact(head_dim));
        for (token, (dkey, dvalue)) in rows.enumerate() {
            let row = &mut dqkv[token * head.kv_step..];
            let to = row[head.starts[KEYS]..].iter_mut();
            to.zip(dkey).for_each(|(to, d)| *to += d);
            row[head.starts[VALUES]..][..head_dim].copy_from_slice(dvalue);
            row[head.beta] = dbeta[token];
        }
    }

    /// Turns the gradient of the corrected values into that of the errors, and returns that of β before the sigmoid.
    fn errors_gradient(
        &self,
        retrieved: &[f32],
        errors: &[f32],
        dcorrected: &mut [f32],
    ) -> Vec<f32> {
        let (n, head_dim, step) = self.sizes();
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
        dbeta
    }

    /// The gradient of the product of each key with those before it: `[tokens, tokens]` in whole vectors.
    fn retrieved_gradient(
        &self,
        (retrieved, corrected): (&[f32], &[f32]),
        derrors: &[f32],
        of_addend: &mut AddendGradient<'_>,
    ) -> Scratch {
        let (n, head_dim, step) = self.sizes();
        let mut dretrieved = Scratch::new(n * step);
        let values = Packed::new(View::rows(corrected, head_dim).t(), head_dim, n);
        let left = View::rows(derrors, head_dim);
        let target = Target::set(&mut dretrieved, step);
        multiply(n, left, &values, -1.0, Part::LowerResult(0), target);
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
        let (n, head_dim, step) = self.sizes();
        let mut dkeys = Scratch::new(n * head_dim);
        let keys = self.head.views(self.qkv, 0)[KEYS];
        let keys = Packed::new(keys, n, head_dim);
        let target = Target::set(&mut dkeys, head_dim);
        let left = View::rows(dretrieved, step);
        multiply(n, left, &keys, 1.0, Part::LowerLeft(0), target);
        let target = Target::set(&mut dkeys, head_dim).adding(true);
        let left = View::rows(dretrieved, step).t();
        multiply(n, left, &keys, 1.0, Part::UpperLeft(0), target);
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
