//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Keys and values lie side by side in one `[keys, 2 * EMBED]` matrix, which has only the keys that are
//! attended to.

use std::sync::Arc;

use dfdx::shapes::{Const, Dim, HasShape};
use dfdx::tensor::{Cpu, CpuError, PutTape, Tape, TensorFromVec};
use rayon::prelude::*;

use super::cached::cached;
use super::head::{attend, attend_backward};
use super::sides::{CrossShard, normed};
use super::{BoxedIncrementalCrossAttention, CrossAttentionOp, NormedStream};
use crate::ops::Stream;
use crate::ops::attention::heads::HeadTile;
use crate::ops::attention::{AttentionDropout, AttentionWeights};
use crate::ops::bridge::{host, set_gradient, take_gradient};
use crate::ops::kernels::matmul::{Packed, Pass, View, weight_gradient};
use crate::ops::kernels::rows::{RowNorm, drop_and_add, drop_into, normalise_backward, sum_rows};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, split, take};
use crate::ops::parameters::{Linear, Norm};
use crate::ops::residual::{
    Joined, PackedLinear, Parameter, add_all_shares, apply, back, norm_of, norm_parameters,
    pack_linear,
};

impl CrossAttentionOp<f32> for Cpu {
    fn try_cross_attention<const EMBED: usize, T: Tape<f32, Cpu>>(
        [queries, keys]: [&Stream<EMBED, f32, Cpu>; 2],
        (normed, norm): (NormedStream, &Norm<EMBED, f32, Cpu>),
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        weights.layout.check_plain();
        let (queries, keys) = (queries.clone(), keys.clone());
        for (stream, starts) in [(&queries, starts[0]), (&keys, starts[1])] {
            let ends = (starts.first(), starts.last());
            let tokens = stream.shape().0;
            assert_eq!(ends, (Some(&0), Some(&tokens)), "documents are the stream");
        }
        assert_eq!(starts[0].len(), starts[1].len(), "document counts");
        let op = Arc::new(Op::new((normed, norm), weights, dropout));
        let shards: Arc<Vec<CrossShard>> = Arc::new(CrossShard::plan(starts));
        let count = queries.shape().0;
        let mut y = vec![0.0; count * EMBED];
        let saved: Vec<Option<Saved>> = {
            let weights = op.pack(Pass::Forward);
            let outputs = split(shards.iter().map(|shard| &shard.queries), EMBED, &mut y);
            let work = shards.par_iter().zip(outputs);
            work.map(|(shard, y)| {
                let saved = op.forward(&weights, shard, [host(&queries), host(&keys)], y);
                T::OWNS_TAPE.then_some(saved)
            })
            .collect()
        };
        let device = queries.device().clone();
        let out = device.try_tensor_from_vec(y, (count, Const::<EMBED>))?;
        if T::OWNS_TAPE {
            let kept = out.clone();
            tape.add_backward_op(move |gradients| {
                // The residual connection: the queries' gradient bypasses the branch, in place.
                let mut dqueries = take_gradient(gradients, &device, &kept)?;
                let mut dkeys = take_gradient(gradients, &device, &keys)?;
                let shares: Vec<Scratch> = {
                    let weights = op.pack(Pass::Backward);
                    let x = [host(&queries), host(&keys)];
                    let of_queries = split(
                        shards.iter().map(|shard| &shard.queries),
                        EMBED,
                        &mut dqueries,
                    );
                    let of_keys = split(shards.iter().map(|shard| &shard.keys), EMBED, &mut dkeys);
                    let work =
                        (shards.par_iter().zip(saved)).zip(of_queries.into_par_iter().zip(of_keys));
                    work.map(|((shard, saved), (dqueries, dkeys))| {
                        let saved = saved.expect("saved because the tape is owned");
                        op.backward(&weights, shard, saved, x, [dqueries, dkeys])
                    })
                    .collect()
                };
                set_gradient(gradients, &queries, dqueries)?;
                *gradients.get_or_alloc_mut(&keys)? = dkeys;
                add_all_shares(gradients, &op.parameters(), &shares)
            });
        }
        Ok(out.put_tape(tape))
    }

    fn incremental_cross_attention<'a, const EMBED: usize>(
        norm: (NormedStream, &'a Norm<EMBED, f32, Cpu>),
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        (rows, _): (usize, usize),
    ) -> BoxedIncrementalCrossAttention<'a, EMBED, f32, Cpu> {
        weights.layout.check_plain();
        cached(norm, weights, rows)
    }
}

/// The op with its weights.
struct Op<const EMBED: usize> {
    normed: NormedStream,
    norm: Norm<EMBED, f32, Cpu>,
    weights: AttentionWeights<EMBED, f32, Cpu>,
    /// To keys and values.
    joined: Joined,
    dropout: AttentionDropout,
}

