//! A block of the result of a product: what a kernel computes at a time.

/// One block of the result and what it is made of.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Rows, 1 to as many as the kernel takes.
    pub(super) rows: usize,
    /// Columns, 1 to [`PANEL`](super::PANEL).
    pub(super) columns: usize,
    /// Terms of each sum.
    pub(super) depth: usize,
    /// The left factor's first element, and how far apart its rows are; or its columns, if
    /// `by_columns`: then the rows of the block lie side by side.
    pub(super) left: *const f32,
    pub(super) left_step: usize,
    pub(super) by_columns: bool,
    /// The panel's first row.
    pub(super) panel: *const f32,
    /// What every sum is multiplied by.
    pub(super) scale: f32,
    /// Added to every row, or null: `columns` elements.
    pub(super) bias: *const f32,
    /// Whether the result is added to what is there.
    pub(super) add: bool,
    /// The result's first element, and how far apart its rows are.
    pub(super) out: *mut f32,
    pub(super) out_step: usize,
}

/// Terms by which a column of the left factor is fetched before it is wanted.
pub(super) const AHEAD: usize = 12;

/// Kernels for the processors that there are. Each takes the terms of a sum one after another, fused, so all give the
/// same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Avx2,
    Avx512,
}

impl Kernel {
    /// The fastest for this processor, unless it is told otherwise: `MATMUL_KERNEL` in the environment, `avx512`,
    /// `avx2` or `gemm`, has none better than that, so that each path can be tested, and timed, on a processor that
    /// has them all.
    pub(super) fn best() -> Option<Self> {
        let most = std::env::var("MATMUL_KERNEL").unwrap_or_default();
        let has_avx512 = is_x86_feature_detected!("avx512f");
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match most.as_str() {
            "gemm" => None,
            "avx2" => has_avx2.then_some(Self::Avx2),
            _ if has_avx512 => Some(Self::Avx512),
            _ => has_avx2.then_some(Self::Avx2),
        }
    }

    /// Rows of the result that one call computes at most.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Avx2 => super::avx2::ROWS,
            Self::Avx512 => super::avx512::ROWS,
        }
    }

    /// Computes a block.
    ///
    /// # Safety
    /// `left` holds `rows × depth` elements as described, `panel` `depth` rows of [`PANEL`](super::PANEL), `bias`
    /// (unless null) `columns`, and `out` is writable at `rows × columns` places that nobody else touches meanwhile.
    pub(super) unsafe fn multiply(self, block: Block) {
        // SAFETY: `best` names a kernel where the processor has what it needs; the rest are the caller's promises.
        unsafe {
            match self {
                Self::Avx2 => super::avx2::multiply(block),
                Self::Avx512 => super::avx512::multiply(block),
            }
        }
    }
}
