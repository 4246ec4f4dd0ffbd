//! The reference: documents are padded to a rectangle, attended with a mask, and flattened again.

use dfdx::shapes::{Axes4, Axis, Const, Dtype, HasShape};
use dfdx::tensor::{NoneTape, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, GatherTo, PermuteTo, ReshapeTo, SumTo, TryAdd, TryDiv, TryMatMul, TryMul,
};

use super::{AttentionDropout, Positional, Projections, Scoring, Similarity};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::dropout::factors;
use crate::ops::parameters::LayerNorm;

/// Added to the score of a masked key (the value of the original implementation).
pub const MASKED: f64 = -1e10;

/// See [`super::AttentionOp::try_attention`].
pub(crate) fn attention<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Projections<EMBED, KV, N, D>,
    scoring: Scoring,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let normed = norm.try_forward(x.with_empty_tape())?;
    let positions = batch.positions();
    let transformed = |heads: Stream<EMBED, N, D, T>| {
        transform::<EMBED, HEAD_DIM, _, _, _>(heads, scoring, &positions)
    };
    let q = transformed(weights.query.try_forward(normed.with_empty_tape())?)?;
    let k = transformed(repeat_kv::<EMBED, KV, HEAD_DIM, _, _, _>(
        weights.key.try_forward(normed.with_empty_tape())?,
    )?)?;
    let v = repeat_kv::<EMBED, KV, HEAD_DIM, _, _, _>(weights.value.try_forward(normed)?)?;
    let padded = PaddedBatch::of(&batch.starts);
    let q = padded.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(q)?;
    let k = padded.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(k)?;
    let k = k.try_permute::<(usize, Const<HEADS>, Const<HEAD_DIM>, usize), Axes4<0, 1, 3, 2>>()?;
    let v = padded.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(v)?;
    let scale = N::from_f64(scoring.scale(HEAD_DIM)).expect("a scale is a finite number");
    let scores = q.try_matmul(k)?.try_mul(scale)?;
    let weights_of_keys = padded.scores_to_weights(scores, scoring)?;
    let heads = padded.apply_weights(weights_of_keys, v, batch, dropout)?;
    let y = weights.proj.try_forward(padded.flat(heads)?)?;
    let factors = factors(x.device(), dropout.output, *x.shape())?;
    x.try_add(y.try_mul(factors)?)
}

/// The transformation of queries and keys before their dot product.
fn transform<const EMBED: usize, const HEAD_DIM: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Stream<EMBED, N, D, T>,
    scoring: Scoring,
    positions: &[usize],
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    if scoring.similarity == Similarity::FeatureMap {
        // elu(x) + 1 = max(x, 0) + e^min(x, 0)
        let above = heads.with_empty_tape().try_relu()?;
        let below = heads.try_negate()?.try_relu()?.try_negate()?;
        return above.try_add(below.try_exp()?);
    }
    if scoring.positional != Positional::Rope {
        return Ok(heads);
    }
    let device = heads.device().clone();
    let number = |x: f64| N::from_f64(x).expect("a finite number");
    let shape = (positions.len(), Const::<EMBED>);
    let angle = |position: usize, channel: usize| {
        let pair = channel % HEAD_DIM / 2;
        position as f64 * 10_000f64.powf(-2.0 * pair as f64 / HEAD_DIM as f64)
    };
    let table = |f: fn(f64) -> f64| {
        let of_position =
            |&position: &usize| (0..EMBED).map(move |c| number(f(angle(position, c))));
        device.try_tensor_from_vec(positions.iter().flat_map(of_position).collect(), shape)
    };
    // Channel 2i becomes -x of 2i + 1, and 2i + 1 becomes x of 2i.
    let mut swap = vec![number(0.0); EMBED * EMBED];
    for pair in 0..EMBED / 2 {
        swap[(2 * pair + 1) * EMBED + 2 * pair] = number(-1.0);
        swap[2 * pair * EMBED + 2 * pair + 1] = number(1.0);
    }
    let swap = device.try_tensor_from_vec(swap, (Const::<EMBED>, Const::<EMBED>))?;
    let swapped = heads.with_empty_tape().try_matmul(swap)?;
    let rotated = swapped.try_mul(table(f64::sin)?)?;
    heads.try_mul(table(f64::cos)?)?.try_add(rotated)
}

/// Repeats shared keys or values for every head of a group: `[tokens, KV]` → `[tokens, EMBED]`.
fn repeat_kv<
    const EMBED: usize,
    const KV: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    shared: Stream<KV, N, D, T>,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let group = EMBED / KV;
    let mut copies = vec![N::default(); KV * EMBED];
    for column in 0..EMBED {
        let from = column / HEAD_DIM / group * HEAD_DIM + column % HEAD_DIM;
        copies[from * EMBED + column] = N::ONE;
    }
    let shape = (Const::<KV>, Const::<EMBED>);
    let copies = shared.device().try_tensor_from_vec(copies, shape)?;
    shared.try_matmul(copies)
}

/// `[documents, HEADS, longest, HEAD_DIM]`.
pub type Heads<const HEADS: usize, const HEAD_DIM: usize, N, D, T> =
    Tensor<(usize, Const<HEADS>, usize, Const<HEAD_DIM>), N, D, T>;

/// `[documents, HEADS, longest, longest]`.
pub type Scores<const HEADS: usize, N, D, T> = Tensor<(usize, Const<HEADS>, usize, usize), N, D, T>;

