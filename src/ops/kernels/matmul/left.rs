//! The left factor of a product, as a microkernel reads it.

use std::ops::Range;

use super::View;
use super::avx512_bf16::LANES;
use super::kernel::Kernel;
use crate::ops::kernels::scratch::Scratch;

/// The left factor: f32 kernels read it in place; for bf16 it is rounded, a strip at a time.
pub(super) struct Left<'a> {
    kernel: Kernel,
    view: View<'a>,
    /// The transpose of a row-major matrix.
    by_columns: bool,
    depth: usize,
    /// A strip in words.
    rounded: Option<Scratch>,
}

/// A strip of rows of the left factor: its first element or word, and its row stride, or column stride if
/// `by_columns`.
pub(super) struct Strip {
    pub(super) first: *const f32,
    pub(super) step: usize,
    pub(super) by_columns: bool,
    /// The range of elements or words per row.
    pub(super) words: Range<usize>,
}

impl<'a> Left<'a> {
    /// `view` must hold `depth` columns.
    ///
    /// # Panics
    /// The view is neither row-major nor the transpose of a row-major matrix.
    pub(super) fn new(kernel: Kernel, view: View<'a>, depth: usize) -> Self {
        let by_columns = match (view.row_step, view.column_step) {
            (_, 1) => false,
            (1, _) => true,
            _ => panic!(
                "the left factor is neither row-major nor the transpose of a row-major matrix"
            ),
        };
        let strip_len = || kernel.rows().next_multiple_of(LANES) * depth.div_ceil(kernel.terms());
        Self {
            kernel,
            view,
            by_columns,
            depth,
            rounded: (kernel.terms() > 1).then(|| Scratch::new(strip_len())),
        }
    }

    /// A strip of at most `kernel.rows()` rows, with at least the given terms.
    pub(super) fn strip(&mut self, rows: Range<usize>, terms: Range<usize>) -> Strip {
        let (view, by_columns) = (self.view, self.by_columns);
        let Some(rounded) = &mut self.rounded else {
            let first = rows.start * view.row_step + terms.start * view.column_step;
            return Strip {
                first: view.data.as_ptr().wrapping_add(first),
                step: if by_columns {
                    view.column_step
                } else {
                    view.row_step
                },
                by_columns,
                words: terms,
            };
        };
        let together = self.kernel.terms();
        let words = terms.start / together..terms.end.div_ceil(together);
        let terms = words.start * together..self.depth.min(words.end * together);
        if !terms.is_empty() {
            // SAFETY: a kernel is only chosen for a processor that has its instructions.
            unsafe { view.round_strip(rows, terms, rounded) };
        }
        Strip {
            first: rounded.as_ptr(),
            step: if by_columns { LANES } else { words.len() },
            by_columns,
            words,
        }
    }
}
