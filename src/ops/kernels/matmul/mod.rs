//! Single-threaded matrix products over row-major slices.
//!
//! With AVX-512 or AVX2 they use our own microkernels, which take the right factor packed once for many
//! products and skip what a causal mask makes zero; otherwise the `gemm` crate. Parallelism is left to the
//! callers: a product is always computed by one thread in one order, so its bits depend neither on the
//! number of threads nor on which of the two microkernels of f32 runs. A third one computes linear layers in bf16.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod left;
#[cfg(target_arch = "x86_64")]
mod microkernel;
mod packed;
#[cfg(test)]
mod tests;

use gemm_f32::gemm::f32::get_gemm_fn;
#[cfg(target_arch = "x86_64")]
use kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use left::Left;
#[cfg(target_arch = "x86_64")]
use microkernel::Rows;
use packed::Layout;
#[cfg(target_arch = "x86_64")]
use packed::panel_length;
pub use packed::{Packed, Pass, View, kernel_name, linear, supports};

/// Columns per panel: two vectors of 512 bits, or four of 256.
pub const PANEL: usize = 32;

/// The part of a product that is needed, or not known to be zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Only the result at and below a diagonal is needed, which starts at this column of the first row; above it may hold
    /// anything. Columns that no row needs are not written.
    LowerResult(usize),
    /// The left factor has zeros above such a diagonal; columns where all rows have zeros are not read.
    LowerLeft(usize),
    /// The left factor is the transpose of such a matrix.
    UpperLeft(usize),
}

impl Part {
    /// The terms of the sums of `rows` rows from the first on, and the columns of the result, that count.
    fn limit(self, rows: usize, depth: usize, columns: usize) -> (usize, usize) {
        match self {
            Self::Whole | Self::UpperLeft(_) => (depth, columns),
            Self::LowerResult(diagonal) => (depth, columns.min(diagonal + rows)),
            Self::LowerLeft(diagonal) => (depth.min(diagonal + rows), columns),
        }
    }
}

/// The destination of a product: `out[row * step + column]`.
pub struct Target<'a> {
    /// The result.
    pub out: &'a mut [f32],
    /// Row stride.
    pub step: usize,
    /// Added to every row, one element per column.
    pub bias: Option<&'a [f32]>,
    /// Whether the product is accumulated.
    pub add: bool,
}

impl<'a> Target<'a> {
    /// Overwrites `out`.
    pub fn set(out: &'a mut [f32], step: usize) -> Self {
        Self::biased(out, step, None)
    }

    /// Overwrites `out` with the product and a bias, if there is one.
    pub fn biased(out: &'a mut [f32], step: usize, bias: Option<&'a [f32]>) -> Self {
        Self {
            out,
            step,
            bias,
            add: false,
        }
    }

    /// Accumulates the product if `add` is set.
    pub fn adding(self, add: bool) -> Self {
        Self { add, ..self }
    }

    /// Fails if it cannot hold this many rows, at least one, and columns.
    fn assert_holds(&self, rows: usize, columns: usize) {
        let last_row = rows.checked_sub(1).expect("at least one row");
        assert!(
            columns <= self.step
                && last_row.saturating_mul(self.step).saturating_add(columns) <= self.out.len(),
            "the output overruns its slice"
        );
    }
}

