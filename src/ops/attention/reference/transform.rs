//! Queries and keys between their projection and their scores.

use dfdx::shapes::{Axis, Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{BroadcastTo, Device, ReshapeTo, TryAdd, TryMatMul, TryMul};

use super::tensors::{Rows, number, spread, unit_rows};
use crate::ops::attention::qk_norm::QkNormWeights;
use crate::ops::attention::{AttentionWeights, Layout, Similarity};

/// The position of each token in its document.
pub fn positions(starts: &[usize]) -> Vec<usize> {
    starts.windows(2).flat_map(|w| 0..w[1] - w[0]).collect()
}

/// The transformation of queries and keys before their dot product.
pub fn transform<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Rows<N, D, T>,
    weights: &AttentionWeights<EMBED, N, D>,
    side: usize,
    positions: &[usize],
) -> Result<Rows<N, D, T>, D::Err> {
    let layout = weights.layout;
    let heads = match (layout.qk_norm, &weights.qk_norm) {
        (Some(norm), Some(of)) => {
            let (shape, width) = (*heads.shape(), layout.compared());
            let apart = (shape.0, layout.width() / width, 1, width);
            let unit = unit_rows(heads.try_reshape_like(&apart)?, norm)?;
            gained(unit.try_reshape_like(&shape)?, of, layout, side)?
        }
        _ => heads,
    };
    if !layout.has_keys() {
        return heads.try_relu();
    }
    if layout.scoring.similarity == Similarity::FeatureMap {
        // elu(x) + 1 = max(x, 0) + e^min(x, 0)
        let above = heads.with_empty_tape().try_relu()?;
        let below = heads.try_negate()?.try_relu()?.try_negate()?;
        return above.try_add(below.try_exp()?);
    }
    let Some(rotary) = layout.scoring.rotary else {
        return Ok(heads);
    };
    let (device, width) = (heads.device().clone(), layout.width());
    let shape = (positions.len(), width);
    // 0 leaves a channel as it is.
    let angle = |position: usize, channel: usize| match channel % layout.compared() {
        channel if channel < rotary.channels => {
            let pair = channel / 2;
            position as f64
                * rotary
                    .base
                    .powf(-2.0 * pair as f64 / rotary.channels as f64)
        }
        _ => 0.0,
    };
    let table = |f: fn(f64) -> f64| {
        let of_position =
            |&position: &usize| (0..width).map(move |c| number(f(angle(position, c))));
        device.try_tensor_from_vec(positions.iter().flat_map(of_position).collect(), shape)
    };
    // Channel 2i becomes -x of 2i + 1, and 2i + 1 becomes x of 2i.
    let mut swap = vec![number(0.0); width * width];
    for pair in 0..width / 2 {
        swap[(2 * pair + 1) * width + 2 * pair] = number(-1.0);
        swap[2 * pair * width + 2 * pair + 1] = number(1.0);
    }
    let swap = device.try_tensor_from_vec(swap, (width, width))?;
    let swapped = heads.with_empty_tape().try_matmul(swap)?;
    let rotated = swapped.try_mul(table(f64::sin)?)?;
    heads.try_mul(table(f64::cos)?)?.try_add(rotated)
}

/// Repeats shared keys or values for every head of a group: `[tokens, kv_width]` → `[tokens, width]`.
pub fn repeat_kv<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    shared: Rows<N, D, T>,
    layout: Layout,
) -> Result<Rows<N, D, T>, D::Err> {
    let head_dim = layout.head_dim;
    spread(shared, layout.width(), |column| {
        column / head_dim / layout.group() * head_dim + column % head_dim
    })
}

/// Normalised queries (`side` 0) or keys (1) times what the norm has learned.
fn gained<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Rows<N, D, T>,
    weights: &QkNormWeights<N, D>,
    layout: Layout,
    side: usize,
) -> Result<Rows<N, D, T>, D::Err> {
    let (width, head_dim) = (layout.width(), layout.compared());
    let of_channels = [&weights.query, &weights.key][side];
    let of_heads = if side == 0 { &weights.scale } else { &None };
    let gain = |vector: &Tensor<(usize,), N, D>, from: &dyn Fn(usize) -> usize| {
        let row = vector.retaped::<T>();
        let length = row.shape().0;
        spread(row.try_reshape_like(&(1, length))?, width, from)
    };
    let gains = match (of_channels, of_heads) {
        (Some(vector), _) => gain(vector, &|column| column % head_dim)?,
        (_, Some(vector)) => gain(vector, &|column| column / head_dim)?,
        _ => return Ok(heads),
    };
    let shape = *heads.shape();
    let gains = gains.try_reshape_like(&(width,))?;
    heads.try_mul(gains.try_broadcast_like::<_, Axis<0>>(&shape)?)
}
