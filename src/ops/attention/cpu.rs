//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, width]` matrix. The synthesizer, which has
//! a hidden layer instead of queries and no keys, is computed by the same branch.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::CachedAttention;
use super::differential::DifferentialHead;
use super::head_attention::{HeadAttention, HeadColumns, StandardHead};
use super::heads::HeadTile;
use super::scoring::HeadTransform;
use super::synthesizer::{CachedSynthesizer, SynthesizerHead};
use super::{AttentionDropout, AttentionOp, AttentionWeights, FromHeads, Layout, ScoreWeights};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::decoding::{BoxedIncremental, cached};
use crate::ops::kernels::matmul::{Packed, Pass, View, weight_gradient};
use crate::ops::kernels::rows::sum_rows;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::LayerNorm;
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
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        weights.layout.check_longest(batch);
        let branch = Attention::new(weights, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        match &weights.scores {
            ScoreWeights::DotProduct(_) => {
                cached(norm, CachedAttention::new(weights, context), rows)
            }
            ScoreWeights::Positions(of_positions) => {
                cached(norm, CachedSynthesizer::new(weights, of_positions), rows)
            }
        }
    }
}

/// The sublayer's branch, a function of the normalised stream.
struct Attention<const EMBED: usize> {
    layout: Layout,
    /// To queries, keys and values, or whatever the heads compute from; the values come last.
    joined: Joined,
    /// The column where the values start. What lies before it is transformed.
    values: usize,
    transform: HeadTransform,
    proj: FromHeads<EMBED, f32, Cpu>,
    head_attention: Box<dyn HeadAttention>,
    dropout: AttentionDropout,
}

impl<const EMBED: usize> Attention<EMBED> {
    fn new(weights: &AttentionWeights<EMBED, f32, Cpu>, dropout: AttentionDropout) -> Self {
        let (layout, value) = (weights.layout, &weights.value);
        let (joined, transform) = match &weights.scores {
            ScoreWeights::DotProduct(of) => (
                Joined::of(&[&of.query, &of.key, value]),
                HeadTransform::new(&layout, dropout.context),
            ),
            ScoreWeights::Positions(of) => (Joined::of(&[&of.hidden, value]), HeadTransform::Relu),
        };
        Self {
            layout,
            values: joined.width() - layout.kv_width(),
            joined,
            transform,
            proj: weights.proj.clone(),
            head_attention: head_attention(weights),
            dropout,
        }
    }

    /// Every head over a document whose first token has the given index in the batch.
    fn heads(&self, first_query: usize, tokens: usize) -> impl Iterator<Item = HeadTile> {
        (0..self.layout.heads).map(move |head| HeadTile {
            queries: tokens,
            keys: tokens,
            first_query,
            head,
            layout: self.layout,
            dropout: self.dropout,
        })
    }

    /// The columns of a head, for a document that starts at `row`.
    fn columns(&self, row: usize, head: usize) -> HeadColumns {
        let (width, head_dim) = (self.joined.width(), self.layout.head_dim);
        let group = self.layout.group();
        let shared = head / group * head_dim;
        let first = [
            head * head_dim,
            self.layout.width() + shared,
            self.values + shared,
        ];
        HeadColumns {
            starts: first.map(|column| row * width + column),
            step: width,
            accumulate_kv: !head.is_multiple_of(group),
        }
    }

    /// What is transformed of each token of a tile, with the token's position.
    fn transformed<'m>(
        &self,
        tile: &Shard,
        qkv: &'m mut [f32],
    ) -> impl Iterator<Item = (usize, &'m mut [f32])> {
        let positions = tile.documents().flat_map(|tokens| 0..tokens.len());
        let rows = qkv.chunks_exact_mut(self.joined.width());
        positions.zip(rows.map(|row| &mut row[..self.values]))
    }
}

/// What each head computes.
fn head_attention<const EMBED: usize>(
    weights: &AttentionWeights<EMBED, f32, Cpu>,
) -> Box<dyn HeadAttention> {
    match (&weights.scores, &weights.difference) {
        (ScoreWeights::Positions(of), _) => Box::new(SynthesizerHead::new(of)),
        (_, Some(difference)) => Box::new(DifferentialHead::new(difference)),
        (_, None) => Box::new(StandardHead),
    }
}

