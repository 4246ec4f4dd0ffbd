//! The microkernel of matrix products for processors with AVX2 and FMA: up to 6 rows by 16 columns of the
//! result, half a panel, stay in registers during the sum over the depth.
//!
//! 12 of the 16 vector registers hold sums, two a row of the panel, one the broadcast element. The right
//! factor is packed in panels ([`super::Packed`]); the left one is read in place.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_ps, _mm256_broadcast_ss, _mm256_cmpgt_epi32,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_mul_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps,
};

use super::PANEL;
use super::block::{AHEAD, Block};

/// Maximum rows of the result per call.
pub(super) const ROWS: usize = 6;

/// Elements per vector.
const LANES: usize = 8;

/// Columns computed at a time.
const HALF: usize = PANEL / 2;

/// Computes a block.
///
/// # Safety
/// The processor has AVX2 and FMA. `left` holds `rows × depth` elements as described, `panel` `depth` rows
/// of [`PANEL`], `bias` (unless null) `columns`, and `out` is writable at `rows × columns` elements that
/// nothing else accesses meanwhile.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply(block: Block) {
    macro_rules! dispatch {
        ($half:ident, $($rows:literal)*) => {
            match ($half.rows, $half.by_columns) {
                $(($rows, false) => {
                    // SAFETY: guaranteed by the caller, with as many rows as the block has.
                    unsafe { multiply_rows::<$rows, false>($half) }
                })*
                $(($rows, true) => {
                    // SAFETY: as above.
                    unsafe { multiply_rows::<$rows, true>($half) }
                })*
                (rows, _) => unreachable!("a block of {rows} rows"),
            }
        };
    }
    for first in (0..block.columns).step_by(HALF) {
        let half = Block {
            columns: HALF.min(block.columns - first),
            panel: block.panel.wrapping_add(first),
            bias: match block.bias.is_null() {
                true => block.bias,
                false => block.bias.wrapping_add(first),
            },
            out: block.out.wrapping_add(first),
            ..block
        };
        dispatch!(half, 1 2 3 4 5 6);
    }
}

/// Computes half a panel.
///
/// # Safety
/// As [`multiply`], with `HEIGHT` rows; only the first half of each row of the panel is read.
#[target_feature(enable = "avx2,fma")]
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
    let mut sums = [[_mm256_setzero_ps(); 2]; HEIGHT];
    for _ in 0..depth {
        if BY_COLUMNS {
            // The columns are too far apart for the hardware prefetcher. The address may be past the end,
            // hence `wrapping_add`: prefetching never faults.
            let ahead = left.wrapping_add(AHEAD * left_step);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        }
        // SAFETY: `panel` has `depth` rows of two vectors, and `left` the elements of this term.
        unsafe {
            let right = [_mm256_loadu_ps(panel), _mm256_loadu_ps(panel.add(LANES))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let at = if BY_COLUMNS { row } else { row * left_step };
                let element = _mm256_broadcast_ss(&*left.add(at));
                sums[0] = _mm256_fmadd_ps(element, right[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(element, right[1], sums[1]);
            }
            panel = panel.wrapping_add(PANEL);
            left = left.wrapping_add(if BY_COLUMNS { left_step } else { 1 });
        }
    }
    let scale = _mm256_set1_ps(block.scale);
    for part in 0..2 {
        let present = columns.saturating_sub(part * LANES).min(LANES);
        if present == 0 {
            continue;
        }
        let mask: __m256i = _mm256_cmpgt_epi32(
            _mm256_set1_epi32(present as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        );
        // SAFETY: only elements under the mask are accessed: `columns` of the bias, and those of the result
        // that the block owns.
        unsafe {
            let bias = match block.bias.is_null() {
                true => _mm256_setzero_ps(),
                false => _mm256_maskload_ps(block.bias.add(part * LANES), mask),
            };
            for (row, sums) in sums.iter().enumerate() {
                let place = out.add(row * out_step + part * LANES);
                let mut value = _mm256_add_ps(_mm256_mul_ps(sums[part], scale), bias);
                if block.add {
                    value = _mm256_add_ps(value, _mm256_maskload_ps(place, mask));
                }
                _mm256_maskstore_ps(place, mask, value);
            }
        }
    }
}
