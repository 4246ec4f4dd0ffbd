//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, EMBED + 2 * KV]` matrix.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::CachedAttention;
use super::head_attention::{HeadAttention, HeadColumns, StandardHead};
use super::heads::HeadTile;
use super::scoring::{HeadTransform, Scoring};
use super::{AttentionDropout, AttentionOp, Projections, assert_heads};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::decoding::{BoxedIncremental, CachedSublayer};
use crate::ops::kernels::matmul::{Packed, Pass, View, linear, weight_gradient};
use crate::ops::kernels::rows::sum_rows;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::{
    Branch, BranchBackward, PackedLinear, Parameter, apply, back, pack_linear, try_residual,
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
        let branch =
            Attention::<EMBED, KV, HEAD_DIM, _>::new(weights, scoring, StandardHead, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_attention<'a, const EMBED: usize, const KV: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        const { assert_heads(EMBED, KV, HEAD_DIM) };
        let memory = CachedAttention::<EMBED, KV, HEAD_DIM>::new(weights, scoring, context);
        Box::new(CachedSublayer::new(norm, memory, rows))
    }
}

/// The sublayer's branch, a function of the normalised stream.
pub struct Attention<const EMBED: usize, const KV: usize, const HEAD_DIM: usize, C> {
    projections: Projections<EMBED, KV, f32, Cpu>,
    /// Queries, keys and values as one linear layer: `[EMBED + 2 * KV, EMBED]` and `[EMBED + 2 * KV]`.
    joined: [Vec<f32>; 2],
    scoring: Scoring,
    transform: HeadTransform,
    head_attention: C,
    dropout: AttentionDropout,
}

impl<const EMBED: usize, const KV: usize, const HEAD_DIM: usize, C: HeadAttention<HEAD_DIM>>
    Attention<EMBED, KV, HEAD_DIM, C>
{
    /// Total width of queries, keys and values.
    const WIDTH: usize = EMBED + 2 * KV;

    /// Number of heads that share keys and values.
    const GROUP: usize = EMBED / KV;

    pub fn new(
        projections: &Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        head_attention: C,
        dropout: AttentionDropout,
    ) -> Self {
        let p = projections;
        let joined = [
            [
                host(&p.query.weight),
                host(&p.key.weight),
                host(&p.value.weight),
            ]
            .concat(),
            [host(&p.query.bias), host(&p.key.bias), host(&p.value.bias)].concat(),
        ];
        Self {
            projections: projections.clone(),
            joined,
            scoring,
            transform: HeadTransform::new(scoring, HEAD_DIM, dropout.context),
            head_attention,
            dropout,
        }
    }

    /// Every head of every document of a tile, with the document's tokens.
    fn heads(&self, tile: &Shard) -> impl Iterator<Item = (HeadTile, Range<usize>)> {
        let documents = tile.documents().filter(|tokens| !tokens.is_empty());
        documents.flat_map(move |tokens| {
            (0..EMBED / HEAD_DIM).map(move |head| {
                let head_tile = HeadTile {
                    queries: tokens.len(),
                    keys: tokens.len(),
                    first_query: tile.starts[0] + tokens.start,
                    head,
                    heads: EMBED / HEAD_DIM,
                    scoring: self.scoring,
                    dropout: self.dropout,
                };
                (head_tile, tokens.clone())
            })
        })
    }

    /// The columns of a head, for a document that starts at `row`.
    fn columns(row: usize, head: usize) -> HeadColumns {
        let shared = head / Self::GROUP * HEAD_DIM;
        let first = [head * HEAD_DIM, EMBED + shared, EMBED + KV + shared];
        HeadColumns {
            starts: first.map(|column| row * Self::WIDTH + column),
            step: Self::WIDTH,
            accumulate_kv: !head.is_multiple_of(Self::GROUP),
        }
    }

    /// Queries and keys of each token of a tile, with the token's position.
    fn queries_and_keys<'m>(
        tile: &Shard,
        qkv: &'m mut [f32],
    ) -> impl Iterator<Item = (usize, &'m mut [f32])> {
        let positions = tile.documents().flat_map(|tokens| 0..tokens.len());
        let rows = qkv.chunks_exact_mut(Self::WIDTH);
        positions.zip(rows.map(|row| &mut row[..EMBED + KV]))
    }
}

