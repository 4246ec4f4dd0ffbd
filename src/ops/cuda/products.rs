//! Matrix products, by cuBLAS. Matrices are in row-major order.
#![allow(unsafe_code)]

use std::time::Instant;

use cudarc::cublas::result::gemm_ex;
use cudarc::cublas::sys::{
    cublasComputeType_t as Compute, cublasGemmAlgo_t as Algorithm, cublasOperation_t as Operation,
    cudaDataType_t as DataType,
};
use cudarc::driver::DeviceRepr;
use dfdx::tensor::{CudaError, Synchronize as _};

use super::kernels::Source;
use super::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::precision::Precision;

pub(super) static PRODUCTS: Source = Source {
    name: "products",
    text: include_str!("products.cu"),
    constant: "PARTS",
};

/// Parts that a factor is split into, if tensor cores take it as a sum of two numbers.
pub(super) const PARTS: usize = 3;

/// A matrix on the device: address and row stride. `struct Matrix` of common.cuh.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Matrix {
    pub start: Address,
    pub step: u32,
}

// SAFETY: the same fields in the same order as `struct Matrix`, by the same rules of alignment.
unsafe impl DeviceRepr for Matrix {}

impl Matrix {
    /// Where there is none.
    pub const NONE: Self = Self {
        start: NULL,
        step: 0,
    };

    /// Rows of `step` elements without gaps.
    pub fn new(start: Address, step: usize) -> Self {
        let step = step as u32;
        Self { start, step }
    }

    /// The submatrix from `column` on.
    pub fn columns_from(self, column: usize) -> Self {
        Self {
            start: self.start + (column * size_of::<f32>()) as Address,
            ..self
        }
    }
}

/// A linear layer's weight, `[outputs, inputs]`.
#[derive(Clone, Copy)]
pub struct Weight {
    pub start: Address,
    pub outputs: usize,
    pub inputs: usize,
}

impl Weight {
    /// Number of elements.
    pub fn size(&self) -> usize {
        self.outputs * self.inputs
    }

    fn matrix(&self) -> Matrix {
        Matrix::new(self.start, self.inputs)
    }
}

/// What happens to the previous content.
#[derive(Clone, Copy)]
pub enum Destination {
    Overwrite,
    Accumulate,
}

/// How the parts of a factor are laid out.
#[derive(Clone, Copy)]
enum Arrangement {
    /// The parts of a row side by side: `[rows, parts, columns]`.
    SideBySide,
    /// One matrix per part: `[parts, rows, columns]`.
    Stacked,
}

/// The side of a product that a factor is on, by the part that is its remainder.
#[derive(Clone, Copy)]
enum Side {
    Left = 1,
    Right = 2,
}

/// A factor, prepared for tensor cores.
struct Factor {
    matrix: Matrix,
    /// Number of parts, by which the depth of the product is multiplied.
    parts: usize,
    /// Owner of `matrix`, if it is not the caller's.
    _buffer: Option<Buffer>,
}

impl Factor {
    /// Every part as a separate row, if parts lie side by side.
    fn by_rows(&self, columns: usize) -> Matrix {
        match self.parts {
            1 => self.matrix,
            _ => Matrix::new(self.matrix.start, columns),
        }
    }
}

impl Gpu {
    /// `y = x Wᵀ`, without a bias: `[rows, inputs]` → `[rows, outputs]`.
    pub fn apply(
        &self,
        weight: Weight,
        rows: usize,
        x: Matrix,
        y: Matrix,
    ) -> Result<(), CudaError> {
        let (outputs, inputs) = (weight.outputs, weight.inputs);
        let x = self.factor(x, [rows, inputs], Side::Left, Arrangement::SideBySide)?;
        let w = weight.matrix();
        let w = self.factor(w, [outputs, inputs], Side::Right, Arrangement::SideBySide)?;
        let size = [rows, outputs, x.parts * inputs];
        let (left, right) = ((x.matrix, false), (w.matrix, true));
        self.multiply(size, left, right, Destination::Overwrite, y)
    }

