//! Backward of a piece of a network, without the loss that would come after it.

use dfdx::shapes::{HasShape as _, Rank0, Shape};
use dfdx::tensor::{
    Cpu, CpuError, Gradients, OwnedTape, PutTape, SplitTape, Storage, Tape, Tensor,
};
use dfdx::tensor_ops::{Backward, Device};

/// Values in the memory of a device, as it keeps those of a gradient.
pub type Values<D> = <D as Storage<f32>>::Vec;

/// A device on which a gradient can be set.
pub trait UpstreamOp: Device<f32> {
    /// Sets all values of a gradient.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// There are not as many values.
    fn try_set(gradient: &mut Values<Self>, values: &[f32]) -> Result<(), Self::Err>;
}

impl UpstreamOp for Cpu {
    fn try_set(gradient: &mut Values<Self>, values: &[f32]) -> Result<(), CpuError> {
        gradient.copy_from_slice(values);
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl UpstreamOp for dfdx::tensor::Cuda {
    fn try_set(gradient: &mut Values<Self>, values: &[f32]) -> Result<(), dfdx::tensor::CudaError> {
        Ok(gradient.device().htod_sync_copy_into(values, gradient)?)
    }
}

/// Values on the device, as a gradient that [`backward_from`] can start with.
///
/// # Errors
/// The device's.
pub fn gradient<D: UpstreamOp>(device: &D, values: &[f32]) -> Result<Values<D>, D::Err> {
    let mut gradient = Storage::<f32>::try_alloc_len(device, values.len())?;
    D::try_set(&mut gradient, values)?;
    Ok(gradient)
}

/// Runs backwards what the tape of `y` has recorded, as if `dy` were the gradient of a loss with
/// respect to `y`: as many values as `y` has, in row-major order.
///
/// # Errors
/// The device's.
///
/// # Panics
/// `dy` has not as many values as `y`.
pub fn backward_from<S: Shape, D: UpstreamOp>(
    y: Tensor<S, f32, D, OwnedTape<f32, D>>,
    dy: Values<D>,
) -> Result<Gradients<f32, D>, D::Err> {
    let values = Storage::<f32>::len(y.device(), &dy);
    assert_eq!(values, y.shape().num_elements(), "a value for each of `y`");
    let (y, mut tape) = y.split_tape();
    // dfdx starts at a scalar only. This one is no function of `y`; what stands first on the way
    // back puts the gradient in its place.
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
    use crate::ops::testing::on_each_device;

    fn check<D: UpstreamOp>(device: D) {
        let x: Tensor<Rank1<3>, f32, D> = device.tensor([1.0, -2.0, 3.0]);
        let dy = gradient(&device, &[1.0, 10.0, 100.0]).expect("memory");
        let gradients = backward_from(x.leaky_trace().square(), dy).expect("gradients");
        assert_eq!(gradients.get(&x).as_vec(), [2.0, -40.0, 600.0]);
    }

    on_each_device!(the_given_gradient_flows_back, |device| check(device));
}
