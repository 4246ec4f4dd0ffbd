//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, EMBED + 2 * KV]` matrix. The synthesizer, which has
//! a hidden layer instead of queries and no keys, is computed by the same branch.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::CachedAttention;
use super::head_attention::{HeadAttention, HeadColumns, StandardHead};
use super::heads::HeadTile;
use super::scoring::{HeadTransform, Scoring};
use super::{AttentionDropout, AttentionOp, Projections, assert_heads};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::decoding::{BoxedIncremental, cached};
use crate::ops::kernels::matmul::{Packed, Pass, View, weight_gradient};
use crate::ops::kernels::rows::sum_rows;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::{LayerNorm, Linear};
use crate::ops::residual::{
    Branch, BranchBackward, Joined, Layer, PackedLinear, Parameter, apply, back, pack_linear,
    try_residual,
};

/// Minimum number of tokens per tile: at the width of the assignment's model their projections take half of
/// a core's cache. Tests have small batches, and should still have several tiles.
pub const TILE_TOKENS: usize = if cfg!(test) { 10 } else { 112 };

impl AttentionOp<f32> for Cpu {
    fn try_attention<
        const EMBED: usize,
        const KV: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cpu>,
    >(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert_heads(EMBED, KV, HEAD_DIM) };
        let branch = Attention::<EMBED, HEAD_DIM, _>::new(weights, scoring, StandardHead, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize, const KV: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        const { assert_heads(EMBED, KV, HEAD_DIM) };
        let layer = CachedAttention::<EMBED, KV, HEAD_DIM>::new(weights, scoring, context);
        cached(norm, layer, rows)
    }
}

/// The sublayer's branch, a function of the normalised stream.
pub struct Attention<const EMBED: usize, const HEAD_DIM: usize, C> {
    /// To queries, keys and values, or whatever the heads compute from; the values come last.
    joined: Joined,
    /// The column where the values start. What lies before it is transformed.
    values: usize,
    transform: HeadTransform,
    proj: Linear<EMBED, EMBED, f32, Cpu>,
    scoring: Scoring,
    head_attention: C,
    dropout: AttentionDropout,
}

