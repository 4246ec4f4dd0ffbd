//! The reference: documents are padded to rectangles, attended with a mask, and flattened again.

use dfdx::shapes::{Axes4, Axis, Const, Dtype, HasShape};
use dfdx::tensor::{PutTape, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{Device, PermuteTo, TryAdd, TryMatMul, TryMul};

use super::NormedStream;
use crate::ops::Stream;
use crate::ops::attention::reference::{MASKED, PaddedBatch};
use crate::ops::attention::{AttentionDropout, Projections, Scoring};
use crate::ops::dropout::factors;
use crate::ops::parameters::LayerNorm;

/// See [`super::CrossAttentionOp::try_cross_attention`].
pub(crate) fn cross_attention<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Device<N>,
    T: Tape<N, D>,
>(
    [queries, keys]: [&Stream<EMBED, N, D>; 2],
    (normed, norm): (NormedStream, &LayerNorm<EMBED, N, D>),
    weights: &Projections<EMBED, EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let device = queries.device().clone();
    let x = queries.clone().put_tape(tape);
    let (queries, keys) = (x.with_empty_tape(), keys.retaped::<T>());
    let (queries, keys) = match normed {
        NormedStream::Queries => (norm.try_forward(queries)?, keys),
        NormedStream::Keys => (queries, norm.try_forward(keys)?),
    };
    let q = weights.query.try_forward(queries)?;
    let k = weights.key.try_forward(keys.with_empty_tape())?;
    let v = weights.value.try_forward(keys)?;
    let [of_queries, of_keys] = starts.map(PaddedBatch::of);
    let q = of_queries.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(q)?;
    let k = of_keys.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(k)?;
    let k = k.try_permute::<(usize, Const<HEADS>, Const<HEAD_DIM>, usize), Axes4<0, 1, 3, 2>>()?;
    let v = of_keys.heads::<EMBED, HEADS, HEAD_DIM, _, _, _>(v)?;
    let scale = N::from_f64(Scoring::SOFTMAX.scale(HEAD_DIM)).expect("a finite number");
    let scores = q.try_matmul(k)?.try_mul(scale)?;

    // `f(document, head, query, key)` for every pair.
    let (documents, rows, columns) = (of_keys.documents, of_queries.longest, of_keys.longest);
    let rectangles = |f: &dyn Fn(usize, usize, usize, usize) -> f64| {
        let each = (0..documents * HEADS * rows * columns).map(|i| {
            let (square, query, key) = (i / (rows * columns), i / columns % rows, i % columns);
            N::from_f64(f(square / HEADS, square % HEADS, query, key)).expect("a finite number")
        });
        let shape = (documents, Const::<HEADS>, rows, columns);
        let all: Result<Tensor<_, N, D>, D::Err> =
            device.try_tensor_from_vec(each.collect(), shape);
        all
    };
    let mask = rectangles(&|document, _, query, key| {
        let count = starts[1][document + 1] - starts[1][document];
        if key <= query && key < count {
            0.0
        } else {
            MASKED
        }
    })?;
    let kept = rectangles(&|document, head, query, key| {
        let index = ((starts[0][document] + query) * HEADS + head) * dropout.context + key;
        f64::from(dropout.weights.factor(index as u32))
    })?;
    let weights_of_keys = scores.try_add(mask)?.try_softmax::<Axis<3>>()?;
    let heads = weights_of_keys.try_mul(kept)?.try_matmul(v)?;
    let y = weights.proj.try_forward(of_queries.flat(heads)?)?;
    let factors = factors(&device, dropout.output, *x.shape())?;
    x.try_add(y.try_mul(factors)?)
}
