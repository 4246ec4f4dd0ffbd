//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, width]` matrix; in cross-attention, queries in one and
//! keys and values in another, one after the other in memory. The synthesizer has a hidden layer in place of queries,
//! and no keys there.

use std::array::from_fn;
use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::CachedAttention;
use super::cross::{attended_keys, check_starts};
use super::head_attention::DocumentAttention;
use super::heads::DocumentHead;
use super::incremental::cached;
use super::scoring::Bias;
use super::separate_heads::SeparateHeads;
use super::talking_heads::TalkingHeads;
use super::transform::{HeadTransform, Side};
use super::{
    AttentionDropout, AttentionOp, AttentionWeights, FromHeads, Layout, NormedStream, forget, gate,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::decoding::BoxedIncremental;
use crate::ops::kernels::matmul::{Packed, Pass, View, weight_gradient};
use crate::ops::kernels::rows::{read_ahead, sum_rows};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, pair, take};
use crate::ops::parameters::Norm;
use crate::ops::residual::{
    Branch, BranchBackward, Joined, Layer, PackedLinear, Parameter, apply, back, pack_linear,
    try_residual, try_residual_of,
};

/// Minimum number of tokens per tile: at the width of the assignment's model their projections take half of
/// a core's cache. Tests have small batches, and should still have several tiles.
const TILE_TOKENS: usize = if cfg!(test) { 10 } else { 112 };

impl AttentionOp<f32> for Cpu {
    fn try_attention<const EMBED: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &Norm<EMBED, f32, Cpu>,
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        weights.layout.check_longest(batch);
        let branch = Attention::<EMBED, 1>::new(weights, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a Norm<EMBED, f32, Cpu>,
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        let layer = CachedAttention::new(weights, context);
        cached(([true; 2], norm), layer, rows)
    }

    fn try_cross_attention<const EMBED: usize, T: Tape<f32, Cpu>>(
        [queries, keys]: [&Stream<EMBED, f32, Cpu>; 2],
        (which, norm): (NormedStream, &Norm<EMBED, f32, Cpu>),
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        weights.layout.check_pair();
        check_starts(starts);
        let (keys, of_keys) = attended_keys(keys.clone(), starts, &mut tape)?;
        let (streams, starts) = ([queries.clone(), keys], [starts[0], &of_keys]);
        let branch = Attention::<EMBED, 2>::new(weights, dropout);
        let norm = (which as usize, norm);
        try_residual_of((streams, tape), norm, branch, starts, dropout.output)
    }

    fn incremental_cross_attention<'a, const EMBED: usize>(
        (which, norm): (NormedStream, &'a Norm<EMBED, f32, Cpu>),
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        (rows, [queries, keys]): (usize, [usize; 2]),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        weights.layout.check_pair();
        let layer = CachedAttention::new(weights, queries.max(keys));
        cached((which.flags(), norm), layer, rows)
    }
}

/// The sublayer's branch, a function of one stream, or of the streams of queries and of keys.
struct Attention<const EMBED: usize, const STREAMS: usize> {
    layout: Layout,
    /// Of each stream: to queries, keys and values, or whatever the heads compute from, and to gates.
    joined: [Joined; STREAMS],
    columns: Columns,
    transform: HeadTransform,
    proj: FromHeads<EMBED, f32, Cpu>,
    heads: Box<dyn DocumentAttention>,
    dropout: AttentionDropout,
}

/// Where each of the joined projections starts in a row. A row of the first stream starts with queries; what keys and values need
/// follows in the same row, or is a row of the second stream.
#[derive(Clone, Copy)]
struct Columns {
    /// If there are any; otherwise where the values start.
    keys: usize,
    values: usize,
    /// Forget gates.
    forget: usize,
    /// β of the delta rule.
    beta: usize,
    /// Gates of the heads' outputs: the end of a row of the first stream.
    gate: usize,
}

