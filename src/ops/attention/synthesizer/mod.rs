//! The dense synthesizer: attention weights over positions are predicted from the query token alone, without keys (Tay et
//! al. 2021, Synthesizer, §3.1; one `W2` for all heads as in CS224N's assignment 5).
//!
//! Within each document and head, values are weighted by `softmax(relu(x W1 + b1) W2 + b2)` over the positions at or
//! before the token's; scores are not scaled.

mod cached;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod head;
#[cfg(any(test, feature = "cuda"))]
pub(super) mod reference;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::heads::HeadTile;
use super::{Layout, ToHeads};
use crate::ops::kernels::rows::relu;
use crate::ops::maps::{HeadMap, on_host, projected};
use crate::ops::parameters::{Linear, named_weights};
pub(super) use cached::CachedSynthesizer;
pub(super) use head::SynthesizerHead;

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

/// The map of every head over the normalised stream of one document, whose keys are positions. Each row adds up to 1.
pub(super) fn maps<const EMBED: usize, N: Dtype, D: Device<N>>(
    normed: &[f32],
    weights: &PositionWeights<EMBED, N, D>,
    layout: Layout,
) -> Vec<HeadMap> {
    let (tokens, width, head_dim) = (normed.len() / EMBED, layout.width(), layout.head_dim);
    let mut hidden = projected(normed, &weights.hidden);
    relu(&mut hidden);
    let (w2, b2) = (on_host(&weights.w2), on_host(&weights.b2));
    let positions = b2.len();
    assert!(tokens <= positions, "a document has too many tokens");
    let maps = (0..layout.heads).map(|head| {
        let tile = HeadTile::without_dropout([tokens; 2], head, layout);
        tile.map_from_scores(&tile.plain_scores(), |token, position| {
            let hidden = &hidden[token * width + head * head_dim..][..head_dim];
            let column = w2[position..].iter().step_by(positions);
            let product: f32 = hidden.iter().zip(column).map(|(h, w)| h * w).sum();
            product + b2[position]
        })
    });
    maps.collect()
}
