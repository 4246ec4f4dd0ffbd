//! The fast path: one task a shard, from layer norm to residual; GELU is computed again in backward.

use std::sync::Arc;

use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::{FeedForward, FeedForwardOp};
use crate::ops::Stream;
use crate::ops::bridge::{add_shares, host, put_gradient, take_gradient};
use crate::ops::dropout::Dropout;
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, linear, multiply, row_step, weight_gradient,
};
use crate::ops::kernels::rows::{add_rows, gelu, normalise, normalise_backward, row_moments, wide};
use crate::ops::kernels::shards::{Shard, plan, split};
use crate::ops::parameters::LayerNorm;

/// What backward needs of a shard: `moments: [tokens]`, `hidden: [tokens, HIDDEN]` before GELU, its
/// rows `row_step(HIDDEN)` apart.
struct Saved {
    moments: Vec<[f32; 2]>,
    hidden: Vec<f32>,
}

/// A shard's share of the gradients, `[weight, bias]` of each layer.
struct WeightGradients {
    norm: [Vec<f32>; 2],
    expand: [Vec<f32>; 2],
    contract: [Vec<f32>; 2],
}

impl FeedForwardOp<f32> for Cpu {
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &FeedForward<EMBED, HIDDEN, f32, Cpu>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        let (x, mut tape) = x.try_contiguous()?.split_tape();
        let tokens = x.shape().0;
        // Every token is a document of its own here: any cut will do.
        let shards = Arc::new(plan(&(0..=tokens).collect::<Vec<_>>()));
        let mut y = vec![0.0; tokens * EMBED];
        let saved: Vec<Option<Saved>> = {
            let x = host(&x);
            let net = Net::new(norm, weights, dropout, Pass::Forward);
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
                    let net = Net::new(&norm, &weights, dropout, Pass::Backward);
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
                let (expand, contract) = (&weights.expand, &weights.contract);
                add_shares(
                    gradients,
                    &norm.weight,
                    parts.iter().map(|p| &p.norm[0][..]),
                )?;
                add_shares(gradients, &norm.bias, parts.iter().map(|p| &p.norm[1][..]))?;
                add_shares(
                    gradients,
                    &expand.weight,
                    parts.iter().map(|p| &p.expand[0][..]),
                )?;
                add_shares(
                    gradients,
                    &expand.bias,
                    parts.iter().map(|p| &p.expand[1][..]),
                )?;
                add_shares(
                    gradients,
                    &contract.weight,
                    parts.iter().map(|p| &p.contract[0][..]),
                )?;
                add_shares(
                    gradients,
                    &contract.bias,
                    parts.iter().map(|p| &p.contract[1][..]),
                )?;
                Ok(())
            });
        }
        Ok(out.put_tape(tape))
    }
}

/// The sublayer's weights, the linear ones as factors of one pass.
struct Net<'a, const EMBED: usize, const HIDDEN: usize> {
    norm: (&'a [f32], &'a [f32]),
    expand: (Packed<'a>, &'a [f32]),
    contract: (Packed<'a>, &'a [f32]),
    dropout: Dropout,
}

impl<'a, const EMBED: usize, const HIDDEN: usize> Net<'a, EMBED, HIDDEN> {
    fn new(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a FeedForward<EMBED, HIDDEN, f32, Cpu>,
        dropout: Dropout,
        pass: Pass,
    ) -> Self {
        let (expand, contract) = (&weights.expand, &weights.contract);
        Self {
            norm: (host(&norm.weight), host(&norm.bias)),
            expand: (
                linear(host(&expand.weight), (EMBED, HIDDEN), pass),
                host(&expand.bias),
            ),
            contract: (
                linear(host(&contract.weight), (HIDDEN, EMBED), pass),
                host(&contract.bias),
            ),
            dropout,
        }
    }

    /// `x, y: [tokens of the shard, EMBED]`.
    fn forward(&self, shard: &Shard, x: &[f32], y: &mut [f32]) -> Saved {
        let (tokens, step) = (shard.len(), row_step(HIDDEN));
        let moments = row_moments(x, EMBED);
        let normed = normalise(x, &moments, self.norm.0, self.norm.1);
        let mut hidden = vec![0.0; tokens * step];
        let ((expand, bias), whole) = (&self.expand, Part::Whole);
        let target = Target::biased(&mut hidden, step, bias);
        multiply(
            tokens,
            Left::Rows(&normed, EMBED),
            expand,
            1.0,
            whole,
            target,
        );
        let mut active = vec![0.0; tokens * step];
        wide(
            #[inline(always)]
            || {
                let both = active.iter_mut().zip(&hidden);
                both.for_each(|(a, &h)| *a = gelu(h).0);
            },
        );
        let (contract, bias) = &self.contract;
        let target = Target::biased(y, EMBED, bias);
        multiply(
            tokens,
            Left::Rows(&active, step),
            contract,
            1.0,
            whole,
            target,
        );
        let first = (shard.tokens().start * EMBED) as u32;
        wide(
            #[inline(always)]
            || {
                for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                    *y = x + *y * self.dropout.factor(first + i as u32);
                }
            },
        );
        Saved { moments, hidden }
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
        let (tokens, step, whole) = (shard.len(), row_step(HIDDEN), Part::Whole);
        let first = (shard.tokens().start * EMBED) as u32;
        let mut dropped = vec![0.0; tokens * EMBED];
        wide(
            #[inline(always)]
            || {
                for (i, ((d, dy), dx)) in dropped.iter_mut().zip(dy).zip(&mut *dx).enumerate() {
                    *d = dy * self.dropout.factor(first + i as u32);
                    *dx += dy;
                }
            },
        );
        let mut dhidden = vec![0.0; tokens * step];
        let target = Target::set(&mut dhidden, step);
        let left = Left::Rows(&dropped, EMBED);
        multiply(tokens, left, &self.contract.0, 1.0, whole, target);
        let mut active = vec![0.0; tokens * step];
        wide(
            #[inline(always)]
            || {
                for ((a, d), &h) in active.iter_mut().zip(&mut dhidden).zip(&saved.hidden) {
                    let (value, slope) = gelu(h);
                    *a = value;
                    *d *= slope;
                }
            },
        );
        let mut parts = WeightGradients {
            norm: [vec![0.0; EMBED], vec![0.0; EMBED]],
            expand: [vec![0.0; HIDDEN * EMBED], vec![0.0; HIDDEN]],
            contract: [vec![0.0; EMBED * HIDDEN], vec![0.0; EMBED]],
        };
        weight_gradient(
            tokens,
            (HIDDEN, EMBED),
            (&active, step),
            (&dropped, EMBED),
            &mut parts.contract[0],
        );
        add_rows(&dropped, EMBED, &mut parts.contract[1]);
        let normed = normalise(x, &saved.moments, self.norm.0, self.norm.1);
        weight_gradient(
            tokens,
            (EMBED, HIDDEN),
            (&normed, EMBED),
            (&dhidden, step),
            &mut parts.expand[0],
        );
        add_rows(&dhidden, step, &mut parts.expand[1]);
        let mut dnormed = dropped;
        let target = Target::set(&mut dnormed, EMBED);
        let left = Left::Rows(&dhidden, step);
        multiply(tokens, left, &self.expand.0, 1.0, whole, target);
        let [dweight, dbias] = &mut parts.norm;
        normalise_backward(
            &dnormed,
            x,
            &saved.moments,
            self.norm.0,
            dx,
            (dweight, dbias),
        );
        parts
    }
}
