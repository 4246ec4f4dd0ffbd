//! The reference, composed of dfdx's own ops.

use dfdx::shapes::{Dtype, HasShape, Shape};
use dfdx::tensor::{Gradients, Tensor};
use dfdx::tensor_ops::{Device, ReshapeTo, TryAdd, TryDiv, TryMul, TrySub};

use super::{Moments, Update};

/// See [`super::OptimiserOp::try_update`]; the gradient is multiplied by `scale` first.
pub(crate) fn update<S: Shape, N: Dtype, D: Device<N>>(
    parameter: &mut Tensor<S, N, D>,
    gradients: &mut Gradients<N, D>,
    [first, second]: &mut Moments<N, D>,
    update: Update,
    scale: f64,
) -> Result<(), D::Err> {
    let number = |x: f64| N::from_f64(x).expect("a setting is a finite number");
    let [beta1, beta2] = update.betas;
    gradients.try_alloc_for(parameter)?;
    let shape = *parameter.shape();
    let flat = (shape.num_elements(),);
    let gradient = gradients.get(parameter).try_reshape_like(&flat)?;
    let gradient = gradient.try_mul(number(scale))?;
    let square = gradient.clone().try_square()?;
    let mix = |old: &Tensor<(usize,), N, D>, new: Tensor<(usize,), N, D>, beta: f64| {
        old.clone()
            .try_mul(number(beta))?
            .try_add(new.try_mul(number(1.0 - beta))?)
    };
    *first = mix(first, gradient, beta1)?;
    *second = mix(second, square, beta2)?;
    let correction = |beta: f64| number(1.0 - beta.powi(update.step as i32));
    let mean = first.clone().try_div(correction(beta1))?;
    let root = second.clone().try_div(correction(beta2))?.try_sqrt()?;
    let direction = mean.try_div(root.try_add(number(update.epsilon))?)?;
    let decayed = parameter
        .clone()
        .try_reshape_like(&flat)?
        .try_mul(number(1.0 - update.learning_rate * update.weight_decay))?;
    let new = decayed.try_sub(direction.try_mul(number(update.learning_rate))?)?;
    // Copied into the old tensor: its id is the key of its gradient.
    parameter.copy_from(&new.as_vec());
    Ok(())
}