    /// Backward of [`Self::apply`]: `dyᵀ x` into the gradient of the weight, and `dy W` into that of the
    /// input.
    pub fn back(
        &self,
        weight: Weight,
        rows: usize,
        (dy, x): (Matrix, Matrix),
        (dweight, of_weight): (Address, Destination),
        (dx, of_input): (Matrix, Destination),
    ) -> Result<(), CudaError> {
        let (outputs, inputs) = (weight.outputs, weight.inputs);
        let dy = self.factor(dy, [rows, outputs], Side::Left, Arrangement::SideBySide)?;
        let x = self.factor(x, [rows, inputs], Side::Right, Arrangement::SideBySide)?;
        let size = [outputs, inputs, dy.parts * rows];
        let (left, right) = (dy.by_rows(outputs), x.by_rows(inputs));
        let to = Matrix::new(dweight, inputs);
        self.multiply(size, (left, true), (right, false), of_weight, to)?;

        let w = weight.matrix();
        let w = self.factor(w, [outputs, inputs], Side::Right, Arrangement::Stacked)?;
        let size = [rows, inputs, dy.parts * outputs];
        self.multiply(size, (dy.matrix, false), (w.matrix, false), of_input, dx)
    }

    /// Prepares a factor of `[rows, columns]`: unchanged, or split so that one tensor-core product along
    /// all parts computes `high high + low high + high low`, with the precision of two 11-bit numbers per
    /// 24-bit number. The fourth product would be below the rounding error of f32. The rounding within
    /// tensor cores is not compensated.
    ///
    /// Source: Ootomo and Yokota 2022, Recovering single precision accuracy from Tensor Cores, §3.
    fn factor(
        &self,
        matrix: Matrix,
        [rows, columns]: [usize; 2],
        side: Side,
        arrangement: Arrangement,
    ) -> Result<Factor, CudaError> {
        if self.precision.get() != Precision::Tf32x3 {
            return Ok(Factor {
                matrix,
                parts: 1,
                _buffer: None,
            });
        }
        let to = self.scratch(PARTS * rows * columns)?;
        let (step, of_part) = match arrangement {
            Arrangement::SideBySide => (PARTS * columns, columns),
            Arrangement::Stacked => (columns, rows * columns),
        };
        let split = Matrix::new(at(&to), step);
        let arguments = (
            matrix,
            columns as u32,
            split,
            of_part as u32,
            side as u32,
            (rows * columns) as u32,
        );
        let kernel = PRODUCTS.kernel(PARTS, "split");
        self.launch_each(kernel, rows * columns, arguments)?;
        Ok(Factor {
            matrix: split,
            parts: PARTS,
            _buffer: Some(to),
        })
    }