impl Columns {
    fn of(layout: &Layout, streams: usize) -> Self {
        let some = |is_there: bool, width: usize| if is_there { width } else { 0 };
        let keys = some(streams == 1, layout.width());
        let values = keys + some(layout.has_keys(), layout.kv_width());
        let forget = values + layout.kv_width();
        let beta = forget + some(layout.forgets(), layout.heads);
        let end = beta + some(layout.delta, layout.heads);
        Self {
            keys,
            values,
            forget,
            beta,
            gate: if streams == 1 { end } else { layout.width() },
        }
    }
}

/// The layers that are applied to each stream.
fn layers<const EMBED: usize, const STREAMS: usize>(
    weights: &AttentionWeights<EMBED, f32, Cpu>,
) -> [Vec<&dyn Layer>; STREAMS] {
    let mut layers: [Vec<&dyn Layer>; STREAMS] = from_fn(|_| vec![]);
    layers[0].push(weights.to_queries());
    let of_keys = &mut layers[STREAMS - 1];
    of_keys.extend(weights.key.as_ref().map(|layer| layer as &dyn Layer));
    of_keys.push(&weights.value);
    of_keys.extend(weights.forget.iter().map(|layer| layer as &dyn Layer));
    of_keys.extend(weights.beta.iter().map(|layer| layer as &dyn Layer));
    layers[0].extend(weights.gate.iter().map(|layer| layer as &dyn Layer));
    layers
}

/// Rows of each stream, counted from the first of their shard.
type Rows<const STREAMS: usize> = [Range<usize>; STREAMS];

impl<const EMBED: usize, const STREAMS: usize> Attention<EMBED, STREAMS> {
    /// The stream that keys and values are computed from.
    const KEYS: usize = STREAMS - 1;

    fn new(weights: &AttentionWeights<EMBED, f32, Cpu>, dropout: AttentionDropout) -> Self {
        let layout = weights.layout;
        Self {
            layout,
            joined: layers(weights).map(|layers| Joined::of(&layers)),
            columns: Columns::of(&layout, STREAMS),
            transform: HeadTransform::new(weights, dropout.context),
            proj: weights.proj.clone(),
            heads: document_attention(weights, dropout.context),
            dropout,
        }
    }

    /// Where a shard's rows of a stream are in a slice with what is joined: the streams lie one after the other.
    fn joined_rows(
        &self,
        shard: &[Shard; STREAMS],
        stream: usize,
        rows: &Rows<STREAMS>,
    ) -> Range<usize> {
        let before = (shard.iter().zip(&self.joined)).take(stream);
        let start: usize = before.map(|(shard, of)| shard.len() * of.width()).sum();
        let (width, rows) = (self.joined[stream].width(), &rows[stream]);
        start + rows.start * width..start + rows.end * width
    }

    /// Number of elements of such a slice.
    fn joined_len(&self, shard: &[Shard; STREAMS]) -> usize {
        self.joined_rows(shard, Self::KEYS, &all(shard)).end
    }

    /// Every head over a document.
    fn heads(&self, shard: &[Shard; STREAMS], document: &Rows<STREAMS>) -> Vec<DocumentHead> {
        let (layout, columns) = (self.layout, self.columns);
        let [queries, keys] =
            [0, Self::KEYS].map(|stream| self.joined_rows(shard, stream, document).start);
        let of_index = |index: usize| {
            let shared = keys + index / layout.group() * layout.head_dim;
            DocumentHead {
                queries: document[0].len(),
                keys: document[Self::KEYS].len(),
                first_key: 0,
                first_query: shard[0].starts[0] + document[0].start,
                index,
                layout,
                dropout: self.dropout,
                starts: [
                    queries + index * layout.head_dim,
                    shared + columns.keys,
                    shared + columns.values,
                ],
                forget: keys + columns.forget + index,
                beta: keys + columns.beta + index,
                query_step: self.joined[0].width(),
                kv_step: self.joined[Self::KEYS].width(),
                accumulate_kv: !index.is_multiple_of(layout.group()),
            }
        };
        (0..layout.heads).map(of_index).collect()
    }

    /// The streams and columns of queries and of keys.
    fn sides(&self) -> [(Side, usize, Range<usize>); 2] {
        let keys = self.columns.keys..self.columns.values;
        [
            (Side::Queries, 0, 0..self.layout.width()),
            (Side::Keys, Self::KEYS, keys),
        ]
    }

