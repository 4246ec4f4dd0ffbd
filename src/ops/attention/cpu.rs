//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, width]` matrix. The synthesizer has a hidden layer in
//! place of queries, and no keys there.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::CachedAttention;
use super::head_attention::{DocumentAttention, DocumentHead, HeadColumns};
use super::heads::HeadTile;
use super::scoring::Bias;
use super::standard_head::StandardHead;
use super::talking_heads::TalkingHeads;
use super::transform::{HeadTransform, Side};
use super::{AttentionDropout, AttentionOp, AttentionWeights, FromHeads, Layout, forget, gate};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::decoding::{BoxedIncremental, cached};
use crate::ops::kernels::matmul::{Packed, Pass, View, weight_gradient};
use crate::ops::kernels::rows::sum_rows;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::Norm;
use crate::ops::residual::{
    Branch, BranchBackward, Joined, Layer, PackedLinear, Parameter, apply, back, pack_linear,
    try_residual,
};

/// Minimum number of tokens per tile: at the width of the assignment's model their projections take half of
/// a core's cache. Tests have small batches, and should still have several tiles.
pub const TILE_TOKENS: usize = if cfg!(test) { 10 } else { 112 };

impl AttentionOp<f32> for Cpu {
    fn try_attention<const EMBED: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &Norm<EMBED, f32, Cpu>,
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        weights.layout.check_longest(batch);
        let branch = Attention::new(weights, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a Norm<EMBED, f32, Cpu>,
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        cached(norm, CachedAttention::new(weights, context), rows)
    }
}

/// The sublayer's branch, a function of the normalised stream.
struct Attention<const EMBED: usize> {
    layout: Layout,
    /// To queries, keys and values, or whatever the heads compute from, and to gates.
    joined: Joined,
    columns: Columns,
    transform: HeadTransform,
    proj: FromHeads<EMBED, f32, Cpu>,
    heads: Box<dyn DocumentAttention>,
    dropout: AttentionDropout,
}

/// Where what is joined starts in a row: after queries, and keys if there are any, which are transformed.
#[derive(Clone, Copy)]
struct Columns {
    values: usize,
    /// Forget gates.
    forget: usize,
    /// β of the delta rule.
    beta: usize,
    /// Gates of the heads' outputs.
    gate: usize,
}

impl Columns {
    fn of(layout: &Layout) -> Self {
        let some = |is_there: bool, width: usize| if is_there { width } else { 0 };
        let values = layout.width() + some(layout.has_keys(), layout.kv_width());
        let forget = values + layout.kv_width();
        let beta = forget + some(layout.forgets(), layout.heads);
        Self {
            values,
            forget,
            beta,
            gate: beta + some(layout.delta, layout.heads),
        }
    }
}

impl<const EMBED: usize> Attention<EMBED> {
    fn new(weights: &AttentionWeights<EMBED, f32, Cpu>, dropout: AttentionDropout) -> Self {
        let layout = weights.layout;
        let mut layers: Vec<&dyn Layer> = vec![weights.query()];
        layers.extend(weights.key().map(|layer| layer as &dyn Layer));
        layers.push(&weights.value);
        layers.extend(weights.forget.iter().map(|layer| layer as &dyn Layer));
        layers.extend(weights.beta.iter().map(|layer| layer as &dyn Layer));
        layers.extend(weights.gate.iter().map(|layer| layer as &dyn Layer));
        Self {
            layout,
            joined: Joined::of(&layers),
            columns: Columns::of(&layout),
            transform: HeadTransform::new(weights, dropout.context),
            proj: weights.proj.clone(),
            heads: document_attention(weights, dropout.context),
            dropout,
        }
    }

    /// Every head over a document of a tile.
    fn heads(&self, tile: &Shard, tokens: &Range<usize>) -> Vec<DocumentHead> {
        let of_head = |head| HeadTile {
            queries: tokens.len(),
            keys: tokens.len(),
            first_query: tile.starts[0] + tokens.start,
            head,
            layout: self.layout,
            dropout: self.dropout,
        };
        let heads = 0..self.layout.heads;
        heads
            .map(|head| (of_head(head), self.columns(tokens.start, head)))
            .collect()
    }

    /// The columns of a head, for a document that starts at `row`.
    fn columns(&self, row: usize, head: usize) -> HeadColumns {
        let (width, head_dim) = (self.joined.width(), self.layout.head_dim);
        let group = self.layout.group();
        let shared = head / group * head_dim;
        let first = [
            head * head_dim,
            self.layout.width() + shared,
            self.columns.values + shared,
        ];
        let of_head = [self.columns.forget, self.columns.beta];
        HeadColumns {
            starts: first.map(|column| row * width + column),
            of_head: of_head.map(|column| row * width + column + head),
            step: width,
            accumulate_kv: !head.is_multiple_of(group),
        }
    }

