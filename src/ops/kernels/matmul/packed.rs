//! The factors of a product: matrix views of slices, and the right factor packed in panels.

#[cfg(target_arch = "x86_64")]
use std::ops::Range;
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::PANEL;
#[cfg(target_arch = "x86_64")]
use super::kernel::Kernel;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::precision::Precision;

/// A matrix view of a slice: element (row, column) is at `row * row_step + column * column_step`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_step: usize,
    pub(super) column_step: usize,
}

impl<'a> View<'a> {
    /// Row-major with row stride `row_step`, which is larger than the width for a column block of a wider
    /// matrix.
    pub fn rows(data: &'a [f32], row_step: usize) -> Self {
        Self {
            data,
            row_step,
            column_step: 1,
        }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            row_step: self.column_step,
            column_step: self.row_step,
            ..self
        }
    }

    pub(super) fn assert_holds(&self, rows: usize, columns: usize) {
        let last = ((rows - 1).saturating_mul(self.row_step))
            .saturating_add((columns - 1).saturating_mul(self.column_step));
        assert!(
            last < self.data.len(),
            "a {rows}x{columns} matrix overruns its slice"
        );
    }
}

/// The microkernel for a precision on this processor, if there is one.
#[cfg(target_arch = "x86_64")]
fn kernel(precision: Precision) -> Option<Kernel> {
    static OF_F32: LazyLock<Option<Kernel>> = LazyLock::new(Kernel::best);
    static OF_BF16: LazyLock<Option<Kernel>> = LazyLock::new(Kernel::bf16);
    match precision {
        Precision::F32 => *OF_F32,
        Precision::Bf16 => *OF_BF16,
        Precision::Tf32 | Precision::Tf32x3 => None,
    }
}

/// Whether linear layers can have this precision on this processor.
pub fn supports(precision: Precision) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_kernel = kernel(precision).is_some();
    #[cfg(not(target_arch = "x86_64"))]
    let has_kernel = false;
    precision == Precision::F32 || has_kernel
}

/// The matmul kernel for this CPU and this thread's precision: `avx512`, `avx2`, `avx512-bf16`, or the crate `gemm`.
pub fn kernel_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match kernel(Precision::current()) {
        Some(Kernel::Avx512) => return "avx512",
        Some(Kernel::Avx2) => return "avx2",
        Some(Kernel::Avx512Bf16) => return "avx512-bf16",
        None => {}
    }
    "gemm"
}

/// The right factor of products, `[depth, columns]`, in panels of 32 columns: `panels[p][k][j]` is element
/// (k, 32 p + j), 0 past the last column; in bf16 it is a word, of elements (2 k, 32 p + j) and (2 k + 1, 32 p + j).
/// Without a microkernel it stays row-major.
pub struct Packed<'a> {
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) layout: Layout<'a>,
}

pub(super) enum Layout<'a> {
    /// For a microkernel.
    #[cfg(target_arch = "x86_64")]
    Panels(Kernel, Scratch),
    /// For the `gemm` crate: rows that were written one by one,
    Rows(Scratch),
    /// or a view of the source.
    Elsewhere(View<'a>),
}

impl Layout<'_> {
    /// Panels to be written, if there is a microkernel for the precision.
    fn of_panels(precision: Precision, depth: usize, columns: usize) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return kernel(precision).map(|kernel| {
            Self::Panels(kernel, Scratch::new(panels_length(kernel, depth, columns)))
        });
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (precision, depth, columns);
            None
        }
    }
}

impl<'a> Packed<'a> {
    /// Packs a factor of f32.
    pub fn new(source: View<'a>, depth: usize, columns: usize) -> Self {
        Self::laid_out(Precision::F32, source, depth, columns, |panels, _, copy| {
            copy(0, panels);
        })
    }

    /// Packs the input of a linear layer, in this thread's precision.
    pub fn of_input(source: View<'a>, depth: usize, columns: usize) -> Self {
        let precision = Precision::current();
        Self::laid_out(precision, source, depth, columns, |panels, _, copy| {
            copy(0, panels);
        })
    }

    /// Packs the weights of a linear layer, by all threads: before the work is divided.
    fn of_weights(source: View<'a>, depth: usize, columns: usize) -> Self {
        let precision = Precision::current();
        Self::laid_out(precision, source, depth, columns, |panels, length, copy| {
            let panels = panels.par_chunks_mut(length).enumerate();
            panels.for_each(|(p, panel)| copy(p, panel));
        })
    }

    /// `run` gets the panels, their length, and a function that packs panels from an index on.
    fn laid_out(
        precision: Precision,
        source: View<'a>,
        depth: usize,
        columns: usize,
        run: impl FnOnce(&mut [f32], usize, &(dyn Fn(usize, &mut [f32]) + Sync)),
    ) -> Self {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = run;
        let layout = match Layout::of_panels(precision, depth, columns) {
            #[cfg(target_arch = "x86_64")]
            Some(Layout::Panels(kernel, mut panels)) if depth > 0 && columns > 0 => {
                source.assert_holds(depth, columns);
                run(&mut panels, panel_length(kernel, depth), &|p, panels| {
                    source.copy_panels(kernel, p * PANEL, columns, depth, panels);
                });
                Layout::Panels(kernel, panels)
            }
            _ => Layout::Elsewhere(source),
        };
        Self {
            depth,
            columns,
            layout,
        }
    }

