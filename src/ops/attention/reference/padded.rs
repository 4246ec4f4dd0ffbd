//! Padding: ragged documents as rectangles.

use dfdx::shapes::{Axes4, Dtype, HasShape};
use dfdx::tensor::Tape;
use dfdx::tensor_ops::{Device, GatherTo, PermuteTo, ReshapeTo, TryMatMul, TryMul};

use super::tensors::{Heads, Rows, Scores, cells};
use crate::ops::attention::{AttentionDropout, Layout};

/// The mapping between ragged queries and keys and padded `[documents, longest]` rectangles.
pub struct PaddedBatch<'a> {
    /// Of the queries, and of the keys.
    pub starts: [&'a [usize]; 2],
    /// Tokens of the longest document of each.
    pub longest: [usize; 2],
    pub layout: Layout,
}

impl<'a> PaddedBatch<'a> {
    /// For documents with the given starts and end: of their queries, and of their keys.
    pub fn of(starts: [&'a [usize]; 2], layout: Layout) -> Self {
        let lengths = |starts: &[usize]| starts.windows(2).map(|w| w[1] - w[0]).max();
        Self {
            starts,
            longest: starts.map(|starts| lengths(starts).unwrap_or(0)),
            layout,
        }
    }

    /// Queries (`side` 0), keys or values (1): `[tokens, width]` → `[documents, heads, longest, head_dim]`.
    /// Padding has the values of token 0: it is a masked key, or a query whose output is not used.
    pub fn heads<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        side: usize,
        flat: Rows<N, D, T>,
    ) -> Result<Heads<N, D, T>, D::Err> {
        let (starts, longest) = (self.starts[side], self.longest[side]);
        let tokens = starts.windows(2).flat_map(|w| {
            let token = move |row| if row < w[1] - w[0] { w[0] + row } else { 0 };
            (0..longest).map(token)
        });
        let tokens: Vec<usize> = tokens.collect();
        let count = tokens.len();
        let tokens = flat.device().try_tensor_from_vec(tokens, (count,))?;
        let heads = self.layout.heads;
        let head_dim = flat.shape().1 / heads;
        flat.try_gather(tokens)?
            .try_reshape_like(&(starts.len() - 1, longest, heads, head_dim))?
            .try_permute::<_, Axes4<0, 2, 1, 3>>()
    }

    /// Number of queries (`side` 0) or keys (1) of a document.
    pub fn tokens(&self, side: usize, document: usize) -> usize {
        self.starts[side][document + 1] - self.starts[side][document]
    }

    /// Whether a query of a document attends to a key; padding has to see something, since its weights must be
    /// numbers.
    pub fn sees(&self, document: usize, query: usize, key: usize) -> bool {
        let [queries, keys] = [0, 1].map(|side| self.tokens(side, document));
        match query < queries {
            true => {
                let first = self.layout.scoring.first_key(query);
                (first..=query).contains(&key) && key < keys
            }
            false => key == 0,
        }
    }

    /// The weighted sum of values, with dropout on the weights.
    pub fn apply_weights<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        weights: Scores<N, D, T>,
        values: Heads<N, D, T>,
        dropout: AttentionDropout,
    ) -> Result<Heads<N, D, T>, D::Err> {
        let shape = *weights.shape();
        let kept = cells(weights.device(), shape, |document, head, query, key| {
            let token = self.starts[0][document] + query;
            let index = (token * shape.1 + head) * dropout.context + key;
            f64::from(dropout.weights.factor(index as u32))
        })?;
        weights.try_mul(kept)?.try_matmul(values)
    }

    /// `[documents, heads, longest, head_dim]` → `[queries, width]`, heads side by side.
    pub fn flat<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        heads: Heads<N, D, T>,
    ) -> Result<Rows<N, D, T>, D::Err> {
        let (starts, longest) = (self.starts[0], self.longest[0]);
        let cells = starts
            .windows(2)
            .enumerate()
            .flat_map(|(document, w)| (0..w[1] - w[0]).map(move |row| document * longest + row));
        let cells: Vec<usize> = cells.collect();
        let count = cells.len();
        let cells = heads.device().try_tensor_from_vec(cells, (count,))?;
        heads
            .try_permute::<_, Axes4<0, 2, 1, 3>>()?
            .try_reshape_like(&((starts.len() - 1) * longest, self.layout.width()))?
            .try_gather(cells)
    }
}
