//! The choice of the microkernel.

use super::microkernel::Block;
use super::{avx2, avx512, avx512_bf16};

/// The available microkernels. Those of f32 add the terms of a sum in order, with fused multiply-adds, so they give the
/// same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Avx2,
    Avx512,
    /// Rounds the terms of sums to bf16.
    Avx512Bf16,
}

impl Kernel {
    /// The fastest of f32 for this processor. `MATMUL_KERNEL` in the environment, `avx512`, `avx2` or `gemm`,
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

    /// That of bf16, if this processor has its instructions and `MATMUL_KERNEL` allows them.
    pub(super) fn bf16() -> Option<Self> {
        let most = std::env::var("MATMUL_KERNEL").unwrap_or_default();
        let is_limited = ["gemm", "avx2"].contains(&most.as_str());
        (!is_limited && avx512_bf16::is_supported()).then_some(Self::Avx512Bf16)
    }

    /// Terms of a sum in 32 bits of a factor.
    pub(super) fn terms(self) -> usize {
        match self {
            Self::Avx2 | Self::Avx512 => 1,
            Self::Avx512Bf16 => avx512_bf16::TERMS,
        }
    }

    /// Maximum rows of the result per call.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Avx2 => avx2::ROWS,
            Self::Avx512 | Self::Avx512Bf16 => avx512::ROWS,
        }
    }

    /// Computes a block.
    ///
    /// # Safety
    /// `left` holds `rows × depth` elements as described, `panel` `depth` rows of [`PANEL`](super::PANEL),
    /// `bias` (unless null) `columns`, and `out` is writable at `rows × columns` elements that nothing else
    /// accesses meanwhile.
    pub(super) unsafe fn multiply(self, block: Block) {
        // SAFETY: the functions above return only kernels that the processor supports; the caller guarantees the rest.
        unsafe {
            match self {
                Self::Avx2 => avx2::multiply(block),
                Self::Avx512 => avx512::multiply(block),
                Self::Avx512Bf16 => avx512_bf16::multiply(block),
            }
        }
    }
}
