//! The reference: documents are padded to a rectangle, attended to with a mask, and flattened again.

use dfdx::shapes::{Axes2, Axes3, Axes4, Axis, Const, Dtype, HasShape, Shape};
use dfdx::tensor::{NoneTape, PutTape, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{
    BroadcastTo, Device, GatherTo, LogSumExpTo, PermuteTo, ReshapeTo, SumTo, TryAdd, TryDiv,
    TryMatMul, TryMul, TrySub,
};

use super::qk_norm::{EPSILON, QkNorm, QkNormWeights};
use super::relative::{self, BUCKETS};
use super::{
    AttentionDropout, AttentionWeights, Bias, Layout, NormedStream, Similarity, differential,
    synthesizer,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::dropout::add_dropped;
use crate::ops::parameters::{self, Norm};

/// Added to the score of a masked key (the value of the original implementation).
const MASKED: f64 = -1e10;

/// See [`super::AttentionOp::try_attention`].
pub(crate) fn attention<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<EMBED, N, D, T>,
    norm: &Norm<EMBED, N, D>,
    weights: &AttentionWeights<EMBED, N, D>,
    batch: &Ragged,
    dropout: AttentionDropout,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    weights.layout.check_longest(batch);
    let normed = norm.try_forward(x.with_empty_tape())?;
    let streams = [normed.with_empty_tape(), normed];
    let heads = gated_heads(streams, weights, [&batch.starts; 2], dropout)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}

/// See [`super::AttentionOp::try_cross_attention`].
pub(crate) fn cross_attention<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [&Stream<EMBED, N, D>; 2],
    (which, norm): (NormedStream, &Norm<EMBED, N, D>),
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
    tape: T,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let x = queries.clone().put_tape(tape);
    let (queries, keys) = (x.with_empty_tape(), keys.retaped::<T>());
    let streams = match which {
        NormedStream::Queries => [norm.try_forward(queries)?, keys],
        NormedStream::Keys => [queries, norm.try_forward(keys)?],
    };
    let heads = gated_heads(streams, weights, starts, dropout)?;
    add_dropped(x, weights.proj.try_forward(heads)?, dropout.output)
}

/// The heads' outputs after their gates: see [`attend`].
fn gated_heads<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [Stream<EMBED, N, D, T>; 2],
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
) -> Result<Rows<N, D, T>, D::Err> {
    let gates = match &weights.gate {
        Some(gate) => Some(gate.try_forward(queries.with_empty_tape())?.try_sigmoid()?),
        None => None,
    };
    let heads = attend([queries, keys], weights, starts, dropout)?;
    let Some(gates) = gates else {
        return Ok(heads);
    };
    let (width, of_heads) = (gates.shape().1, weights.layout.width());
    heads.try_mul(spread(gates, of_heads, |c| c * width / of_heads)?)
}

/// The heads' outputs, side by side, from the streams of queries and keys, after the layer norm of either; `starts` are
/// those of their documents.
fn attend<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    [queries, keys]: [Stream<EMBED, N, D, T>; 2],
    weights: &AttentionWeights<EMBED, N, D>,
    starts: [&[usize]; 2],
    dropout: AttentionDropout,
) -> Result<Rows<N, D, T>, D::Err> {
    let layout = weights.layout;
    let padded = PaddedBatch::of(starts, layout);
    let transformed =
        |heads, side: usize| transform(heads, weights, side, &positions(starts[side]));
    let q = transformed(weights.query().try_forward(queries)?, 0)?;
    let q = padded.heads(0, q)?;
    let k = match weights.key() {
        Some(key) => {
            let k = repeat_kv(key.try_forward(keys.with_empty_tape())?, layout)?;
            Some(padded.heads(1, transformed(k, 1)?)?)
        }
        None => None,
    };
    let of_keys = keys.with_empty_tape();
    let v = repeat_kv(weights.value.try_forward(keys)?, layout)?;
    let mut v = padded.heads(1, v)?;
    let addend = padded.addend(weights, of_keys.with_empty_tape())?;
    if let (Some(beta), Some(k)) = (&weights.beta, &k) {
        let beta = beta.try_forward(of_keys)?.try_sigmoid()?;
        v = padded.correct([k.with_empty_tape(), v], beta, addend.with_empty_tape())?;
    }
    let map = match &weights.difference {
        Some(of) => {
            let again = k.as_ref().map(|k| k.with_empty_tape());
            let again = (q.with_empty_tape(), again, addend.with_empty_tape());
            let first = padded.map(weights, again, 0)?;
            let second = padded.map(weights, (q, k, addend), 1)?;
            differential::reference::difference([first, second], of)?
        }
        None => padded.map(weights, (q, k, addend), 0)?,
    };
    let mut heads = padded.apply_weights(map, v, dropout)?;
    if layout.head_norm {
        heads = unit_rows(heads, QkNorm::Rms)?;
    }
    if let Some(of) = &weights.difference {
        heads = differential::reference::head_norm(heads, of)?;
    }
    padded.flat(heads)
}

