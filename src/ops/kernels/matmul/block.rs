//! A block of the result of a product: the unit of work of a microkernel.

/// One block of the result, and its inputs.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Rows, 1 to the kernel's maximum.
    pub(super) rows: usize,
    /// Columns, 1 to [`PANEL`](super::PANEL).
    pub(super) columns: usize,
    /// Terms of each sum.
    pub(super) depth: usize,
    /// The left factor's first element, and its row stride; or its column stride, if `by_columns`: then the
    /// rows of the block are contiguous.
    pub(super) left: *const f32,
    pub(super) left_step: usize,
    pub(super) by_columns: bool,
    /// The panel's first row.
    pub(super) panel: *const f32,
    /// The factor of every sum.
    pub(super) scale: f32,
    /// Added to every row: `columns` elements, or null.
    pub(super) bias: *const f32,
    /// Whether the result is accumulated.
    pub(super) add: bool,
    /// The result's first element, and its row stride.
    pub(super) out: *mut f32,
    pub(super) out_step: usize,
}

/// How many terms ahead a column of the left factor is prefetched.
pub(super) const AHEAD: usize = 12;
