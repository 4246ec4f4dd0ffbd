//! Backward of a piece of a network, without the loss that would come after it.

use dfdx::shapes::{Rank0, Shape};
use dfdx::tensor::{
    Cpu, CpuError, Gradients, OwnedTape, PutTape, SplitTape, Tape, Tensor, ZerosTensor,
};
use dfdx::tensor_ops::Backward;

/// Runs backwards what the tape of `y` has recorded, as if `dy` were the gradient of a loss with
/// respect to `y`: as many values as `y` has, in row-major order.
///
/// # Errors
/// Memory.
///
/// # Panics
/// `dy` has not as many values as `y`.
pub fn backward_from<S: Shape>(
    y: Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>>,
    dy: Vec<f32>,
) -> Result<Gradients<f32, Cpu>, CpuError> {
    let (y, mut tape) = y.split_tape();
    // dfdx starts at a scalar only. This one is no function of `y`; what stands first on the way
    // back puts the gradient in its place.
    let loss: Tensor<Rank0, f32, Cpu> = Cpu::default().try_zeros()?;
    tape.add_backward_op(move |gradients| {
        gradients.get_or_alloc_mut(&y)?.copy_from_slice(&dy);
        Ok(())
    });
    loss.put_tape(tape).try_backward()
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Rank1;
    use dfdx::tensor::{AsArray, TensorFrom, Trace};

    use super::*;

    #[test]
    fn the_given_gradient_flows_back() {
        let x: Tensor<Rank1<3>, f32, Cpu> = Cpu::default().tensor([1.0, -2.0, 3.0]);
        let gradients = backward_from(x.leaky_trace().square(), vec![1.0, 10.0, 100.0]);
        let dx = gradients.expect("gradients").get(&x).array();
        assert_eq!(dx, [2.0, -40.0, 600.0]);
    }
}
