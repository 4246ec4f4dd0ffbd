//! The fast path: scored rows only, one task a shard; the gradient of the loss is computed with it.

use std::sync::Arc;

use dfdx::shapes::{Const, Rank0, Rank2};
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::HeadOp;
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::{add_shares, host, put_gradient, take_gradient};
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, linear, multiply, weight_gradient,
};
use crate::ops::kernels::rows::{exp, normalise, normalise_backward, row_moments, sum_of, wide};
use crate::ops::kernels::shards::{Shard, plan, split};
use crate::ops::parameters::LayerNorm;

/// What backward needs of a shard of scored rows.
struct Saved {
    /// `[rows, EMBED]`, gathered.
    x: Vec<f32>,
    moments: Vec<[f32; 2]>,
    /// Gradient of the summed loss with respect to the logits, `[rows, VOCAB]`: softmax - one-hot.
    dlogits: Vec<f32>,
}

/// A shard's share of the gradients: norm weight, norm bias, head.
type WeightGradients = [Vec<f32>; 3];

impl HeadOp<f32> for Cpu {
    fn try_loss<const EMBED: usize, const VOCAB: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, f32, Cpu, T>, CpuError> {
        let (x, mut tape) = x.try_contiguous()?.split_tape();
        let (rows, targets) = super::scored(batch);
        let count = rows.len();
        // Every scored row is a document of its own here: any cut will do.
        let shards = Arc::new(plan(&(0..=count).collect::<Vec<_>>()));
        let (nats, saved): (Vec<f64>, Vec<Option<Saved>>) = {
            let (x, weights) = (host(&x), weights::<EMBED, VOCAB>(norm, head, Pass::Forward));
            let work = shards.par_iter().map(|shard| {
                let (rows, targets) = (&rows[shard.tokens()], &targets[shard.tokens()]);
                let (nats, saved) = forward::<EMBED, VOCAB>(x, &weights, rows, targets);
                (nats, T::OWNS_TAPE.then_some(saved))
            });
            work.collect::<Vec<_>>().into_iter().unzip()
        };
        let device = x.device().clone();
        let loss = (nats.iter().sum::<f64>() / count as f64) as f32;
        let out = device.try_tensor_from_vec(vec![loss], ())?;
        if T::OWNS_TAPE {
            let (kept, norm, head) = (out.clone(), norm.clone(), head.clone());
            tape.add_backward_op(move |gradients| {
                let scale = take_gradient(gradients, &device, &kept)?[0] / count as f32;
                let mut dx = take_gradient(gradients, &device, &x)?;
                let mut drows = vec![0.0; count * EMBED];
                let parts: Vec<WeightGradients> = {
                    let weights = weights::<EMBED, VOCAB>(&norm, &head, Pass::Backward);
                    let outputs = split(&shards, EMBED, &mut drows);
                    let work = saved.into_par_iter().zip(outputs).map(|(saved, drows)| {
                        let saved = saved.expect("saved because the tape is owned");
                        backward::<EMBED, VOCAB>(saved, &weights, scale, drows)
                    });
                    work.collect()
                };
                for (drow, &row) in drows.chunks_exact(EMBED).zip(&rows) {
                    let dx = &mut dx[row * EMBED..][..EMBED];
                    dx.iter_mut().zip(drow).for_each(|(dx, d)| *dx += d);
                }
                put_gradient(gradients, &x, dx)?;
                add_shares(gradients, &norm.weight, parts.iter().map(|p| &p[0][..]))?;
                add_shares(gradients, &norm.bias, parts.iter().map(|p| &p[1][..]))?;
                add_shares(gradients, &head, parts.iter().map(|p| &p[2][..]))
            });
        }
        Ok(out.put_tape(tape))
    }

