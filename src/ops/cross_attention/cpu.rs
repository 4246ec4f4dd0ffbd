//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! Keys and values lie side by side in one `[keys, 2 * EMBED]` matrix, which has only the keys that are
//! attended to.

use std::sync::Arc;

use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cpu, CpuError, PutTape, Tape, TensorFromVec};
use rayon::prelude::*;

use super::cached::cached;
use super::head::{attend, attend_backward};
use super::sides::{CrossShard, normed};
use super::{BoxedIncrementalCrossAttention, CrossAttentionOp, NormedStream};
use crate::ops::Stream;
use crate::ops::attention::heads::HeadTile;
use crate::ops::attention::{AttentionDropout, Projections, Scoring, assert_heads};
use crate::ops::bridge::{host, set_gradient, take_gradient};
use crate::ops::kernels::matmul::{Packed, Pass, View, weight_gradient};
use crate::ops::kernels::rows::{drop_and_add, drop_into, normalise_backward, sum_rows};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, split, take};
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::{
    Joined, Layer, PackedLinear, Parameter, add_all_shares, apply, back, pack_linear,
};

impl CrossAttentionOp<f32> for Cpu {
    fn try_cross_attention<const EMBED: usize, const HEAD_DIM: usize, T: Tape<f32, Cpu>>(
        [queries, keys]: [&Stream<EMBED, f32, Cpu>; 2],
        (normed, norm): (NormedStream, &LayerNorm<EMBED, f32, Cpu>),
        weights: &Projections<EMBED, EMBED, f32, Cpu>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert_heads(EMBED, EMBED, HEAD_DIM) };
        let (queries, keys) = (queries.clone(), keys.clone());
        for (stream, starts) in [(&queries, starts[0]), (&keys, starts[1])] {
            let ends = (starts.first(), starts.last());
            let tokens = stream.shape().0;
            assert_eq!(ends, (Some(&0), Some(&tokens)), "documents are the stream");
        }
        assert_eq!(starts[0].len(), starts[1].len(), "document counts");
        let op = Arc::new(Op::<EMBED, HEAD_DIM>::new((normed, norm), weights, dropout));
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

    fn incremental_cross_attention<'a, const EMBED: usize, const HEAD_DIM: usize>(
        norm: (NormedStream, &'a LayerNorm<EMBED, f32, Cpu>),
        weights: &'a Projections<EMBED, EMBED, f32, Cpu>,
        (rows, _): (usize, usize),
    ) -> BoxedIncrementalCrossAttention<'a, EMBED, f32, Cpu> {
        const { assert_heads(EMBED, EMBED, HEAD_DIM) };
        cached::<EMBED, HEAD_DIM>(norm, weights, rows)
    }
}

/// The op with its weights.
struct Op<const EMBED: usize, const HEAD_DIM: usize> {
    normed: NormedStream,
    norm: LayerNorm<EMBED, f32, Cpu>,
    projections: Projections<EMBED, EMBED, f32, Cpu>,
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
    /// `[queries, EMBED]`.
    queries: Scratch,
    /// `[attended keys, 2 * EMBED]`.
    keys_and_values: Scratch,
    /// The attention weights of every head, before dropout: see [`HeadTile::saved_len`].
    weights: Scratch,
    /// The heads' outputs, side by side: `[queries, EMBED]`.
    heads: Scratch,
}

impl<const EMBED: usize, const HEAD_DIM: usize> Op<EMBED, HEAD_DIM> {
    /// Total width of keys and values.
    const WIDTH: usize = 2 * EMBED;

    fn new(
        (normed, norm): (NormedStream, &LayerNorm<EMBED, f32, Cpu>),
        projections: &Projections<EMBED, EMBED, f32, Cpu>,
        dropout: AttentionDropout,
    ) -> Self {
        Self {
            normed,
            norm: norm.clone(),
            projections: projections.clone(),
            joined: Joined::of(&[&projections.key, &projections.value]),
            dropout,
        }
    }

    /// In the order in which [`Self::backward`] writes their gradients.
    fn parameters(&self) -> Vec<&dyn Parameter> {
        let norm: [&dyn Parameter; 2] = [&self.norm.weight, &self.norm.bias];
        let [query, proj] =
            [&self.projections.query, &self.projections.proj].map(Layer::parameters);
        let joined = self.joined.parameters();
        norm.into_iter()
            .chain(query)
            .chain(joined)
            .chain(proj)
            .collect()
    }