/// The mapping between ragged tokens and a padded `[documents, longest]` rectangle.
pub struct PaddedBatch {
    pub documents: usize,
    pub longest: usize,
    /// For each cell its token; 0 for padding (a masked key, or a query whose output is not used).
    token_at: Vec<usize>,
    /// For each token its cell.
    row_of: Vec<usize>,
}

impl PaddedBatch {
    /// For documents with the given starts and end.
    pub fn of(starts: &[usize]) -> Self {
        let lengths = starts.windows(2).map(|w| w[1] - w[0]);
        let (documents, longest) = (lengths.len(), lengths.max().unwrap_or(0));
        let (mut token_at, mut row_of) = (vec![0; documents * longest], vec![]);
        for (document, w) in starts.windows(2).enumerate() {
            for token in w[0]..w[1] {
                let cell = document * longest + token - w[0];
                token_at[cell] = token;
                row_of.push(cell);
            }
        }
        Self {
            documents,
            longest,
            token_at,
            row_of,
        }
    }

    /// `[tokens, EMBED]` → `[documents, HEADS, longest, HEAD_DIM]`.
    pub fn heads<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        N: Dtype,
        D: Device<N>,
        T: Tape<N, D>,
    >(
        &self,
        flat: Stream<EMBED, N, D, T>,
    ) -> Result<Heads<HEADS, HEAD_DIM, N, D, T>, D::Err> {
        let device = flat.device().clone();
        let rows = device.try_tensor_from_vec(self.token_at.clone(), (self.token_at.len(),))?;
        let rectangle = (
            self.documents,
            self.longest,
            Const::<HEADS>,
            Const::<HEAD_DIM>,
        );
        flat.try_gather(rows)?
            .try_reshape_like(&rectangle)?
            .try_permute::<(usize, Const<HEADS>, usize, Const<HEAD_DIM>), Axes4<0, 2, 1, 3>>()
    }

    /// From scores to attention weights.
    pub fn scores_to_weights<const HEADS: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        scores: Scores<HEADS, N, D, T>,
        scoring: Scoring,
    ) -> Result<Scores<HEADS, N, D, T>, D::Err> {
        let device = scores.device().clone();
        let seen = |query: usize, key: usize| key <= query && key >= scoring.first_key(query);
        match scoring.similarity {
            Similarity::Softmax => {
                let bias = self.cells::<HEADS, _, _>(
                    &device,
                    &|_, head, query, key| match seen(query, key) {
                        true => -scoring.slope(head, HEADS) * (query as f64 - key as f64),
                        false => MASKED,
                    },
                )?;
                scores.try_add(bias)?.try_softmax::<Axis<3>>()
            }
            Similarity::FeatureMap => {
                let mask = self.cells::<HEADS, _, _>(&device, &|_, _, query, key| {
                    f64::from(u8::from(seen(query, key)))
                })?;
                let shape = *scores.shape();
                let seen = scores.try_mul(mask)?;
                let sums = seen.with_empty_tape().try_sum::<_, Axis<3>>()?;
                seen.try_div(sums.try_broadcast_like::<_, Axis<3>>(&shape)?)
            }
        }
    }

    /// The weighted sum of values, with dropout on the weights.
    pub fn apply_weights<
        const HEADS: usize,
        const HEAD_DIM: usize,
        N: Dtype,
        D: Device<N>,
        T: Tape<N, D>,
    >(
        &self,
        weights: Scores<HEADS, N, D, T>,
        values: Heads<HEADS, HEAD_DIM, N, D, T>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Heads<HEADS, HEAD_DIM, N, D, T>, D::Err> {
        let device = weights.device().clone();
        let kept = self.cells::<HEADS, _, _>(&device, &|document, head, query, key| {
            let token = batch.starts[document] + query;
            let index = (token * HEADS + head) * dropout.context + key;
            f64::from(dropout.weights.factor(index as u32))
        })?;
        weights.try_mul(kept)?.try_matmul(values)
    }

    /// `[documents, HEADS, longest, HEAD_DIM]` → `[tokens, EMBED]`, heads side by side.
    pub fn flat<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        N: Dtype,
        D: Device<N>,
        T: Tape<N, D>,
    >(
        &self,
        heads: Heads<HEADS, HEAD_DIM, N, D, T>,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let device = heads.device().clone();
        let heads = heads
            .try_permute::<(usize, usize, Const<HEADS>, Const<HEAD_DIM>), Axes4<0, 2, 1, 3>>()?;
        let flat = heads.try_reshape_like(&(self.documents * self.longest, Const::<EMBED>))?;
        flat.try_gather(device.try_tensor_from_vec(self.row_of.clone(), (self.row_of.len(),))?)
    }

    /// A tensor with `f(document, head, query, key)` in every cell.
    fn cells<const HEADS: usize, N: Dtype, D: Device<N>>(
        &self,
        device: &D,
        f: &dyn Fn(usize, usize, usize, usize) -> f64,
    ) -> Result<Scores<HEADS, N, D, NoneTape>, D::Err> {
        let n = self.longest;
        let cells = 0..self.documents * HEADS * n * n;
        let values = cells
            .map(|i| f(i / (HEADS * n * n), i / (n * n) % HEADS, i / n % n, i % n))
            .map(|x| N::from_f64(x).expect("a mask is a finite number"))
            .collect();
        device.try_tensor_from_vec(values, (self.documents, Const::<HEADS>, n, n))
    }
}
