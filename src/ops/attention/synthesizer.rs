//! The dense synthesizer: attention weights over positions are predicted from the query token alone, without keys (Tay et
//! al. 2021, Synthesizer, §3.1; one `W2` for all heads as in CS224N's assignment 5).
//!
//! Within each document and head, values are weighted by `softmax(relu(x W1 + b1) W2 + b2)` over the positions at or
//! before the token's; scores are not scaled. So the hidden layer takes the place of queries, and each column of `W2`
//! that of the key of a position, with a bias added to its score.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::heads::{DocumentHead, step};
use super::{Layout, ToHeads};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Target, View};
use crate::ops::kernels::rows::wide;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::parameters::{Linear, named_weights};
use crate::ops::residual::Parameter;

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

/// What takes the place of keys.
pub struct PositionTable {
    w2: Tensor<(usize, usize), f32, Cpu>,
    b2: Tensor<(usize,), f32, Cpu>,
}

impl PositionTable {
    pub fn new<const EMBED: usize>(weights: &PositionWeights<EMBED, f32, Cpu>) -> Self {
        Self {
            w2: weights.w2.clone(),
            b2: weights.b2.clone(),
        }
    }

    pub fn parameters(&self) -> [&dyn Parameter; 2] {
        [&self.w2, &self.b2]
    }

    /// The longest document, in tokens.
    fn positions(&self) -> usize {
        host(&self.b2).len()
    }

    /// The keys: `[positions, head_dim]`.
    pub fn keys(&self) -> View<'_> {
        View::rows(host(&self.w2), self.positions()).t()
    }

    /// What is added to the scores of the first positions.
    pub fn bias(&self, positions: usize) -> &[f32] {
        &host(&self.b2)[..positions]
    }

    /// The score of a position, given a head's hidden channels.
    pub fn score(&self, hidden: &[f32], position: usize) -> f32 {
        let column = host(&self.w2)[position..].iter().step_by(self.positions());
        let product: f32 = hidden.iter().zip(column).map(|(h, w)| h * w).sum();
        product + host(&self.b2)[position]
    }

    /// Accumulates the gradients of the table, transposed (`[positions, head_dim]`; see [`Self::finish`]), and of the
    /// bias, given that of a head's scores.
    pub fn backward(
        &self,
        head: &DocumentHead,
        hidden: View<'_>,
        dscores: &[f32],
        [dw2, db2]: [&mut [f32]; 2],
    ) {
        let target = Target::set(dw2, head.layout.head_dim).adding(true);
        head.keys_gradient(dscores, hidden, target);
        wide!({
            for row in dscores.chunks_exact(step(head.keys)) {
                let sums = db2.iter_mut().zip(&row[..head.keys]);
                sums.for_each(|(sum, d)| *sum += d);
            }
        });
    }

    /// Turns the accumulated gradient of the table into that of `w2`, in place.
    pub fn finish(&self, dw2: &mut [f32]) {
        let positions = self.positions();
        let head_dim = dw2.len() / positions;
        let mut transposed = Scratch::new(dw2.len());
        transposed.copy_from_slice(dw2);
        for (channel, row) in dw2.chunks_exact_mut(positions).enumerate() {
            let column = transposed[channel..].iter().step_by(head_dim);
            row.iter_mut()
                .zip(column)
                .for_each(|(to, from)| *to = *from);
        }
    }
}
