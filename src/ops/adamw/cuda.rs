//! The GPU runs the composed reference until it has a kernel of its own.

use dfdx::shapes::Shape;
use dfdx::tensor::{Cuda, Gradients, HasErr, Tensor};

use super::{AdamwOp, Update, reference};

impl AdamwOp<f32> for Cuda {
    fn try_update<S: Shape>(
        parameter: &mut Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
        moments: [&mut Tensor<S, f32, Cuda>; 2],
        update: Update,
    ) -> Result<(), <Cuda as HasErr>::Err> {
        reference::update(parameter, gradients, moments, update)
    }

    fn try_sum_of_squares<S: Shape>(
        parameter: &Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<f64, <Cuda as HasErr>::Err> {
        reference::sum_of_squares(parameter, gradients)
    }
}
