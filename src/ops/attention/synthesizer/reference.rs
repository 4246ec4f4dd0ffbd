//! The reference of the scores of positions.

use dfdx::shapes::{Axis, Dtype, HasShape};
use dfdx::tensor::Tape;
use dfdx::tensor_ops::{BroadcastTo, Device, ReshapeTo, TryAdd, TryMatMul};

use super::PositionWeights;
use crate::ops::attention::reference::{Heads, Scores};

/// The scores of all positions of the longest document, from the heads' hidden layers.
pub fn scores<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    hidden: Heads<N, D, T>,
    weights: &PositionWeights<EMBED, N, D>,
) -> Result<Scores<N, D, T>, D::Err> {
    let (documents, heads, n, head_dim) = *hidden.shape();
    // The first `n` positions, selected by a product with a 0/1 matrix.
    let positions = weights.b2.shape().0;
    let mut first = vec![N::default(); positions * n];
    (0..n).for_each(|position| first[position * n + position] = N::ONE);
    let first = hidden.device().try_tensor_from_vec(first, (positions, n))?;
    let w2 = weights.w2.retaped::<T>().try_matmul(first.clone())?; // [head_dim, n]
    let b2 = weights.b2.retaped::<T>().try_matmul(first)?; // [n]

    let rows = documents * heads * n;
    let hidden = hidden.try_reshape_like(&(rows, head_dim))?;
    let b2 = b2.try_broadcast_like::<_, Axis<0>>(&(rows, n))?;
    let scores = hidden.try_matmul(w2)?.try_add(b2)?;
    scores.try_reshape_like(&(documents, heads, n, n))
}
