//! AdamW: Adam with decoupled weight decay, one tensor at a time.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;

use dfdx::shapes::{Dtype, Shape};
use dfdx::tensor::{Gradients, Tensor};
use dfdx::tensor_ops::Device;

/// The settings of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Step of the optimiser, from 1: for the moments' bias correction.
    pub step: u64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay of this tensor; 0 where it does not decay.
    pub weight_decay: f64,
    /// What the gradient is multiplied by first: global-norm clipping.
    pub gradient_scale: f64,
}

/// A device that updates parameters.
pub trait AdamwOp<N: Dtype>: Device<N> {
    /// `g ← scale · g; m ← β₁ m + (1-β₁) g; v ← β₂ v + (1-β₂) g²;`
    /// `w ← w - rate · (decay · w + m̂ / (√v̂ + ε))`, with `m̂ = m / (1-β₁ᵗ)` and `v̂ = v / (1-β₂ᵗ)`.
    /// `moments` are `[m, v]`, zero before the first step.
    ///
    /// # Errors
    /// The device's.
    ///
    /// Source: Loshchilov and Hutter 2019, *Decoupled weight decay regularization*, algorithm 2.
    fn try_update<S: Shape>(
        parameter: &mut Tensor<S, N, Self>,
        gradients: &mut Gradients<N, Self>,
        moments: [&mut Tensor<S, N, Self>; 2],
        update: Update,
    ) -> Result<(), Self::Err>;

    /// Sum of the squares of a parameter's gradient, in a fixed order.
    ///
    /// # Errors
    /// The device's.
    fn try_sum_of_squares<S: Shape>(
        parameter: &Tensor<S, N, Self>,
        gradients: &mut Gradients<N, Self>,
    ) -> Result<f64, Self::Err>;
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Rank1;
    use dfdx::tensor::{Cpu, CpuError, TensorFromVec, Trace, ZerosTensor};
    use dfdx::tensor_ops::{Backward, SumTo};

    use std::ops::Mul;

    use super::*;

    type Weights<N> = Tensor<Rank1<100>, N, Cpu>;
    type Apply<N> = fn(
        &mut Weights<N>,
        &mut Gradients<N, Cpu>,
        [&mut Weights<N>; 2],
        Update,
    ) -> Result<(), CpuError>;

    /// Three steps with gradients `step * pattern` on 100 weights, by `apply`.
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
        let (mut first, mut second) = (device.zeros(), device.zeros());
        for step in 1..=3 {
            let pattern = vector(&|i| (i as f64 - 50.0) * 0.01 * step as f64);
            let mut gradients = weights.leaky_trace().mul(pattern).sum().backward();
            let update = Update {
                step,
                learning_rate: 0.01,
                betas: [0.9, 0.95],
                epsilon: 1e-8,
                weight_decay: 0.1,
                gradient_scale: 0.5,
            };
            apply(
                &mut weights,
                &mut gradients,
                [&mut first, &mut second],
                update,
            )
            .expect("an update");
        }
        weights.as_vec()
    }

    #[test]
    fn agrees_with_the_reference_and_the_published_algorithm() {
        let fast = weights_after::<f32>(Cpu::try_update);
        let exact = weights_after::<f64>(reference::update);
        for (i, (&fast, &exact)) in fast.iter().zip(&exact).enumerate() {
            // The algorithm by hand for one weight.
            let (mut w, mut m, mut v) = ((i as f64 * 0.37).sin(), 0.0, 0.0);
            for t in 1..=3 {
                let g = 0.5 * (i as f64 - 50.0) * 0.01 * f64::from(t);
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
    fn squares_are_summed() {
        let device = Cpu::default();
        let weights: Tensor<Rank1<3>, f32, Cpu> =
            device.tensor_from_vec(vec![1.0, -2.0, 3.0], Default::default());
        let mut gradients = weights.leaky_trace().square().sum().backward();
        let squares = Cpu::try_sum_of_squares(&weights, &mut gradients).expect("a sum");
        assert!((squares - 56.0).abs() < 1e-5, "{squares}");
        let squares = reference::sum_of_squares(&weights, &mut gradients).expect("a sum");
        assert!((squares - 56.0).abs() < 1e-5, "{squares}");
    }
}
