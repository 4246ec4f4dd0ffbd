//! The fast path: one task a shard, from layer norm to residual, without padding.
//!
//! Queries, keys and values lie side by side in one `[tokens, 3 * EMBED]` matrix.

use std::ops::Range;
use std::sync::Arc;

use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::{AttentionDropout, AttentionOp, Projections};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::{add_shares, host, put_gradient, take_gradient};
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, View, linear, multiply, weight_gradient,
};
use crate::ops::kernels::rows::{
    add_rows, exp, normalise, normalise_backward, row_moments, sum_of, wide,
};
use crate::ops::kernels::shards::{Shard, plan, split};
use crate::ops::parameters::LayerNorm;

/// What backward needs of a shard.
struct Saved {
    moments: Vec<[f32; 2]>,
    /// `[tokens, 3 * EMBED]`.
    qkv: Vec<f32>,
    /// `[length, length]` for every document and head, before dropout; 0 above the diagonal.
    attention: Vec<f32>,
    /// `[tokens, EMBED]`: the heads' outputs, side by side.
    heads: Vec<f32>,
}

/// A shard's share of the gradients, `[weight, bias]` of each layer; queries, keys and values joined.
struct WeightGradients {
    norm: [Vec<f32>; 2],
    qkv: [Vec<f32>; 2],
    proj: [Vec<f32>; 2],
}

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
        let (x, mut tape) = x.try_contiguous()?.split_tape();
        let tokens = x.shape().0;
        let shards = Arc::new(plan(&batch.starts));
        let joined = Joined::new(weights);
        let mut y = vec![0.0; tokens * EMBED];
        let saved: Vec<Option<Saved>> = {
            let x = host(&x);
            let net =
                Net::<EMBED, HEADS, HEAD_DIM>::new(norm, weights, &joined, dropout, Pass::Forward);
            let outputs = split(&shards, EMBED, &mut y);
            let work = shards.par_iter().zip(outputs);
            work.map(|(shard, y)| {
                let saved = net.forward(shard, shard.rows(x, EMBED), y);
                T::OWNS_TAPE.then_some(saved)
            })
            .collect()
        };
        let device = x.device().clone();
        let out = device.try_tensor_from_vec(y, (tokens, Const::<EMBED>))?;
        if T::OWNS_TAPE {
            let (kept, norm, weights) = (out.clone(), norm.clone(), weights.clone());
            tape.add_backward_op(move |gradients| {
                let dy = take_gradient(gradients, &device, &kept)?;
                let mut dx = take_gradient(gradients, &device, &x)?;
                let parts: Vec<WeightGradients> = {
                    let (x, dy) = (host(&x), &dy[..]);
                    let net = Net::<EMBED, HEADS, HEAD_DIM>::new(
                        &norm,
                        &weights,
                        &joined,
                        dropout,
                        Pass::Backward,
                    );
                    let outputs = split(&shards, EMBED, &mut dx);
                    let work = shards.par_iter().zip(saved).zip(outputs);
                    work.map(|((shard, saved), dx)| {
                        let saved = saved.expect("saved because the tape is owned");
                        let (x, dy) = (shard.rows(x, EMBED), shard.rows(dy, EMBED));
                        net.backward(shard, x, dy, &saved, dx)
                    })
                    .collect()
                };
                put_gradient(gradients, &x, dx)?;
                add_shares(
                    gradients,
                    &norm.weight,
                    parts.iter().map(|p| &p.norm[0][..]),
                )?;
                add_shares(gradients, &norm.bias, parts.iter().map(|p| &p.norm[1][..]))?;
                add_shares(
                    gradients,
                    &weights.proj.weight,
                    parts.iter().map(|p| &p.proj[0][..]),
                )?;
                add_shares(
                    gradients,
                    &weights.proj.bias,
                    parts.iter().map(|p| &p.proj[1][..]),
                )?;
                let joined = [&weights.query, &weights.key, &weights.value];
                for (i, linear) in joined.into_iter().enumerate() {
                    let weight = |p| third::<EMBED>(p, i, EMBED);
                    let parts_of = |which: usize| parts.iter().map(move |p| &p.qkv[which][..]);
                    add_shares(gradients, &linear.weight, parts_of(0).map(weight))?;
                    let bias = |p| third::<EMBED>(p, i, 1);
                    add_shares(gradients, &linear.bias, parts_of(1).map(bias))?;
                }
                Ok(())
            });
        }
        Ok(out.put_tape(tape))
    }
}

