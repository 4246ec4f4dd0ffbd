//! The reference: documents are padded to a rectangle, attended to with a mask, and flattened again.

use dfdx::shapes::{Axes4, Axis, Dtype, HasShape};
use dfdx::tensor::{NoneTape, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, GatherTo, PermuteTo, ReshapeTo, SumTo, TryAdd, TryDiv, TryMatMul, TryMul,
};

use super::{
    AttentionDropout, AttentionWeights, Layout, ScoreWeights, Similarity, differential, synthesizer,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::{self, LayerNorm};

/// Added to the score of a masked key (the value of the original implementation).
const MASKED: f64 = -1e10;

/// See [`super::AttentionOp::try_attention`].
pub(crate) fn attention<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<EMBED, N, D, T>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &AttentionWeights<EMBED, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    weights.layout.check_longest(batch);
    let normed = norm.try_forward(x.with_empty_tape())?;
    let heads = attend(
        [normed.with_empty_tape(), normed],
        weights,
        [&batch.starts; 2],
        dropout,
    )?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}

/// The heads' outputs, side by side, from the streams of queries and keys, after the layer norm of either; `starts` are
/// those of their documents.
pub(crate) fn attend<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [Stream<EMBED, N, D, T>; 2],
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
) -> Result<Rows<N, D, T>, D::Err> {
    let layout = weights.layout;
    let padded = PaddedBatch::of(starts, layout);
    let values = |keys| repeat_kv(weights.value.try_forward(keys)?, layout);
    let comparison = match &weights.scores {
        ScoreWeights::DotProduct(comparison) => comparison,
        ScoreWeights::Positions(of) => {
            let hidden = of.hidden.try_forward(queries)?.try_relu()?;
            let inputs = [hidden, values(keys)?];
            return synthesizer::reference::attend(&padded, inputs, of, dropout);
        }
    };
    let transformed = |heads, side: usize| transform(heads, layout, &positions(starts[side]));
    let q = transformed(comparison.query.try_forward(queries)?, 0)?;
    let k = comparison.key.try_forward(keys.with_empty_tape())?;
    let k = transformed(repeat_kv(k, layout)?, 1)?;
    let v = values(keys)?;
    match &weights.difference {
        Some(of) => differential::reference::attend(&padded, [q, k, v], of, dropout),
        None => padded.attend([q, k, v], dropout),
    }
}

/// The position of each token in its document.
fn positions(starts: &[usize]) -> Vec<usize> {
    starts.windows(2).flat_map(|w| 0..w[1] - w[0]).collect()
}

