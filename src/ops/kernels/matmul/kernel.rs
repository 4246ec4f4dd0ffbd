//! The choice of the microkernel.

use super::microkernel::Rows;
use super::{avx2, avx512, avx512_bf16};

/// The available microkernels. The f32 ones add the terms of a sum in order, with fused multiply-adds, so they agree
/// bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Avx2,
    Avx512,
    /// Rounds both factors to bf16.
    Avx512Bf16,
}

impl Kernel {
    /// This processor's fastest f32 kernel. `MATMUL_KERNEL` in the environment, `avx512`, `avx2` or `gemm`,
    /// limits the choice, so that each path can be tested and timed on a processor that has them all.
    pub(super) fn best() -> Option<Self> {
        let has_avx512 = is_x86_feature_detected!("avx512f");
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match &*most() {
            "gemm" => None,
            "avx2" => has_avx2.then_some(Self::Avx2),
            _ if has_avx512 => Some(Self::Avx512),
            _ => has_avx2.then_some(Self::Avx2),
        }
    }

    /// The bf16 kernel, if the processor supports it and `MATMUL_KERNEL` allows it.
    pub(super) fn bf16() -> Option<Self> {
        let is_allowed = !["gemm", "avx2"].contains(&&*most());
        (is_allowed && avx512_bf16::is_supported()).then_some(Self::Avx512Bf16)
    }

    /// Terms per 32-bit word of a factor.
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

    /// Computes some rows.
    ///
    /// # Safety
    /// `left` holds `rows × depth` elements as described, each panel `depth` rows of [`PANEL`](super::PANEL),
    /// `bias` (unless null) `columns`, and `out` is writable at `rows × columns` elements that nothing else
    /// accesses meanwhile.
    pub(super) unsafe fn multiply(self, rows: Rows) {
        // SAFETY: the functions above return only kernels that the processor supports; the caller guarantees the rest.
        unsafe {
            match self {
                Self::Avx2 => avx2::multiply(rows),
                Self::Avx512 => avx512::multiply(rows),
                Self::Avx512Bf16 => avx512_bf16::multiply(rows),
            }
        }
    }
}

/// The limit in `MATMUL_KERNEL`, empty without one.
fn most() -> String {
    std::env::var("MATMUL_KERNEL").unwrap_or_default()
}
