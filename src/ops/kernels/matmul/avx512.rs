//! The microkernel of matrix products for processors with AVX-512: up to 14 rows by 32 columns of the
//! result, a whole panel. 28 of the 32 vector registers hold sums, two a row of the panel, one the broadcast
//! element.

use std::arch::x86_64::{
    __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps as store, _mm512_maskz_loadu_ps as load, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

use super::PANEL;
use super::microkernel::{AHEAD, Rows, microkernel};

/// Maximum rows of the result per call.
pub(super) const ROWS: usize = 14;

microkernel!(
    "avx512f", rows 1 2 3 4 5 6 7 8 9 10 11 12 13 14, lanes 16,
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_add_ps
);

/// The first `present` elements.
pub(super) fn mask(present: usize) -> __mmask16 {
    ((1u32 << present) - 1) as __mmask16
}
