//! Attention maps: what positions add to scores, scores, and the weights that they become.

use dfdx::shapes::{Axes2, Axes3, Axes4, Axis, Const, Dtype, HasShape};
use dfdx::tensor::{Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, LogSumExpTo, PermuteTo, ReshapeTo, SumTo, TryAdd, TryDiv, TryMatMul,
    TryMul, TrySub,
};

use super::differential;
use super::padded::PaddedBatch;
use super::tensors::{Heads, Rows, Scores, cells, number, softplus, spread};
use crate::ops::Stream;
use crate::ops::attention::relative::{self, BUCKETS};
use crate::ops::attention::{AttentionWeights, Bias, Layout, PositionWeights, Similarity};

/// Added to the score of a masked key (the value of the original implementation).
const MASKED: f64 = -1e10;

/// What maps are computed from: transformed queries, keys if there are any, and what positions add to scores.
type MapInputs<N, D, T> = (Heads<N, D, T>, Option<Heads<N, D, T>>, Scores<N, D, T>);

impl PaddedBatch<'_> {
    /// What positions add to scores.
    pub fn addend<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        weights: &AttentionWeights<EMBED, N, D>,
        normed: Stream<EMBED, N, D, T>,
    ) -> Result<Scores<N, D, T>, D::Err> {
        let device = normed.device().clone();
        let (layout, [n, keys]) = (self.layout, self.longest);
        let shape = (self.starts[0].len() - 1, layout.heads, n, keys);
        if let (Some(layer), Some(Bias::Forget { divisor })) =
            (&weights.forget, layout.scoring.bias)
        {
            // log σ(x) = -(max(-x, 0) + log(1 + e^-|x|))
            let x = layer.try_forward(normed)?.try_negate()?;
            let gates = softplus(x)?.try_mul(number::<N>(-1.0 / divisor as f64))?;
            let gates = self.heads(1, gates)?; // [documents, heads, longest, 1]
            let up_to = |i: usize, j: usize| f64::from(u8::from(j <= i));
            let triangle = cells(&device, (shape.0, shape.1, n, n), |_, _, i, j| up_to(i, j))?;
            let sums = triangle.retaped::<T>().try_matmul(gates)?;
            let sums = sums.try_reshape_like(&(shape.0, shape.1, n))?;
            let of_queries = sums
                .with_empty_tape()
                .try_broadcast_like::<_, Axis<3>>(&shape)?;
            // Not a difference: dfdx needs two tensors.
            let of_keys = sums
                .try_negate()?
                .try_broadcast_like::<_, Axis<2>>(&shape)?;
            return of_queries.try_add(of_keys);
        }
        let distance = |query: usize, key: usize| query as f64 - key as f64;
        if let Some(table) = &weights.relative {
            // A product with a 0/1 matrix picks each cell's bucket.
            let of_cell = |bucket: usize, cell: usize| {
                let (query, key) = (cell / keys, cell % keys);
                key <= query && relative::bucket(query - key) == bucket
            };
            let picked = (0..BUCKETS * n * keys)
                .map(|i| number::<N>(f64::from(u8::from(of_cell(i / (n * keys), i % (n * keys))))));
            let picked =
                device.try_tensor_from_vec(picked.collect(), (Const::<BUCKETS>, n * keys))?;
            let of_heads = table
                .retaped::<T>()
                .try_permute::<(usize, Const<BUCKETS>), Axes2<1, 0>>()?
                .try_matmul(picked)?
                .try_reshape_like(&(layout.heads, n, keys))?;
            return of_heads.try_broadcast_like::<_, Axis<0>>(&shape);
        }
        let slopes = cells(&device, shape, |_, head, query, key| {
            -layout.scoring.slope(head, layout.heads) * distance(query, key)
        })?;
        Ok(slopes.retaped::<T>())
    }

    /// The delta rule: corrected values, from those of keys and values, and β, `[tokens, heads]`.
    pub fn correct<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        [k, v]: [Heads<N, D, T>; 2],
        beta: Rows<N, D, T>,
        addend: Scores<N, D, T>,
    ) -> Result<Heads<N, D, T>, D::Err> {
        let (beta, shape) = (self.heads(1, beta)?, *addend.shape());
        let column = (shape.0, shape.1, shape.2);
        let beta = beta.try_reshape_like(&column)?;
        let device = k.device().clone();
        let before = |is: fn(usize, usize) -> bool| {
            cells(&device, shape, |_, _, i, j| f64::from(u8::from(is(i, j))))
        };
        let growth = addend.try_mul(before(|i, j| j < i)?)?.try_exp()?;
        // What keys retrieve of each other, negative: dfdx multiplies two tensors.
        let retrieved = scores(k.with_empty_tape(), k.try_negate()?, 1.0)?
            .try_mul(growth)?
            .try_mul(before(|i, j| j < i)?)?
            .try_mul(
                beta.with_empty_tape()
                    .try_broadcast_like::<_, Axis<3>>(&shape)?,
            )?;
        // The inverse of the lower triangular 1 + A, by blocks on the diagonal that double in size:
        // [P 0; C Q]⁻¹ = [P⁻¹ 0; -Q⁻¹ C P⁻¹ Q⁻¹].
        let mut inverse = before(|i, j| i == j)?.retaped::<T>();
        let mut size = 1;
        while size < shape.2 {
            let joins = cells(&device, shape, |_, _, i, j| {
                let joined = i / size != j / size && i / (2 * size) == j / (2 * size);
                f64::from(u8::from(joined))
            })?;
            let corner = retrieved.with_empty_tape().try_mul(joins)?;
            let corner = corner.try_matmul(inverse.with_empty_tape())?;
            let correction = inverse.with_empty_tape().try_matmul(corner)?;
            inverse = inverse.try_add(correction)?;
            size *= 2;
        }
        // Merges the tape of what keys retrieve.
        let nothing = retrieved.try_mul(N::default())?;
        inverse = inverse.try_add(nothing)?;
        let of_values = *v.shape();
        let scaled = v.try_mul(beta.try_broadcast_like::<_, Axis<3>>(&of_values)?)?;
        inverse.try_matmul(scaled)
    }

    /// One map of each head, from transformed queries, keys if there are any, and what positions add to their scores.
    pub fn map<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        weights: &AttentionWeights<EMBED, N, D>,
        (mut q, k, addend): MapInputs<N, D, T>,
        map: usize,
    ) -> Result<Scores<N, D, T>, D::Err> {
        let layout = self.layout;
        if weights.difference.is_some() {
            // Zeros for the other half, so that the dot products are those of one.
            let half = differential::half(q.device(), layout.head_dim, map)?;
            let half = half.retaped::<T>();
            let half = half.try_broadcast_like::<_, Axes3<0, 1, 2>>(q.shape())?;
            q = q.try_mul(half)?;
        }
        let mut scores = match (k, &weights.positions) {
            (_, Some(of)) => scores_of_positions(q, of)?,
            (Some(k), None) => scores(q, k, layout.scale())?,
            (None, None) => unreachable!("heads have keys or positions"),
        };
        if let Some(talking) = &weights.talking {
            scores = mix(scores, &talking.before)?;
        }
        let sinks = match &weights.sinks {
            Some(sinks) => Some(of_map(sinks, layout, map)?),
            None => None,
        };
        let weighted = self.scores_to_weights(scores, addend, sinks)?;
        match &weights.talking {
            Some(talking) => mix(weighted, &talking.after),
            None => Ok(weighted),
        }
    }

    /// From scores, what positions add to them, and the scores of sinks, to attention weights.
    fn scores_to_weights<N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        mut scores: Scores<N, D, T>,
        addend: Scores<N, D, T>,
        sinks: Option<Tensor<(usize,), N, D, T>>,
    ) -> Result<Scores<N, D, T>, D::Err> {
        let (shape, scoring, device) = (
            *scores.shape(),
            self.layout.scoring,
            scores.device().clone(),
        );
        if let Some(bound) = scoring.softcap {
            let part = scores.try_mul(number::<N>(1.0 / bound))?.try_tanh()?;
            scores = part.try_mul(number::<N>(bound))?;
        }
        let mask = |of: &dyn Fn(usize, usize, usize) -> f64| {
            cells(&device, shape, |document, _, query, key| {
                of(document, query, key)
            })
        };
        let seen = mask(&|d, query, key| f64::from(u8::from(self.sees(d, query, key))))?;
        match scoring.similarity {
            Similarity::Softmax => {
                let hidden = mask(&|d, query, key| match self.sees(d, query, key) {
                    true => 0.0,
                    false => MASKED,
                })?;
                let scores = scores.try_add(addend)?.try_add(hidden)?;
                match scoring.sink {
                    None => scores.try_softmax::<Axis<3>>(),
                    Some(_) => softmax_with_sink(scores, sinks),
                }
            }
            Similarity::Sigmoid => {
                let log_count = mask(&|document, query, _| {
                    let end = (query + 1).min(self.tokens(1, document));
                    // Padding may see no key.
                    let count = end.saturating_sub(scoring.first_key(query)).max(1);
                    (count as f64).ln()
                })?;
                let scores = scores.try_add(addend)?.try_sub(log_count)?;
                scores.try_sigmoid()?.try_mul(seen)
            }
            Similarity::StickBreaking => {
                // log(1 - σ(z)) = -softplus(z), summed over the keys from this one to before the query.
                let z = scores.try_add(addend)?;
                let before = mask(&|d, query, key| {
                    f64::from(u8::from(key < query && self.sees(d, query, key)))
                })?;
                let rest = softplus(z.with_empty_tape())?.try_mul(before.clone())?;
                let (keys, square) = (shape.3, (shape.0, shape.1, shape.3, shape.3));
                let from = cells(&device, square, |_, _, other, key| {
                    f64::from(u8::from(other >= key && other < keys))
                })?;
                let taken = z.try_sub(rest.try_matmul(from)?)?;
                // What is not seen may be too large for an exponential.
                taken.try_mul(before.clone())?.try_exp()?.try_mul(before)
            }
            Similarity::FeatureMap => divided_by_sums(scores.try_mul(seen)?),
            Similarity::Taylor => {
                let square = scores
                    .with_empty_tape()
                    .try_square()?
                    .try_mul(number::<N>(0.5))?;
                let weights = scores.try_add(square)?.try_add(N::ONE)?;
                divided_by_sums(weights.try_mul(seen)?)
            }
            Similarity::Product => {
                let growth = addend.try_mul(seen.clone())?.try_exp()?;
                scores.try_mul(growth)?.try_mul(seen)
            }
        }
    }
}

