//! Single-threaded matrix products over row-major slices.
//!
//! With AVX-512 by a kernel of our own, which takes the right factor packed once for many products
//! and leaves out what a causal mask makes zero; elsewhere by the `gemm` crate. Parallelism lies
//! outside: a product is always computed by one thread in one order, so its bits do not depend on the
//! number of threads.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use super::scratch::Scratch;

/// A matrix inside a slice: element (row, column) is at `row * row_step + column * column_step`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct View<'a> {
    data: &'a [f32],
    row_step: usize,
    column_step: usize,
}

impl<'a> View<'a> {
    /// Row-major, with rows `row_step` apart (a column block of a wider matrix where it is larger).
    pub(in crate::ops) fn rows(data: &'a [f32], row_step: usize) -> Self {
        Self {
            data,
            row_step,
            column_step: 1,
        }
    }

    /// The transpose.
    pub(in crate::ops) fn t(self) -> Self {
        Self {
            row_step: self.column_step,
            column_step: self.row_step,
            ..self
        }
    }

    /// The same as the left factor of a product; its columns lie side by side.
    pub(in crate::ops) fn left(self) -> Left<'a> {
        debug_assert_eq!(self.column_step, 1);
        Left::Rows(self.data, self.row_step)
    }

    fn assert_holds(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row_step + (columns - 1) * self.column_step;
        assert!(
            last < self.data.len(),
            "a {rows}x{columns} matrix overruns its slice"
        );
    }
}

/// Columns of a panel: two vectors of 512 bits.
const PANEL: usize = 32;

/// Whether our own kernel runs here.
fn has_kernel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The right factor of products, `[depth, columns]`, laid out so that 32 columns lie side by side:
/// `panels[p][k][j]` is element (k, 32 p + j), 0 past the last column. Without our kernel it stays as
/// it lies.
pub(in crate::ops) struct Packed<'a> {
    depth: usize,
    columns: usize,
    layout: Layout<'a>,
}

enum Layout<'a> {
    Panels(Scratch),
    Rows(Scratch),
    Elsewhere(View<'a>),
}

impl<'a> Packed<'a> {
    /// Lays out a factor.
    pub(in crate::ops) fn new(source: View<'a>, depth: usize, columns: usize) -> Self {
        let layout = if has_kernel() && depth > 0 && columns > 0 {
            source.assert_holds(depth, columns);
            let mut panels = Scratch::new(columns.div_ceil(PANEL) * PANEL * depth);
            source.copy_panels(0, columns, depth, &mut panels);
            Layout::Panels(panels)
        } else {
            Layout::Elsewhere(source)
        };
        Self {
            depth,
            columns,
            layout,
        }
    }

    /// The same by all threads: for the weights, which are laid out before the threads part.
    fn by_all_threads(source: View<'a>, depth: usize, columns: usize) -> Self {
        let mut packed = Self::of_rows(depth, columns);
        match &mut packed.layout {
            Layout::Panels(panels) => {
                source.assert_holds(depth, columns);
                let panels = panels.par_chunks_mut(PANEL * depth).enumerate();
                panels.for_each(|(p, panel)| source.copy_panels(p * PANEL, columns, depth, panel));
            }
            layout => *layout = Layout::Elsewhere(source),
        }
        packed
    }

    /// A factor whose rows are still to be [`put`](Packed::put), all of them.
    pub(in crate::ops) fn of_rows(depth: usize, columns: usize) -> Self {
        let layout = if has_kernel() {
            Layout::Panels(Scratch::new(columns.div_ceil(PANEL) * PANEL * depth))
        } else {
            Layout::Rows(Scratch::new(depth * columns))
        };
        Self {
            depth,
            columns,
            layout,
        }
    }

    /// Row `k`.
    pub(in crate::ops) fn put(&mut self, k: usize, row: &[f32]) {
        assert_eq!(row.len(), self.columns, "a row of another width");
        match &mut self.layout {
            Layout::Panels(panels) => {
                let panels = panels.chunks_exact_mut(PANEL * self.depth);
                for (panel, from) in panels.zip(row.chunks(PANEL)) {
                    let to = &mut panel[k * PANEL..][..PANEL];
                    match from.len() {
                        // The width is known: vectors are moved, without a call.
                        PANEL => to.copy_from_slice(&from[..PANEL]),
                        width => {
                            to[..width].copy_from_slice(from);
                            to[width..].fill(0.0);
                        }
                    }
                }
            }
            Layout::Rows(rows) => rows[k * self.columns..][..self.columns].copy_from_slice(row),
            Layout::Elsewhere(_) => unreachable!("`of_rows` makes a layout of its own"),
        }
    }
}

/// Which way a batch goes through a linear layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Pass {
    /// `y = x Wᵀ`.
    Forward,
    /// `dx = dy W`.
    Backward,
}

