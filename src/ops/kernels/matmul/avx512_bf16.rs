//! The bf16 matrix-product microkernel, for processors with AVX512_BF16: like [`avx512`](super::avx512), but 32 bits
//! are a word of two adjacent bf16 terms of a sum. One instruction multiplies two words term by term and accumulates
//! both products in f32.
//!
//! It also rounds factors to words: to nearest, ties to even, with subnormals flushed to 0.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_castsi512_ps,
    _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps as store, _mm512_maskz_loadu_ps as load, _mm512_mul_ps,
    _mm512_permutexvar_epi16, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::mem::transmute;
use std::ops::Range;

use super::avx512::mask;
use super::microkernel::{AHEAD, Rows, microkernel};
use super::{PANEL, Packed, View};

/// Terms in a word.
pub(super) const TERMS: usize = 2;

const _: () = assert!(
    Packed::PUT_ROWS.is_multiple_of(TERMS),
    "rows are put in whole words"
);

/// Words in a vector.
pub(super) const LANES: usize = 16;

microkernel!(
    "avx512f,avx512bw,avx512bf16", rows 1 2 3 4 5 6 7 8 9 10 11 12 13 14, lanes 16,
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, multiply_add, _mm512_mul_ps, _mm512_add_ps
);

/// Whether this processor has the instructions.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Per word: `sum + left[0] right[0] + left[1] right[1]`.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn multiply_add(left: __m512, right: __m512, sum: __m512) -> __m512 {
    // SAFETY: 512-bit vectors; every bit pattern is valid.
    let [left, right] = [left, right].map(|words| unsafe { transmute::<__m512, __m512bh>(words) });
    _mm512_dpbf16_ps(sum, left, right)
}

/// Interleaves the two halves: 0, 16, 1, 17, …
const INTERLEAVE: [u16; 32] = {
    let mut lanes = [0; 32];
    let mut lane = 0;
    while lane < 32 {
        lanes[lane] = (lane / 2 + lane % 2 * LANES) as u16;
        lane += 1;
    }
    lanes
};

/// Prefetches the start of a later row: rows are too far apart for the hardware prefetcher.
#[inline]
fn prefetch(rows: &[f32], start: usize) {
    // The address may be past the end, hence `wrapping_add`.
    let row = rows.as_ptr().wrapping_add(start);
    // SAFETY: prefetching never faults.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(row.cast()) };
}

/// Reads up to 16 elements.
#[target_feature(enable = "avx512f")]
#[inline]
fn read(from: &[f32]) -> __m512 {
    // SAFETY: `from` has the elements that are read.
    unsafe {
        match from.len() {
            LANES.. => _mm512_loadu_ps(from.as_ptr()),
            present => load(mask(present), from.as_ptr()),
        }
    }
}

/// Writes up to 16 words.
#[target_feature(enable = "avx512f")]
#[inline]
fn write(to: &mut [f32], words: __m512i) {
    let words = _mm512_castsi512_ps(words);
    // SAFETY: `to` has the elements that are written.
    unsafe {
        match to.len() {
            LANES.. => _mm512_storeu_ps(to.as_mut_ptr(), words),
            present => store(to.as_mut_ptr(), mask(present), words),
        }
    }
}

/// Rounds elements (2 i, 2 i + 1) of a row to words; the last may be half full.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn round_along(row: &[f32], words: &mut [f32]) {
    assert_eq!(words.len(), row.len().div_ceil(TERMS));
    let (whole, rest) = row.as_chunks::<{ TERMS * LANES }>();
    let (of_whole, of_rest) = words.split_at_mut(whole.len() * LANES);
    let round = |from: &[f32], to: &mut [f32]| {
        let (low, high) = from.split_at(from.len().min(LANES));
        let terms = _mm512_cvtne2ps_pbh(read(high), read(low));
        // SAFETY: 512-bit vectors; every bit pattern is valid.
        write(to, unsafe { transmute::<__m512bh, __m512i>(terms) });
    };
    for (from, to) in whole.iter().zip(of_whole.as_chunks_mut::<LANES>().0) {
        round(from, to);
    }
    if !rest.is_empty() {
        round(rest, of_rest);
    }
}

