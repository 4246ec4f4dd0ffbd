//! A block of the result of a product, the unit of work of a microkernel, and what the microkernels have in
//! common.

/// One block of the result, and its inputs.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Rows, 1 to the kernel's maximum.
    pub(super) rows: usize,
    /// Columns, 1 to [`PANEL`](super::PANEL).
    pub(super) columns: usize,
    /// Terms of each sum, or words of terms.
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

/// Defines `multiply`, which computes a block in parts as wide as two vectors. The sums of a part, two vectors
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
        /// Computes a block.
        ///
        /// # Safety
        /// The processor has the instruction set. `left` holds `rows × depth` elements as described, `panel`
        /// `depth` rows of [`PANEL`], `bias` (unless null) `columns`, and `out` is writable at
        /// `rows × columns` elements that nothing else accesses meanwhile.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn multiply(block: Block) {
            if 2 * $lanes == PANEL {
                // SAFETY: guaranteed by the caller.
                return unsafe { multiply_part(block) };
            }
            for first in (0..block.columns).step_by(2 * $lanes) {
                let part = Block {
                    columns: (2 * $lanes).min(block.columns - first),
                    panel: block.panel.wrapping_add(first),
                    bias: match block.bias.is_null() {
                        true => block.bias,
                        false => block.bias.wrapping_add(first),
                    },
                    out: block.out.wrapping_add(first),
                    ..block
                };
                // SAFETY: as above; a part has fewer columns.
                unsafe { multiply_part(part) };
            }
        }

        /// Computes a part.
        ///
        /// # Safety
        /// As [`multiply`]; only two vectors of each row of the panel are read.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn multiply_part(part: Block) {
            match (part.rows, part.by_columns) {
                $(($rows, false) => {
                    // SAFETY: guaranteed by the caller, with as many rows as the block has.
                    unsafe { multiply_rows::<$rows, false>(part) }
                })*
                $(($rows, true) => {
                    // SAFETY: as above.
                    unsafe { multiply_rows::<$rows, true>(part) }
                })*
                (rows, _) => unreachable!("a block of {rows} rows"),
            }
        }

        /// # Safety
        /// As [`multiply_part`], with `HEIGHT` rows.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn multiply_rows<const HEIGHT: usize, const BY_COLUMNS: bool>(block: Block) {
            let (mut left, mut panel, step) = (block.left, block.panel, block.left_step);
            let mut sums = [[$zero(); 2]; HEIGHT];
            for _ in 0..block.depth {
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
            let scale = $set(block.scale);
            for half in 0..2 {
                let present = block.columns.saturating_sub(half * $lanes).min($lanes);
                if present == 0 {
                    continue;
                }
                let mask = mask(present);
                // SAFETY: only elements under the mask are accessed: `columns` of the bias, and those of the
                // result that the block owns.
                unsafe {
                    let bias = match block.bias.is_null() {
                        true => $zero(),
                        false => load(mask, block.bias.add(half * $lanes)),
                    };
                    for (row, sums) in sums.iter().enumerate() {
                        let place = block.out.add(row * block.out_step + half * $lanes);
                        let mut value = $add($multiply(sums[half], scale), bias);
                        if block.add {
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
