//! The fast path: one pass over weight, gradient and both moments.

use dfdx::shapes::{HasShape, Rank0, Shape};
use dfdx::tensor::{AsArray, Cpu, CpuError, Gradients, Tensor};
use rayon::prelude::*;

use super::muon;
use super::{Moments, OptimiserOp, StepMetrics, Update};
use crate::ops::bridge::{host, host_mut};
use crate::ops::kernels::rows::{sum_of, wide};

/// Elements per task.
const CHUNK: usize = 16 * 1024;

/// The loss, and the sum of squared gradients so far.
#[derive(Clone, Copy, Debug)]
pub struct CpuStep {
    loss_nats: f64,
    squares: f64,
}

impl CpuStep {
    fn metrics(self) -> StepMetrics {
        StepMetrics {
            loss_nats: self.loss_nats,
            gradient_norm: self.squares.sqrt(),
        }
    }
}

impl OptimiserOp<f32> for Cpu {
    type Step = CpuStep;

    fn try_begin(loss: &Tensor<Rank0, f32, Cpu>) -> Result<CpuStep, CpuError> {
        Ok(CpuStep {
            loss_nats: f64::from(loss.array()),
            squares: 0.0,
        })
    }

    fn try_accumulate_norm<S: Shape>(
        step: &mut CpuStep,
        parameter: &Tensor<S, f32, Cpu>,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<(), CpuError> {
        step.squares += squares(gradients.get_or_alloc_mut(parameter)?);
        Ok(())
    }

    fn try_update<S: Shape>(
        step: &mut CpuStep,
        parameter: &mut Tensor<S, f32, Cpu>,
        gradients: &mut Gradients<f32, Cpu>,
        [first, second]: &mut Moments<f32, Cpu>,
        update: Update,
    ) -> Result<(), CpuError> {
        let (gradient, metrics) = (gradients.get_or_alloc_mut(parameter)?, step.metrics());
        if !metrics.is_finite() {
            return Ok(());
        }
        let scale = metrics.gradient_scale(update.clip_norm) as f32;
        if let Some(momentum) = update.muon {
            let sizes = parameter.shape().concrete().into_iter();
            let sizes: Vec<usize> = sizes.collect();
            let sizes = sizes.try_into().expect("Muon updates matrices");
            let weights = host_mut(parameter);
            muon::update(
                weights,
                sizes,
                gradient,
                host_mut(first),
                momentum,
                update,
                scale,
            );
            return Ok(());
        }
        let moments = [host_mut(first), host_mut(second)];
        update_elements(host_mut(parameter), gradient, moments, update, scale);
        Ok(())
    }

    fn try_average<S: Shape>(
        average: &mut Tensor<(usize,), f32, Cpu>,
        parameter: &Tensor<S, f32, Cpu>,
        decay: f64,
    ) -> Result<(), CpuError> {
        average_elements(host_mut(average), host(parameter), decay as f32);
        Ok(())
    }

    fn try_launch(_: &mut CpuStep, _: Update) -> Result<(), CpuError> {
        Ok(())
    }

    fn try_finish(step: CpuStep) -> Result<StepMetrics, CpuError> {
        Ok(step.metrics())
    }
}

// No function below is generic, so that each is compiled once, not for every shape of a tensor.

/// The sum of squares.
fn squares(gradient: &[f32]) -> f64 {
    let chunks = gradient.par_chunks(CHUNK);
    let sums = chunks.map(|g| f64::from(wide!(sum_of(g, g, |g, _| g * g))));
    sums.collect::<Vec<f64>>().iter().sum()
}

/// Moves an average towards the weights.
fn average_elements(average: &mut [f32], weights: &[f32], decay: f32) {
    let chunks = average.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK));
    chunks.for_each(|(average, weights)| {
        wide!({
            for (a, w) in average.iter_mut().zip(weights) {
                *a = decay * *a + (1.0 - decay) * w;
            }
        });
    });
}

/// One update of weights and both moments; gradients are scaled by `scale`.
fn update_elements(
    weights: &mut [f32],
    gradient: &[f32],
    [firsts, seconds]: [&mut [f32]; 2],
    update: Update,
    scale: f32,
) {
    let [beta1, beta2] = update.betas.map(|beta| beta as f32);
    let correction = |beta: f64| 1.0 / (1.0 - beta.powi(update.step as i32)) as f32;
    let (correct1, correct2) = (correction(update.betas[0]), correction(update.betas[1]));
    let (rate, epsilon) = (update.learning_rate as f32, update.epsilon as f32);
    let keep = (1.0 - update.learning_rate * update.weight_decay) as f32;
    let weights = weights.par_chunks_mut(CHUNK);
    let firsts = firsts.par_chunks_mut(CHUNK);
    let seconds = seconds.par_chunks_mut(CHUNK);
    let work = weights
        .zip(gradient.par_chunks(CHUNK))
        .zip(firsts)
        .zip(seconds);
    work.for_each(|(((weights, gradient), firsts), seconds)| {
        wide!({
            let data = weights.iter_mut().zip(gradient).zip(firsts).zip(seconds);
            for (((w, gradient), m), v) in data {
                let g = gradient * scale;
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                let direction = *m * correct1 / ((*v * correct2).sqrt() + epsilon);
                *w = keep * *w - rate * direction;
            }
        });
    });
}
