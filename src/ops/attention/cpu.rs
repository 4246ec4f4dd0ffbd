//! The fast path: projections over a few documents at a time, every head of every document by itself,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, EMBED + 2 * KV]` matrix.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::comparing::{Columns, Comparison, OneMap};
use super::heads::WeightMap;
use super::memory::KeysAndValues;
use super::scoring::{Map, Scoring};
use super::{AttentionDropout, AttentionOp, Projections, assert_heads};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Packed, Pass, View, linear, weight_gradient};
use crate::ops::kernels::rows::sum_rows;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Remembering};
use crate::ops::residual::{Around, Branch, Layer, Parameter, apply, back, layer, try_residual};

/// Tokens that are worked on at a time, at least: their projections take half of a core's cache at the
/// width of the assignment's model. Tests have small batches, and several tiles nevertheless.
pub(in crate::ops) const TILE_TOKENS: usize = if cfg!(test) { 10 } else { 112 };

impl AttentionOp<f32> for Cpu {
    fn try_attention<
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
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
        const { assert_heads(EMBED, KV, HEADS, HEAD_DIM) };
        let branch =
            Attention::<EMBED, KV, HEADS, HEAD_DIM, _>::new(weights, scoring, OneMap, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn attention_reader<
        'a,
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        (rows, context): (usize, usize),
    ) -> BoxedReader<'a, EMBED, f32, Cpu> {
        const { assert_heads(EMBED, KV, HEADS, HEAD_DIM) };
        let memory = KeysAndValues::<EMBED, KV, HEADS, HEAD_DIM>::new(weights, scoring, context);
        Box::new(Remembering::new(norm, memory, rows))
    }
}

/// The sublayer's function of the normed stream.
pub(in crate::ops) struct Attention<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    C,
> {
    projections: Projections<EMBED, KV, f32, Cpu>,
    /// Queries, keys and values as one linear layer: `[EMBED + 2 * KV, EMBED]` and `[EMBED + 2 * KV]`.
    joined: [Vec<f32>; 2],
    scoring: Scoring,
    map: Map,
    comparison: C,
    dropout: AttentionDropout,
}

impl<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    C: Comparison<HEAD_DIM>,
> Attention<EMBED, KV, HEADS, HEAD_DIM, C>
{
    /// Width of queries, keys and values together.
    const WIDTH: usize = EMBED + 2 * KV;

    /// Heads that share keys and values.
    const GROUP: usize = EMBED / KV;

    pub(in crate::ops) fn new(
        projections: &Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        comparison: C,
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
            map: Map::new(scoring, HEAD_DIM, dropout.context),
            comparison,
            dropout,
        }
    }

    /// Every head of every document of a tile, with the document's tokens.
    fn heads(&self, tile: &Shard) -> impl Iterator<Item = (WeightMap, Range<usize>)> {
        let documents = tile.documents().filter(|tokens| !tokens.is_empty());
        documents.flat_map(move |tokens| {
            (0..HEADS).map(move |head| {
                let map = WeightMap {
                    queries: tokens.len(),
                    keys: tokens.len(),
                    first: tile.starts[0] + tokens.start,
                    head,
                    heads: HEADS,
                    scoring: self.scoring,
                    dropout: self.dropout,
                };
                (map, tokens.clone())
            })
        })
    }

    /// Where the queries, keys and values of a head begin whose document begins at a row.
    fn columns(row: usize, head: usize) -> Columns {
        let shared = head / Self::GROUP * HEAD_DIM;
        let first = [head * HEAD_DIM, EMBED + shared, EMBED + KV + shared];
        Columns {
            starts: first.map(|column| row * Self::WIDTH + column),
            step: Self::WIDTH,
            shared_again: !head.is_multiple_of(Self::GROUP),
        }
    }

    /// Queries and keys of each token of a tile, with its place in its document.
    fn queries_and_keys<'m>(
        tile: &Shard,
        qkv: &'m mut [f32],
    ) -> impl Iterator<Item = (usize, &'m mut [f32])> {
        let places = tile.documents().flat_map(|tokens| 0..tokens.len());
        let rows = qkv.chunks_exact_mut(Self::WIDTH);
        places.zip(rows.map(|row| &mut row[..EMBED + KV]))
    }
}

/// What backward needs of a shard.
pub(in crate::ops) struct Saved {
    /// Mapped queries and keys, and values: `[tokens, EMBED + 2 * KV]`.
    qkv: Scratch,
    /// What every head keeps: see [`Comparison::elements`].
    kept: Scratch,
    /// `[tokens, EMBED]`: the heads' outputs, side by side.
    heads: Scratch,
}

impl<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    C: Comparison<HEAD_DIM>,
> Branch for Attention<EMBED, KV, HEADS, HEAD_DIM, C>
{
    type Saved = Saved;
    type Weights<'a> = [Layer<'a>; 2];

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
        [&projections[..], &self.comparison.parameters()].concat()
    }

    fn pack(&self, pass: Pass) -> Self::Weights<'_> {
        let [weight, bias] = &self.joined;
        [
            (linear(weight, (EMBED, Self::WIDTH), pass), bias),
            layer(&self.projections.proj, pass),
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
                let elements = |(map, _)| self.comparison.elements(&map);
                Scratch::new(self.heads(shard).map(elements).sum())
            },
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut kept = &mut saved.kept[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.place_in(shard);
            let qkv = &mut saved.qkv[at.start * width..at.end * width];
            let at = at.start * EMBED..at.end * EMBED;
            apply(joined, &normed[at.clone()], qkv, width);
            let heads = &mut saved.heads[at.clone()];
            for (place, heads) in Self::queries_and_keys(&tile, qkv) {
                self.map.apply(heads, HEAD_DIM, place);
            }
            for (map, tokens) in self.heads(&tile) {
                let of_head = take(&mut kept, self.comparison.elements(&map));
                let out = &mut heads[tokens.start * EMBED + map.head * HEAD_DIM..];
                let columns = Self::columns(tokens.start, map.head);
                self.comparison
                    .attend(&map, columns, qkv, of_head, (out, EMBED));
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
        Around {
            normed,
            dout,
            dnormed,
        }: Around<'_>,
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
            let at = tile.place_in(shard);
            let [qkv, dqkv] = {
                let at = at.start * width..at.end * width;
                [&mut saved.qkv[at.clone()], &mut dqkv[at]]
            };
            let at = at.start * EMBED..at.end * EMBED;
            let mut dheads = Scratch::new(tile.len() * EMBED);
            back(proj, &dout[at.clone()], &mut dheads, EMBED);
            for (map, tokens) in self.heads(&tile) {
                let saved = (&*qkv, &*take(&mut kept, self.comparison.elements(&map)));
                let dout = &dheads[tokens.start * EMBED + map.head * HEAD_DIM..];
                let columns = Self::columns(tokens.start, map.head);
                self.comparison
                    .attend_backward(&map, columns, saved, (dout, EMBED), dqkv, own);
            }
            let mapped = qkv.chunks_exact(width);
            for ((place, dheads), heads) in Self::queries_and_keys(&tile, dqkv).zip(mapped) {
                let heads = &heads[..EMBED + KV];
                self.map.backward(dheads, heads, HEAD_DIM, place);
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