    /// `c = a b`, of `[rows, depth]` and `[depth, columns]` after the marked transpositions.
    fn multiply(
        &self,
        [rows, columns, depth]: [usize; 3],
        (a, a_transposed): (Matrix, bool),
        (b, b_transposed): (Matrix, bool),
        destination: Destination,
        c: Matrix,
    ) -> Result<(), CudaError> {
        let compute = match self.precision.get() {
            Precision::F32 => Compute::CUBLAS_COMPUTE_32F,
            Precision::Bf16 => Compute::CUBLAS_COMPUTE_32F_FAST_16BF,
            Precision::Tf32 | Precision::Tf32x3 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let operation = |transposed| match transposed {
            true => Operation::CUBLAS_OP_T,
            false => Operation::CUBLAS_OP_N,
        };
        let beta: f32 = match destination {
            Destination::Overwrite => 0.0,
            Destination::Accumulate => 1.0,
        };
        // cuBLAS is column-major: it sees our matrices as their transposes, and computes cᵀ = bᵀ aᵀ.
        // SAFETY: the callers' matrices have the given sizes and are on this thread's device; the two
        // scalars are read before the call returns.
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

/// Floating-point operations per second of a large product, in the precision of this thread's device: the
/// best of several repetitions.
pub fn flop_per_second(repetitions: usize) -> Result<f64, CudaError> {
    const SIZE: usize = 4096;
    let gpu = gpu();
    // The values do not matter, but they must be finite.
    let numbers: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 7) as f32 - 3.0).collect();
    let (numbers, out) = (gpu.upload(numbers)?, gpu.scratch(SIZE * SIZE)?);
    let to = Matrix::new(at(&out), SIZE);
    let weight = Weight {
        start: at(&numbers),
        outputs: SIZE,
        inputs: SIZE,
    };
    let mut fastest = 0f64;
    for _ in 0..=repetitions {
        gpu.tensors().try_synchronize()?;
        let started = Instant::now();
        gpu.apply(weight, SIZE, weight.matrix(), to)?;
        gpu.tensors().try_synchronize()?;
        let flop = 2.0 * (SIZE as f64).powi(3);
        fastest = fastest.max(flop / started.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cuda::device;
    use crate::ops::tests::{cuda, numbers};

    /// Rows, outputs and inputs that do not fill a block.
    const SIZE: [usize; 3] = [37, 24, 20];

    /// `y`, `dweight` and `dx`, for inputs with a larger row stride.
    fn products(precision: Precision, [x, w, dy]: [&[f64]; 3]) -> [Vec<f64>; 3] {
        let [rows, outputs, inputs] = SIZE;
        device(precision).expect("a device that has answered");
        let gpu = gpu();
        let upload = |numbers: &[f64], columns: usize| {
            let wider = numbers
                .chunks(columns)
                .flat_map(|row| row.iter().chain(&[7.0; 4]));
            let numbers = wider.map(|&number| number as f32).collect();
            gpu.upload(numbers).expect("memory")
        };
        let (x, dy) = (upload(x, inputs), upload(dy, outputs));
        let w = gpu.upload(w.iter().map(|&number| number as f32).collect());
        let w = w.expect("memory");
        let ones = |count| gpu.upload(vec![1f32; count]).expect("memory");
        let (y, dw, dx) = (
            ones(rows * outputs),
            ones(outputs * inputs),
            ones(rows * inputs),
        );
        let weight = Weight {
            start: at(&w),
            outputs,
            inputs,
        };
        let (x, dy) = (
            Matrix::new(at(&x), inputs + 4),
            Matrix::new(at(&dy), outputs + 4),
        );
        let (of_weight, of_input) = (
            (at(&dw), Destination::Accumulate),
            Matrix::new(at(&dx), inputs),
        );
        gpu.apply(weight, rows, x, Matrix::new(at(&y), outputs))
            .expect("a product");
        gpu.back(
            weight,
            rows,
            (dy, x),
            of_weight,
            (of_input, Destination::Overwrite),
        )
        .expect("two products");
        [y, dw, dx].map(|out| {
            let out = gpu.download(&out).expect("numbers");
            out.into_iter().map(f64::from).collect()
        })
    }

    fn exact([x, w, dy]: [&[f64]; 3]) -> [Vec<f64>; 3] {
        let [rows, outputs, inputs] = SIZE;
        let sums =
            |rows: usize, columns: usize, depth: usize, of: &dyn Fn(usize, usize, usize) -> f64| {
                let places = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
                places
                    .map(|(r, c)| (0..depth).map(|k| of(r, c, k)).sum::<f64>())
                    .collect::<Vec<_>>()
            };
        [
            sums(rows, outputs, inputs, &|r, c, k| {
                x[r * inputs + k] * w[c * inputs + k]
            }),
            sums(outputs, inputs, rows, &|r, c, k| {
                dy[k * outputs + r] * x[k * inputs + c]
            })
            .iter()
            .map(|sum| sum + 1.0)
            .collect(),
            sums(rows, inputs, outputs, &|r, c, k| {
                dy[r * outputs + k] * w[k * inputs + c]
            }),
        ]
    }

    fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
        numbers.fold(0.0, |most, number| most.max(number.abs()))
    }

    #[test]
    fn every_precision_keeps_its_error() {
        if cuda().is_none() {
            return;
        }
        let [rows, outputs, inputs] = SIZE;
        let as_f32 = |count, salt| {
            numbers(count, salt)
                .iter()
                .map(|&n| f64::from(n as f32))
                .collect()
        };
        let given: [Vec<f64>; 3] = [
            as_f32(rows * inputs, 1.0),
            as_f32(outputs * inputs, 1.7),
            as_f32(rows * outputs, 2.3),
        ];
        let given = given.each_ref().map(Vec::as_slice);
        let exact = exact(given);
        let errors = |precision| {
            let found = products(precision, given);
            [0, 1, 2].map(|i| {
                let differences = found[i].iter().zip(&exact[i]).map(|(a, b)| a - b);
                largest(differences) / largest(exact[i].iter().copied())
            })
        };
        // Tensor cores truncate sums where f32 rounds them: tighter bounds would only hold for an
        // emulation.
        for (precision, most) in [
            (Precision::F32, 1e-6),
            (Precision::Tf32x3, 4e-6),
            (Precision::Tf32, 5e-3),
            (Precision::Bf16, 4e-2),
        ] {
            let errors = errors(precision);
            let fine = errors.iter().all(|error| *error < most);
            assert!(fine, "{precision:?}: {errors:?}");
        }
    }
}
