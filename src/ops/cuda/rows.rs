//! Norms and element-wise work, by the kernels of `rows.cu`.
#![allow(unsafe_code)]

use cudarc::driver::DeviceRepr;
use dfdx::tensor::CudaError;

use super::kernels::{Kernel, Source, WARPS};
use super::products::Matrix;
use super::{Address, Buffer, Gpu, NULL, at};
use crate::ops::dropout::Dropout;

pub(super) static ROWS: Source = Source {
    name: "rows",
    text: concat!(include_str!("sums.cuh"), include_str!("rows.cu")),
    constant: "WIDTH",
};

/// Maximum number of blocks whose partial sums are added up: about two blocks per multiprocessor of a large
/// device.
pub const MAX_PARTIAL_SUMS: usize = 256;

/// Maximum width of the stream: `normalise_backward` sums in the 48 KiB of shared memory that every GPU
/// gives a block without opting in for more.
pub const WIDEST_STREAM: usize = 48 * 1024 / (2 * size_of::<f32>());

/// Addresses of a norm's weight and bias, or of their gradients; without a bias, which is null, it is an RMS norm.
#[derive(Clone, Copy)]
pub struct NormAddresses {
    pub weight: Address,
    pub bias: Address,
}

/// Rows of a stream after a norm.
pub struct NormedRows {
    /// `[rows, WIDTH]`.
    pub rows: Buffer,
    /// What is subtracted from each row, and what it is multiplied with.
    statistics: Buffer,
    count: usize,
}

/// `struct Vectors` of rows.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Vectors {
    starts: [Address; 3],
    lengths: [u32; 3],
}

// SAFETY: the same fields in the same order as `struct Vectors`, by the same rules of alignment.
unsafe impl DeviceRepr for Vectors {}

impl Vectors {
    fn from(vectors: &[(Address, usize)]) -> Self {
        let (mut starts, mut lengths) = ([NULL; 3], [0; 3]);
        for (i, &(start, length)) in vectors.iter().enumerate() {
            (starts[i], lengths[i]) = (start, length as u32);
        }
        Self { starts, lengths }
    }

    fn length(&self) -> usize {
        self.lengths.iter().map(|&length| length as usize).sum()
    }
}

/// Operations on rows of `width` elements.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub gpu: &'a Gpu,
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// Of this width.
    pub fn of(gpu: &'a Gpu, width: usize) -> Self {
        Self { gpu, width }
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        ROWS.kernel(self.width, name)
    }

    /// Norm of `count` rows of `x`: those that `picked` lists, or the first if that is null.
    pub fn normalise(
        &self,
        x: Address,
        norm: NormAddresses,
        picked: Address,
        count: usize,
    ) -> Result<NormedRows, CudaError> {
        let rows = self.gpu.scratch(count * self.width)?;
        let statistics = self.gpu.scratch(2 * count)?;
        let arguments = (
            x,
            norm.weight,
            norm.bias,
            picked,
            at(&rows),
            at(&statistics),
            count as u32,
        );
        (self.gpu).launch_rows(self.kernel("normalise"), count, arguments)?;
        Ok(NormedRows {
            rows,
            statistics,
            count,
        })
    }

    /// Backward of [`Self::normalise`]: accumulates `dx` and the gradients of the norm's parameters.
    pub fn normalise_backward(
        &self,
        normed: &NormedRows,
        dnormed: Address,
        (x, norm, picked): (Address, NormAddresses, Address),
        dx: Address,
        dnorm: NormAddresses,
    ) -> Result<(), CudaError> {
        let blocks = MAX_PARTIAL_SUMS.min(normed.count.div_ceil(WARPS));
        let mut to = vec![(dnorm.weight, self.width)];
        if norm.bias != NULL {
            to.push((dnorm.bias, self.width));
        }
        let shares = self.gpu.scratch(blocks * to.len() * self.width)?;
        let arguments = (
            dnormed,
            x,
            norm.weight,
            norm.bias,
            picked,
            at(&normed.statistics),
            dx,
            at(&shares),
            normed.count as u32,
        );
        let kernel = self.kernel("normalise_backward");
        self.gpu.launch(kernel, (blocks, 1, 1), arguments)?;
        self.add_shares(&shares, blocks, &to)
    }

    /// Adds the column sums of `from: [rows, columns]` to up to three consecutive vectors.
    pub fn add_column_sums(
        &self,
        from: Matrix,
        rows: usize,
        to: &[(Address, usize)],
    ) -> Result<(), CudaError> {
        let to = Vectors::from(to);
        let columns = to.length();
        let parts = (MAX_PARTIAL_SUMS * 32 / columns.max(1)).clamp(8, 64);
        let shares = self.gpu.scratch(parts * columns)?;
        let groups = columns.div_ceil(32);
        let counters = self.gpu.counters(groups);
        let arguments = (from, rows as u32, at(&shares), counters, to);
        let kernel = self.kernel("add_column_sums");
        self.gpu.launch(kernel, (groups, parts, 1), arguments)
    }

    fn add_shares(
        &self,
        shares: &Buffer,
        parts: usize,
        to: &[(Address, usize)],
    ) -> Result<(), CudaError> {
        let to = Vectors::from(to);
        let groups = (to.length().div_ceil(32), 1, 1);
        let arguments = (at(shares), parts as u32, to);
        self.gpu
            .launch(self.kernel("add_shares"), groups, arguments)
    }

    /// Adds a joined vector to up to three consecutive vectors.
    pub fn add_joined(&self, joined: &Buffer, to: &[(Address, usize)]) -> Result<(), CudaError> {
        let to = Vectors::from(to);
        let kernel = self.kernel("add_joined");
        (self.gpu).launch_each(kernel, to.length(), (at(joined), to))
    }

    /// Adds up to three consecutive vectors to each row.
    pub fn add_to_each(
        &self,
        to: Matrix,
        rows: usize,
        from: &[(Address, usize)],
    ) -> Result<(), CudaError> {
        let from = Vectors::from(from);
        let kernel = self.kernel("add_to_each");
        (self.gpu).launch_each(kernel, rows * from.length(), (to, rows as u32, from))
    }

    /// `y = x + dropout(branch + bias)`.
    pub fn residual(
        &self,
        x: Address,
        (branch, bias): (Address, Address),
        y: Address,
        dropout: Dropout,
        rows: usize,
    ) -> Result<(), CudaError> {
        let count = rows * self.width;
        let arguments = (x, branch, bias, y, dropout, count as u32);
        (self.gpu).launch_each(self.kernel("residual"), count, arguments)
    }

    /// `dbranch = dropout(dy)`.
    pub fn drop(
        &self,
        dy: Address,
        dbranch: Address,
        dropout: Dropout,
        rows: usize,
    ) -> Result<(), CudaError> {
        let count = rows * self.width;
        let arguments = (dy, dbranch, dropout, count as u32);
        (self.gpu).launch_each(self.kernel("drop"), count, arguments)
    }

    /// An activation or its backward pass, by the kernel of that name in `rows.cu`: of `hidden` and its two biases, the
    /// first that of a gate or null, and `y: [rows, columns]`.
    pub fn activate(
        &self,
        kernel: &'static str,
        (hidden, [gate_bias, bias]): (&Buffer, [Address; 2]),
        y: &Buffer,
        [rows, columns]: [usize; 2],
    ) -> Result<(), CudaError> {
        let count = rows * columns;
        let arguments = (
            at(hidden),
            gate_bias,
            bias,
            at(y),
            columns as u32,
            count as u32,
        );
        (self.gpu).launch_each(self.kernel(kernel), count, arguments)
    }
}