    /// The columns of queries and of keys.
    fn sides(&self) -> [(Side, Range<usize>); 2] {
        let width = self.layout.width();
        [
            (Side::Queries, 0..width),
            (Side::Keys, width..self.columns.values),
        ]
    }

    /// The running sums of a document's forget gates, if there are any, in the rows of all tokens: from the
    /// document's first on. Returns the divisor of their logarithms too.
    fn gates<'m>(
        &self,
        tokens: &Range<usize>,
        rows: &'m mut [f32],
    ) -> Option<(usize, &'m mut [f32])> {
        let Some(Bias::Forget { divisor }) = self.layout.scoring.bias else {
            return None;
        };
        let width = self.joined.width();
        let gates = tokens.start * width + self.columns.forget..tokens.end * width;
        Some((divisor, &mut rows[gates]))
    }

    /// Transforms queries and keys, and sums up forget gates.
    fn transform(&self, tile: &Shard, qkv: &mut [f32]) {
        let width = self.joined.width();
        for (position, row) in positions(tile).zip(qkv.chunks_exact_mut(width)) {
            for (side, columns) in self.sides() {
                self.transform.apply(&mut row[columns], side, position);
            }
        }
        for tokens in documents(tile) {
            if let Some((divisor, gates)) = self.gates(&tokens, qkv) {
                let heads = self.layout.heads;
                forget::sum_up(gates, (heads, width), divisor, &vec![0.0; heads]);
            }
        }
    }

    /// Backward of [`Self::transform`], given what it made, and its inputs where they were kept.
    fn transform_backward(
        &self,
        tile: &Shard,
        dqkv: &mut [f32],
        (inputs, qkv): (&[f32], &[f32]),
        of_parameters: &mut [f32],
    ) {
        let width = self.joined.width();
        let rows = dqkv.chunks_exact_mut(width).zip(qkv.chunks_exact(width));
        for (token, (position, (gradient, row))) in positions(tile).zip(rows).enumerate() {
            let inputs = inputs.get(token * width..(token + 1) * width);
            for (side, columns) in self.sides() {
                let from = (
                    inputs.map(|inputs| &inputs[columns.clone()]),
                    &row[columns.clone()],
                );
                let gradient = &mut gradient[columns];
                (self.transform).backward(gradient, from, (side, position), of_parameters);
            }
        }
        for tokens in documents(tile) {
            if let Some((divisor, gradients)) = self.gates(&tokens, dqkv) {
                let gates = &inputs[tokens.start * width + self.columns.forget..];
                let shape = (self.layout.heads, width);
                forget::sum_up_backward(gradients, gates, shape, divisor);
            }
        }
    }

    /// The gates of the heads' outputs in rows of all tokens: from the first on, their number, and row stride.
    fn output_gates<'m>(&self, qkv: &'m [f32]) -> Option<(&'m [f32], usize, usize)> {
        self.layout.gate?;
        let gates = qkv.get(self.columns.gate..).unwrap_or_default();
        Some((gates, self.layout.gates(), self.joined.width()))
    }

    /// The heads' outputs after their gates; `None` without gates.
    fn gated(&self, heads: &[f32], qkv: &[f32]) -> Option<Scratch> {
        let gates = self.output_gates(qkv)?;
        let mut gated = Scratch::new(heads.len());
        gated.copy_from_slice(heads);
        gate::close(&mut gated, self.layout.width(), gates);
        Some(gated)
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
        None => Box::new(StandardHead::new(weights, context)),
    }
}

/// The documents of a tile.
fn documents(tile: &Shard) -> impl Iterator<Item = Range<usize>> {
    tile.documents().filter(|tokens| !tokens.is_empty())
}

/// What backward needs of a shard.
pub struct Saved {
    /// Transformed queries and keys, values, and gates: `[tokens, width of the joined layers]`.
    qkv: Scratch,
    /// The same before the transformation, if its backward needs them.
    inputs: Scratch,
    /// What the heads of every document save: see [`DocumentAttention::saved_len`].
    kept: Scratch,
    /// The heads' outputs, side by side: `[tokens, width of the heads]`.
    heads: Scratch,
}

