//! Some rows of the result of a product, the unit of work of a microkernel, and what the microkernels have in
//! common.

/// Some rows of the result, and their inputs.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// How many, 1 to the kernel's maximum.
    pub(super) rows: usize,
    /// Columns, of any number of panels.
    pub(super) columns: usize,
    /// Terms of each sum, or words of terms.
    pub(super) depth: usize,
    /// The left factor's first element, and its row stride; or its column stride, if `by_columns`: then the
    /// rows are contiguous.
    pub(super) left: *const f32,
    pub(super) left_step: usize,
    pub(super) by_columns: bool,
    /// The first panel's first row, and the distance to that of the next panel.
    pub(super) panels: *const f32,
    pub(super) panel_step: usize,
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

/// Defines `multiply`, which computes some rows in blocks as wide as two vectors. The sums of a block, two vectors
/// a row, stay in registers during the sum over the depth. The right factor is packed in panels
/// ([`super::Packed`]); the left one is read row by row or column by column ([`super::left`]).
///
/// It takes the instruction set, the possible numbers of rows, the elements of a vector, and the instructions;
/// the surrounding file has `mask`, and `load` and `store` under a mask.
///
/// Source: Goto and van de Geijn 2008, *Anatomy of high-performance matrix multiplication*.
macro_rules! microkernel {
    (
        $features:literal, rows $($rows:literal)*, lanes $lanes:literal,
        $zero:ident, $set:ident, $read:ident, $multiply_add:ident, $multiply:ident, $add:ident
    ) => {
        /// Computes some rows.
        ///
        /// # Safety
        /// The processor has the instruction set. `left` holds `rows × depth` elements as described, each panel
        /// `depth` rows of [`PANEL`], `bias` (unless null) `columns`, and `out` is writable at
        /// `rows × columns` elements that nothing else accesses meanwhile.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn multiply(rows: Rows) {
            match (rows.rows, rows.by_columns) {
                $(($rows, false) => {
                    // SAFETY: guaranteed by the caller.
                    unsafe { multiply_rows::<$rows, false>(rows) }
                })*
                $(($rows, true) => {
                    // SAFETY: as above.
                    unsafe { multiply_rows::<$rows, true>(rows) }
                })*
                (rows, _) => unreachable!("{rows} rows at once"),
            }
        }

        /// # Safety
        /// As [`multiply`], with `HEIGHT` rows.
        #[target_feature(enable = $features)]
        unsafe fn multiply_rows<const HEIGHT: usize, const BY_COLUMNS: bool>(rows: Rows) {
            for first in (0..rows.columns).step_by(2 * $lanes) {
                // SAFETY: guaranteed by the caller; the block starts at a column that is there.
                unsafe { multiply_block::<HEIGHT, BY_COLUMNS>(&rows, first) };
            }
        }

        /// Computes the block that starts at column `first`.
        ///
        /// # Safety
        /// As [`multiply_rows`].
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn multiply_block<const HEIGHT: usize, const BY_COLUMNS: bool>(rows: &Rows, first: usize) {
            let (mut left, step) = (rows.left, rows.left_step);
            let at = first / PANEL * rows.panel_step + first % PANEL;
            let mut panel = rows.panels.wrapping_add(at);
            let mut sums = [[$zero(); 2]; HEIGHT];
            for _ in 0..rows.depth {
                if BY_COLUMNS {
                    // The columns are too far apart for the hardware prefetcher. The address may be past the
                    // end, hence `wrapping_add`: prefetching never faults.
                    let ahead = left.wrapping_add(AHEAD * step);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    if $lanes == 16 {
                        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(HEIGHT - 1).cast());
                    }
                }
                // SAFETY: `panel` has `depth` rows of two vectors, and `left` the elements of this term.
                unsafe {
                    let right = [$read(panel), $read(panel.add($lanes))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let at = if BY_COLUMNS { row } else { row * step };
                        let element = $set(*left.add(at));
                        sums[0] = $multiply_add(element, right[0], sums[0]);
                        sums[1] = $multiply_add(element, right[1], sums[1]);
                    }
                }
                panel = panel.wrapping_add(PANEL);
                left = left.wrapping_add(if BY_COLUMNS { step } else { 1 });
            }
            let scale = $set(rows.scale);
            for half in 0..2 {
                let column = first + half * $lanes;
                let present = rows.columns.saturating_sub(column).min($lanes);
                if present == 0 {
                    continue;
                }
                let mask = mask(present);
                // SAFETY: only elements under the mask are accessed: `columns` of the bias, and those of the
                // result that these rows own.
                unsafe {
                    let bias = match rows.bias.is_null() {
                        true => $zero(),
                        false => load(mask, rows.bias.add(column)),
                    };
                    for (row, sums) in sums.iter().enumerate() {
                        let place = rows.out.add(row * rows.out_step + column);
                        let mut value = $add($multiply(sums[half], scale), bias);
                        if rows.add {
                            value = $add(value, load(mask, place));
                        }
                        store(place, mask, value);
                    }
                }
            }
        }
    };
}
pub(super) use microkernel;