    fn try_logits<const EMBED: usize, const VOCAB: usize>(
        x: Stream<EMBED, f32, Cpu>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
        rows: &[usize],
    ) -> Result<Stream<VOCAB, f32, Cpu>, CpuError> {
        let x = x.try_contiguous()?;
        let shards = plan(&(0..=rows.len()).collect::<Vec<_>>());
        let mut logits = vec![0.0; rows.len() * VOCAB];
        let (values, weights) = (host(&x), weights::<EMBED, VOCAB>(norm, head, Pass::Forward));
        let outputs = split(&shards, VOCAB, &mut logits);
        shards
            .par_iter()
            .zip(outputs)
            .for_each(|(shard, logits): (&Shard, &mut [f32])| {
                let x = gather::<EMBED>(values, &rows[shard.tokens()]);
                let normed = normalise(&x, &row_moments(&x, EMBED), weights.0, weights.1);
                let target = Target::set(logits, VOCAB);
                let left = Left::Rows(&normed, EMBED);
                multiply(shard.len(), left, &weights.2, 1.0, Part::Whole, target);
            });
        x.device()
            .try_tensor_from_vec(logits, (rows.len(), Const::<VOCAB>))
    }
}

/// Norm weight, norm bias, and the head as a factor of one pass.
type Weights<'a> = (&'a [f32], &'a [f32], Packed<'a>);

fn weights<'a, const EMBED: usize, const VOCAB: usize>(
    norm: &'a LayerNorm<EMBED, f32, Cpu>,
    head: &'a Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
    pass: Pass,
) -> Weights<'a> {
    let head = linear(host(head), (EMBED, VOCAB), pass);
    (host(&norm.weight), host(&norm.bias), head)
}

fn gather<const EMBED: usize>(x: &[f32], rows: &[usize]) -> Vec<f32> {
    rows.iter()
        .flat_map(|&row| &x[row * EMBED..][..EMBED])
        .copied()
        .collect()
}

/// Summed loss of some rows, in nats; weights as factors of the forward pass.
fn forward<const EMBED: usize, const VOCAB: usize>(
    x: &[f32],
    weights: &Weights<'_>,
    rows: &[usize],
    targets: &[usize],
) -> (f64, Saved) {
    let x = gather::<EMBED>(x, rows);
    let moments = row_moments(&x, EMBED);
    let normed = normalise(&x, &moments, weights.0, weights.1);
    let mut logits = vec![0.0; rows.len() * VOCAB];
    let (left, target) = (Left::Rows(&normed, EMBED), Target::set(&mut logits, VOCAB));
    multiply(rows.len(), left, &weights.2, 1.0, Part::Whole, target);
    let mut nats = 0.0;
    wide(
        #[inline(always)]
        || {
            for (row, &target) in logits.chunks_exact_mut(VOCAB).zip(targets) {
                let most = row.iter().fold(f32::NEG_INFINITY, |most, &l| most.max(l));
                let chosen = row[target] - most;
                row.iter_mut().for_each(|l| *l = exp(*l - most));
                let sum = sum_of(row, row, |e, _| e);
                nats += f64::from(sum.ln() - chosen);
                row.iter_mut().for_each(|e| *e /= sum);
                row[target] -= 1.0;
            }
        },
    );
    (
        nats,
        Saved {
            x,
            moments,
            dlogits: logits,
        },
    )
}

/// Writes the gradient of the gathered rows; weights as factors of the backward pass.
fn backward<const EMBED: usize, const VOCAB: usize>(
    saved: Saved,
    weights: &Weights<'_>,
    scale: f32,
    drows: &mut [f32],
) -> WeightGradients {
    let Saved {
        x,
        moments,
        mut dlogits,
    } = saved;
    let rows = moments.len();
    dlogits.iter_mut().for_each(|d| *d *= scale);
    let [mut dweight, mut dbias, mut dhead] = [EMBED, EMBED, VOCAB * EMBED].map(|n| vec![0.0; n]);
    let mut dnormed = vec![0.0; rows * EMBED];
    let (left, target) = (
        Left::Rows(&dlogits, VOCAB),
        Target::set(&mut dnormed, EMBED),
    );
    multiply(rows, left, &weights.2, 1.0, Part::Whole, target);
    let normed = normalise(&x, &moments, weights.0, weights.1);
    let (normed, dlogits) = ((&normed[..], EMBED), (&dlogits[..], VOCAB));
    weight_gradient(rows, (EMBED, VOCAB), normed, dlogits, &mut dhead);
    normalise_backward(
        &dnormed,
        &x,
        &moments,
        weights.0,
        drows,
        (&mut dweight, &mut dbias),
    );
    [dweight, dbias, dhead]
}