/// Scores or weights of the heads, combined by a `[heads, heads]` matrix.
fn mix<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    maps: Scores<N, D, T>,
    matrix: &Tensor<(usize, usize), N, D>,
) -> Result<Scores<N, D, T>, D::Err> {
    let (documents, heads, queries, keys) = *maps.shape();
    let cells = documents * queries * keys;
    let columns = maps
        .try_permute::<_, Axes4<0, 2, 3, 1>>()?
        .try_reshape_like(&(cells, heads))?;
    columns
        .try_matmul(matrix.clone().try_permute::<_, Axes2<1, 0>>()?)?
        .try_reshape_like(&(documents, queries, keys, heads))?
        .try_permute::<_, Axes4<0, 3, 1, 2>>()
}

/// The sinks of one map of each head: `[heads * maps]` → `[heads]`.
fn of_map<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    sinks: &Tensor<(usize,), N, D>,
    layout: Layout,
    map: usize,
) -> Result<Tensor<(usize,), N, D, T>, D::Err> {
    let (count, heads) = (sinks.shape().0, layout.heads);
    let row = sinks.retaped::<T>().try_reshape_like(&(1, count))?;
    let picked = spread(row, heads, |head| head * layout.maps() + map)?;
    picked.try_reshape_like(&(heads,))
}