/// Each row divided by its root mean square, or by its length.
fn unit_rows<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Heads<N, D, T>,
    norm: QkNorm,
) -> Result<Heads<N, D, T>, D::Err> {
    let shape = *heads.shape();
    let squares = heads
        .with_empty_tape()
        .try_square()?
        .try_sum::<_, Axis<3>>()?;
    let scale = squares
        .try_mul(number::<N>(norm.share(shape.3)))?
        .try_add(number::<N>(EPSILON))?
        .try_sqrt()?;
    heads.try_div(scale.try_broadcast_like::<_, Axis<3>>(&shape)?)
}

/// A number of the device's kind.
pub fn number<N: Dtype>(x: f64) -> N {
    N::from_f64(x).expect("a finite number")
}

/// Columns copied to others: `[rows, columns]` → `[rows, width]`, each from the column that `from` says.
fn spread<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    rows: Rows<N, D, T>,
    width: usize,
    from: impl Fn(usize) -> usize,
) -> Result<Rows<N, D, T>, D::Err> {
    let columns = rows.shape().1;
    let mut copies = vec![N::default(); columns * width];
    (0..width).for_each(|column| copies[from(column) * width + column] = N::ONE);
    let copies = rows
        .device()
        .try_tensor_from_vec(copies, (columns, width))?;
    rows.try_matmul(copies)
}

/// The position of each token in its document.
fn positions(starts: &[usize]) -> Vec<usize> {
    starts.windows(2).flat_map(|w| 0..w[1] - w[0]).collect()
}

