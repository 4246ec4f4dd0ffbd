//! The fast path: projections over a few documents at a time, every head of every document by itself,
//! without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, 3 * EMBED]` matrix.

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::heads::{Head, squares};
use super::memory::KeysAndValues;
use super::{AttentionDropout, AttentionOp, Projections};
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
use crate::ops::residual::{Around, Branch, Layer, Parameter, layer, try_residual};

/// Tokens that are worked on at a time, at least: their projections take half of a core's cache at the
/// width of the assignment's model. Tests have small batches, and several tiles nevertheless.
const TILE_TOKENS: usize = if cfg!(test) { 10 } else { 112 };

impl AttentionOp<f32> for Cpu {
    fn try_attention<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cpu>,
    >(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &Projections<EMBED, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert!(EMBED == HEADS * HEAD_DIM, "heads lie side by side") };
        let branch = Attention::<EMBED, HEADS, HEAD_DIM>::new(weights, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn attention_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Projections<EMBED, f32, Cpu>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, f32, Cpu> {
        let memory = KeysAndValues::<EMBED, HEADS, HEAD_DIM>::new(weights);
        Box::new(Remembering::new(norm, memory, rows))
    }
}

/// The sublayer's function of the normed stream.
struct Attention<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    projections: Projections<EMBED, f32, Cpu>,
    /// Queries, keys and values as one linear layer: `[3 * EMBED, EMBED]` and `[3 * EMBED]`.
    joined: [Vec<f32>; 2],
    dropout: AttentionDropout,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    Attention<EMBED, HEADS, HEAD_DIM>
{
    /// Width of queries, keys and values together.
    const WIDTH: usize = 3 * EMBED;

    fn new(projections: &Projections<EMBED, f32, Cpu>, dropout: AttentionDropout) -> Self {
        let three = [&projections.query, &projections.key, &projections.value];
        let joined = [
            three.map(|l| host(&l.weight)).concat(),
            three.map(|l| host(&l.bias)).concat(),
        ];
        Self {
            projections: projections.clone(),
            joined,
            dropout,
        }
    }

    /// Every head of every document of a tile.
    fn heads<'a>(
        tile: &'a Shard,
        dropout: AttentionDropout,
    ) -> impl Iterator<Item = Head<EMBED, HEADS, HEAD_DIM>> + 'a {
        let documents = tile.documents().filter(|tokens| !tokens.is_empty());
        documents.flat_map(move |tokens| {
            (0..HEADS).map(move |head| Head {
                tokens: tokens.clone(),
                head,
                first: tile.starts[0] + tokens.start,
                dropout,
            })
        })
    }
}

/// What backward needs of a shard.
struct Saved {
    /// `[tokens, 3 * EMBED]`.
    qkv: Scratch,
    /// `[length, length]` for every document and head, before dropout, its rows in whole vectors; 0
    /// above the diagonal.
    attention: Scratch,
    /// `[tokens, EMBED]`: the heads' outputs, side by side.
    heads: Scratch,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> Branch
    for Attention<EMBED, HEADS, HEAD_DIM>
{
    type Saved = Saved;
    type Weights<'a> = [Layer<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let [q, k, v, proj] = {
            let p = &self.projections;
            [&p.query, &p.key, &p.value, &p.proj]
        };
        vec![
            &q.weight,
            &k.weight,
            &v.weight,
            &q.bias,
            &k.bias,
            &v.bias,
            &proj.weight,
            &proj.bias,
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
        [(qkv_weight, qkv_bias), (proj, proj_bias)]: &Self::Weights<'_>,
        shard: &Shard,
        normed: &[f32],
        out: &mut [f32],
    ) -> Saved {
        let width = Self::WIDTH;
        let mut saved = Saved {
            qkv: Scratch::new(shard.len() * width),
            attention: Scratch::new(
                HEADS * shard.documents().map(|d| squares(d.len())).sum::<usize>(),
            ),
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut attention = &mut saved.attention[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let (tokens, at) = (tile.len(), tile.place_in(shard));
            let qkv = &mut saved.qkv[at.start * width..at.end * width];
            let at = at.start * EMBED..at.end * EMBED;
            let left = Left::Rows(&normed[at.clone()], EMBED);
            let target = Target::biased(qkv, width, qkv_bias);
            multiply(tokens, left, qkv_weight, 1.0, Part::Whole, target);
            let heads = &mut saved.heads[at.clone()];
            for head in Self::heads(&tile, self.dropout) {
                head.attend(qkv, take(&mut attention, head.squares()), heads);
            }
            let (left, target) = (
                Left::Rows(heads, EMBED),
                Target::biased(&mut out[at], EMBED, proj_bias),
            );
            multiply(tokens, left, proj, 1.0, Part::Whole, target);
        }
        saved
    }

    fn backward(
        &self,
        [(qkv_weight, _), (proj, _)]: &Self::Weights<'_>,
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
        let mut attention = &mut saved.attention[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let (tokens, at) = (tile.len(), tile.place_in(shard));
            let [qkv, dqkv] = {
                let at = at.start * width..at.end * width;
                [&mut saved.qkv[at.clone()], &mut dqkv[at]]
            };
            let at = at.start * EMBED..at.end * EMBED;
            let mut dheads = Scratch::new(tokens * EMBED);
            let (left, target) = (
                Left::Rows(&dout[at.clone()], EMBED),
                Target::set(&mut dheads, EMBED),
            );
            multiply(tokens, left, proj, 1.0, Part::Whole, target);
            for head in Self::heads(&tile, self.dropout) {
                let attention = take(&mut attention, head.squares());
                head.attend_backward(qkv, attention, &dheads, dqkv);
            }
            let (left, target) = (
                Left::Rows(dqkv, width),
                Target::set(&mut dnormed[at], EMBED),
            );
            multiply(tokens, left, qkv_weight, 1.0, Part::Whole, target);
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
