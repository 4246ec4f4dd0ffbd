//! Optimisers, with decoupled weight decay and gradient clipping by the global norm, over all tensors of a model.
//!
//! An optimiser is one file and one line of `OPTIMISERS`.

mod adamw;
mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod muon;
#[cfg(test)]
pub(crate) mod reference;

use dfdx::shapes::{Dtype, Rank0, Shape};
use dfdx::tensor::{Gradients, Tensor};
use dfdx::tensor_ops::Device;

use adamw::ADAMW;
use muon::MUON;

use crate::kinds::{Listed, Named};

/// How weights are updated on the CPU.
pub struct Optimiser {
    name: &'static str,
    about: &'static str,
    /// Whether it updates the weights of the linear layers of blocks alone; all others are AdamW's.
    pub only_hidden: bool,
    /// Whether it has CUDA kernels.
    pub runs_on_cuda: bool,
    /// Whether it reads [`Update::momentum`].
    pub reads_momentum: bool,
    /// Updates a parameter.
    update: fn(Slice<'_>, Update),
}

static OPTIMISERS: [Optimiser; 2] = [ADAMW, MUON];

impl Listed for Optimiser {
    fn all() -> &'static [Self] {
        &OPTIMISERS
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

impl Default for Named<Optimiser> {
    fn default() -> Self {
        Self(&OPTIMISERS[0])
    }
}

/// A parameter on the CPU, element by element.
struct Slice<'a> {
    weights: &'a mut [f32],
    /// Its shape.
    sizes: &'a [usize],
    gradient: &'a [f32],
    moments: [&'a mut [f32]; 2],
    /// The factor of the gradient that clips it.
    scale: f32,
}

/// Elements per task.
const CHUNK: usize = 16 * 1024;

/// The hyperparameters of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Step of the optimiser, counted from 1, for bias correction.
    pub step: u64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Which optimiser updates this tensor.
    pub optimiser: Named<Optimiser>,
    /// Decay rate of Muon's momentum.
    pub momentum: f64,
    /// Decoupled weight decay of this tensor; 0 disables it.
    pub weight_decay: f64,
    /// Maximum global norm of the gradient; 0 disables clipping.
    pub clip_norm: f64,
}

/// AdamW as the assignment has it, in a first step that changes no weight.
impl Default for Update {
    fn default() -> Self {
        Self {
            step: 1,
            learning_rate: 0.0,
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            optimiser: Named::default(),
            momentum: 0.95,
            weight_decay: 0.1,
            clip_norm: 1.0,
        }
    }
}

/// Metrics of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// Mean cross-entropy of the batch's scored tokens, before the update.
    pub loss_nats: f64,
    /// Global norm of the gradient, before clipping.
    pub gradient_norm: f64,
}

impl StepMetrics {
    /// Whether the step updates the weights; otherwise they stay as they are.
    pub fn is_finite(self) -> bool {
        self.loss_nats.is_finite() && self.gradient_norm.is_finite()
    }

    /// The factor that limits the gradient's norm to `clip_norm`.
    fn gradient_scale(self, clip_norm: f64) -> f64 {
        match clip_norm > 0.0 {
            // PyTorch's clip_grad_norm_ adds 1e-6 to the norm.
            true => (clip_norm / (self.gradient_norm + 1e-6)).min(1.0),
            false => 1.0,
        }
    }
}

/// The two moments of a parameter, in the order of its elements.
pub type Moments<N, D> = [Tensor<(usize,), N, D>; 2];

/// A device that updates parameters.
///
/// A step goes over the tensors of a model twice, in the same order: [`OptimiserOp::try_accumulate_norm`] for
/// each, then [`OptimiserOp::try_update`] for each. A device may defer all work until [`OptimiserOp::try_launch`].
/// Only [`OptimiserOp::try_finish`] makes the host wait for the metrics.
pub trait OptimiserOp<N: Dtype>: Device<N> {
    /// A step in progress.
    type Step;

    /// Starts a step that minimises this loss.
    fn try_begin(loss: &Tensor<Rank0, N, Self>) -> Result<Self::Step, Self::Err>;

    /// Adds the squares of a parameter's gradient to the squared norm, in a fixed order.
    fn try_accumulate_norm<S: Shape>(
        step: &mut Self::Step,
        parameter: &Tensor<S, N, Self>,
        gradients: &mut Gradients<N, Self>,
    ) -> Result<(), Self::Err>;

    /// Updates a parameter by its optimiser, from the gradient times the scale that limits the global norm to `clip_norm`. Both
    /// moments are zero before the first step. Nothing is updated if the loss or the norm is not finite.
    fn try_update<S: Shape>(
        step: &mut Self::Step,
        parameter: &mut Tensor<S, N, Self>,
        gradients: &mut Gradients<N, Self>,
        moments: &mut Moments<N, Self>,
        update: Update,
    ) -> Result<(), Self::Err>;

    /// `average ← decay · average + (1 - decay) · parameter`, in the order of the parameter's elements.
    fn try_average<S: Shape>(
        average: &mut Tensor<(usize,), N, Self>,
        parameter: &Tensor<S, N, Self>,
        decay: f64,
    ) -> Result<(), Self::Err>;

    /// Launches deferred work, after the last tensor.
    fn try_launch(step: &mut Self::Step, update: Update) -> Result<(), Self::Err>;

    /// Waits for the step and returns its metrics.
    fn try_finish(step: Self::Step) -> Result<StepMetrics, Self::Err>;
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Rank1;
    use dfdx::tensor::{AsArray, Cpu, CpuError, TensorFrom, TensorFromVec, Trace, ZerosTensor};
    use dfdx::tensor_ops::{Backward, SumTo};

    use std::ops::Mul;

    use super::*;