/// The transformation of queries and keys before their dot product.
fn transform<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
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
fn repeat_kv<N: Dtype, D: Device<N>, T: Tape<N, D>>(
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

/// `[tokens, width]`, heads side by side.
pub type Rows<N, D, T> = parameters::Rows<usize, N, D, T>;

/// `[documents, heads, longest, head_dim]`.
pub type Heads<N, D, T> = Tensor<(usize, usize, usize, usize), N, D, T>;

/// `[documents, heads, longest of the queries, longest of the keys]`.
pub type Scores<N, D, T> = Tensor<(usize, usize, usize, usize), N, D, T>;

/// What maps are computed from: transformed queries, keys if there are any, and what positions add to scores.
type Compared<N, D, T> = (Heads<N, D, T>, Option<Heads<N, D, T>>, Scores<N, D, T>);

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
        let heads = self.layout.heads;
        let head_dim = flat.shape().1 / heads;
        flat.try_gather(tokens)?
            .try_reshape_like(&(starts.len() - 1, longest, heads, head_dim))?
            .try_permute::<_, Axes4<0, 2, 1, 3>>()
    }

    /// Number of queries (`side` 0) or keys (1) of a document.
    fn tokens(&self, side: usize, document: usize) -> usize {
        self.starts[side][document + 1] - self.starts[side][document]
    }

    /// Whether a query of a document attends to a key; padding has to see something, since its weights must be
    /// numbers.
    fn sees(&self, document: usize, query: usize, key: usize) -> bool {
        let [queries, keys] = [0, 1].map(|side| self.tokens(side, document));
        match query < queries {
            true => {
                let first = self.layout.scoring.first_key(query);
                (first..=query).contains(&key) && key < keys
            }
            false => key == 0,
        }
    }

    /// What positions add to scores.
    fn addend<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
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
    fn correct<N: Dtype, D: Device<N>, T: Tape<N, D>>(
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
        // What keys recall of each other, negative: dfdx multiplies two tensors.
        let recall = scores(k.with_empty_tape(), k.try_negate()?, 1.0)?
            .try_mul(growth)?
            .try_mul(before(|i, j| j < i)?)?
            .try_mul(
                beta.with_empty_tape()
                    .try_broadcast_like::<_, Axis<3>>(&shape)?,
            )?;
        // The inverse of 1 + A, for blocks on the diagonal that double in size: of a block with the parts P, 0, C, Q
        // it is that of P and Q without C, minus itself times C times itself.
        let mut inverse = before(|i, j| i == j)?.retaped::<T>();
        let mut size = 1;
        while size < shape.2 {
            let joins = cells(&device, shape, |_, _, i, j| {
                let joined = i / size != j / size && i / (2 * size) == j / (2 * size);
                f64::from(u8::from(joined))
            })?;
            let corner = recall.with_empty_tape().try_mul(joins)?;
            let corner = corner.try_matmul(inverse.with_empty_tape())?;
            let correction = inverse.with_empty_tape().try_matmul(corner)?;
            inverse = inverse.try_add(correction)?;
            size *= 2;
        }
        // Merges the tape of what keys recall.
        let nothing = recall.try_mul(N::default())?;
        inverse = inverse.try_add(nothing)?;
        let of_values = *v.shape();
        let scaled = v.try_mul(beta.try_broadcast_like::<_, Axis<3>>(&of_values)?)?;
        inverse.try_matmul(scaled)
    }

    /// One map of each head, from transformed queries, keys if there are any, and what positions add to their scores.
    fn map<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
        &self,
        weights: &AttentionWeights<EMBED, N, D>,
        (mut q, k, addend): Compared<N, D, T>,
        map: usize,
    ) -> Result<Scores<N, D, T>, D::Err> {
        let layout = self.layout;
        if weights.difference.is_some() {
            // Zeros for the other half, so that the dot products are those of one.
            let half = differential::reference::half(q.device(), layout.head_dim, map)?;
            let half = half.retaped::<T>();
            let half = half.try_broadcast_like::<_, Axes3<0, 1, 2>>(q.shape())?;
            q = q.try_mul(half)?;
        }
        let mut scores = match (k, weights.positions()) {
            (_, Some(of)) => synthesizer::reference::scores(q, of)?,
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

/// `log(1 + e^x)`, as `max(x, 0) + log(1 + e^-|x|)`.
fn softplus<S: Shape, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Tensor<S, N, D, T>,
) -> Result<Tensor<S, N, D, T>, D::Err> {
    let above = x.with_empty_tape().try_relu()?;
    let rest = x
        .try_abs()?
        .try_negate()?
        .try_exp()?
        .try_add(N::ONE)?
        .try_ln()?;
    above.try_add(rest)
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

/// A tensor with `f(document, head, query, key)` in every cell.
fn cells<N: Dtype, D: Device<N>>(
    device: &D,
    shape: (usize, usize, usize, usize),
    f: impl Fn(usize, usize, usize, usize) -> f64,
) -> Result<Scores<N, D, NoneTape>, D::Err> {
    let (documents, heads, queries, keys) = shape;
    let values = (0..documents * heads * queries * keys).map(|i| {
        let (map, query, key) = (i / (queries * keys), i / keys % queries, i % keys);
        number(f(map / heads, map % heads, query, key))
    });
    device.try_tensor_from_vec(values.collect(), shape)
}