/// The documents of a tile.
fn documents(tile: &Shard) -> impl Iterator<Item = Range<usize>> {
    tile.documents().filter(|tokens| !tokens.is_empty())
}

/// What backward needs of a shard.
pub struct Saved {
    /// Transformed queries and keys, and values: `[tokens, width of the joined layers]`.
    qkv: Scratch,
    /// What every head saves: see [`HeadAttention::saved_len`].
    kept: Scratch,
    /// The heads' outputs, side by side: `[tokens, width of the heads]`.
    heads: Scratch,
}

impl<const EMBED: usize> Branch for Attention<EMBED> {
    type Saved = Saved;
    type Weights<'a> = [PackedLinear<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let proj = Layer::parameters(&self.proj);
        let of_heads = self.head_attention.parameters();
        self.joined
            .parameters()
            .chain(proj)
            .chain(of_heads)
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
        let saved_len = |tokens: Range<usize>| -> usize {
            let heads = self.heads(0, tokens.len());
            heads.map(|head| self.head_attention.saved_len(&head)).sum()
        };
        let mut saved = Saved {
            qkv: Scratch::new(shard.len() * width),
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
            for (position, row) in self.transformed(&tile, qkv) {
                self.transform.apply(row, self.layout.head_dim, position);
            }
            for tokens in documents(&tile) {
                let (row, count) = (tokens.start, tokens.len());
                let document = self.head_attention.document(count, Pass::Forward);
                for head in self.heads(tile.starts[0] + row, count) {
                    let kept = take(&mut kept, self.head_attention.saved_len(&head));
                    let out = &mut heads[row * of_heads + head.head * self.layout.head_dim..];
                    let columns = self.columns(row, head.head);
                    let inputs = (document.as_ref(), &*qkv);
                    (self.head_attention).attend(&head, columns, inputs, kept, (out, of_heads));
                }
            }
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
        let sizes = [width * EMBED, width, EMBED * of_heads, EMBED];
        let (share, own) = share.split_at_mut(sizes.iter().sum());
        let [qkv_weight, qkv_bias, proj_weight, proj_bias] = cut(sizes, share);
        own.fill(0.0);
        let mut dqkv = Scratch::new(shard.len() * width);
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let rows = |width: usize| at.start * width..at.end * width;
            let [qkv, dqkv] = [&mut saved.qkv[rows(width)], &mut dqkv[rows(width)]];
            let mut dheads = Scratch::new(tile.len() * of_heads);
            back(proj, &dout[rows(EMBED)], &mut dheads, of_heads);
            for tokens in documents(&tile) {
                let (row, count) = (tokens.start, tokens.len());
                let document = self.head_attention.document(count, Pass::Backward);
                for head in self.heads(tile.starts[0] + row, count) {
                    let kept = &*take(&mut kept, self.head_attention.saved_len(&head));
                    let dout = &dheads[row * of_heads + head.head * self.layout.head_dim..];
                    self.head_attention.attend_backward(
                        &head,
                        self.columns(row, head.head),
                        (document.as_ref(), &*qkv, kept),
                        (dout, of_heads),
                        dqkv,
                        own,
                    );
                }
            }
            let mapped = qkv.chunks_exact(width);
            for ((position, gradient), row) in self.transformed(&tile, dqkv).zip(mapped) {
                let (row, head_dim) = (&row[..self.values], self.layout.head_dim);
                self.transform.backward(gradient, row, head_dim, position);
            }
            back(joined, dqkv, &mut dnormed[rows(EMBED)], EMBED);
        }
        self.head_attention.finish(own);
        let heads = Packed::new(View::rows(&saved.heads, of_heads), shard.len(), of_heads);
        weight_gradient(&heads, (dout, EMBED), proj_weight);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dqkv, width), qkv_weight);
        sum_rows(&dqkv, width, qkv_bias);
    }
}