    /// Where the running sums of a document's forget gates are, if there are any, in the rows of all tokens: from the
    /// document's first on. Returns the divisor of their logarithms too.
    fn gates(
        &self,
        shard: &[Shard; STREAMS],
        document: &Rows<STREAMS>,
    ) -> Option<(usize, Range<usize>)> {
        let Some(Bias::Forget { divisor }) = self.layout.scoring.bias else {
            return None;
        };
        let rows = self.joined_rows(shard, Self::KEYS, document);
        Some((divisor, rows.start + self.columns.forget..rows.end))
    }

    /// Number of heads, and the row stride of their forget gates.
    fn gates_shape(&self) -> (usize, usize) {
        (self.layout.heads, self.joined[Self::KEYS].width())
    }

    /// Transforms queries and keys, and sums up forget gates.
    fn transform(&self, shard: &[Shard; STREAMS], tile: &[Shard; STREAMS], qkv: &mut [f32]) {
        let at = rows_in(tile, shard);
        for (side, stream, columns) in self.sides() {
            let rows = qkv[self.joined_rows(shard, stream, &at)]
                .chunks_exact_mut(self.joined[stream].width());
            for (position, row) in positions(&tile[stream]).zip(rows) {
                self.transform
                    .apply(&mut row[columns.clone()], side, position);
            }
        }
        for document in documents(tile, shard) {
            if let Some((divisor, gates)) = self.gates(shard, &document) {
                let before = vec![0.0; self.layout.heads];
                forget::sum_up(&mut qkv[gates], self.gates_shape(), divisor, &before);
            }
        }
    }

    /// Backward of [`Self::transform`], given what it made, and its inputs where they were kept.
    fn transform_backward(
        &self,
        (shard, tile): (&[Shard; STREAMS], &[Shard; STREAMS]),
        dqkv: &mut [f32],
        (inputs, qkv): (&[f32], &[f32]),
        of_parameters: &mut [f32],
    ) {
        let at = rows_in(tile, shard);
        for (side, stream, columns) in self.sides() {
            let (width, rows) = (
                self.joined[stream].width(),
                self.joined_rows(shard, stream, &at),
            );
            let firsts = rows
                .step_by(width)
                .map(|row| row + columns.start..row + columns.end);
            for (position, columns) in positions(&tile[stream]).zip(firsts) {
                let from = (inputs.get(columns.clone()), &qkv[columns.clone()]);
                let gradient = &mut dqkv[columns];
                (self.transform).backward(gradient, from, (side, position), of_parameters);
            }
        }
        for document in documents(tile, shard) {
            if let Some((divisor, gates)) = self.gates(shard, &document) {
                let (gradients, gates) = (&mut dqkv[gates.clone()], &inputs[gates]);
                forget::sum_up_backward(gradients, gates, self.gates_shape(), divisor);
            }
        }
    }

    /// Where the gates of the heads' outputs are in some rows, if there are any: from the first on. Their number and
    /// row stride too.
    fn output_gates(
        &self,
        shard: &[Shard; STREAMS],
        rows: &Rows<STREAMS>,
    ) -> Option<(Range<usize>, usize, usize)> {
        self.layout.gate?;
        let rows = self.joined_rows(shard, 0, rows);
        let first = (rows.start + self.columns.gate).min(rows.end);
        Some((first..rows.end, self.layout.gates(), self.joined[0].width()))
    }

    /// Numbers of learned elements of the transformation and of the heads.
    fn own_lengths(&self) -> [usize; 2] {
        let count = |parameter: &dyn Parameter| parameter.elements().len();
        let of_heads = self.heads.parameters();
        [
            self.transform.parameters().map(count).sum(),
            of_heads.into_iter().map(count).sum(),
        ]
    }
}

/// The position of each token of a tile.
fn positions(tile: &Shard) -> impl Iterator<Item = usize> {
    tile.documents().flat_map(|tokens| 0..tokens.len())
}