/// The transformation of queries and keys before their dot product.
fn transform<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Rows<N, D, T>,
    layout: Layout,
    positions: &[usize],
) -> Result<Rows<N, D, T>, D::Err> {
    if layout.scoring.similarity == Similarity::FeatureMap {
        // elu(x) + 1 = max(x, 0) + e^min(x, 0)
        let above = heads.with_empty_tape().try_relu()?;
        let below = heads.try_negate()?.try_relu()?.try_negate()?;
        return above.try_add(below.try_exp()?);
    }
    let Some(rotary) = layout.scoring.rotary else {
        return Ok(heads);
    };
    let (device, width, head_dim) = (heads.device().clone(), layout.width(), layout.head_dim);
    let number = |x: f64| N::from_f64(x).expect("a finite number");
    let shape = (positions.len(), width);
    // 0 leaves a channel as it is.
    let angle = |position: usize, channel: usize| match channel % head_dim {
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
fn repeat_kv<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    shared: Rows<N, D, T>,
    layout: Layout,
) -> Result<Rows<N, D, T>, D::Err> {
    let (kv, width, head_dim) = (layout.kv_width(), layout.width(), layout.head_dim);
    let mut copies = vec![N::default(); kv * width];
    for column in 0..width {
        let from = column / head_dim / layout.group() * head_dim + column % head_dim;
        copies[from * width + column] = N::ONE;
    }
    let copies = shared.device().try_tensor_from_vec(copies, (kv, width))?;
    shared.try_matmul(copies)
}

/// `[tokens, width]`, heads side by side.
pub type Rows<N, D, T> = parameters::Rows<usize, N, D, T>;

/// `[documents, heads, longest, head_dim]`.
pub type Heads<N, D, T> = Tensor<(usize, usize, usize, usize), N, D, T>;

/// `[documents, heads, longest of the queries, longest of the keys]`.
pub type Scores<N, D, T> = Tensor<(usize, usize, usize, usize), N, D, T>;

/// The mapping between ragged queries and keys and padded `[documents, longest]` rectangles.
pub struct PaddedBatch<'a> {
    /// Of the queries, and of the keys.
    starts: [&'a [usize]; 2],
    longest: [usize; 2],
    pub layout: Layout,
}

impl<'a> PaddedBatch<'a> {
    /// For documents with the given starts and end: of their queries, and of their keys.
    fn of(starts: [&'a [usize]; 2], layout: Layout) -> Self {
        let lengths = |starts: &[usize]| starts.windows(2).map(|w| w[1] - w[0]).max();
        Self {
            starts,
            longest: starts.map(|starts| lengths(starts).unwrap_or(0)),
            layout,
        }
    }

    /// The heads' outputs, side by side, from those of queries, keys and values.
    fn attend<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        [q, k, v]: [Rows<N, D, T>; 3],
        dropout: AttentionDropout,
    ) -> Result<Rows<N, D, T>, D::Err> {
        let [q, k, v] = [self.heads(0, q)?, self.heads(1, k)?, self.heads(1, v)?];
        let weights = self.scores_to_weights(scores(q, k, self.layout.scale())?)?;
        self.flat(self.apply_weights(weights, v, dropout)?)
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
        let (heads, head_dim) = (self.layout.heads, self.layout.head_dim);
        flat.try_gather(tokens)?
            .try_reshape_like(&(starts.len() - 1, longest, heads, head_dim))?
            .try_permute::<_, Axes4<0, 2, 1, 3>>()
    }

    /// From scores to attention weights.
    pub fn scores_to_weights<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        scores: Scores<N, D, T>,
    ) -> Result<Scores<N, D, T>, D::Err> {
        let (shape, scoring) = (*scores.shape(), self.layout.scoring);
        let of_keys = self.starts[1];
        let of_queries = self.starts[0];
        let seen = |document: usize, query: usize, key: usize| {
            let count = |starts: &[usize]| starts[document + 1] - starts[document];
            match query < count(of_queries) {
                true => (scoring.first_key(query)..=query).contains(&key) && key < count(of_keys),
                // Padding has to see something: its weights are not used, but must be numbers.
                false => key == 0,
            }
        };
        match scoring.similarity {
            Similarity::Softmax => {
                let bias = cells(
                    scores.device(),
                    shape,
                    |document, head, query, key| match seen(document, query, key) {
                        true => -scoring.slope(head, shape.1) * (query as f64 - key as f64),
                        false => MASKED,
                    },
                )?;
                scores.try_add(bias)?.try_softmax::<Axis<3>>()
            }
            Similarity::FeatureMap => {
                let mask = cells(scores.device(), shape, |document, _, query, key| {
                    f64::from(u8::from(seen(document, query, key)))
                })?;
                let seen = scores.try_mul(mask)?;
                let sums = seen.with_empty_tape().try_sum::<_, Axis<3>>()?;
                seen.try_div(sums.try_broadcast_like::<_, Axis<3>>(&shape)?)
            }
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

/// `scale * q · kᵀ`.
pub fn scores<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    q: Heads<N, D, T>,
    k: Heads<N, D, T>,
    scale: f64,
) -> Result<Scores<N, D, T>, D::Err> {
    let k = k.try_permute::<_, Axes4<0, 1, 3, 2>>()?;
    let scale = N::from_f64(scale).expect("a scale is a finite number");
    q.try_matmul(k)?.try_mul(scale)
}

/// A tensor with `f(document, head, query, key)` in every cell.
fn cells<N: Dtype, D: Device<N>>(
    device: &D,
    shape: (usize, usize, usize, usize),
    f: impl Fn(usize, usize, usize, usize) -> f64,
) -> Result<Scores<N, D, NoneTape>, D::Err> {
    let (documents, heads, queries, keys) = shape;
    let values = (0..documents * heads * queries * keys).map(|i| {
        let (map, query, key) = (i / (queries * keys), i / keys % queries, i % keys);
        N::from_f64(f(map / heads, map % heads, query, key)).expect("a mask is a finite number")
    });
    device.try_tensor_from_vec(values.collect(), shape)
}
