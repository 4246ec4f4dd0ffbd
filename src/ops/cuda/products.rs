//! Matrix products, by cuBLAS. Matrices are in row-major order.
#![allow(unsafe_code)]

use std::time::Instant;

use cudarc::cublas::result::gemm_ex;
use cudarc::cublas::sys::{
    cublasComputeType_t as Compute, cublasGemmAlgo_t as Algorithm, cublasOperation_t as Operation,
    cudaDataType_t as DataType,
};
use dfdx::tensor::{CudaError, Synchronize as _};

use super::{Address, Gpu, Precision, at, gpu};

/// A matrix: where it starts, and how far apart its rows are.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Matrix {
    pub(in crate::ops) start: Address,
    pub(in crate::ops) step: usize,
}

impl Matrix {
    /// Rows of `step` elements one after another.
    pub(in crate::ops) fn new(start: Address, step: usize) -> Self {
        Self { start, step }
    }

    /// The matrix that starts so many columns further right.
    pub(in crate::ops) fn columns_from(self, column: usize) -> Self {
        Self {
            start: self.start + (column * size_of::<f32>()) as Address,
            ..self
        }
    }
}

/// A linear layer's weight, `[outputs, inputs]`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Weight {
    pub(in crate::ops) start: Address,
    pub(in crate::ops) outputs: usize,
    pub(in crate::ops) inputs: usize,
}

/// What happens to what was there before.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::ops) enum Into {
    Replaced,
    Added,
}

impl Gpu {
    /// `y = x Wᵀ`, without a bias: `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn apply(
        &self,
        weight: Weight,
        rows: usize,
        x: Matrix,
        y: Matrix,
    ) -> Result<(), CudaError> {
        let w = Matrix::new(weight.start, weight.inputs);
        let size = [rows, weight.outputs, weight.inputs];
        self.multiply(size, (x, false), (w, true), Into::Replaced, y)
    }

    /// Backward of [`Self::apply`]: `dyᵀ x` into the weight's gradient, and `dy W` into that of the input.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn back(
        &self,
        weight: Weight,
        rows: usize,
        (dy, x): (Matrix, Matrix),
        (dweight, of_weight): (Address, Into),
        (dx, of_input): (Matrix, Into),
    ) -> Result<(), CudaError> {
        let Weight {
            start,
            outputs,
            inputs,
        } = weight;
        let to = Matrix::new(dweight, inputs);
        let size = [outputs, inputs, rows];
        self.multiply(size, (dy, true), (x, false), of_weight, to)?;
        let (w, size) = (Matrix::new(start, inputs), [rows, inputs, outputs]);
        self.multiply(size, (dy, false), (w, false), of_input, dx)
    }

    /// `c = a b`, of `[rows, depth]` and `[depth, columns]` after those marked are transposed.
    fn multiply(
        &self,
        [rows, columns, depth]: [usize; 3],
        (a, a_transposed): (Matrix, bool),
        (b, b_transposed): (Matrix, bool),
        into: Into,
        c: Matrix,
    ) -> Result<(), CudaError> {
        let compute = match self.precision.get() {
            Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let operation = |transposed| match transposed {
            true => Operation::CUBLAS_OP_T,
            false => Operation::CUBLAS_OP_N,
        };
        let beta: f32 = if into == Into::Added { 1.0 } else { 0.0 };
        // cuBLAS counts by columns: to it, our matrices are their transposes, and cᵀ = bᵀ aᵀ.
        // SAFETY: the callers' matrices are as large as the sizes say, and on this thread's device; the
        // two factors are read before the call returns.
        unsafe {
            gemm_ex(
                *self.blas.handle(),
                operation(b_transposed),
                operation(a_transposed),
                columns as i32,
                rows as i32,
                depth as i32,
                (&raw const ONE).cast(),
                b.start as *const _,
                DataType::CUDA_R_32F,
                b.step as i32,
                a.start as *const _,
                DataType::CUDA_R_32F,
                a.step as i32,
                (&raw const beta).cast(),
                c.start as *mut _,
                DataType::CUDA_R_32F,
                c.step as i32,
                compute,
                Algorithm::CUBLAS_GEMM_DEFAULT,
            )
        }?;
        Ok(())
    }
}

static ONE: f32 = 1.0;

/// Floating-point operations a second of a large product, in the precision of this thread's device: the best
/// of so many.
///
/// # Errors
/// The device's.
pub fn flop_per_second(repetitions: usize) -> Result<f64, CudaError> {
    const SIZE: usize = 4096;
    let gpu = gpu();
    // What is multiplied does not matter, but it must be numbers.
    let numbers: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 7) as f32 - 3.0).collect();
    let (numbers, out) = (gpu.upload(numbers)?, gpu.scratch(SIZE * SIZE)?);
    let (factor, to) = (Matrix::new(at(&numbers), SIZE), Matrix::new(at(&out), SIZE));
    let mut fastest = 0f64;
    for _ in 0..=repetitions {
        gpu.tensors().try_synchronize()?;
        let started = Instant::now();
        gpu.multiply(
            [SIZE; 3],
            (factor, false),
            (factor, true),
            Into::Replaced,
            to,
        )?;
        gpu.tensors().try_synchronize()?;
        let flop = 2.0 * (SIZE as f64).powi(3);
        fastest = fastest.max(flop / started.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