/// The rows of query, key or value (`which`) in a joined `[3 * EMBED, width]` matrix.
fn third<const EMBED: usize>(joined: &[f32], which: usize, width: usize) -> &[f32] {
    &joined[which * EMBED * width..][..EMBED * width]
}

/// Queries, keys and values as one linear layer: one matrix product for the three.
struct Joined {
    /// `[3 * EMBED, EMBED]`.
    weight: Vec<f32>,
    /// `[3 * EMBED]`.
    bias: Vec<f32>,
}

impl Joined {
    fn new<const EMBED: usize>(weights: &Projections<EMBED, f32, Cpu>) -> Self {
        let joined = [&weights.query, &weights.key, &weights.value];
        Self {
            weight: joined.map(|l| host(&l.weight)).concat(),
            bias: joined.map(|l| host(&l.bias)).concat(),
        }
    }
}

/// The sublayer's weights, the linear ones as factors of one pass.
struct Net<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    norm: [&'a [f32]; 2],
    qkv: (Packed<'a>, &'a [f32]),
    proj: (Packed<'a>, &'a [f32]),
    dropout: AttentionDropout,
}

impl<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    Net<'a, EMBED, HEADS, HEAD_DIM>
{
    fn new(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Projections<EMBED, f32, Cpu>,
        joined: &'a Joined,
        dropout: AttentionDropout,
        pass: Pass,
    ) -> Self {
        let proj = &weights.proj;
        Self {
            norm: [host(&norm.weight), host(&norm.bias)],
            qkv: (
                linear(&joined.weight, (EMBED, 3 * EMBED), pass),
                &joined.bias,
            ),
            proj: (
                linear(host(&proj.weight), (EMBED, EMBED), pass),
                host(&proj.bias),
            ),
            dropout,
        }
    }

