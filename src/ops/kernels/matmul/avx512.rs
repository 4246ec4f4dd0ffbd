//! The microkernel of matrix products for processors with AVX-512: up to 14 rows by 32 columns of the
//! result stay in registers during the sum over the depth.
//!
//! 28 of the 32 vector registers hold sums, two a row of the panel, one the broadcast element. The right
//! factor is packed in panels ([`super::Packed`]); the left one is read in place.
//!
//! Source: Goto and van de Geijn 2008, *Anatomy of high-performance matrix multiplication*.

use std::arch::x86_64::{
    __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::PANEL;
use super::block::{AHEAD, Block};

/// Maximum rows of the result per call.
pub(super) const ROWS: usize = 14;

/// Elements per vector.
const LANES: usize = PANEL / 2;

/// Computes a block.
///
/// # Safety
/// The processor has AVX-512F. `left` holds `rows × depth` elements as described, `panel` `depth` rows of
/// [`PANEL`], `bias` (unless null) `columns`, and `out` is writable at `rows × columns` elements that
/// nothing else accesses meanwhile.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(block: Block) {
    macro_rules! dispatch {
        ($($rows:literal)*) => {
            match (block.rows, block.by_columns) {
                $(($rows, false) => {
                    // SAFETY: guaranteed by the caller, with as many rows as the block has.
                    unsafe { multiply_rows::<$rows, false>(block) }
                })*
                $(($rows, true) => {
                    // SAFETY: as above.
                    unsafe { multiply_rows::<$rows, true>(block) }
                })*
                (rows, _) => unreachable!("a block of {rows} rows"),
            }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// # Safety
/// As [`multiply`], with `HEIGHT` rows.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn multiply_rows<const HEIGHT: usize, const BY_COLUMNS: bool>(block: Block) {
    let Block {
        columns,
        depth,
        mut left,
        left_step,
        mut panel,
        out,
        out_step,
        ..
    } = block;
    let mask = |first: usize| -> __mmask16 {
        let present = columns.saturating_sub(first).min(LANES);
        ((1u32 << present) - 1) as __mmask16
    };
    let masks = [mask(0), mask(LANES)];
    let mut sums = [[_mm512_setzero_ps(); 2]; HEIGHT];
    for _ in 0..depth {
        if BY_COLUMNS {
            // The columns are too far apart for the hardware prefetcher. The address may be past the end,
            // hence `wrapping_add`: prefetching never faults.
            let ahead = left.wrapping_add(AHEAD * left_step);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(HEIGHT - 1).cast());
        }
        // SAFETY: `panel` has `depth` rows of two vectors, and `left` the elements of this term.
        unsafe {
            let right = [_mm512_loadu_ps(panel), _mm512_loadu_ps(panel.add(LANES))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let at = if BY_COLUMNS { row } else { row * left_step };
                let element = _mm512_set1_ps(*left.add(at));
                sums[0] = _mm512_fmadd_ps(element, right[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(element, right[1], sums[1]);
            }
            panel = panel.add(PANEL);
            left = left.wrapping_add(if BY_COLUMNS { left_step } else { 1 });
        }
    }
    let scale = _mm512_set1_ps(block.scale);
    for half in 0..2 {
        let mask = masks[half];
        if mask == 0 {
            continue;
        }
        // SAFETY: only elements under the mask are accessed: `columns` of the bias, and those of the result
        // that the block owns.
        unsafe {
            let bias = match block.bias.is_null() {
                true => _mm512_setzero_ps(),
                false => _mm512_maskz_loadu_ps(mask, block.bias.add(half * LANES)),
            };
            for (row, sums) in sums.iter().enumerate() {
                let place = out.add(row * out_step + half * LANES);
                let mut value = _mm512_add_ps(_mm512_mul_ps(sums[half], scale), bias);
                if block.add {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, place));
                }
                _mm512_mask_storeu_ps(place, mask, value);
            }
        }
    }
}