    type Weights<N> = Tensor<Rank1<100>, N, Cpu>;
    type Apply<N> = fn(
        &mut Weights<N>,
        &mut Gradients<N, Cpu>,
        &mut Moments<N, Cpu>,
        Update,
    ) -> Result<(), CpuError>;

    /// One step of the fast path on a single tensor.
    fn whole_step(
        weights: &mut Weights<f32>,
        gradients: &mut Gradients<f32, Cpu>,
        moments: &mut Moments<f32, Cpu>,
        update: Update,
    ) -> Result<(), CpuError> {
        let mut step = Cpu::try_begin(&Cpu::default().zeros())?;
        Cpu::try_accumulate_norm(&mut step, weights, gradients)?;
        Cpu::try_update(&mut step, weights, gradients, moments, update)?;
        Cpu::try_launch(&mut step, update)?;
        Cpu::try_finish(step).map(|_| ())
    }

    /// One step of the reference, with gradient clipping.
    fn reference_step(
        weights: &mut Weights<f64>,
        gradients: &mut Gradients<f64, Cpu>,
        moments: &mut Moments<f64, Cpu>,
        update: Update,
    ) -> Result<(), CpuError> {
        let squares = gradients.get(weights).square().sum().array();
        let metrics = StepMetrics {
            loss_nats: 0.0,
            gradient_norm: f64::sqrt(squares),
        };
        let scale = metrics.gradient_scale(update.clip_norm);
        reference::update(weights, gradients, moments, update, scale)
    }

    /// The weights after three steps by `apply`, with gradients `step * pattern` on 100 weights.
    fn weights_after<N: Dtype>(apply: Apply<N>) -> Vec<N>
    where
        Cpu: Device<N>,
    {
        let device = Cpu::default();
        let vector = |f: &dyn Fn(usize) -> f64| -> Tensor<Rank1<100>, N, Cpu> {
            let values = (0..100)
                .map(|i| N::from_f64(f(i)).expect("finite"))
                .collect();
            device.tensor_from_vec(values, Default::default())
        };
        let mut weights = vector(&|i| (i as f64 * 0.37).sin());
        let mut moments = [(); 2].map(|()| device.zeros_like(&(100,)));
        for step in 1..=3 {
            let pattern = vector(&|i| (i as f64 - 50.0) * 0.01 * step as f64);
            let mut gradients = weights.leaky_trace().mul(pattern).sum().backward();
            let update = Update {
                step,
                learning_rate: 0.01,
                ..Update::default()
            };
            apply(&mut weights, &mut gradients, &mut moments, update).expect("an update");
        }
        weights.as_vec()
    }

    #[test]
    fn agrees_with_the_reference_and_the_published_algorithm() {
        let fast = weights_after::<f32>(whole_step);
        let exact = weights_after::<f64>(reference_step);
        for (i, (&fast, &exact)) in fast.iter().zip(&exact).enumerate() {
            // The published algorithm, written out for one weight.
            let (mut w, mut m, mut v) = ((i as f64 * 0.37).sin(), 0.0, 0.0);
            for t in 1..=3 {
                let of = |i: usize| (i as f64 - 50.0) * 0.01 * f64::from(t);
                let norm = (0..100).map(|i| of(i) * of(i)).sum::<f64>().sqrt();
                let g = of(i) * (1.0 / (norm + 1e-6)).min(1.0);
                m = 0.9 * m + 0.1 * g;
                v = 0.95 * v + 0.05 * g * g;
                let (m, v) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.95f64.powi(t)));
                w -= 0.01 * (0.1 * w + m / (v.sqrt() + 1e-8));
            }
            assert!((exact - w).abs() < 1e-12, "weight {i}: {exact} is not {w}");
            assert!(
                (f64::from(fast) - w).abs() < 1e-6,
                "weight {i}: {fast} is not {w}"
            );
        }
    }

    #[test]
    fn an_average_moves_towards_the_weights() {
        let device = Cpu::default();
        let weights: Tensor<Rank1<3>, f32, Cpu> = device.tensor([1.0, -2.0, 3.0]);
        let mut average = device.tensor_from_vec(vec![0.0, 2.0, 3.0], (3,));
        Cpu::try_average(&mut average, &weights, 0.75).expect("an average");
        assert_eq!(average.as_vec(), [0.25, 1.0, 3.0]);
    }

    #[test]
    fn the_norm_is_euclidean_and_a_non_finite_norm_skips_the_update() {
        let device = Cpu::default();
        for (start, finite) in [([1.0, -2.0, 3.0], true), ([1.0, f32::INFINITY, 3.0], false)] {
            let mut weights: Tensor<Rank1<3>, f32, Cpu> =
                device.tensor_from_vec(start.to_vec(), Default::default());
            let mut gradients = weights.leaky_trace().square().sum().backward();
            let mut moments = [(); 2].map(|()| device.zeros_like(&(3,)));
            let update = Update {
                step: 1,
                learning_rate: 0.1,
                betas: [0.9, 0.99],
                weight_decay: 0.0,
                clip_norm: 0.0,
                ..Update::default()
            };
            let loss = device.tensor(2.5);
            let mut step = Cpu::try_begin(&loss).expect("a step");
            Cpu::try_accumulate_norm(&mut step, &weights, &mut gradients).expect("a sum");
            Cpu::try_update(
                &mut step,
                &mut weights,
                &mut gradients,
                &mut moments,
                update,
            )
            .expect("an update");
            let metrics = Cpu::try_finish(step).expect("a finish");
            assert_eq!((metrics.loss_nats, metrics.is_finite()), (2.5, finite));
            assert_eq!(weights.array() != start, finite);
            if finite {
                let squares = metrics.gradient_norm.powi(2);
                assert!((squares - 56.0).abs() < 1e-4, "{squares}");
            }
        }
    }
}