/// The projections, packed for one pass.
struct Weights<'a> {
    query: PackedLinear<'a>,
    keys_and_values: PackedLinear<'a>,
    proj: PackedLinear<'a>,
}

/// What backward needs of a shard.
struct Saved {
    /// `[queries, width of the heads]`.
    queries: Scratch,
    /// `[attended keys, 2 * width of the heads]`.
    keys_and_values: Scratch,
    /// The attention weights of every head, before dropout: see [`HeadTile::saved_len`].
    weights: Scratch,
    /// The heads' outputs, side by side: `[queries, width of the heads]`.
    heads: Scratch,
}

impl<const EMBED: usize> Op<EMBED> {
    fn new(
        (normed, norm): (NormedStream, &Norm<EMBED, f32, Cpu>),
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        dropout: AttentionDropout,
    ) -> Self {
        Self {
            normed,
            norm: norm.clone(),
            weights: weights.clone(),
            joined: Joined::of(&[&weights.comparison().key, &weights.value]),
            dropout,
        }
    }

    /// In the order in which [`Self::backward`] writes their gradients.
    fn parameters(&self) -> Vec<&dyn Parameter> {
        let norm = norm_parameters(&self.norm);
        let query = both(&self.weights.comparison().query);
        let proj = both(&self.weights.proj);
        let joined = self.joined.parameters();
        norm.into_iter()
            .chain(query)
            .chain(joined)
            .chain(proj)
            .collect()
    }

