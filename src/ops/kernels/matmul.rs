//! Single-threaded matrix products over row-major slices, by the `gemm` crate.
//!
//! Parallelism lies outside: a product is always computed by one thread in one order, so its bits
//! do not depend on the number of threads.
#![allow(unsafe_code)]

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

    fn assert_holds(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row_step + (columns - 1) * self.column_step;
        assert!(
            last < self.data.len(),
            "a {rows}x{columns} matrix overruns its slice"
        );
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

/// `out = scale * a · b` or `out += scale * a · b`; `a: [m, k]`, `b: [k, n]`, `out: [m, n]` with
/// rows `out_step` apart.
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

/// `y = x Wᵀ`, or added to `y`: `x: [rows, inputs]`, `w: [outputs, inputs]`, `y: [rows, outputs]`.
pub(in crate::ops) fn apply(
    rows: usize,
    (inputs, outputs): (usize, usize),
    x: &[f32],
    w: &[f32],
    output: Output,
    y: &mut [f32],
) {
    let (x, w) = (View::rows(x, inputs), View::rows(w, inputs).t());
    product((rows, inputs, outputs), x, w, 1.0, output, y, outputs);
}

/// `dx = dy W`, or added to `dx`.
pub(in crate::ops) fn input_gradient(
    rows: usize,
    (inputs, outputs): (usize, usize),
    dy: &[f32],
    w: &[f32],
    output: Output,
    dx: &mut [f32],
) {
    let (dy, w) = (View::rows(dy, outputs), View::rows(w, inputs));
    product((rows, outputs, inputs), dy, w, 1.0, output, dx, inputs);
}

/// `dW = dyᵀ x`.
pub(in crate::ops) fn weight_gradient(
    rows: usize,
    (inputs, outputs): (usize, usize),
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    let (dy, x) = (View::rows(dy, outputs).t(), View::rows(x, inputs));
    product((outputs, rows, inputs), dy, x, 1.0, Output::Set, dw, inputs);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    #[test]
    fn products_equal_the_sums_they_stand_for() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 5, 7), (17, 32, 33), (70, 65, 31)] {
            let (x, w) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
            let dy = numbers(rows * outputs, 3);
            let mut y = vec![f32::NAN; rows * outputs];
            apply(rows, (inputs, outputs), &x, &w, Output::Set, &mut y);
            let mut dx = vec![1.0; rows * inputs];
            input_gradient(rows, (inputs, outputs), &dy, &w, Output::Add, &mut dx);
            let mut dw = vec![f32::NAN; outputs * inputs];
            weight_gradient(rows, (inputs, outputs), &x, &dy, &mut dw);
            let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-4, "{a} {b}");
            let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
            for r in 0..rows {
                for o in 0..outputs {
                    let sum = (0..inputs).map(|i| product(x[r * inputs + i], w[o * inputs + i]));
                    close(y[r * outputs + o], sum.sum());
                }
                for i in 0..inputs {
                    let sum = (0..outputs).map(|o| product(dy[r * outputs + o], w[o * inputs + i]));
                    close(dx[r * inputs + i], 1.0 + sum.sum::<f64>());
                }
            }
            for o in 0..outputs {
                for i in 0..inputs {
                    let sum = (0..rows).map(|r| product(dy[r * outputs + o], x[r * inputs + i]));
                    close(dw[o * inputs + i], sum.sum());
                }
            }
        }
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let mut out = [5.0; 2];
        product(
            (1, 0, 2),
            View::rows(&[], 0),
            View::rows(&[], 2),
            1.0,
            Output::Set,
            &mut out,
            2,
        );
        assert_eq!(out, [0.0; 2]);
    }
}