    /// `x, y: [tokens of the shard, EMBED]`.
    fn forward(&self, shard: &Shard, x: &[f32], y: &mut [f32]) -> Saved {
        let tokens = shard.len();
        let moments = row_moments(x, EMBED);
        let normed = normalise(x, &moments, self.norm[0], self.norm[1]);
        let mut qkv = vec![0.0; tokens * 3 * EMBED];
        let target = Target::biased(&mut qkv, 3 * EMBED, self.qkv.1);
        let left = Left::Rows(&normed, EMBED);
        multiply(tokens, left, &self.qkv.0, 1.0, Part::Whole, target);
        let squares: usize = shard.documents().map(|d| HEADS * d.len() * d.len()).sum();
        let (mut attention, mut heads) = (vec![0.0; squares], vec![0.0; tokens * EMBED]);
        let mut rest = &mut attention[..];
        for document in shard.documents() {
            for head in 0..HEADS {
                let (own, others) = rest.split_at_mut(document.len() * document.len());
                rest = others;
                self.attend(shard, &document, head, &qkv, own, &mut heads);
            }
        }
        let (left, target) = (
            Left::Rows(&heads, EMBED),
            Target::biased(y, EMBED, self.proj.1),
        );
        multiply(tokens, left, &self.proj.0, 1.0, Part::Whole, target);
        let first = (shard.tokens().start * EMBED) as u32;
        wide(
            #[inline(always)]
            || {
                for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                    *y = x + *y * self.dropout.output.factor(first + i as u32);
                }
            },
        );
        Saved {
            moments,
            qkv,
            attention,
            heads,
        }
    }

    /// One head over one document: `attention: [length, length]`, written; `heads`: its columns, written.
    fn attend(
        &self,
        shard: &Shard,
        document: &Range<usize>,
        head: usize,
        qkv: &[f32],
        attention: &mut [f32],
        heads: &mut [f32],
    ) {
        let n = document.len();
        let [q, k, v] = Self::views(document, head, qkv);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        let keys = Packed::new(k.t(), HEAD_DIM, n);
        let target = Target::set(attention, n);
        multiply(n, q.left(), &keys, scale, Part::LowerResult, target);
        wide(
            #[inline(always)]
            || {
                for (query, row) in attention.chunks_exact_mut(n).enumerate() {
                    let (seen, hidden) = row.split_at_mut(query + 1);
                    let most = seen.iter().fold(f32::NEG_INFINITY, |most, &s| most.max(s));
                    seen.iter_mut().for_each(|s| *s = exp(*s - most));
                    let scale = 1.0 / sum_of(seen, seen, |s, _| s);
                    seen.iter_mut().for_each(|s| *s *= scale);
                    hidden.fill(0.0);
                }
            },
        );
        let dropped = self.drop_attention(shard, document, head, attention);
        let (width, first) = (EMBED, document.start * EMBED + head * HEAD_DIM);
        let kept = Left::Rows(dropped.as_deref().unwrap_or(attention), n);
        let (values, target) = (
            Packed::new(v, n, HEAD_DIM),
            Target::set(&mut heads[first..], width),
        );
        multiply(n, kept, &values, 1.0, Part::LowerLeft, target);
    }

    /// `attention` after dropout, where there is any.
    fn drop_attention(
        &self,
        shard: &Shard,
        document: &Range<usize>,
        head: usize,
        attention: &[f32],
    ) -> Option<Vec<f32>> {
        let dropout = self.dropout.weights;
        (!dropout.is_none()).then(|| {
            let mut dropped = attention.to_vec();
            let first = shard.tokens().start + document.start;
            let n = document.len();
            wide(
                #[inline(always)]
                || {
                    for (query, row) in dropped.chunks_exact_mut(n).enumerate() {
                        let index = ((first + query) * HEADS + head) * self.dropout.context;
                        for (key, a) in row[..=query].iter_mut().enumerate() {
                            *a *= dropout.factor((index + key) as u32);
                        }
                    }
                },
            );
            dropped
        })
    }

    /// Queries, keys and values of one head and document: `[length, HEAD_DIM]` each.
    fn views<'b>(document: &Range<usize>, head: usize, qkv: &'b [f32]) -> [View<'b>; 3] {
        let first = document.start * 3 * EMBED + head * HEAD_DIM;
        [0, 1, 2].map(|which| View::rows(&qkv[first + which * EMBED..], 3 * EMBED))
    }

    /// Adds to `dx`; returns the shard's weight gradients.
    fn backward(
        &self,
        shard: &Shard,
        x: &[f32],
        dy: &[f32],
        saved: &Saved,
        dx: &mut [f32],
    ) -> WeightGradients {
        let tokens = shard.len();
        let first = (shard.tokens().start * EMBED) as u32;
        let mut dropped = vec![0.0; tokens * EMBED];
        wide(
            #[inline(always)]
            || {
                for (i, ((d, dy), dx)) in dropped.iter_mut().zip(dy).zip(&mut *dx).enumerate() {
                    *d = dy * self.dropout.output.factor(first + i as u32);
                    *dx += dy;
                }
            },
        );
        let mut parts = WeightGradients {
            norm: [vec![0.0; EMBED], vec![0.0; EMBED]],
            qkv: [vec![0.0; 3 * EMBED * EMBED], vec![0.0; 3 * EMBED]],
            proj: [vec![0.0; EMBED * EMBED], vec![0.0; EMBED]],
        };
        weight_gradient(
            tokens,
            (EMBED, EMBED),
            (&saved.heads, EMBED),
            (&dropped, EMBED),
            &mut parts.proj[0],
        );
        add_rows(&dropped, EMBED, &mut parts.proj[1]);
        let mut dheads = vec![0.0; tokens * EMBED];
        let (left, target) = (Left::Rows(&dropped, EMBED), Target::set(&mut dheads, EMBED));
        multiply(tokens, left, &self.proj.0, 1.0, Part::Whole, target);
        let mut dqkv = vec![0.0; tokens * 3 * EMBED];
        let mut rest = &saved.attention[..];
        for document in shard.documents() {
            for head in 0..HEADS {
                let (own, others) = rest.split_at(document.len() * document.len());
                rest = others;
                self.attend_backward(shard, &document, head, &saved.qkv, own, &dheads, &mut dqkv);
            }
        }
        let normed = normalise(x, &saved.moments, self.norm[0], self.norm[1]);
        weight_gradient(
            tokens,
            (EMBED, 3 * EMBED),
            (&normed, EMBED),
            (&dqkv, 3 * EMBED),
            &mut parts.qkv[0],
        );
        add_rows(&dqkv, 3 * EMBED, &mut parts.qkv[1]);
        let mut dnormed = dropped;
        let (left, target) = (
            Left::Rows(&dqkv, 3 * EMBED),
            Target::set(&mut dnormed, EMBED),
        );
        multiply(tokens, left, &self.qkv.0, 1.0, Part::Whole, target);
        let [dweight, dbias] = &mut parts.norm;
        normalise_backward(
            &dnormed,
            x,
            &saved.moments,
            self.norm[0],
            dx,
            (dweight, dbias),
        );
        parts
    }

    /// Backward of [`Self::attend`]: writes the head's columns of `dqkv`.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inputs of the forward pass and one gradient"
    )]
    fn attend_backward(
        &self,
        shard: &Shard,
        document: &Range<usize>,
        head: usize,
        qkv: &[f32],
        attention: &[f32],
        dheads: &[f32],
        dqkv: &mut [f32],
    ) {
        let n = document.len();
        let [q, k, v] = Self::views(document, head, qkv);
        let dout = View::rows(&dheads[document.start * EMBED + head * HEAD_DIM..], EMBED);
        let first = document.start * 3 * EMBED + head * HEAD_DIM;
        let width = 3 * EMBED;
        let dropped = self.drop_attention(shard, document, head, attention);
        let kept = Left::Columns(dropped.as_deref().unwrap_or(attention), n);
        let target = Target::set(&mut dqkv[first + 2 * EMBED..], width);
        let douts = Packed::new(dout, n, HEAD_DIM);
        multiply(n, kept, &douts, 1.0, Part::UpperLeft, target);
        let mut dscores = vec![0.0; n * n];
        let (values, target) = (
            Packed::new(v.t(), HEAD_DIM, n),
            Target::set(&mut dscores, n),
        );
        multiply(n, dout.left(), &values, 1.0, Part::LowerResult, target);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        let token = shard.tokens().start + document.start;
        wide(
            #[inline(always)]
            || {
                let rows = dscores.chunks_exact_mut(n).zip(attention.chunks_exact(n));
                for (query, (d, a)) in rows.enumerate() {
                    let (d, hidden) = d.split_at_mut(query + 1);
                    hidden.fill(0.0);
                    if !self.dropout.weights.is_none() {
                        let index = ((token + query) * HEADS + head) * self.dropout.context;
                        for (key, d) in d.iter_mut().enumerate() {
                            *d *= self.dropout.weights.factor((index + key) as u32);
                        }
                    }
                    let a = &a[..=query];
                    let along = sum_of(d, a, |d, a| d * a);
                    d.iter_mut()
                        .zip(a)
                        .for_each(|(d, a)| *d = a * (*d - along) * scale);
                }
            },
        );
        let (keys, target) = (
            Packed::new(k, n, HEAD_DIM),
            Target::set(&mut dqkv[first..], width),
        );
        multiply(
            n,
            Left::Rows(&dscores, n),
            &keys,
            1.0,
            Part::LowerLeft,
            target,
        );
        let (queries, target) = (
            Packed::new(q, n, HEAD_DIM),
            Target::set(&mut dqkv[first + EMBED..], width),
        );
        let left = Left::Columns(&dscores, n);
        multiply(n, left, &queries, 1.0, Part::UpperLeft, target);
    }
}