/// What the heads compute.
fn document_attention<const EMBED: usize>(
    weights: &AttentionWeights<EMBED, f32, Cpu>,
    context: usize,
) -> Box<dyn DocumentAttention> {
    match &weights.talking {
        Some(of) => Box::new(TalkingHeads::new(weights, of, context)),
        None => Box::new(SeparateHeads::new(weights, context)),
    }
}

/// All rows of a shard.
fn all<const STREAMS: usize>(shard: &[Shard; STREAMS]) -> Rows<STREAMS> {
    rows_in(shard, shard)
}

/// The rows of a tile.
fn rows_in<const STREAMS: usize>(
    tile: &[Shard; STREAMS],
    shard: &[Shard; STREAMS],
) -> Rows<STREAMS> {
    from_fn(|stream| tile[stream].range_in(&shard[stream]))
}

/// Tiles of whole documents.
fn tiles<const STREAMS: usize>(shard: &[Shard; STREAMS]) -> Vec<[Shard; STREAMS]> {
    let starts = shard.each_ref().map(|shard| &shard.starts[..]);
    pair(shard[0].tiles(TILE_TOKENS), starts)
}

/// Where some rows are in a matrix of this width.
fn of(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

/// The rows of each document of a tile that has any.
fn documents<const STREAMS: usize>(
    tile: &[Shard; STREAMS],
    shard: &[Shard; STREAMS],
) -> impl Iterator<Item = Rows<STREAMS>> {
    let row = |stream: usize, at: usize| tile[stream].starts[at] - shard[stream].starts[0];
    let documents = (0..tile[0].starts.len() - 1)
        .map(move |at| from_fn(|stream| row(stream, at)..row(stream, at + 1)));
    documents.filter(|document: &Rows<STREAMS>| !document[0].is_empty())
}

/// What backward needs of a shard.
pub struct Saved {
    /// What is joined, of each stream, after the transformation: queries, keys, values, and gates.
    qkv: Scratch,
    /// The same before the transformation, if its backward needs them.
    inputs: Scratch,
    /// What the heads of every document save: see [`DocumentAttention::saved_len`].
    kept: Scratch,
    /// The heads' outputs after their gates, side by side: `[queries, width of the heads]`.
    heads: Scratch,
}

impl<const EMBED: usize, const STREAMS: usize> Branch<STREAMS> for Attention<EMBED, STREAMS> {
    type Saved = Saved;
    type Weights<'a> = ([PackedLinear<'a>; STREAMS], PackedLinear<'a>);

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let proj: [&dyn Parameter; 2] = [&self.proj.weight, &self.proj.bias];
        (self.joined.iter())
            .flat_map(Joined::parameters)
            .chain(proj)
            .chain(self.transform.parameters())
            .chain(self.heads.parameters())
            .collect()
    }

    fn pack(&self, pass: Pass) -> Self::Weights<'_> {
        let joined = self.joined.each_ref().map(|joined| joined.pack(pass));
        (joined, pack_linear(&self.proj, pass))
    }

    fn forward(
        &self,
        (joined, proj): &Self::Weights<'_>,
        shard: &[Shard; STREAMS],
        from: [&[f32]; STREAMS],
        out: &mut [f32],
    ) -> Saved {
        let of_heads = self.layout.width();
        let saved_len = |document| self.heads.saved_len(&self.heads(shard, &document));
        let keeps_inputs = self.transform.needs_inputs() || self.layout.forgets();
        let all = self.joined_len(shard);
        let mut saved = Saved {
            qkv: Scratch::new(all),
            inputs: Scratch::new(if keeps_inputs { all } else { 0 }),
            kept: Scratch::new(documents(shard, shard).map(saved_len).sum()),
            heads: Scratch::new(shard[0].len() * of_heads),
        };
        let mut kept = &mut saved.kept[..];
        for tile in tiles(shard) {
            let at = rows_in(&tile, shard);
            for (stream, joined) in joined.iter().enumerate() {
                let rows = self.joined_rows(shard, stream, &at);
                let (qkv, step) = (&mut saved.qkv[rows.clone()], self.joined[stream].width());
                apply(joined, &from[stream][of(&at[stream], EMBED)], qkv, step);
                if keeps_inputs {
                    saved.inputs[rows].copy_from_slice(qkv);
                }
            }
            self.transform(shard, &tile, &mut saved.qkv);
            for document in documents(&tile, shard) {
                let heads = self.heads(shard, &document);
                let kept = take(&mut kept, self.heads.saved_len(&heads));
                let out = &mut saved.heads[document[0].start * of_heads..];
                (self.heads).attend(&heads, &saved.qkv, kept, (out, of_heads));
            }
            let heads = &mut saved.heads[of(&at[0], of_heads)];
            if let Some((gates, count, step)) = self.output_gates(shard, &at) {
                gate::apply(heads, of_heads, (&saved.qkv[gates], count, step));
            }
            apply(proj, heads, &mut out[of(&at[0], EMBED)], EMBED);
        }
        saved
    }

    fn backward(
        &self,
        (joined, proj): &Self::Weights<'_>,
        shard: &[Shard; STREAMS],
        mut saved: Saved,
        ends: BranchBackward<'_, STREAMS>,
        mut share: &mut [f32],
    ) {
        let of_heads = self.layout.width();
        let (dout, dinputs) = (ends.dout, ends.dinputs);
        let of_joined = (self.joined.each_ref())
            .map(|joined| joined.lengths(EMBED).map(|length| take(&mut share, length)));
        let [of_transform, of_head] = self.own_lengths();
        let [proj_weight, proj_bias, of_transform, of_head] =
            cut([EMBED * of_heads, EMBED, of_transform, of_head], share);
        of_transform.fill(0.0);
        of_head.fill(0.0);
        let mut dqkv = Scratch::new(self.joined_len(shard));
        let mut kept = &mut saved.kept[..];
        for tile in tiles(shard) {
            let at = rows_in(&tile, shard);
            // Heads read columns, which the hardware does not prefetch, and the forward pass was long ago.
            for stream in 0..STREAMS {
                read_ahead(&saved.qkv[self.joined_rows(shard, stream, &at)]);
            }
            let mut dheads = Scratch::new(tile[0].len() * of_heads);
            back(proj, &dout[of(&at[0], EMBED)], &mut dheads);
            if let Some((gates, count, step)) = self.output_gates(shard, &at) {
                let heads = &saved.heads[of(&at[0], of_heads)];
                let heads = (heads, &mut *dheads, of_heads);
                let dgates = &mut dqkv[gates.clone()];
                gate::backward(heads, (&saved.qkv[gates], count, step), dgates);
            }
            for document in documents(&tile, shard) {
                if let Some((_, gates)) = self.gates(shard, &document) {
                    let (heads, step) = self.gates_shape();
                    let rows = dqkv[gates].chunks_mut(step);
                    rows.for_each(|row| row[..heads].fill(0.0));
                }
                let heads = self.heads(shard, &document);
                let kept = &*take(&mut kept, self.heads.saved_len(&heads));
                let row = document[0].start - at[0].start;
                let (dout, qkv) = ((&dheads[row * of_heads..], of_heads), &*saved.qkv);
                (self.heads).attend_backward(&heads, (qkv, kept), dout, &mut dqkv, of_head);
            }
            let kept = (&*saved.inputs, &*saved.qkv);
            self.transform_backward((shard, &tile), &mut dqkv, kept, of_transform);
            for (stream, joined) in joined.iter().enumerate() {
                let dinput = &mut dinputs[stream][of(&at[stream], EMBED)];
                let rows = self.joined_rows(shard, stream, &at);
                back(joined, &dqkv[rows], dinput);
            }
        }
        self.heads.finish(of_head);
        let heads = Packed::of_input(View::rows(&saved.heads, of_heads), shard[0].len(), of_heads);
        weight_gradient(&heads, (dout, EMBED), proj_weight);
        sum_rows(dout, EMBED, proj_bias);
        for (stream, [weight, bias]) in of_joined.into_iter().enumerate() {
            let dqkv = &dqkv[self.joined_rows(shard, stream, &all(shard))];
            let width = self.joined[stream].width();
            weight_gradient(&ends.inputs[stream], (dqkv, width), weight);
            sum_rows(dqkv, width, bias);
        }
    }
}
