//! The dense synthesizer: attention weights over positions are predicted from the query token alone, without keys (Tay et
//! al. 2021, Synthesizer, §3.1; one `W2` for all heads as in CS224N's assignment 5).
//!
//! Within each document and head, values are weighted by `softmax(relu(x W1 + b1) W2 + b2)` over the positions at or
//! before the token's; scores are not scaled. So the hidden layer takes the place of queries, and each column of `W2`
//! that of the key of a position, with a bias added to its score.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(any(test, feature = "cuda"))]
pub(super) mod reference;
mod table;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::{Layout, ToHeads};
use crate::ops::parameters::{Linear, named_weights};
pub(super) use table::PositionTable;

/// What scores are computed from, with the names of the reference.
#[derive(Clone, Debug)]
pub struct PositionWeights<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// To the hidden layer of the scores, heads side by side.
    pub hidden: ToHeads<EMBED, N, D>,
    /// From a head's hidden layer to a score for each position: `[head_dim, positions]`, shared by all
    /// heads.
    pub w2: Tensor<(usize, usize), N, D>,
    /// Bias of the score of each position.
    pub b2: Tensor<(usize,), N, D>,
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> PositionWeights<EMBED, N, D> {
    /// All zero, for documents of at most so many tokens.
    pub fn zeros(device: &D, layout: &Layout, positions: usize) -> Result<Self, D::Err> {
        Ok(Self {
            hidden: Linear::zeros(device, (Const::<EMBED>, layout.width()))?,
            w2: device.try_zeros_like(&(layout.head_dim, positions))?,
            b2: device.try_zeros_like(&(positions,))?,
        })
    }
}

named_weights! {
    impl [const EMBED: usize,] PositionWeights<EMBED> {
        hidden: "w1",
        w2: "w2",
        b2: "b2",
    }
}
