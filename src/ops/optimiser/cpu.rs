//! The fast path: the norm of the gradient, then an update by whichever optimiser a parameter has.

use dfdx::shapes::{HasShape, Rank0, Shape};
use dfdx::tensor::{AsArray, Cpu, CpuError, Gradients, Tensor};
use rayon::prelude::*;

use super::{CHUNK, Moments, OptimiserOp, Slice, StepMetrics, Update};
use crate::ops::bridge::{host, host_mut};
use crate::ops::kernels::rows::{sum_of, wide};

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
        let sizes: Vec<usize> = parameter.shape().concrete().into_iter().collect();
        let slice = Slice {
            sizes: &sizes,
            weights: host_mut(parameter),
            gradient,
            moments: [host_mut(first), host_mut(second)],
            scale: metrics.gradient_scale(update.clip_norm) as f32,
        };
        (update.optimiser.0.update)(slice, update);
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

// Neither function is generic, so that both are compiled once, not for every shape of a tensor.

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
