//! Backward of a part of a network from a synthetic gradient of its output, without a loss.

use dfdx::shapes::{HasShape as _, Rank0, Shape};
use dfdx::tensor::{
    Cpu, CpuError, Gradients, OwnedTape, PutTape, SplitTape, Storage, Tape, Tensor,
};
use dfdx::tensor_ops::{Backward, Device};

/// A gradient in the memory of a device.
pub type GradientBuffer<D> = <D as Storage<f32>>::Vec;

/// A device on which a gradient can be set.
pub trait SyntheticGradientOp: Device<f32> {
    /// Sets all values of a gradient.
    ///
    /// # Panics
    /// If the number of values differs.
    fn try_set(gradient: &mut GradientBuffer<Self>, values: &[f32]) -> Result<(), Self::Err>;
}

impl SyntheticGradientOp for Cpu {
    fn try_set(gradient: &mut GradientBuffer<Self>, values: &[f32]) -> Result<(), CpuError> {
        gradient.copy_from_slice(values);
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl SyntheticGradientOp for dfdx::tensor::Cuda {
    fn try_set(
        gradient: &mut GradientBuffer<Self>,
        values: &[f32],
    ) -> Result<(), dfdx::tensor::CudaError> {
        Ok(gradient.device().htod_sync_copy_into(values, gradient)?)
    }
}

/// Copies values to the device, as a gradient for [`backward_from`].
pub fn gradient<D: SyntheticGradientOp>(
    device: &D,
    values: &[f32],
) -> Result<GradientBuffer<D>, D::Err> {
    let mut gradient = Storage::<f32>::try_alloc_len(device, values.len())?;
    D::try_set(&mut gradient, values)?;
    Ok(gradient)
}

/// Backpropagates from `y` as if `dy` were the gradient of a loss with respect to `y`, in row-major order.
///
/// # Panics
/// If `dy` and `y` differ in length.
pub fn backward_from<S: Shape, D: SyntheticGradientOp>(
    y: Tensor<S, f32, D, OwnedTape<f32, D>>,
    dy: GradientBuffer<D>,
) -> Result<Gradients<f32, D>, D::Err> {
    let values = Storage::<f32>::len(y.device(), &dy);
    assert_eq!(values, y.shape().num_elements(), "one value per element");
    let (y, mut tape) = y.split_tape();
    // dfdx only starts backward at a scalar. This one does not depend on `y`; the first op of the backward
    // pass sets the gradient instead.
    let loss: Tensor<Rank0, f32, D> = y.device().try_zeros()?;
    tape.add_backward_op(move |gradients| {
        *gradients.get_or_alloc_mut(&y)? = dy;
        Ok(())
    });
    loss.put_tape(tape).try_backward()
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Rank1;
    use dfdx::tensor::{TensorFrom as _, Trace as _};

    use super::*;
    use crate::ops::tests::on_each_device;

    fn check<D: SyntheticGradientOp>(device: D) {
        let x: Tensor<Rank1<3>, f32, D> = device.tensor([1.0, -2.0, 3.0]);
        let dy = gradient(&device, &[1.0, 10.0, 100.0]).expect("memory");
        let gradients = backward_from(x.leaky_trace().square(), dy).expect("gradients");
        assert_eq!(gradients.get(&x).as_vec(), [2.0, -40.0, 600.0]);
    }

    on_each_device!(the_given_gradient_flows_back, |device| check(device));
}
