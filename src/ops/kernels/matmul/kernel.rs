//! The choice of the microkernel.

use super::microkernel::Block;
use super::{avx2, avx512};

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
            Self::Avx2 => avx2::ROWS,
            Self::Avx512 => avx512::ROWS,
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
                Self::Avx2 => avx2::multiply(block),
                Self::Avx512 => avx512::multiply(block),
            }
        }
    }
}
