//! The fast path: one pass over weight, gradient and both moments.

use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, CpuError, Gradients, Tensor};
use rayon::prelude::*;

use super::{AdamwOp, Update};
use crate::ops::bridge::host_mut;
use crate::ops::kernels::rows::{sum_of, wide};

/// Elements a task.
const CHUNK: usize = 16 * 1024;

impl AdamwOp<f32> for Cpu {
    fn try_update<S: Shape>(
        parameter: &mut Tensor<S, f32, Cpu>,
        gradients: &mut Gradients<f32, Cpu>,
        [first, second]: [&mut Tensor<S, f32, Cpu>; 2],
        update: Update,
    ) -> Result<(), CpuError> {
        let gradient = gradients.get_or_alloc_mut(parameter)?;
        let [beta1, beta2] = update.betas.map(|beta| beta as f32);
        let correction = |beta: f64| 1.0 / (1.0 - beta.powi(update.step as i32)) as f32;
        let (correct1, correct2) = (correction(update.betas[0]), correction(update.betas[1]));
        let scale = update.gradient_scale as f32;
        let (rate, epsilon) = (update.learning_rate as f32, update.epsilon as f32);
        let keep = (1.0 - update.learning_rate * update.weight_decay) as f32;
        let weights = host_mut(parameter).par_chunks_mut(CHUNK);
        let firsts = host_mut(first).par_chunks_mut(CHUNK);
        let seconds = host_mut(second).par_chunks_mut(CHUNK);
        let work = weights
            .zip(gradient.par_chunks(CHUNK))
            .zip(firsts)
            .zip(seconds);
        work.for_each(|(((weights, gradient), firsts), seconds)| {
            wide(
                #[inline(always)]
                || {
                    let data = weights.iter_mut().zip(gradient).zip(firsts).zip(seconds);
                    for (((w, g), m), v) in data {
                        let g = g * scale;
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        let direction = *m * correct1 / ((*v * correct2).sqrt() + epsilon);
                        *w = keep * *w - rate * direction;
                    }
                },
            );
        });
        Ok(())
    }

    fn try_sum_of_squares<S: Shape>(
        parameter: &Tensor<S, f32, Cpu>,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<f64, CpuError> {
        let gradient = gradients.get_or_alloc_mut(parameter)?;
        let sums: Vec<f64> = gradient
            .par_chunks(CHUNK)
            .map(|g| {
                f64::from(wide(
                    #[inline(always)]
                    || sum_of(g, g, |g, _| g * g),
                ))
            })
            .collect();
        Ok(sums.iter().sum())
    }
}
