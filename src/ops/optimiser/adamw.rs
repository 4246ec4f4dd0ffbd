//! AdamW: both moments of the gradient, and decoupled weight decay.

use rayon::prelude::*;

use super::{CHUNK, Optimiser, Slice, Update};
use crate::ops::kernels::rows::wide;

pub(super) const ADAMW: Optimiser = Optimiser {
    name: "adamw",
    about: "Adam with decoupled weight decay (Loshchilov and Hutter 2019)",
    only_hidden: false,
    runs_on_cuda: true,
    reads_momentum: false,
    update,
};

/// `g ← scale · g; m ← β₁ m + (1-β₁) g; v ← β₂ v + (1-β₂) g²; w ← w - rate · (decay · w + m̂ / (√v̂ + ε))`, with
/// `m̂ = m / (1-β₁ᵗ)` and `v̂ = v / (1-β₂ᵗ)`.
///
/// Source: Loshchilov and Hutter 2019, *Decoupled weight decay regularization*, algorithm 2.
fn update(parameter: Slice<'_>, update: Update) {
    let Slice {
        weights,
        gradient,
        moments: [firsts, seconds],
        scale,
        ..
    } = parameter;
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