    /// Number of rows.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The input of a linear layer, whose rows must all be written, in order, with [`put`](Packed::put).
    pub fn of_rows(depth: usize, columns: usize) -> Self {
        let panels = Layout::of_panels(Precision::current(), depth, columns);
        let rows = || Layout::Rows(Scratch::new(depth * columns));
        Self {
            depth,
            columns,
            layout: panels.unwrap_or_else(rows),
        }
    }

    /// [`put`](Packed::put) takes a multiple of this many rows; only the last call may have fewer.
    pub const PUT_ROWS: usize = 2;

    /// Writes consecutive rows, starting at `first`.
    pub fn put(&mut self, first: usize, rows: &[f32]) {
        let (depth, columns) = (self.depth, self.columns);
        let all = first..first + rows.len() / columns;
        assert_eq!(all.len() * columns, rows.len(), "row width mismatch");
        let is_whole = |row: usize| row.is_multiple_of(Self::PUT_ROWS);
        assert!(is_whole(first), "unaligned first row");
        assert!(
            all.end == depth || all.end < depth && is_whole(all.end),
            "unaligned last row"
        );
        match &mut self.layout {
            #[cfg(target_arch = "x86_64")]
            Layout::Panels(kernel, panels) => {
                let source = View::rows(rows, columns);
                source.copy_rows(*kernel, (all, columns, depth), panels);
            }
            Layout::Rows(to) => to[first * columns..all.end * columns].copy_from_slice(rows),
            Layout::Elsewhere(_) => unreachable!("`of_rows` makes a layout of its own"),
        }
    }
}

/// Number of elements, or words, of a panel.
#[cfg(target_arch = "x86_64")]
pub(super) fn panel_length(kernel: Kernel, depth: usize) -> usize {
    PANEL * depth.div_ceil(kernel.terms())
}

/// Total of all panels.
#[cfg(target_arch = "x86_64")]
fn panels_length(kernel: Kernel, depth: usize, columns: usize) -> usize {
    columns.div_ceil(PANEL) * panel_length(kernel, depth)
}

/// The direction of a linear layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// `y = x Wᵀ`.
    Forward,
    /// `dx = dy W`.
    Backward,
}

/// The weights of a linear layer, `[outputs, inputs]`, packed as the right factor of a pass.
pub fn linear(weights: &[f32], (inputs, outputs): (usize, usize), pass: Pass) -> Packed<'_> {
    let weights = View::rows(weights, inputs);
    match pass {
        Pass::Forward => Packed::of_weights(weights.t(), inputs, outputs),
        Pass::Backward => Packed::of_weights(weights, outputs, inputs),
    }
}

#[cfg(target_arch = "x86_64")]
impl View<'_> {
    /// Packs the columns from `first` on, of all `depth` rows, until the last column or the last panel.
    ///
    /// A few rows at a time, panel by panel, for locality of both reads and writes.
    fn copy_panels(
        &self,
        kernel: Kernel,
        first: usize,
        columns: usize,
        depth: usize,
        panels: &mut [f32],
    ) {
        // Both are multiples of the terms in a word.
        let rows_together = if self.column_step == 1 { 8 } else { 64 };
        for start in (0..depth).step_by(rows_together) {
            let rows = start..depth.min(start + rows_together);
            let from = View {
                data: &self.data[start * self.row_step + first * self.column_step..],
                ..*self
            };
            from.copy_rows(kernel, (rows, columns - first, depth), panels);
        }
    }

    /// Packs `rows` of a factor of `depth` rows; the view starts at `rows.start`.
    fn copy_rows(
        &self,
        kernel: Kernel,
        (rows, columns, depth): (Range<usize>, usize, usize),
        panels: &mut [f32],
    ) {
        let (terms, length) = (kernel.terms(), panel_length(kernel, depth));
        let words = rows.start / terms * PANEL..rows.end.div_ceil(terms) * PANEL;
        for (p, panel) in panels.chunks_exact_mut(length).enumerate() {
            let columns = p * PANEL..columns.min((p + 1) * PANEL);
            let panel = &mut panel[words.clone()];
            match kernel {
                // SAFETY: a kernel is only chosen for a processor that has its instructions.
                Kernel::Avx512Bf16 => unsafe { self.round_part(rows.len(), columns, panel) },
                Kernel::Avx2 | Kernel::Avx512 => self.copy_part(columns, panel),
            }
        }
    }

    /// Packs the first rows into a panel, padded with zeros to `PANEL` columns.
    fn copy_part(&self, columns: Range<usize>, panel: &mut [f32]) {
        let width = columns.len();
        let from = &self.data[columns.start * self.column_step..];
        if self.column_step == 1 {
            for (i, to) in panel.chunks_exact_mut(PANEL).enumerate() {
                let from = &from[i * self.row_step..];
                match width {
                    // A constant length compiles to vector moves instead of a call.
                    PANEL => to.copy_from_slice(&from[..PANEL]),
                    _ => to[..width].copy_from_slice(&from[..width]),
                }
            }
        } else {
            assert_eq!(self.row_step, 1, "rows or columns are contiguous");
            for j in 0..width {
                let from = &from[j * self.column_step..];
                for (to, from) in panel.chunks_exact_mut(PANEL).zip(from) {
                    to[j] = *from;
                }
            }
        }
        if width < PANEL {
            for to in panel.chunks_exact_mut(PANEL) {
                to[width..].fill(0.0);
            }
        }
    }
}