/// Rounds elements i of two rows to words; if the second is empty, it counts as zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn round_across(first: &[f32], second: &[f32], words: &mut [f32]) {
    assert!(first.len() == words.len() && [0, first.len()].contains(&second.len()));
    // SAFETY: the array has 512 bits.
    let interleave = unsafe { _mm512_loadu_si512(INTERLEAVE.as_ptr().cast()) };
    for (i, to) in words.chunks_mut(LANES).enumerate() {
        let [first, second] = [first, second].map(|row| {
            let end = row.len().min((i + 1) * LANES);
            read(row.get(i * LANES..end).unwrap_or_default())
        });
        let terms = _mm512_cvtne2ps_pbh(second, first);
        // SAFETY: 512-bit vectors; every bit pattern is valid.
        let terms = unsafe { transmute::<__m512bh, __m512i>(terms) };
        write(to, _mm512_permutexvar_epi16(interleave, terms));
    }
}

impl View<'_> {
    /// Rounds the first rows to words of a panel, zero-padded to `PANEL` columns.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round_part(&self, rows: usize, columns: Range<usize>, panel: &mut [f32]) {
        let width = columns.len();
        let from = &self.data[columns.start * self.column_step..];
        if self.column_step == 1 {
            for (i, to) in panel.chunks_exact_mut(PANEL).enumerate() {
                let row = |k: usize| match k < rows {
                    true => &from[k * self.row_step..][..width],
                    false => &[],
                };
                for ahead in TERMS * (i + AHEAD)..TERMS * (i + AHEAD + 1) {
                    prefetch(from, ahead * self.row_step);
                    prefetch(from, ahead * self.row_step + PANEL / 2);
                }
                round_across(row(TERMS * i), row(TERMS * i + 1), &mut to[..width]);
            }
        } else {
            assert_eq!(self.row_step, 1, "rows or columns are contiguous");
            for j in 0..width {
                for ahead in (0..rows).step_by(LANES) {
                    prefetch(from, (j + AHEAD) * self.column_step + ahead);
                }
                let column = &from[j * self.column_step..][..rows];
                let mut words = [0.0; LANES];
                let to = panel.chunks_mut(PANEL * LANES);
                for (column, to) in column.chunks(TERMS * LANES).zip(to) {
                    let words = &mut words[..column.len().div_ceil(TERMS)];
                    round_along(column, words);
                    let to = to.chunks_exact_mut(PANEL).zip(words);
                    to.for_each(|(row, word)| row[j] = *word);
                }
            }
        }
        if width < PANEL {
            (panel.chunks_exact_mut(PANEL)).for_each(|row| row[width..].fill(0.0));
        }
    }

    /// Rounds `terms`, starting at an even index, of at most `ROWS` rows to words: row by row without gaps, or, for a
    /// transpose, word by word, `LANES` apart.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round_strip(
        &self,
        rows: Range<usize>,
        terms: Range<usize>,
        strip: &mut [f32],
    ) {
        let from = &self.data[rows.start * self.row_step + terms.start * self.column_step..];
        let words = terms.len().div_ceil(TERMS);
        if self.column_step == 1 {
            for row in 0..rows.len() {
                let from = &from[row * self.row_step..][..terms.len()];
                round_along(from, &mut strip[row * words..][..words]);
            }
        } else {
            let column = |k: usize| match k < terms.len() {
                true => &from[k * self.column_step..][..rows.len()],
                false => &[],
            };
            for (i, to) in strip.chunks_exact_mut(LANES).take(words).enumerate() {
                for ahead in TERMS * (i + AHEAD)..TERMS * (i + AHEAD + 1) {
                    prefetch(from, ahead * self.column_step);
                    prefetch(from, ahead * self.column_step + rows.len() - 1);
                }
                round_across(
                    column(TERMS * i),
                    column(TERMS * i + 1),
                    &mut to[..rows.len()],
                );
            }
        }
    }
}
