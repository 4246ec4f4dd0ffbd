//! The fast path: scored rows only, one task per shard; the gradient of the loss is computed along with it.

use std::sync::Arc;

use dfdx::shapes::{Const, Rank0, Rank2};
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;

use super::HeadOp;
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::{host, set_gradient, take_gradient};
use crate::ops::kernels::matmul::{Pass, linear, weight_gradient};
use crate::ops::kernels::rows::{
    RowNorm, exp, normalise, normalise_backward, normed_rows, sum_of, wide,
};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, plan, split};
use crate::ops::kernels::threads;
use crate::ops::parameters::Norm;
use crate::ops::residual::{PackedLinear, add_all_shares, apply, back, norm_of, norm_parameters};

/// What backward needs of a shard of scored rows.
struct Saved {
    /// The scored rows: `[rows, EMBED]`.
    x: Scratch,
    /// Gradient of the summed loss with respect to the logits, `[rows, VOCAB]`: softmax - one-hot.
    dlogits: Scratch,
}

impl HeadOp<f32> for Cpu {
    fn try_loss<const EMBED: usize, const VOCAB: usize, T: Tape<f32, Cpu>>(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &Norm<EMBED, f32, Cpu>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, f32, Cpu, T>, CpuError> {
        let (x, mut tape) = x.try_contiguous()?.split_tape();
        let (rows, targets) = super::scored(batch);
        let count = rows.len();
        // Scored rows are independent, so they may be split anywhere.
        let shards = Arc::new(plan(&(0..=count).collect::<Vec<_>>()));
        let (nats, saved): (Vec<f64>, Vec<Option<Saved>>) = {
            let (x, weights) = (host(&x), weights::<EMBED, VOCAB>(norm, head, Pass::Forward));
            let work = threads::map(&*shards, |shard| {
                let (rows, targets) = (&rows[shard.tokens()], &targets[shard.tokens()]);
                let (nats, saved) = forward::<EMBED, VOCAB>(x, &weights, rows, targets);
                (nats, T::OWNS_TAPE.then_some(saved))
            });
            work.into_iter().unzip()
        };
        let device = x.device().clone();
        let loss = (nats.iter().sum::<f64>() / count as f64) as f32;
        let out = device.try_tensor_from_vec(vec![loss], ())?;
        if T::OWNS_TAPE {
            let (kept, norm, head) = (out.clone(), norm.clone(), head.clone());
            tape.add_backward_op(move |gradients| {
                let scale = take_gradient(gradients, &device, &kept)?[0] / count as f32;
                let mut dx = take_gradient(gradients, &device, &x)?;
                debug_assert!(dx.iter().all(|&d| d == 0.0), "a stream was read twice");
                let shares: Vec<Scratch> = {
                    let weights = weights::<EMBED, VOCAB>(&norm, &head, Pass::Backward);
                    let around = tokens_around(&shards, &rows, dx.len() / EMBED);
                    let work = (shards.iter().zip(saved)).zip(split(&around, EMBED, &mut dx));
                    threads::map(work.zip(&around), |(((shard, saved), dx), around)| {
                        let saved = saved.expect("saved because the tape is owned");
                        let (drows, share) = backward::<EMBED, VOCAB>(saved, &weights, scale);
                        for (drow, row) in drows.chunks_exact(EMBED).zip(&rows[shard.tokens()]) {
                            let dx = &mut dx[(row - around.starts[0]) * EMBED..][..EMBED];
                            dx.copy_from_slice(drow);
                        }
                        share
                    })
                };
                set_gradient(gradients, &x, dx)?;
                let mut parameters = norm_parameters(&norm);
                parameters.push(&head);
                add_all_shares(gradients, &parameters, &shares)
            });
        }
        Ok(out.put_tape(tape))
    }

    fn try_logits<const EMBED: usize, const VOCAB: usize>(
        x: Stream<EMBED, f32, Cpu>,
        norm: &Norm<EMBED, f32, Cpu>,
        head: &Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
        rows: &[usize],
    ) -> Result<Stream<VOCAB, f32, Cpu>, CpuError> {
        let x = x.try_contiguous()?;
        let shards = plan(&(0..=rows.len()).collect::<Vec<_>>());
        let (values, weights) = (host(&x), weights::<EMBED, VOCAB>(norm, head, Pass::Forward));
        let outputs = shards.iter().map(|shard| (shard, shard.len() * VOCAB));
        let (logits, _) = threads::map_parts(outputs, |shard, logits| {
            let x = gather::<EMBED>(values, &rows[shard.tokens()]);
            project::<EMBED, VOCAB>(&x, &weights, logits);
        });
        x.device()
            .try_tensor_from_vec(logits, (rows.len(), Const::<VOCAB>))
    }
}

/// The norm, and the head packed for one pass.
type Weights<'a> = (RowNorm<'a>, PackedLinear<'a>);

fn weights<'a, const EMBED: usize, const VOCAB: usize>(
    norm: &'a Norm<EMBED, f32, Cpu>,
    head: &'a Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
    pass: Pass,
) -> Weights<'a> {
    let head = linear(host(head), (EMBED, VOCAB), pass);
    (norm_of(norm), (head, None))
}