impl<const EMBED: usize, const HEAD_DIM: usize, C: HeadAttention<HEAD_DIM>>
    Attention<EMBED, HEAD_DIM, C>
{
    /// Of queries and keys.
    pub fn new<const KV: usize>(
        projections: &Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        head_attention: C,
        dropout: AttentionDropout,
    ) -> Self {
        let p = projections;
        Self {
            joined: Joined::of(&[&p.query, &p.key, &p.value]),
            values: EMBED + KV,
            transform: HeadTransform::new(scoring, HEAD_DIM, dropout.context),
            proj: p.proj.clone(),
            scoring,
            head_attention,
            dropout,
        }
    }

    /// Of rectified hidden layers, one per head, without keys.
    pub fn without_keys(
        [hidden, value, proj]: [&Linear<EMBED, EMBED, f32, Cpu>; 3],
        head_attention: C,
        dropout: AttentionDropout,
    ) -> Self {
        Self {
            joined: Joined::of(&[hidden, value]),
            values: EMBED,
            transform: HeadTransform::Relu,
            proj: proj.clone(),
            scoring: Scoring::SOFTMAX,
            head_attention,
            dropout,
        }
    }

    /// Every head over a document whose first token has the given index in the batch.
    fn heads(&self, first_query: usize, tokens: usize) -> impl Iterator<Item = HeadTile> {
        (0..EMBED / HEAD_DIM).map(move |head| HeadTile {
            queries: tokens,
            keys: tokens,
            first_query,
            head,
            heads: EMBED / HEAD_DIM,
            scoring: self.scoring,
            dropout: self.dropout,
        })
    }

    /// The columns of a head, for a document that starts at `row`.
    fn columns(&self, row: usize, head: usize) -> HeadColumns {
        let width = self.joined.width();
        // Number of heads that share keys and values.
        let group = EMBED / (width - self.values);
        let shared = head / group * HEAD_DIM;
        let first = [head * HEAD_DIM, EMBED + shared, self.values + shared];
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
    /// The heads' outputs, side by side: `[tokens, EMBED]`.
    heads: Scratch,
}

impl<const EMBED: usize, const HEAD_DIM: usize, C: HeadAttention<HEAD_DIM>> Branch
    for Attention<EMBED, HEAD_DIM, C>
{
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
        let width = self.joined.width();
        let saved_len = |tokens: Range<usize>| -> usize {
            let heads = self.heads(0, tokens.len());
            heads.map(|head| self.head_attention.saved_len(&head)).sum()
        };
        let mut saved = Saved {
            qkv: Scratch::new(shard.len() * width),
            kept: Scratch::new(documents(shard).map(saved_len).sum()),
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let qkv = &mut saved.qkv[at.start * width..at.end * width];
            let at = at.start * EMBED..at.end * EMBED;
            apply(joined, &normed[at.clone()], qkv, width);
            let heads = &mut saved.heads[at.clone()];
            for (position, row) in self.transformed(&tile, qkv) {
                self.transform.apply(row, HEAD_DIM, position);
            }
            for tokens in documents(&tile) {
                let (row, count) = (tokens.start, tokens.len());
                let document = self.head_attention.document(count, Pass::Forward);
                for head in self.heads(tile.starts[0] + row, count) {
                    let kept = take(&mut kept, self.head_attention.saved_len(&head));
                    let out = &mut heads[row * EMBED + head.head * HEAD_DIM..];
                    let (columns, inputs) = (self.columns(row, head.head), (&document, &*qkv));
                    (self.head_attention).attend(&head, columns, inputs, kept, (out, EMBED));
                }
            }
            apply(proj, heads, &mut out[at], EMBED);
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
        let width = self.joined.width();
        let (share, own) = share.split_at_mut((width + EMBED) * (EMBED + 1));
        let [qkv_weight, qkv_bias, proj_weight, proj_bias] =
            cut([width * EMBED, width, EMBED * EMBED, EMBED], share);
        own.fill(0.0);
        let mut dqkv = Scratch::new(shard.len() * width);
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let [qkv, dqkv] = {
                let at = at.start * width..at.end * width;
                [&mut saved.qkv[at.clone()], &mut dqkv[at]]
            };
            let at = at.start * EMBED..at.end * EMBED;
            let mut dheads = Scratch::new(tile.len() * EMBED);
            back(proj, &dout[at.clone()], &mut dheads, EMBED);
            for tokens in documents(&tile) {
                let (row, count) = (tokens.start, tokens.len());
                let document = self.head_attention.document(count, Pass::Backward);
                for head in self.heads(tile.starts[0] + row, count) {
                    let kept = &*take(&mut kept, self.head_attention.saved_len(&head));
                    let dout = &dheads[row * EMBED + head.head * HEAD_DIM..];
                    self.head_attention.attend_backward(
                        &head,
                        self.columns(row, head.head),
                        (&document, &*qkv, kept),
                        (dout, EMBED),
                        dqkv,
                        own,
                    );
                }
            }
            let mapped = qkv.chunks_exact(width);
            for ((position, gradient), row) in self.transformed(&tile, dqkv).zip(mapped) {
                let row = &row[..self.values];
                self.transform.backward(gradient, row, HEAD_DIM, position);
            }
            back(joined, dqkv, &mut dnormed[at], EMBED);
        }
        self.head_attention.finish(own);
        let heads = Packed::new(View::rows(&saved.heads, EMBED), shard.len(), EMBED);
        weight_gradient(&heads, (dout, EMBED), proj_weight);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dqkv, width), qkv_weight);
        sum_rows(&dqkv, width, qkv_bias);
    }
}
