//! What happens to heads between their projection and attention, by the kernels of `projected.cu`.

use dfdx::tensor::CudaError;

use super::heads::Layout;
use super::kernels::{Kernel, Source};
use super::products::Matrix;
use super::{Address, Gpu};
use crate::ops::attention::{Places, Weights};

pub(super) static PROJECTED: Source = Source {
    name: "projected",
    text: include_str!("projected.cu"),
    constant: "HEAD_DIM",
    kernels: &["rotate", "features", "features_backward"],
};

impl Layout {
    fn on_projected(&self, name: &'static str) -> Kernel {
        PROJECTED.kernel(self.head_dim, name)
    }

    /// What [`Scoring`](crate::ops::attention::Scoring) does with queries and keys before they meet: the first `columns` of each row, whose
    /// token stands at `places[row]`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn map(
        &self,
        gpu: &Gpu,
        heads: Matrix,
        columns: usize,
        (places, rows): (Address, usize),
    ) -> Result<(), CudaError> {
        let size = (heads.start, heads.step as u32, columns as u32);
        if self.scoring.places == Places::Rotated {
            let arguments = (size.0, size.1, size.2, places, rows as u32, 1f32);
            return gpu.launch_each(self.on_projected("rotate"), rows * columns / 2, arguments);
        }
        if self.scoring.weights == Weights::Features {
            let arguments = (size.0, size.1, size.2, rows as u32);
            return gpu.launch_each(self.on_projected("features"), rows * columns, arguments);
        }
        Ok(())
    }

    /// Backward of [`Self::map`], in place; `heads` are the mapped ones, laid out as their gradients.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn map_backward(
        &self,
        gpu: &Gpu,
        (gradients, heads): (Matrix, Matrix),
        columns: usize,
        (places, rows): (Address, usize),
    ) -> Result<(), CudaError> {
        let (step, columns_of_row) = (gradients.step as u32, columns as u32);
        if self.scoring.places == Places::Rotated {
            let arguments = (
                gradients.start,
                step,
                columns_of_row,
                places,
                rows as u32,
                -1f32,
            );
            return gpu.launch_each(self.on_projected("rotate"), rows * columns / 2, arguments);
        }
        if self.scoring.weights == Weights::Features {
            let arguments = (
                gradients.start,
                heads.start,
                step,
                columns_of_row,
                rows as u32,
            );
            return gpu.launch_each(
                self.on_projected("features_backward"),
                rows * columns,
                arguments,
            );
        }
        Ok(())
    }
}
