//! The plain truth: documents are padded to a rectangle, attended with a mask, and laid flat again.

use dfdx::shapes::{Axes4, Axis, Const, Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{Device, GatherTo, PermuteTo, ReshapeTo, TryAdd, TryMatMul, TryMul};

use super::{AttentionDropout, Projections};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::dropout::factors;
use crate::ops::parameters::LayerNorm;

/// Added to the score of a key that the query must not see (the reference's value).
const MASKED: f64 = -1e10;

/// See [`super::AttentionOp::try_attention`].
pub(crate) fn attention<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    x: Stream<EMBED, N, D, T>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Projections<EMBED, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let device = x.device().clone();
    let frame = Frame::of(batch);
    let rectangle = (
        frame.documents,
        frame.longest,
        Const::<HEADS>,
        Const::<HEAD_DIM>,
    );
    let normed = norm.try_forward(x.with_empty_tape())?;
    // [tokens, EMBED] -> [documents, longest, HEADS, HEAD_DIM]
    let padded = |flat: Stream<EMBED, N, D, T>| {
        let rows = device.try_tensor_from_vec(frame.token_at.clone(), (frame.token_at.len(),))?;
        flat.try_gather(rows)?.try_reshape_like(&rectangle)
    };
    let q = padded(weights.query.try_forward(normed.with_empty_tape())?)?;
    let k = padded(weights.key.try_forward(normed.with_empty_tape())?)?;
    let v = padded(weights.value.try_forward(normed)?)?;
    let q = q.try_permute::<(usize, Const<HEADS>, usize, Const<HEAD_DIM>), Axes4<0, 2, 1, 3>>()?;
    let k = k.try_permute::<(usize, Const<HEADS>, Const<HEAD_DIM>, usize), Axes4<0, 2, 3, 1>>()?;
    let v = v.try_permute::<(usize, Const<HEADS>, usize, Const<HEAD_DIM>), Axes4<0, 2, 1, 3>>()?;
    // [documents, HEADS, longest, longest]
    let square = (
        frame.documents,
        Const::<HEADS>,
        frame.longest,
        frame.longest,
    );
    let fill = |f: &dyn Fn(usize, usize, usize, usize) -> f64| -> Result<Tensor<_, N, D>, D::Err> {
        let values = frame
            .square::<HEADS>(f)
            .into_iter()
            .map(N::from_f64)
            .collect::<Option<_>>();
        device.try_tensor_from_vec(values.expect("a mask is a finite number"), square)
    };
    let scale = N::from_f64(1.0 / (HEAD_DIM as f64).sqrt()).expect("a scale is a finite number");
    let scores = q.try_matmul(k)?.try_mul(scale)?;
    let mask = fill(&|_, _, query, key| if key <= query { 0.0 } else { MASKED })?;
    let attention = scores.try_add(mask)?.try_softmax::<Axis<3>>()?;
    let kept = fill(&|document, head, query, key| {
        let token = batch.starts[document] + query;
        let index = (token * HEADS + head) * dropout.context + key;
        f64::from(dropout.weights.factor(index as u32))
    })?;
    let heads = attention.try_mul(kept)?.try_matmul(v)?;
    let heads =
        heads.try_permute::<(usize, usize, Const<HEADS>, Const<HEAD_DIM>), Axes4<0, 2, 1, 3>>()?;
    let flat = heads.try_reshape_like(&(frame.documents * frame.longest, Const::<EMBED>))?;
    let rows = device.try_tensor_from_vec(frame.row_of.clone(), (frame.row_of.len(),))?;
    let y = weights.proj.try_forward(flat.try_gather(rows)?)?;
    let factors = factors(&device, dropout.output, *x.shape())?;
    x.try_add(y.try_mul(factors)?)
}

/// Where ragged tokens stand in a `[documents, longest]` rectangle.
struct Frame {
    documents: usize,
    longest: usize,
    /// For each cell of the rectangle its token; 0 where there is none (a masked key, an unread query).
    token_at: Vec<usize>,
    /// For each token its cell.
    row_of: Vec<usize>,
}

impl Frame {
    fn of(batch: &Ragged) -> Self {
        let (documents, longest) = (batch.documents(), batch.longest());
        let (mut token_at, mut row_of) = (vec![0; documents * longest], vec![]);
        for (document, w) in batch.starts.windows(2).enumerate() {
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

    /// `f(document, head, query, key)` for every cell of `[documents, HEADS, longest, longest]`.
    fn square<const HEADS: usize>(
        &self,
        f: &dyn Fn(usize, usize, usize, usize) -> f64,
    ) -> Vec<f64> {
        let n = self.longest;
        let cells = 0..self.documents * HEADS * n * n;
        cells
            .map(|i| f(i / (HEADS * n * n), i / (n * n) % HEADS, i / n % n, i % n))
            .collect()
    }
}
