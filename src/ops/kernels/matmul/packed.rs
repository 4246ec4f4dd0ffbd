//! The factors of a product: matrices inside slices, and the right one laid out in panels.

use std::ops::Range;
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

use rayon::prelude::*;

use super::Left;
#[cfg(target_arch = "x86_64")]
use super::block::Kernel;
use crate::ops::kernels::scratch::Scratch;

/// A matrix inside a slice: element (row, column) is at `row * row_step + column * column_step`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_step: usize,
    pub(super) column_step: usize,
}

impl<'a> View<'a> {
    /// Row-major, with rows `row_step` apart (a column block of a wider matrix where it is larger).
    pub(in crate::ops) fn rows(data: &'a [f32], row_step: usize) -> Self {
        Self {
            data,
            row_step,
            column_step: 1,
        }
    }

    /// The transpose.
    pub(in crate::ops) fn t(self) -> Self {
        Self {
            row_step: self.column_step,
            column_step: self.row_step,
            ..self
        }
    }

    /// The same as the left factor of a product; its columns lie side by side.
    pub(in crate::ops) fn left(self) -> Left<'a> {
        assert_eq!(self.column_step, 1, "a left factor that lies row by row");
        Left::Rows(self.data, self.row_step)
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

/// Columns of a panel: two vectors of 512 bits, or four of 256.
pub(in crate::ops) const PANEL: usize = 32;

/// Our own kernel for this processor, if there is one.
#[cfg(target_arch = "x86_64")]
pub(super) fn kernel() -> Option<Kernel> {
    static KERNEL: LazyLock<Option<Kernel>> = LazyLock::new(Kernel::best);
    *KERNEL
}

/// The matrix-product kernel on this processor: `avx512`, `avx2`, or the crate `gemm`.
pub fn kernel_name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match kernel() {
        Some(Kernel::Avx512) => return "avx512",
        Some(Kernel::Avx2) => return "avx2",
        None => {}
    }
    "gemm"
}

fn has_kernel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        kernel().is_some()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The right factor of products, `[depth, columns]`, laid out so that 32 columns lie side by side:
/// `panels[p][k][j]` is element (k, 32 p + j), 0 past the last column. Without our kernel it stays row
/// by row.
pub(in crate::ops) struct Packed<'a> {
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) layout: Layout<'a>,
}

pub(super) enum Layout<'a> {
    /// For our kernel.
    Panels(Scratch),
    /// For the crate: rows that were put one by one,
    Rows(Scratch),
    /// or what is left where it lies.
    Elsewhere(View<'a>),
}

impl<'a> Packed<'a> {
    /// Lays out a factor.
    pub(in crate::ops) fn new(source: View<'a>, depth: usize, columns: usize) -> Self {
        Self::laid_out(source, depth, columns, |panels| {
            source.copy_panels(0, columns, depth, panels);
        })
    }

    /// The same by all threads: for the weights, which are laid out before the threads part.
    fn by_all_threads(source: View<'a>, depth: usize, columns: usize) -> Self {
        Self::laid_out(source, depth, columns, |panels| {
            let panels = panels.par_chunks_mut(PANEL * depth).enumerate();
            panels.for_each(|(p, panel)| source.copy_panels(p * PANEL, columns, depth, panel));
        })
    }

    fn laid_out(
        source: View<'a>,
        depth: usize,
        columns: usize,
        copy: impl FnOnce(&mut [f32]),
    ) -> Self {
        let layout = if has_kernel() && depth > 0 && columns > 0 {
            source.assert_holds(depth, columns);
            let mut panels = Scratch::new(panels_length(depth, columns));
            copy(&mut panels);
            Layout::Panels(panels)
        } else {
            Layout::Elsewhere(source)
        };
        Self {
            depth,
            columns,
            layout,
        }
    }

    /// Number of its rows.
    pub(in crate::ops) fn depth(&self) -> usize {
        self.depth
    }

    /// A factor whose rows are still to be [`put`](Packed::put), all of them.
    pub(in crate::ops) fn of_rows(depth: usize, columns: usize) -> Self {
        let layout = if has_kernel() {
            Layout::Panels(Scratch::new(panels_length(depth, columns)))
        } else {
            Layout::Rows(Scratch::new(depth * columns))
        };
        Self {
            depth,
            columns,
            layout,
        }
    }

    /// Row `k`.
    pub(in crate::ops) fn put(&mut self, k: usize, row: &[f32]) {
        assert_eq!(row.len(), self.columns, "a row of another width");
        match &mut self.layout {
            Layout::Panels(panels) => {
                let panels = panels.chunks_exact_mut(PANEL * self.depth);
                for (panel, from) in panels.zip(row.chunks(PANEL)) {
                    let to = &mut panel[k * PANEL..][..PANEL];
                    match from.len() {
                        // The width is known: vectors are moved, without a call.
                        PANEL => to.copy_from_slice(&from[..PANEL]),
                        width => {
                            to[..width].copy_from_slice(from);
                            to[width..].fill(0.0);
                        }
                    }
                }
            }
            Layout::Rows(rows) => rows[k * self.columns..][..self.columns].copy_from_slice(row),
            Layout::Elsewhere(_) => unreachable!("`of_rows` makes a layout of its own"),
        }
    }
}

/// Elements of a factor in panels.
pub(super) fn panels_length(depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(PANEL) * depth
}

/// Which way a batch goes through a linear layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Pass {
    /// `y = x Wᵀ`.
    Forward,
    /// `dx = dy W`.
    Backward,
}

/// The weights of a linear layer, `[outputs, inputs]`, as the right factor of a pass.
pub(in crate::ops) fn linear(
    weights: &[f32],
    (inputs, outputs): (usize, usize),
    pass: Pass,
) -> Packed<'_> {
    let weights = View::rows(weights, inputs);
    match pass {
        Pass::Forward => Packed::by_all_threads(weights.t(), inputs, outputs),
        Pass::Backward => Packed::by_all_threads(weights, outputs, inputs),
    }
}

impl View<'_> {
    /// Columns from `first` on of all `depth` rows as panels, up to the last column or the last panel.
    ///
    /// A few rows of one panel after another: what is read and what is written both lie together.
    fn copy_panels(&self, first: usize, columns: usize, depth: usize, panels: &mut [f32]) {
        let rows_together = if self.column_step == 1 { 8 } else { 64 };
        for start in (0..depth).step_by(rows_together) {
            let rows = start..depth.min(start + rows_together);
            for (p, panel) in panels.chunks_exact_mut(PANEL * depth).enumerate() {
                let first = first + p * PANEL;
                let columns = first..columns.min(first + PANEL);
                let panel = &mut panel[rows.start * PANEL..rows.end * PANEL];
                self.copy_part(rows.clone(), columns, panel);
            }
        }
    }

    /// Some rows of a panel, with zeros beside what has no `PANEL` columns.
    fn copy_part(&self, rows: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let width = columns.len();
        let from = &self.data[rows.start * self.row_step + columns.start * self.column_step..];
        if self.column_step == 1 {
            for (i, to) in panel.chunks_exact_mut(PANEL).enumerate() {
                let from = &from[i * self.row_step..];
                match width {
                    // The width is known: vectors are moved, without a call.
                    PANEL => to.copy_from_slice(&from[..PANEL]),
                    _ => to[..width].copy_from_slice(&from[..width]),
                }
            }
        } else {
            assert_eq!(self.row_step, 1, "rows or columns lie side by side");
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