/// A softmax with a further score in each row, 0 where none is learned.
fn softmax_with_sink<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    scores: Scores<N, D, T>,
    sinks: Option<Tensor<(usize,), N, D, T>>,
) -> Result<Scores<N, D, T>, D::Err> {
    let shape = *scores.shape();
    // The share of the keys is σ(log Σ e^score - sink).
    let mut all = scores.with_empty_tape().try_logsumexp::<_, Axis<3>>()?;
    if let Some(sinks) = sinks {
        let rows = *all.shape();
        all = all.try_sub(sinks.try_broadcast_like::<_, Axes2<0, 2>>(&rows)?)?;
    }
    let share = all
        .try_sigmoid()?
        .try_broadcast_like::<_, Axis<3>>(&shape)?;
    scores.try_softmax::<Axis<3>>()?.try_mul(share)
}

/// Each row divided by its sum.
fn divided_by_sums<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    weights: Scores<N, D, T>,
) -> Result<Scores<N, D, T>, D::Err> {
    let shape = *weights.shape();
    let sums = weights.with_empty_tape().try_sum::<_, Axis<3>>()?;
    weights.try_div(sums.try_broadcast_like::<_, Axis<3>>(&shape)?)
}

/// `scale * q · kᵀ`.
pub fn scores<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    q: Heads<N, D, T>,
    k: Heads<N, D, T>,
    scale: f64,
) -> Result<Scores<N, D, T>, D::Err> {
    let k = k.try_permute::<_, Axes4<0, 1, 3, 2>>()?;
    q.try_matmul(k)?.try_mul(number::<N>(scale))
}

/// The scores of all positions of the longest document, from the heads' hidden layers.
fn scores_of_positions<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
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