    fn pack(&self, pass: Pass) -> Weights<'_> {
        Weights {
            query: pack_linear(&self.projections.query, pass),
            keys_and_values: self.joined.pack(pass),
            proj: pack_linear(&self.projections.proj, pass),
        }
    }

    /// Which stream the layer norm applies to, and its weights.
    fn norm(&self) -> (NormedStream, [&[f32]; 2]) {
        (
            self.normed,
            [host(&self.norm.weight), host(&self.norm.bias)],
        )
    }

    /// Every head of every document of a tile, with the starts of the document's queries and keys.
    fn heads(
        [queries, keys]: &[Shard; 2],
        dropout: AttentionDropout,
    ) -> impl Iterator<Item = (HeadTile, [usize; 2])> {
        let documents = queries.documents().zip(keys.documents());
        let documents = documents.filter(|(queries, _)| !queries.is_empty());
        let first = queries.starts[0];
        documents.flat_map(move |(queries, keys)| {
            (0..EMBED / HEAD_DIM).map(move |head| {
                let head_tile = HeadTile {
                    queries: queries.len(),
                    keys: keys.len(),
                    first_query: first + queries.start,
                    head,
                    heads: EMBED / HEAD_DIM,
                    scoring: Scoring::SOFTMAX,
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
        let (width, keys) = (Self::WIDTH, shard.read.len());
        let x_queries = shard.queries.rows(x[0], EMBED);
        let x_keys = shard.keys_read(x[1], EMBED);
        let mut inputs = [x_queries, &x_keys];
        let normed = normed(self.norm(), inputs);
        inputs[self.normed as usize] = &normed;
        let tiles = shard.tiles();
        let head_tiles = tiles
            .iter()
            .flat_map(|tile| Self::heads(tile, self.dropout));
        let mut saved = Saved {
            queries: Scratch::new(y.len()),
            keys_and_values: Scratch::new(keys * width),
            weights: Scratch::new(head_tiles.map(|(head_tile, _)| head_tile.saved_len()).sum()),
            heads: Scratch::new(y.len()),
        };
        let mut kept = &mut saved.weights[..];
        for tile in &tiles {
            let (at, keys) = (tile[0].range_in(&shard.queries), tile[1].tokens());
            let at = at.start * EMBED..at.end * EMBED;
            let keys_and_values = &mut saved.keys_and_values[keys.start * width..keys.end * width];
            let queries = &mut saved.queries[at.clone()];
            apply(&weights.query, &inputs[0][at.clone()], queries, EMBED);
            let rows = &inputs[1][keys.start * EMBED..keys.end * EMBED];
            apply(&weights.keys_and_values, rows, keys_and_values, width);
            let heads = &mut saved.heads[at.clone()];
            for (head_tile, rows) in Self::heads(tile, self.dropout) {
                let kept = take(&mut kept, head_tile.saved_len());
                attend::<EMBED, HEAD_DIM>(head_tile, rows, [queries, keys_and_values], kept, heads);
            }
            apply(&weights.proj, heads, &mut y[at], EMBED);
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
        let (width, count, keys) = (Self::WIDTH, shard.queries.len(), shard.read.len());
        let mut dout = Scratch::new(count * EMBED);
        let first = shard.queries.starts[0] * EMBED;
        drop_into(&mut dout, dqueries, self.dropout.output, first);
        let [mut dq, mut dinput] = [(); 2].map(|()| Scratch::new(count * EMBED));
        let (mut dkv, mut dread) = (Scratch::new(keys * width), Scratch::new(keys * EMBED));
        let mut kept = &saved.weights[..];
        for tile in shard.tiles() {
            let (at, keys) = (tile[0].range_in(&shard.queries), tile[1].tokens());
            let at = at.start * EMBED..at.end * EMBED;
            let of_keys = keys.start * width..keys.end * width;
            let mut dheads = Scratch::new(at.len());
            back(&weights.proj, &dout[at.clone()], &mut dheads, EMBED);
            let [dq, dkv] = [&mut dq[at.clone()], &mut dkv[of_keys.clone()]];
            let rows = [&saved.queries[at.clone()], &saved.keys_and_values[of_keys]];
            for (head_tile, starts) in Self::heads(&tile, self.dropout) {
                let (own, rest) = kept.split_at(head_tile.saved_len());
                kept = rest;
                attend_backward::<EMBED, HEAD_DIM>(
                    head_tile,
                    starts,
                    (rows, own),
                    &dheads,
                    [dq, dkv],
                );
            }
            back(&weights.query, dq, &mut dinput[at], EMBED);
            let dread = &mut dread[keys.start * EMBED..keys.end * EMBED];
            back(&weights.keys_and_values, dkv, dread, EMBED);
        }

        let size = EMBED * EMBED;
        let mut share = Scratch::new(4 * size + 6 * EMBED);
        let [
            dweight,
            dbias,
            query,
            query_bias,
            keys_and_values,
            kv_bias,
            proj,
            proj_bias,
        ] = cut(
            [EMBED, EMBED, size, EMBED, 2 * size, width, size, EMBED],
            &mut share,
        );
        let x_queries = shard.queries.rows(x[0], EMBED);
        let x_keys = shard.keys_read(x[1], EMBED);
        let factor = |rows: &[f32], dy: (&[f32], usize), dw: &mut [f32], db: &mut [f32]| {
            let count = rows.len() / EMBED;
            let x = Packed::new(View::rows(rows, EMBED), count, EMBED);
            weight_gradient(&x, dy, dw);
            sum_rows(dy.0, dy.1, db);
        };
        factor(&saved.heads, (&dout, EMBED), proj, proj_bias);
        let mut inputs = [x_queries, &x_keys];
        let normed = normed(self.norm(), inputs);
        inputs[self.normed as usize] = &normed;
        factor(inputs[0], (&dq, EMBED), query, query_bias);
        factor(inputs[1], (&dkv, width), keys_and_values, kv_bias);

        let norm = host(&self.norm.weight);
        match self.normed {
            NormedStream::Queries => {
                normalise_backward(&dinput, x_queries, norm, dqueries, (dweight, dbias));
            }
            NormedStream::Keys => {
                let mut dx = Scratch::zeros(dread.len());
                normalise_backward(&dread, &x_keys, norm, &mut dx, (dweight, dbias));
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

/// `sum += x`.
fn add(sum: &mut [f32], x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
}
