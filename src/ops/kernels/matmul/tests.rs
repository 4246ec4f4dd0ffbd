use super::*;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::precision::Precision;

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
        .collect()
}

/// Runs a test in every precision this processor supports.
fn for_each_precision(test: impl Fn()) {
    Precision::F32.run(&test);
    match supports(Precision::Bf16) {
        true => Precision::Bf16.run(test),
        false => eprintln!("not tested in bf16: no AVX512_BF16"),
    }
}

/// A product's input, rounded to this thread's precision.
fn rounded(x: f32) -> f32 {
    match Precision::current() {
        Precision::F32 => x,
        // Round to nearest, ties to even.
        _ => {
            let bits = x.to_bits();
            f32::from_bits((bits + 0x7FFF + (bits >> 16) % 2) & 0xFFFF_0000)
        }
    }
}

/// The product by its definition, in f64.
fn expected(
    (rows, depth, columns): (usize, usize, usize),
    left: impl Fn(usize, usize) -> f32,
    right: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let product = |a: f32, b: f32| f64::from(rounded(a)) * f64::from(rounded(b));
    let element = |r: usize, c: usize| (0..depth).map(|k| product(left(r, k), right(k, c))).sum();
    (0..rows)
        .flat_map(|r| (0..columns).map(move |c| (r, c)))
        .map(|(r, c)| element(r, c))
        .collect()
}

const SHAPES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (3, 5, 7),
    (14, 16, 32),
    (15, 32, 33),
    (17, 40, 31),
    (29, 3, 64),
    (70, 65, 100),
    (2, 300, 16),
];

#[test]
fn products_equal_the_sums_they_stand_for() {
    for_each_precision(check_products_equal_the_sums_they_stand_for);
}