/// The weights of a linear layer, `[outputs, inputs]`, as the right factor of a pass.
pub(in crate::ops) fn linear(
    weights: &[f32],
    (inputs, outputs): (usize, usize),
    pass: Pass,
) -> Packed<'_> {
    let weights = View::rows(weights, inputs);
    match pass {
        Pass::Forward => Packed::by_all_threads(weights.t(), inputs, outputs),
        Pass::Backward => Packed::by_all_threads(weights, outputs, inputs),
    }
}

impl View<'_> {
    /// Columns from `first` on of all `depth` rows as panels, up to the last column or the last panel.
    ///
    /// A few rows of one panel after another: what is read and what is written both lie together.
    fn copy_panels(&self, first: usize, columns: usize, depth: usize, panels: &mut [f32]) {
        let rows_together = if self.column_step == 1 { 8 } else { 64 };
        for start in (0..depth).step_by(rows_together) {
            let rows = start..depth.min(start + rows_together);
            for (p, panel) in panels.chunks_exact_mut(PANEL * depth).enumerate() {
                let first = first + p * PANEL;
                let columns = first..columns.min(first + PANEL);
                let panel = &mut panel[rows.start * PANEL..rows.end * PANEL];
                self.copy_part(rows.clone(), columns, panel);
            }
        }
    }

    /// Some rows of a panel, with zeros beside what has no `PANEL` columns.
    fn copy_part(&self, rows: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let width = columns.len();
        let from = &self.data[rows.start * self.row_step + columns.start * self.column_step..];
        if self.column_step == 1 {
            for (i, to) in panel.chunks_exact_mut(PANEL).enumerate() {
                let from = &from[i * self.row_step..];
                match width {
                    // The width is known: vectors are moved, without a call.
                    PANEL => to.copy_from_slice(&from[..PANEL]),
                    _ => to[..width].copy_from_slice(&from[..width]),
                }
            }
        } else {
            assert_eq!(self.row_step, 1, "rows or columns lie side by side");
            for j in 0..width {
                let from = &from[j * self.column_step..];
                for (to, from) in panel.chunks_exact_mut(PANEL).zip(from) {
                    to[j] = *from;
                }
            }
        }
        if width < PANEL {
            for to in panel.chunks_exact_mut(PANEL) {
                to[width..].fill(0.0);
            }
        }
    }
}

/// How the left factor lies in memory: element (row, term) of `[rows, depth]`.
#[derive(Clone, Copy)]
pub(in crate::ops) enum Left<'a> {
    /// Row by row, rows so far apart.
    Rows(&'a [f32], usize),
    /// Term by term: the transpose of what lies row by row, its rows so far apart.
    Columns(&'a [f32], usize),
}

/// Which part of a product is not known to be zero, or not wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Part {
    /// All of it.
    Whole,
    /// The result is wanted at and below its diagonal; above it may hold anything.
    LowerResult,
    /// The left factor is zero above its diagonal.
    LowerLeft,
    /// The left factor is zero below its diagonal.
    UpperLeft,
}

/// Where a product goes: `out[row * step + column]`.
pub(in crate::ops) struct Target<'a> {
    /// The result.
    pub(in crate::ops) out: &'a mut [f32],
    /// How far apart its rows are.
    pub(in crate::ops) step: usize,
    /// Added to every row, one element a column.
    pub(in crate::ops) bias: Option<&'a [f32]>,
    /// Whether the product is added to what is there.
    pub(in crate::ops) add: bool,
}

impl<'a> Target<'a> {
    /// Overwrites `out`.
    pub(in crate::ops) fn set(out: &'a mut [f32], step: usize) -> Self {
        Self {
            out,
            step,
            bias: None,
            add: false,
        }
    }

    /// Overwrites `out` with the product and a bias.
    pub(in crate::ops) fn biased(out: &'a mut [f32], step: usize, bias: &'a [f32]) -> Self {
        let bias = Some(bias);
        Self {
            bias,
            ..Self::set(out, step)
        }
    }
}