    fn pack(&self, pass: Pass) -> Weights<'_> {
        Weights {
            query: pack_linear(&self.weights.comparison().query, pass),
            keys_and_values: self.joined.pack(pass),
            proj: pack_linear(&self.weights.proj, pass),
        }
    }

    /// Which stream the norm applies to, and its weights.
    fn norm(&self) -> (NormedStream, RowNorm<'_>) {
        (self.normed, norm_of(&self.norm))
    }

    /// Every head of every document of a tile, with the starts of the document's queries and keys.
    fn heads(&self, [queries, keys]: &[Shard; 2]) -> impl Iterator<Item = (HeadTile, [usize; 2])> {
        let documents = queries.documents().zip(keys.documents());
        let documents = documents.filter(|(queries, _)| !queries.is_empty());
        let (first, layout, dropout) = (queries.starts[0], self.weights.layout, self.dropout);
        documents.flat_map(move |(queries, keys)| {
            (0..layout.heads).map(move |head| {
                let head_tile = HeadTile {
                    queries: queries.len(),
                    keys: keys.len(),
                    first_query: first + queries.start,
                    head,
                    layout,
                    dropout,
                };
                (head_tile, [queries.start, keys.start])
            })
        })
    }

    /// Writes the output for a shard's queries; `x` are the whole streams.
    fn forward(
        &self,
        weights: &Weights<'_>,
        shard: &CrossShard,
        x: [&[f32]; 2],
        y: &mut [f32],
    ) -> Saved {
        let (width, keys) = (self.joined.width(), shard.read.len());
        let of_heads = self.weights.layout.width();
        let x_queries = shard.queries.rows(x[0], EMBED);
        let x_keys = shard.keys_read(x[1], EMBED);
        let mut inputs = [x_queries, &x_keys];
        let normed = normed(self.norm(), inputs);
        inputs[self.normed as usize] = &normed;
        let tiles = shard.tiles();
        let head_tiles = tiles.iter().flat_map(|tile| self.heads(tile));
        let mut saved = Saved {
            queries: Scratch::new(shard.queries.len() * of_heads),
            keys_and_values: Scratch::new(keys * width),
            weights: Scratch::new(head_tiles.map(|(head_tile, _)| head_tile.saved_len()).sum()),
            heads: Scratch::new(shard.queries.len() * of_heads),
        };
        let mut kept = &mut saved.weights[..];
        for tile in &tiles {
            let (at, keys) = (tile[0].range_in(&shard.queries), tile[1].tokens());
            let rows_of = |width: usize| at.start * width..at.end * width;
            let keys_and_values = &mut saved.keys_and_values[keys.start * width..keys.end * width];
            let queries = &mut saved.queries[rows_of(of_heads)];
            apply(
                &weights.query,
                &inputs[0][rows_of(EMBED)],
                queries,
                of_heads,
            );
            let rows = &inputs[1][keys.start * EMBED..keys.end * EMBED];
            apply(&weights.keys_and_values, rows, keys_and_values, width);
            let heads = &mut saved.heads[rows_of(of_heads)];
            for (head_tile, rows) in self.heads(tile) {
                let kept = take(&mut kept, head_tile.saved_len());
                attend(head_tile, rows, [queries, keys_and_values], kept, heads);
            }
            apply(&weights.proj, heads, &mut y[rows_of(EMBED)], EMBED);
        }
        let first = shard.queries.starts[0] * EMBED;
        drop_and_add(y, x_queries, self.dropout.output, first);
        saved
    }

    /// Turns the gradient of a shard's output into that of its queries, in place, and adds to that of its
    /// keys. Returns the shard's partial gradients of all parameters. `x` are the whole streams.
    fn backward(
        &self,
        weights: &Weights<'_>,
        shard: &CrossShard,
        saved: Saved,
        x: [&[f32]; 2],
        [dqueries, dkeys]: [&mut [f32]; 2],
    ) -> Scratch {
        let (width, of_heads) = (self.joined.width(), self.weights.layout.width());
        let (count, keys) = (shard.queries.len(), shard.read.len());
        let mut dout = Scratch::new(count * EMBED);
        let first = shard.queries.starts[0] * EMBED;
        drop_into(&mut dout, dqueries, self.dropout.output, first);
        let (mut dq, mut dinput) = (Scratch::new(count * of_heads), Scratch::new(count * EMBED));
        let (mut dkv, mut dread) = (Scratch::new(keys * width), Scratch::new(keys * EMBED));
        let mut kept = &saved.weights[..];
        for tile in shard.tiles() {
            let (at, keys) = (tile[0].range_in(&shard.queries), tile[1].tokens());
            let rows_of = |width: usize| at.start * width..at.end * width;
            let of_keys = keys.start * width..keys.end * width;
            let mut dheads = Scratch::new(at.len() * of_heads);
            back(&weights.proj, &dout[rows_of(EMBED)], &mut dheads, of_heads);
            let [dq, dkv] = [&mut dq[rows_of(of_heads)], &mut dkv[of_keys.clone()]];
            let rows = [
                &saved.queries[rows_of(of_heads)],
                &saved.keys_and_values[of_keys],
            ];
            for (head_tile, starts) in self.heads(&tile) {
                let (own, rest) = kept.split_at(head_tile.saved_len());
                kept = rest;
                attend_backward(head_tile, starts, (rows, own), &dheads, [dq, dkv]);
            }
            back(&weights.query, dq, &mut dinput[rows_of(EMBED)], EMBED);
            let dread = &mut dread[keys.start * EMBED..keys.end * EMBED];
            back(&weights.keys_and_values, dkv, dread, EMBED);
        }

        let norm = norm_of(&self.norm);
        let sizes = [
            norm.len(),
            (EMBED + 1) * of_heads,
            (EMBED + 1) * width,
            (of_heads + 1) * EMBED,
        ];
        let mut share = Scratch::new(sizes.iter().sum());
        let [of_norm, of_query, of_keys_and_values, of_proj] = cut(sizes, &mut share);
        let x_queries = shard.queries.rows(x[0], EMBED);
        let x_keys = shard.keys_read(x[1], EMBED);
        layer_gradient((&saved.heads, of_heads), (&dout, EMBED), of_proj);
        let mut inputs = [x_queries, &x_keys];
        let normed = normed(self.norm(), inputs);
        inputs[self.normed as usize] = &normed;
        layer_gradient((inputs[0], EMBED), (&dq, of_heads), of_query);
        layer_gradient((inputs[1], EMBED), (&dkv, width), of_keys_and_values);

        match self.normed {
            NormedStream::Queries => {
                normalise_backward(&dinput, x_queries, norm, dqueries, of_norm);
            }
            NormedStream::Keys => {
                let mut dx = Scratch::zeros(dread.len());
                normalise_backward(&dread, &x_keys, norm, &mut dx, of_norm);
                dread = dx;
                add(dqueries, &dinput);
            }
        }
        let mut dread = &dread[..];
        for rows in shard.rows_read() {
            let (own, rest) = dread.split_at(rows.len() * EMBED);
            dread = rest;
            add(&mut dkeys[rows.start * EMBED..rows.end * EMBED], own);
        }
        share
    }
}

/// The weight and the bias of a linear layer.
fn both<In: Dim, Out: Dim>(layer: &Linear<In, Out, f32, Cpu>) -> [&dyn Parameter; 2] {
    [&layer.weight, &layer.bias]
}

/// Writes the gradients of a linear layer's weight and bias, one after the other, from its inputs and the gradient of
/// its outputs, each with the number of columns.
fn layer_gradient((x, inputs): (&[f32], usize), dy: (&[f32], usize), gradient: &mut [f32]) {
    let (dweight, dbias) = gradient.split_at_mut(inputs * dy.1);
    let x = Packed::new(View::rows(x, inputs), x.len() / inputs, inputs);
    weight_gradient(&x, dy, dweight);
    sum_rows(dy.0, dy.1, dbias);
}

/// `sum += x`.
fn add(sum: &mut [f32], x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
}