fn check_products_equal_the_sums_they_stand_for() {
    for (rows, depth, columns) in SHAPES {
        let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
        let bias = numbers(columns, 3);
        let (step, scale) = (columns + 3, 0.5);
        for by_columns in [false, true] {
            for transposed in [false, true] {
                for (with_bias, add) in [(false, false), (true, false), (false, true), (true, true)]
                {
                    let left = match by_columns {
                        false => View::rows(&a, depth),
                        true => View::rows(&a, rows).t(),
                    };
                    let right = match transposed {
                        false => View::rows(&b, columns),
                        true => View::rows(&b, depth).t(),
                    };
                    let left_at = |r: usize, k: usize| {
                        if by_columns {
                            a[k * rows + r]
                        } else {
                            a[r * depth + k]
                        }
                    };
                    let right_at = |k: usize, c: usize| {
                        if transposed {
                            b[c * depth + k]
                        } else {
                            b[k * columns + c]
                        }
                    };
                    let want = expected((rows, depth, columns), left_at, right_at);
                    let mut out = vec![7.0; rows * step];
                    let target = Target {
                        out: &mut out,
                        step,
                        bias: with_bias.then_some(&bias[..]),
                        add,
                    };
                    let right = Packed::of_input(right, depth, columns);
                    multiply(rows, left, &right, scale, Part::Whole, target);
                    for r in 0..rows {
                        for c in 0..step {
                            let found = f64::from(out[r * step + c]);
                            let wanted = match c < columns {
                                false => 7.0,
                                true => {
                                    let bias = if with_bias { f64::from(bias[c]) } else { 0.0 };
                                    0.5 * want[r * columns + c] + bias + if add { 7.0 } else { 0.0 }
                                }
                            };
                            assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn parts_leave_out_nothing_but_zeros() {
    for_each_precision(check_parts_leave_out_nothing_but_zeros);
}

fn check_parts_leave_out_nothing_but_zeros() {
    for n in [1usize, 13, 14, 15, 31, 33, 64, 100] {
        let (full, v) = (numbers(n * n, 1), numbers(n * 40, 2));
        let lower: Vec<f32> = (0..n * n)
            .map(|i| if i % n <= i / n { full[i] } else { 0.0 })
            .collect();
        let packed = Packed::of_input(View::rows(&v, 40), n, 40);
        let run_lower = |left: View<'_>, part: Part| {
            let mut out = vec![f32::NAN; n * 40];
            multiply(n, left, &packed, 1.0, part, Target::set(&mut out, 40));
            out
        };
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let (rows, columns) = (View::rows(&lower, n), View::rows(&lower, n).t());
        assert!(
            close(
                &run_lower(rows, Part::LowerLeft(0)),
                &run_lower(rows, Part::Whole)
            ),
            "{n}"
        );
        assert!(
            close(
                &run_lower(columns, Part::UpperLeft(0)),
                &run_lower(columns, Part::Whole)
            ),
            "{n}"
        );

        let square = Packed::of_input(View::rows(&full, n).t(), n, n);
        let run = |part: Part| {
            let mut out = vec![0.0; n * n];
            multiply(
                n,
                View::rows(&full, n),
                &square,
                1.0,
                part,
                Target::set(&mut out, n),
            );
            out
        };
        let (some, all) = (run(Part::LowerResult(0)), run(Part::Whole));
        for r in 0..n {
            assert_eq!(
                some[r * n..=r * n + r],
                all[r * n..=r * n + r],
                "{n}: row {r}"
            );
        }

        // The last rows alone, which end before the last column of the factors.
        let (first, width) = (n / 3, n - n / 4);
        let last = width.saturating_sub(first);
        let cut = |from: &[f32]| -> Vec<f32> {
            let rows = from[first * n..].chunks(n).take(last);
            rows.flat_map(|row| row[..width].to_vec()).collect()
        };
        let mut out = vec![f32::NAN; last * width];
        let target = Target::set(&mut out, width);
        let left = View::rows(&full[first * n..], n);
        multiply(last, left, &square, 1.0, Part::LowerResult(first), target);
        let wanted = cut(&all);
        for r in 0..last {
            let seen = r * width..=r * width + first + r;
            assert_eq!(out[seen.clone()], wanted[seen], "{n}: row {r}");
        }
        let lower_part = cut(&lower);
        let mut out = vec![f32::NAN; last * 40];
        let target = Target::set(&mut out, 40);
        let left = View::rows(&lower_part, width);
        multiply(last, left, &packed, 1.0, Part::LowerLeft(first), target);
        let wanted = &run_lower(rows, Part::Whole)[first * 40..][..last * 40];
        assert!(close(&out, wanted), "{n}");
        let transposed = Packed::of_input(View::rows(&v, 40), last, 40);
        let run = |part: Part| {
            let mut out = vec![f32::NAN; width * 40];
            let left = View::rows(&lower_part, width).t();
            multiply(
                width,
                left,
                &transposed,
                1.0,
                part,
                Target::set(&mut out, 40),
            );
            out
        };
        if last > 0 {
            assert!(
                close(&run(Part::UpperLeft(first)), &run(Part::Whole)),
                "{n}"
            );
        }
    }
}

#[test]
fn weight_gradients_equal_the_sums_they_stand_for() {
    for_each_precision(check_weight_gradients_equal_the_sums_they_stand_for);
}

fn check_weight_gradients_equal_the_sums_they_stand_for() {
    for (rows, inputs, outputs) in SHAPES {
        let (x, dy) = (
            numbers(rows * (inputs + 2), 1),
            numbers(rows * (outputs + 1), 2),
        );
        let mut dw = vec![f32::NAN; outputs * inputs];
        let (x_step, dy_step) = (inputs + 2, outputs + 1);
        let mut by_rows = Packed::of_rows(rows, inputs);
        let own: Vec<f32> = (x.chunks_exact(x_step))
            .flat_map(|row| &row[..inputs])
            .copied()
            .collect();
        for (i, rows) in own.chunks(Packed::PUT_ROWS * inputs).enumerate() {
            by_rows.put(i * Packed::PUT_ROWS, rows);
        }
        weight_gradient(&by_rows, (&dy, dy_step), &mut dw);
        let at_once = Packed::of_input(View::rows(&x, x_step), rows, inputs);
        let mut again = vec![f32::NAN; outputs * inputs];
        weight_gradient(&at_once, (&dy, dy_step), &mut again);
        assert_eq!(dw, again);
        let want = expected(
            (outputs, rows, inputs),
            |o, r| dy[r * dy_step + o],
            |r, i| x[r * x_step + i],
        );
        assert!(
            dw.iter()
                .zip(want)
                .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4)
        );
    }
}

/// Tests the path for processors without a microkernel on those with one, too.
#[test]
fn the_crate_and_the_kernel_agree() {
    for (rows, depth, columns) in SHAPES {
        let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
        let bias = numbers(columns, 3);
        let right = View::rows(&b, columns);
        let mut own_rows = Scratch::new(b.len());
        own_rows.copy_from_slice(&b);
        let layouts = [
            Packed::new(right, depth, columns).layout,
            Layout::Elsewhere(right),
            Layout::Rows(own_rows),
        ];
        let [by_kernel, others @ ..] = layouts.map(|layout| {
            let right = Packed {
                depth,
                columns,
                layout,
            };
            let mut out = vec![f32::NAN; rows * columns];
            let target = Target::biased(&mut out, columns, Some(&bias));
            let left = View::rows(&a, depth);
            multiply(rows, left, &right, 0.5, Part::Whole, target);
            out
        });
        for other in others {
            let mut pairs = by_kernel.iter().zip(&other);
            assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
}

#[test]
fn an_empty_sum_is_zero_or_the_bias() {
    for_each_precision(check_an_empty_sum_is_zero_or_the_bias);
}

fn check_an_empty_sum_is_zero_or_the_bias() {
    let none = Packed::of_input(View::rows(&[], 2), 0, 2);
    let mut out = [5.0; 2];
    let left = View::rows(&[], 0);
    multiply(1, left, &none, 1.0, Part::Whole, Target::set(&mut out, 2));
    assert_eq!(out, [0.0; 2]);
    multiply(
        1,
        left,
        &none,
        1.0,
        Part::Whole,
        Target::biased(&mut out, 2, Some(&[1.0, 2.0])),
    );
    assert_eq!(out, [1.0, 2.0]);
}

/// Every microkernel that this processor can run, against sums in order with fused multiply-adds: the same
/// bits.
#[cfg(target_arch = "x86_64")]
#[test]
fn kernels_give_the_bits_of_fused_sums_in_order() {
    use kernel::Kernel;
    use microkernel::Rows;

    let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let kernels = [
        (Kernel::Avx2, has_avx2),
        (Kernel::Avx512, is_x86_feature_detected!("avx512f")),
    ];
    for (kernel, _) in kernels.into_iter().filter(|(_, here)| *here) {
        for (rows, columns, depth) in [
            (1, 1, 1),
            (3, 15, 7),
            (6, 16, 40),
            (5, 17, 3),
            (6, 32, 65),
            (2, 31, 0),
            (4, 2 * PANEL + 17, 9),
        ] {
            assert!(rows <= kernel.rows());
            for (by_columns, add) in [(false, false), (true, false), (false, true), (true, true)] {
                let (left_step, out_step, scale) =
                    (if by_columns { rows } else { depth }, columns + 2, 0.3);
                let left = numbers(rows * depth, 1);
                let panel_step = depth * PANEL;
                let panels = numbers(columns.div_ceil(PANEL) * panel_step, 2);
                let bias = numbers(columns, 3);
                let before = numbers(rows * out_step, 4);
                let mut out = before.clone();
                let some = Rows {
                    rows,
                    columns,
                    depth,
                    left: left.as_ptr(),
                    left_step,
                    by_columns,
                    panels: panels.as_ptr(),
                    panel_step,
                    scale,
                    bias: bias.as_ptr(),
                    add,
                    out: out.as_mut_ptr(),
                    out_step,
                };
                // SAFETY: the processor supports the kernel, and the slices have these sizes.
                unsafe { kernel.multiply(some) };
                for (i, (found, before)) in out.iter().zip(&before).enumerate() {
                    let (row, column) = (i / out_step, i % out_step);
                    let left_at = |k: usize| match by_columns {
                        true => left[k * rows + row],
                        false => left[row * depth + k],
                    };
                    let sum = |column: usize| {
                        let panel = &panels[column / PANEL * panel_step..];
                        (0..depth).fold(0f32, |sum, k| {
                            left_at(k).mul_add(panel[k * PANEL + column % PANEL], sum)
                        })
                    };
                    let wanted = match column < columns {
                        true if add => (sum(column) * scale + bias[column]) + before,
                        true => sum(column) * scale + bias[column],
                        false => *before,
                    };
                    assert_eq!(
                        found.to_bits(),
                        wanted.to_bits(),
                        "{kernel:?}: {row}, {column}"
                    );
                }
            }
        }
    }
}