/// `out = scale * left · right`, of `rows` rows.
pub(in crate::ops) fn multiply(
    rows: usize,
    left: Left<'_>,
    right: &Packed<'_>,
    scale: f32,
    part: Part,
    target: Target<'_>,
) {
    let (depth, columns) = (right.depth, right.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    let Target {
        out,
        step,
        bias,
        add,
    } = target;
    assert!(
        columns <= step && (rows - 1) * step + columns <= out.len(),
        "the output overruns its slice"
    );
    assert!(
        bias.is_none_or(|bias| bias.len() == columns),
        "a bias of another width"
    );
    if depth > 0 {
        match left {
            Left::Rows(data, step) => View::rows(data, step).assert_holds(rows, depth),
            Left::Columns(data, step) => View::rows(data, step).assert_holds(depth, rows),
        }
    }
    #[cfg(target_arch = "x86_64")]
    if let Layout::Panels(panels) = &right.layout {
        let (data, left_step, by_columns) = match left {
            Left::Rows(data, step) => (data, step, false),
            Left::Columns(data, step) => (data, step, true),
        };
        let mut block = |row: usize, p: usize| {
            let height = avx512::ROWS.min(rows - row);
            let terms = match part {
                Part::LowerResult if p * PANEL >= row + height => return,
                Part::Whole | Part::LowerResult => 0..depth,
                Part::LowerLeft => 0..depth.min(row + height),
                Part::UpperLeft => row.min(depth)..depth,
            };
            let (across, along) = if by_columns {
                (1, left_step)
            } else {
                (left_step, 1)
            };
            let panel = p * PANEL * depth;
            let block = avx512::Block {
                rows: height,
                columns: PANEL.min(columns - p * PANEL),
                depth: terms.len(),
                left: data
                    .as_ptr()
                    .wrapping_add(row * across + terms.start * along),
                left_step,
                by_columns,
                panel: panels.as_ptr().wrapping_add(panel + terms.start * PANEL),
                scale,
                bias: bias.map_or(std::ptr::null(), |bias| bias[p * PANEL..].as_ptr()),
                add,
                out: out[row * step + p * PANEL..].as_mut_ptr(),
                out_step: step,
            };
            // SAFETY: there are panels where `has_kernel` has seen AVX-512F. The assertions above bound the left
            // factor for `rows × depth` elements and the output for `rows × columns`, of which
            // the block is a part; `panels` has `depth` rows of each panel, of which it reads
            // those of its terms; the bias has as many elements as there are columns. `out` is
            // borrowed mutably, so nothing else touches it.
            unsafe { avx512::multiply(block) };
        };
        // Some rows against all panels: the rows stay in the first-level cache, the panels follow
        // one another in memory.
        for row in (0..rows).step_by(avx512::ROWS) {
            (0..columns.div_ceil(PANEL)).for_each(|p| block(row, p));
        }
        return;
    }
    if let Some(bias) = bias {
        out.chunks_mut(step).take(rows).for_each(|row| match add {
            true => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            false => row[..columns].copy_from_slice(bias),
        });
    }
    let output = if add || bias.is_some() {
        Output::Add
    } else {
        Output::Set
    };
    let left = match left {
        Left::Rows(data, step) => View::rows(data, step),
        Left::Columns(data, step) => View::rows(data, step).t(),
    };
    let right = match &right.layout {
        Layout::Rows(rows) | Layout::Panels(rows) => View::rows(rows, columns),
        Layout::Elsewhere(view) => *view,
    };
    product(
        (rows, depth, columns),
        left,
        right,
        scale,
        output,
        out,
        step,
    );
}

/// `dW = dyᵀ x`: `x: [rows, inputs]`; `dy: [rows, outputs]` with the distance of its rows;
/// `dw: [outputs, inputs]`, overwritten.
pub(in crate::ops) fn weight_gradient(
    x: &Packed<'_>,
    (dy, dy_step): (&[f32], usize),
    dw: &mut [f32],
) {
    let (inputs, outputs) = (x.columns, dw.len() / x.columns);
    let (left, target) = (Left::Columns(dy, dy_step), Target::set(dw, inputs));
    multiply(outputs, left, x, 1.0, Part::Whole, target);
}

/// The distance of rows of so many elements at which 14 of them do not fall into one set of the
/// first-level cache: a little more than a large power of two.
pub(in crate::ops) fn row_step(width: usize) -> usize {
    if width.is_multiple_of(512) {
        width + 16
    } else {
        width
    }
}

/// What happens with what the output holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Output {
    /// Overwritten.
    Set,
    /// Added to.
    Add,
}

/// `out = scale * a · b` or `out += scale * a · b` by the `gemm` crate; `a: [m, k]`, `b: [k, n]`,
/// `out: [m, n]` with rows `out_step` apart.
pub(in crate::ops) fn product(
    (m, k, n): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    scale: f32,
    output: Output,
    out: &mut [f32],
    out_step: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        n <= out_step && (m - 1) * out_step + n <= out.len(),
        "the output overruns its slice"
    );
    if k == 0 {
        if output == Output::Set {
            out.chunks_mut(out_step)
                .take(m)
                .for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    a.assert_holds(m, k);
    b.assert_holds(k, n);
    // SAFETY: the three assertions above bound every element that is read or written, `out` is
    // borrowed mutably and so overlaps neither input, and rows of `out` do not overlap (n <= out_step).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_step as isize,
            output == Output::Add,
            a.data.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
