//! The fast path: projections over a few documents at a time, every head of every document by itself,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, EMBED + 2 * KV]` matrix.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::heads::{Values, WeightMap, step};
use super::memory::KeysAndValues;
use super::scoring::{Map, Scoring};
use super::{AttentionDropout, AttentionOp, Projections, assert_heads};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, View, linear, multiply, weight_gradient,
};
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
        let branch = Attention::<EMBED, KV, HEADS, HEAD_DIM>::new(weights, scoring, dropout);
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
struct Attention<const EMBED: usize, const KV: usize, const HEADS: usize, const HEAD_DIM: usize> {
    projections: Projections<EMBED, KV, f32, Cpu>,
    /// Queries, keys and values as one linear layer: `[EMBED + 2 * KV, EMBED]` and `[EMBED + 2 * KV]`.
    joined: [Vec<f32>; 2],
    scoring: Scoring,
    map: Map,
    dropout: AttentionDropout,
}

impl<const EMBED: usize, const KV: usize, const HEADS: usize, const HEAD_DIM: usize>
    Attention<EMBED, KV, HEADS, HEAD_DIM>
{
    /// Width of queries, keys and values together.
    const WIDTH: usize = EMBED + 2 * KV;

    /// Heads that share keys and values.
    const GROUP: usize = EMBED / KV;

    fn new(
        projections: &Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
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
    fn places(row: usize, head: usize) -> [usize; 3] {
        let shared = head / Self::GROUP * HEAD_DIM;
        let columns = [head * HEAD_DIM, EMBED + shared, EMBED + KV + shared];
        columns.map(|column| row * Self::WIDTH + column)
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

    /// One head over one document: writes what backward needs, and the head's columns of `heads`.
    fn attend(map: WeightMap, row: usize, qkv: &[f32], kept: &mut [f32], heads: &mut [f32]) {
        let (n, scale) = (map.keys, map.scoring.scale(HEAD_DIM) as f32);
        let [q, k, v] = Self::places(row, map.head).map(|at| View::rows(&qkv[at..], Self::WIDTH));
        let keys = Packed::new(k.t(), HEAD_DIM, n);
        let target = Target::set(kept, step(n));
        multiply(n, q.left(), &keys, scale, Part::LowerResult, target);
        map.weigh(kept);
        let out = &mut heads[row * EMBED + map.head * HEAD_DIM..];
        let values = Values {
            rows: v,
            width: HEAD_DIM,
        };
        map.blend(kept, values, Target::set(out, EMBED));
    }

    /// Backward of [`Self::attend`]: writes the head's columns of `dqkv`; adds to those of keys and
    /// values where a head of its group has written them.
    fn attend_backward(
        map: WeightMap,
        row: usize,
        (qkv, kept): (&[f32], &[f32]),
        dheads: &[f32],
        dqkv: &mut [f32],
    ) {
        let (n, width, scale) = (map.keys, Self::WIDTH, map.scoring.scale(HEAD_DIM) as f32);
        let [q, k, v] = Self::places(row, map.head).map(|at| View::rows(&qkv[at..], width));
        let [dq, dk, dv] = Self::places(row, map.head);
        let add = !map.head.is_multiple_of(Self::GROUP);
        let dout = View::rows(&dheads[row * EMBED + map.head * HEAD_DIM..], EMBED);
        let values = Values {
            rows: v,
            width: HEAD_DIM,
        };
        let target = Target {
            add,
            ..Target::set(&mut dqkv[dv..], width)
        };
        let mut dscores = map.blend_backward(kept, values, dout, target);
        map.weigh_backward(kept, &mut dscores);
        let keys = Packed::new(k, n, HEAD_DIM);
        let (left, target) = (
            Left::Rows(&dscores, step(n)),
            Target::set(&mut dqkv[dq..], width),
        );
        multiply(n, left, &keys, scale, Part::LowerLeft, target);
        let queries = Packed::new(q, n, HEAD_DIM);
        let target = Target {
            add,
            ..Target::set(&mut dqkv[dk..], width)
        };
        let left = Left::Columns(&dscores, step(n));
        multiply(n, left, &queries, scale, Part::UpperLeft, target);
    }
}

/// What backward needs of a shard.
struct Saved {
    /// Mapped queries and keys, and values: `[tokens, EMBED + 2 * KV]`.
    qkv: Scratch,
    /// What is kept of every head's weights, before dropout: see [`WeightMap::elements`].
    weights: Scratch,
    /// `[tokens, EMBED]`: the heads' outputs, side by side.
    heads: Scratch,
}

impl<const EMBED: usize, const KV: usize, const HEADS: usize, const HEAD_DIM: usize> Branch
    for Attention<EMBED, KV, HEADS, HEAD_DIM>
{
    type Saved = Saved;
    type Weights<'a> = [Layer<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let p = &self.projections;
        vec![
            &p.query.weight,
            &p.key.weight,
            &p.value.weight,
            &p.query.bias,
            &p.key.bias,
            &p.value.bias,
            &p.proj.weight,
            &p.proj.bias,
        ]
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
            weights: Scratch::new(self.heads(shard).map(|(map, _)| map.elements()).sum()),
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut weights = &mut saved.weights[..];
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
                let kept = take(&mut weights, map.elements());
                Self::attend(map, tokens.start, qkv, kept, heads);
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
        let mut dqkv = Scratch::new(shard.len() * width);
        let mut weights = &mut saved.weights[..];
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
                let kept = (&*qkv, &*take(&mut weights, map.elements()));
                Self::attend_backward(map, tokens.start, kept, &dheads, dqkv);
            }
            let mapped = qkv.chunks_exact(width);
            for ((place, dheads), heads) in Self::queries_and_keys(&tile, dqkv).zip(mapped) {
                let heads = &heads[..EMBED + KV];
                self.map.backward(dheads, heads, HEAD_DIM, place);
            }
            back(joined, dqkv, &mut dnormed[at], EMBED);
        }
        let [qkv, qkv_bias, proj, proj_bias] =
            cut([width * EMBED, width, EMBED * EMBED, EMBED], share);
        let heads = Packed::new(View::rows(&saved.heads, EMBED), shard.len(), EMBED);
        weight_gradient(&heads, (dout, EMBED), proj);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dqkv, width), qkv);
        sum_rows(&dqkv, width, qkv_bias);
    }
}