/// `out = scale * left · right`, of `rows` rows; the left factor is row-major, or the transpose of such a matrix.
pub fn multiply(
    rows: usize,
    left: View<'_>,
    right: &Packed<'_>,
    scale: f32,
    part: Part,
    target: Target<'_>,
) {
    let (depth, columns) = part.limit(rows, right.depth, right.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    target.assert_holds(rows, columns);
    assert!(
        target.bias.is_none_or(|bias| bias.len() == right.columns),
        "a bias of another width"
    );
    if depth > 0 {
        left.assert_holds(rows, depth);
    }
    #[cfg(target_arch = "x86_64")]
    if let Layout::Panels(kernel, panels) = &right.layout {
        let length = panel_length(*kernel, right.depth);
        assert_eq!(panels.len(), right.columns.div_ceil(PANEL) * length);
        return multiply_by_panels(
            *kernel,
            (rows, depth, columns),
            left,
            (panels, length),
            scale,
            part,
            target,
        );
    }
    multiply_with_crate((rows, depth, columns), left, right, scale, target);
}

/// [`multiply`] by a factor in panels of a length; `left` and `target` hold all elements.
#[cfg(target_arch = "x86_64")]
fn multiply_by_panels(
    kernel: Kernel,
    (rows, depth, columns): (usize, usize, usize),
    left: View<'_>,
    (panels, panel_step): (&[f32], usize),
    scale: f32,
    part: Part,
    target: Target<'_>,
) {
    let mut left = Left::new(kernel, left, depth);
    // Some rows against all panels: the rows stay in the L1 cache, and the panels are contiguous in
    // memory.
    for row in (0..rows).step_by(kernel.rows()) {
        let height = kernel.rows().min(rows - row);
        let (end, needed) = part.limit(row + height, depth, columns);
        let start = match part {
            Part::UpperLeft(diagonal) => row.saturating_sub(diagonal).min(depth),
            _ => 0,
        };
        let strip = left.strip(row..row + height, start..end);
        let rows = Rows {
            rows: height,
            columns: columns.min(needed.next_multiple_of(PANEL)),
            depth: strip.words.len(),
            left: strip.first,
            left_step: strip.step,
            by_columns: strip.by_columns,
            panels: panels.as_ptr().wrapping_add(strip.words.start * PANEL),
            panel_step,
            scale,
            bias: target.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            add: target.add,
            out: target.out[row * target.step..].as_mut_ptr(),
            out_step: target.step,
        };
        // SAFETY: the assertions of `multiply` ensure that the left factor holds `rows × depth` elements and the
        // output `rows × columns`, which include these; a panel has at least as many words per column as
        // `strip` per row; the bias has one element per column. `out` is borrowed mutably, so nothing else
        // accesses it.
        unsafe { kernel.multiply(rows) };
    }
}

/// [`multiply`] with the crate `gemm`, which computes all parts; `left` and `target` hold all elements.
fn multiply_with_crate(
    (rows, depth, columns): (usize, usize, usize),
    left: View<'_>,
    right: &Packed<'_>,
    scale: f32,
    target: Target<'_>,
) {
    target.assert_holds(rows, columns);
    let Target {
        out,
        step,
        bias,
        add,
    } = target;
    if depth > 0 {
        left.assert_holds(rows, depth);
    }
    if let Some(bias) = bias {
        out.chunks_mut(step).take(rows).for_each(|row| match add {
            true => row[..columns]
                .iter_mut()
                .zip(bias)
                .for_each(|(y, b)| *y += b),
            false => row[..columns].copy_from_slice(&bias[..columns]),
        });
    }
    let add = add || bias.is_some();
    if depth == 0 {
        if !add {
            let rows = out.chunks_mut(step).take(rows);
            rows.for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    let right = match &right.layout {
        Layout::Rows(rows) => View::rows(rows, right.columns),
        Layout::Elsewhere(view) => *view,
        #[cfg(target_arch = "x86_64")]
        Layout::Panels(..) => unreachable!("panels are for the kernel"),
    };
    right.assert_holds(depth, columns);
    // SAFETY: the assertions bound every element that is accessed, `out` is borrowed mutably
    // and so overlaps neither factor, and rows of `out` do not overlap (columns <= step).
    unsafe {
        // The transpose of the product, since the crate's kernels prefer a result whose columns are contiguous.
        get_gemm_fn()(
            columns,
            rows,
            depth,
            out.as_mut_ptr(),
            step as isize,
            1,
            add,
            right.data.as_ptr(),
            right.row_step as isize,
            right.column_step as isize,
            left.data.as_ptr(),
            left.row_step as isize,
            left.column_step as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// `dW = dyᵀ x`: `x: [rows, inputs]`; `dy: [rows, outputs]` with its row stride; `dw: [outputs, inputs]`,
/// overwritten.
pub fn weight_gradient(x: &Packed<'_>, (dy, dy_step): (&[f32], usize), dw: &mut [f32]) {
    let (inputs, outputs) = (x.columns, dw.len() / x.columns);
    assert_eq!(dw.len(), inputs * outputs, "a weight of another width");
    let (left, target) = (View::rows(dy, dy_step).t(), Target::set(dw, inputs));
    multiply(outputs, left, x, 1.0, Part::Whole, target);
}

/// A row stride for `width` elements that avoids cache conflicts: with a large power of two, 14 rows would
/// fall into the same set of the L1 cache.
pub fn row_step(width: usize) -> usize {
    width + if width.is_multiple_of(512) { 16 } else { 0 }
}