/// What backward needs of a shard.
pub struct Saved {
    /// Transformed queries and keys, and values: `[tokens, EMBED + 2 * KV]`.
    qkv: Scratch,
    /// What every head saves: see [`HeadAttention::saved_len`].
    kept: Scratch,
    /// The heads' outputs, side by side: `[tokens, EMBED]`.
    heads: Scratch,
}

impl<const EMBED: usize, const KV: usize, const HEAD_DIM: usize, C: HeadAttention<HEAD_DIM>> Branch
    for Attention<EMBED, KV, HEAD_DIM, C>
{
    type Saved = Saved;
    type Weights<'a> = [PackedLinear<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let p = &self.projections;
        let projections: [&dyn Parameter; 8] = [
            &p.query.weight,
            &p.key.weight,
            &p.value.weight,
            &p.query.bias,
            &p.key.bias,
            &p.value.bias,
            &p.proj.weight,
            &p.proj.bias,
        ];
        [&projections[..], &self.head_attention.parameters()].concat()
    }

    fn pack(&self, pass: Pass) -> Self::Weights<'_> {
        let [weight, bias] = &self.joined;
        [
            (linear(weight, (EMBED, Self::WIDTH), pass), bias),
            pack_linear(&self.projections.proj, pass),
        ]
    }

    fn forward(
        &self,
        [joined, proj]: &Self::Weights<'_>,
        shard: &Shard,
        normed: &[f32],
        out: &mut [f32],
    ) -> Saved {
        let width = Self::WIDTH;
        let mut saved = Saved {
            qkv: Scratch::new(shard.len() * width),
            kept: {
                let saved_len = |(head_tile, _)| self.head_attention.saved_len(&head_tile);
                Scratch::new(self.heads(shard).map(saved_len).sum())
            },
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let qkv = &mut saved.qkv[at.start * width..at.end * width];
            let at = at.start * EMBED..at.end * EMBED;
            apply(joined, &normed[at.clone()], qkv, width);
            let heads = &mut saved.heads[at.clone()];
            for (position, heads) in Self::queries_and_keys(&tile, qkv) {
                self.transform.apply(heads, HEAD_DIM, position);
            }
            for (head_tile, tokens) in self.heads(&tile) {
                let of_head = take(&mut kept, self.head_attention.saved_len(&head_tile));
                let out = &mut heads[tokens.start * EMBED + head_tile.head * HEAD_DIM..];
                let columns = Self::columns(tokens.start, head_tile.head);
                self.head_attention
                    .attend(&head_tile, columns, qkv, of_head, (out, EMBED));
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
        let width = Self::WIDTH;
        let projections = (width + EMBED) * (EMBED + 1);
        let (share, own) = share.split_at_mut(projections);
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
            for (head_tile, tokens) in self.heads(&tile) {
                let saved = (
                    &*qkv,
                    &*take(&mut kept, self.head_attention.saved_len(&head_tile)),
                );
                let dout = &dheads[tokens.start * EMBED + head_tile.head * HEAD_DIM..];
                let columns = Self::columns(tokens.start, head_tile.head);
                self.head_attention.attend_backward(
                    &head_tile,
                    columns,
                    saved,
                    (dout, EMBED),
                    dqkv,
                    own,
                );
            }
            let mapped = qkv.chunks_exact(width);
            for ((position, dheads), heads) in Self::queries_and_keys(&tile, dqkv).zip(mapped) {
                let heads = &heads[..EMBED + KV];
                self.transform.backward(dheads, heads, HEAD_DIM, position);
            }
            back(joined, dqkv, &mut dnormed[at], EMBED);
        }
        let heads = Packed::new(View::rows(&saved.heads, EMBED), shard.len(), EMBED);
        weight_gradient(&heads, (dout, EMBED), proj_weight);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dqkv, width), qkv_weight);
        sum_rows(&dqkv, width, qkv_bias);
    }
}
