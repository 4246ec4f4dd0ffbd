//! The attention sublayer for tokens that go on from others, whose keys and values are kept.
//!
//! It is how answers are decoded: each token is read once. No dropout, no gradients.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod kept;
#[cfg(any(test, feature = "cuda"))]
mod reference;
#[cfg(test)]
mod tests;

use std::ops::Range;

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::Stream;
use super::attention::Projections;
use super::parameters::LayerNorm;

/// What is kept of the tokens that rows have read, in one sublayer.
#[derive(Clone, Debug)]
pub struct Cache<N> {
    /// Of the tokens that all rows begin with.
    shared: Kept<N>,
    /// Of each row's own tokens after those.
    rows: Vec<Kept<N>>,
}

/// What is kept of some tokens. What that is, is a device's own affair: the CPU keeps their keys and
/// values, the reference its inputs.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept<N> {
    tokens: usize,
    numbers: Vec<N>,
}

impl<N: Clone + Default> Cache<N> {
    /// So many rows that have read nothing.
    pub fn new(rows: usize) -> Self {
        Self {
            shared: Kept::default(),
            rows: vec![Kept::default(); rows],
        }
    }

    /// So many rows that have read what the only row of `self` has read.
    pub fn shared_by(mut self, rows: usize) -> Self {
        assert_eq!(
            (self.rows.len(), self.shared.tokens),
            (1, 0),
            "what is shared is read once"
        );
        Self {
            shared: std::mem::take(&mut self.rows[0]),
            ..Self::new(rows)
        }
    }
}

/// Which of the new tokens are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// The last of each row: nothing but its keys and values is computed of the others.
    Last,
}

/// Tokens that some rows of a [`Cache`] read next, a row's after another's.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// Which rows read something, in ascending order.
    pub rows: &'a [usize],
    /// Where each one's new tokens start, and where the last one's end: `[rows + 1]`, rising.
    pub starts: &'a [usize],
    /// Which tokens are given back.
    pub wanted: Wanted,
}

impl<'a> NewTokens<'a> {
    /// Each row with its new tokens.
    #[cfg(any(test, feature = "cuda"))]
    fn documents(self) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let tokens = self.starts.windows(2).map(|w| w[0]..w[1]);
        self.rows.iter().copied().zip(tokens)
    }

    /// Those of a row's new tokens that are given back.
    fn wanted_of(self, tokens: Range<usize>) -> Range<usize> {
        match self.wanted {
            Wanted::All => tokens,
            Wanted::Last => tokens.end - 1..tokens.end,
        }
    }
}

/// A device that runs the causal attention sublayer on new tokens of rows read in part.
pub trait CachedAttentionOp<N: Dtype>: Device<N> {
    /// What [`super::attention::AttentionOp::try_attention`] gives for the new tokens of whole rows.
    ///
    /// `x: [new tokens, EMBED]` → `[wanted tokens, EMBED]`, without dropout. The new tokens see
    /// what the cache has of their row, and are in the cache afterwards.
    ///
    /// # Errors
    /// The device's.
    ///
    /// Source: Shazeer 2019, Fast Transformer Decoding, §2.4.
    fn try_cached_attention<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        x: Stream<EMBED, N, Self>,
        norm: &LayerNorm<EMBED, N, Self>,
        weights: &Projections<EMBED, N, Self>,
        new: NewTokens<'_>,
        cache: &mut Cache<N>,
    ) -> Result<Stream<EMBED, N, Self>, Self::Err>;
}
