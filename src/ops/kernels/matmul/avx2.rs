//! The microkernel of matrix products for processors with AVX2 and FMA: up to 6 rows by 16 columns of the
//! result, half a panel. 12 of the 16 vector registers hold sums, two a row of the panel, one the broadcast
//! element.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_ps, _mm256_cmpgt_epi32, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_maskload_ps, _mm256_maskstore_ps as store, _mm256_mul_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps,
};

use super::PANEL;
use super::microkernel::{AHEAD, Rows, microkernel};

/// Maximum rows of the result per call.
pub(super) const ROWS: usize = 6;

microkernel!(
    "avx2,fma", rows 1 2 3 4 5 6, lanes 8,
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_fmadd_ps, _mm256_mul_ps, _mm256_add_ps
);

/// The first `present` elements.
#[target_feature(enable = "avx2")]
#[inline]
fn mask(present: usize) -> __m256i {
    let present = _mm256_set1_epi32(present as i32);
    _mm256_cmpgt_epi32(present, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// # Safety
/// The elements under the mask can be read.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load(mask: __m256i, from: *const f32) -> std::arch::x86_64::__m256 {
    // SAFETY: guaranteed by the caller.
    unsafe { _mm256_maskload_ps(from, mask) }
}