impl<const EMBED: usize> Branch for Attention<EMBED> {
    type Saved = Saved;
    type Weights<'a> = [PackedLinear<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let proj: [&dyn Parameter; 2] = [&self.proj.weight, &self.proj.bias];
        self.joined
            .parameters()
            .chain(proj)
            .chain(self.transform.parameters())
            .chain(self.heads.parameters())
            .collect()
    }

    fn pack(&self, pass: Pass) -> Self::Weights<'_> {
        [self.joined.pack(pass), pack_linear(&self.proj, pass)]
    }

    fn forward(
        &self,
        [joined, proj]: &Self::Weights<'_>,
        shard: &Shard,
        normed: &[f32],
        out: &mut [f32],
    ) -> Saved {
        let (width, of_heads) = (self.joined.width(), self.layout.width());
        let saved_len = |tokens| self.heads.saved_len(&self.heads(shard, &tokens));
        let keeps_inputs = self.transform.needs_inputs() || self.layout.forgets();
        let mut saved = Saved {
            qkv: Scratch::new(shard.len() * width),
            inputs: Scratch::new(if keeps_inputs { shard.len() * width } else { 0 }),
            kept: Scratch::new(documents(shard).map(saved_len).sum()),
            heads: Scratch::new(shard.len() * of_heads),
        };
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let rows = |width: usize| at.start * width..at.end * width;
            let qkv = &mut saved.qkv[rows(width)];
            apply(joined, &normed[rows(EMBED)], qkv, width);
            let heads = &mut saved.heads[rows(of_heads)];
            if keeps_inputs {
                saved.inputs[rows(width)].copy_from_slice(qkv);
            }
            self.transform(&tile, qkv);
            for tokens in documents(&tile) {
                let of_document = self.heads(&tile, &tokens);
                let kept = take(&mut kept, self.heads.saved_len(&of_document));
                let out = &mut heads[tokens.start * of_heads..];
                (self.heads).attend(&of_document, qkv, kept, (out, of_heads));
            }
            let gated = self.gated(heads, qkv);
            let heads = gated.as_deref().unwrap_or(heads);
            apply(proj, heads, &mut out[rows(EMBED)], EMBED);
        }
        saved
    }

    fn backward(
        &self,
        [joined, proj]: &Self::Weights<'_>,
        shard: &Shard,
        mut saved: Saved,
        BranchBackward {
            normed,
            dout,
            dnormed,
        }: BranchBackward<'_>,
        share: &mut [f32],
    ) {
        let (width, of_heads) = (self.joined.width(), self.layout.width());
        let [of_transform, of_head] = self.own_lengths();
        let (of_qkv, of_proj) = ([width * EMBED, self.joined.biases()], EMBED * of_heads);
        let sizes = [of_qkv[0], of_qkv[1], of_proj, EMBED, of_transform, of_head];
        let [
            qkv_weight,
            qkv_bias,
            proj_weight,
            proj_bias,
            of_transform,
            of_head,
        ] = cut(sizes, share);
        of_transform.fill(0.0);
        of_head.fill(0.0);
        let mut dqkv = Scratch::new(shard.len() * width);
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let rows = |width: usize| at.start * width..at.end * width;
            let [qkv, dqkv] = [&mut saved.qkv[rows(width)], &mut dqkv[rows(width)]];
            let mut dheads = Scratch::new(tile.len() * of_heads);
            back(proj, &dout[rows(EMBED)], &mut dheads, of_heads);
            if let Some(gates) = self.output_gates(qkv) {
                let heads = (&saved.heads[rows(of_heads)], &mut *dheads, of_heads);
                let dgates = dqkv.get_mut(self.columns.gate..).unwrap_or_default();
                gate::backward(heads, gates, dgates);
            }
            for tokens in documents(&tile) {
                if let Some((_, gates)) = self.gates(&tokens, dqkv) {
                    let rows = gates.chunks_mut(width);
                    rows.for_each(|row| row[..self.layout.heads].fill(0.0));
                }
                let of_document = self.heads(&tile, &tokens);
                let kept = &*take(&mut kept, self.heads.saved_len(&of_document));
                let dout = (&dheads[tokens.start * of_heads..], of_heads);
                (self.heads).attend_backward(&of_document, (qkv, kept), dout, dqkv, of_head);
            }
            let inputs = saved.inputs.get(rows(width)).unwrap_or_default();
            self.transform_backward(&tile, dqkv, (inputs, qkv), of_transform);
            back(joined, dqkv, &mut dnormed[rows(EMBED)], EMBED);
        }
        self.heads.finish(of_head);
        let gated = self.gated(&saved.heads, &saved.qkv);
        let heads = gated.as_deref().unwrap_or(&saved.heads);
        let heads = Packed::new(View::rows(heads, of_heads), shard.len(), of_heads);
        weight_gradient(&heads, (dout, EMBED), proj_weight);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dqkv, width), qkv_weight);
        sum_rows(&dqkv, width, qkv_bias);
    }
}