/// For each shard the tokens from its first row to the first row of the next shard; the first and last
/// extend to the ends of the batch. `rows` ascend, so every row is among the tokens of its shard.
fn tokens_around(shards: &[Shard], rows: &[usize], tokens: usize) -> Vec<Shard> {
    let firsts = shards.iter().skip(1).map(|shard| rows[shard.starts[0]]);
    let bounds: Vec<usize> = [0].into_iter().chain(firsts).chain([tokens]).collect();
    let around = bounds.windows(2).map(|pair| Shard {
        starts: pair.to_vec(),
    });
    around.collect()
}

fn gather<const EMBED: usize>(x: &[f32], rows: &[usize]) -> Scratch {
    let mut gathered = Scratch::new(rows.len() * EMBED);
    for (to, row) in gathered.chunks_exact_mut(EMBED).zip(rows) {
        to.copy_from_slice(&x[row * EMBED..][..EMBED]);
    }
    gathered
}

/// The logits of some rows; weights packed for the forward pass.
fn project<const EMBED: usize, const VOCAB: usize>(
    x: &[f32],
    weights: &Weights<'_>,
    logits: &mut [f32],
) {
    let mut normed = Scratch::new(x.len());
    normalise(x, weights.0, &mut normed);
    apply(&weights.1, &normed, logits, VOCAB);
}

/// Summed loss of some rows, in nats; weights packed for the forward pass.
fn forward<const EMBED: usize, const VOCAB: usize>(
    x: &[f32],
    weights: &Weights<'_>,
    rows: &[usize],
    targets: &[usize],
) -> (f64, Saved) {
    let x = gather::<EMBED>(x, rows);
    let mut logits = Scratch::new(rows.len() * VOCAB);
    project::<EMBED, VOCAB>(&x, weights, &mut logits);
    let mut nats = 0.0;
    wide!({
        for (row, &target) in logits.chunks_exact_mut(VOCAB).zip(targets) {
            let most = row.iter().fold(f32::NEG_INFINITY, |most, &l| most.max(l));
            let chosen = row[target] - most;
            row.iter_mut().for_each(|l| *l = exp(*l - most));
            let sum = sum_of(row, row, |e, _| e);
            nats += f64::from(sum.ln() - chosen);
            row.iter_mut().for_each(|e| *e /= sum);
            row[target] -= 1.0;
        }
    });
    let dlogits = logits;
    (nats, Saved { x, dlogits })
}

/// The gradient of the gathered rows, and the shard's partial gradients of the norm and the head; weights packed for the
/// backward pass.
fn backward<const EMBED: usize, const VOCAB: usize>(
    saved: Saved,
    weights: &Weights<'_>,
    scale: f32,
) -> (Scratch, Scratch) {
    let Saved { x, mut dlogits } = saved;
    dlogits.iter_mut().for_each(|d| *d *= scale);
    let mut dnormed = Scratch::new(x.len());
    back(&weights.1, &dlogits, &mut dnormed);
    let norm = weights.0;
    let mut share = Scratch::new(norm.len() + VOCAB * EMBED);
    let (dnorm, dhead) = share.split_at_mut(norm.len());
    weight_gradient(&normed_rows(&x, norm), (&dlogits, VOCAB), dhead);
    let mut drows = Scratch::zeros(x.len());
    normalise_backward(&dnormed, &x, norm, &mut drows, dnorm);
    (drows, share)
}
