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

/// The available microkernels. Each adds the terms of a sum in order, with fused multiply-adds, so all give
/// the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Avx2,
    Avx512,
}

impl Kernel {
    /// The fastest for this processor. `MATMUL_KERNEL` in the environment, `avx512`, `avx2` or `gemm`,
    /// limits the choice, so that each path can be tested and timed on a processor that has them all.
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

    /// Maximum rows of the result per call.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Avx2 => super::avx2::ROWS,
            Self::Avx512 => super::avx512::ROWS,
        }
    }

    /// Computes a block.
    ///
    /// # Safety
    /// `left` holds `rows × depth` elements as described, `panel` `depth` rows of [`PANEL`](super::PANEL),
    /// `bias` (unless null) `columns`, and `out` is writable at `rows × columns` elements that nothing else
    /// accesses meanwhile.
    pub(super) unsafe fn multiply(self, block: Block) {
        // SAFETY: `best` only returns kernels that the processor supports; the caller guarantees the rest.
        unsafe {
            match self {
                Self::Avx2 => super::avx2::multiply(block),
                Self::Avx512 => super::avx512::multiply(block),
            }
        }
    }
}
