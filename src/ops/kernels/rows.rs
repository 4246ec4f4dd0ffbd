//! Element-wise and row-wise functions, written so that the compiler vectorises them.
//!
//! [`wide`] runs an expression that is compiled for the widest vectors of the processor; functions called
//! within it are `#[inline(always)]`. Multiply-adds are never fused here, so the bits are the same on every
//! x86-64 and aarch64 processor.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};
use std::sync::LazyLock;

use super::matmul::Packed;
use super::scratch::Scratch;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::NORM_EPSILON;

/// Number of partial sums of a reduction: one 512-bit vector.
pub const LANES: usize = 16;

/// Runs `f`, compiled for this processor's vector instructions.
pub fn run_wide<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);
    ARCH.dispatch(f)
}

/// Runs an expression, compiled for this processor's vector instructions.
macro_rules! wide {
    ($run:expr) => {
        $crate::ops::kernels::rows::run_wide(
            #[inline(always)]
            || $run,
        )
    };
}
pub(crate) use wide;

/// Brings elements into this core's cache.
pub fn read_ahead(elements: &[f32]) {
    let a_line_each = elements.iter().step_by(LANES);
    std::hint::black_box(a_line_each.fold(0, |bits, x| bits ^ x.to_bits()));
}

/// `Σ weights[i] * rows[i]`, the rows one after another.
#[inline(always)]
pub fn weighted_sum<'a, const WIDTH: usize>(
    rows: impl Iterator<Item = &'a [f32; WIDTH]>,
    weights: &[f32],
) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for (row, weight) in rows.zip(weights) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += weight * x);
    }
    sums
}

/// Sum of `f(a, b)` over two rows, in a fixed order.
#[inline(always)]
pub fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let tail: f32 = tail.map(|(&a, &b)| f(a, b)).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    let mut count = LANES / 2;
    while count > 0 {
        for lane in 0..count {
            lanes[lane] += lanes[lane + count];
        }
        count /= 2;
    }
    lanes[0] + tail
}

/// `e^x` to about 2 units in the last place; below -87 it is about 1e-38, above 88 about 1e38.
///
/// Source: range reduction and polynomial of Cephes `expf` (Moshier 1989).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// The maximum of a row.
#[inline(always)]
fn most_of(row: &[f32]) -> f32 {
    // Not `f32::max`, whose handling of NaN prevents vectorisation.
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = greater(lanes[lane], block[lane]);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |most, &x| greater(most, x))
}

/// Softmax of a row, in place.
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let most = most_of(row);
    row.iter_mut().for_each(|s| *s = exp(*s - most));
    let scale = 1.0 / sum_of(row, row, |s, _| s);
    row.iter_mut().for_each(|s| *s *= scale);
}

/// Softmax of a row and a further score, in place: the weights that are left for the row.
#[inline(always)]
pub fn softmax_with_sink(row: &mut [f32], sink: f32) {
    let most = most_of(row).max(sink);
    row.iter_mut().for_each(|s| *s = exp(*s - most));
    let scale = 1.0 / (sum_of(row, row, |s, _| s) + exp(sink - most));
    row.iter_mut().for_each(|s| *s *= scale);
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Error function to 1.5e-7, and `e^(-x²)`, which is computed anyway.
///
/// Source: Abramowitz and Stegun 1964, 7.1.26.
#[inline(always)]
fn erf(x: f32) -> (f32, f32) {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4 * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    let gauss = exp(-a * a);
    ((1.0 - p * t * gauss).copysign(x), gauss)
}

/// Exact GELU, `x Φ(x)`, and its derivative `Φ(x) + x φ(x)`.
///
/// Source: Hendrycks and Gimpel 2016.
#[inline(always)]
pub fn gelu(x: f32) -> (f32, f32) {
    const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
    let (erf, gauss) = erf(x * FRAC_1_SQRT_2);
    let cumulative = 0.5 * (1.0 + erf);
    (x * cumulative, cumulative + x * FRAC_1_SQRT_TAU * gauss)
}

/// `max(0, x)²` and its derivative.
#[inline(always)]
pub fn squared_relu(x: f32) -> (f32, f32) {
    // A NaN stays one.
    let above = if x < 0.0 { 0.0 } else { x };
    (above * above, 2.0 * above)
}

/// `x σ(x)`, where σ is the logistic function, and its derivative `σ(x) (1 + x (1 - σ(x)))`.
///
/// Source: Elfwing, Uchibe and Doya 2018.
#[inline(always)]
pub fn silu(x: f32) -> (f32, f32) {
    let share = 1.0 / (1.0 + exp(-x));
    (x * share, share * (1.0 + x * (1.0 - share)))
}

/// The parameters of a norm of rows: see [`Norm`](crate::ops::parameters::Norm).
#[derive(Clone, Copy)]
pub struct RowNorm<'a> {
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
}

impl RowNorm<'_> {
    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.weight.len() + self.bias.map_or(0, <[f32]>::len)
    }

    /// Mean and reciprocal standard deviation of a row; the mean counts as 0 in an RMS norm.
    #[inline(always)]
    fn statistics(&self, x: &[f32]) -> (f32, f32) {
        let count = x.len() as f32;
        let mean = match self.bias {
            Some(_) => sum_of(x, x, |v, _| v) / count,
            None => 0.0,
        };
        let variance = sum_of(x, x, |v, _| (v - mean) * (v - mean)) / count;
        (mean, 1.0 / (variance + NORM_EPSILON as f32).sqrt())
    }
}

/// Norm of each row of `x: [rows, EMBED]`, written to `y`.
pub fn normalise(x: &[f32], norm: RowNorm<'_>, y: &mut [f32]) {
    let (weight, embed) = (norm.weight, norm.weight.len());
    wide!({
        for (y, x) in y.chunks_exact_mut(embed).zip(x.chunks_exact(embed)) {
            let (mean, scale) = norm.statistics(x);
            match norm.bias {
                Some(bias) => {
                    // Tells the compiler that the lengths are equal; otherwise it does not vectorise.
                    let bias = &bias[..embed];
                    for i in 0..embed {
                        y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
                    }
                }
                None => (0..embed).for_each(|i| y[i] = x[i] * scale * weight[i]),
            }
        }
    });
}

/// [`normalise`], packed as the right factor of a product.
pub fn normed_rows<'a>(x: &[f32], norm: RowNorm<'_>) -> Packed<'a> {
    // Few enough to stay in the L1 cache.
    const ROWS: usize = 4 * Packed::PUT_ROWS;
    let embed = norm.weight.len();
    let mut normed = Packed::of_rows(x.len() / embed, embed);
    let mut rows = Scratch::new(ROWS * embed);
    for (i, x) in x.chunks(ROWS * embed).enumerate() {
        let rows = &mut rows[..x.len()];
        normalise(x, norm, rows);
        normed.put(i * ROWS, rows);
    }
    normed
}

/// Backward of [`normalise`]: accumulates `dx`, and writes the gradients of the weight and, after it, of the bias if
/// there is one.
pub fn normalise_backward(
    dy: &[f32],
    x: &[f32],
    norm: RowNorm<'_>,
    dx: &mut [f32],
    gradient: &mut [f32],
) {
    let (weight, embed) = (norm.weight, norm.weight.len());
    assert_eq!(gradient.len(), norm.len(), "the gradient of another norm");
    let mut scaled = Scratch::new(embed);
    gradient.fill(0.0);
    let (dweight, dbias) = gradient.split_at_mut(embed);
    wide!({
        let scaled = &mut scaled[..embed];
        let rows = dx.chunks_exact_mut(embed).zip(dy.chunks_exact(embed));
        for ((dx, dy), x) in rows.zip(x.chunks_exact(embed)) {
            let (mean, scale) = norm.statistics(x);
            let hat = |x: f32| (x - mean) * scale;
            for i in 0..embed {
                dweight[i] += dy[i] * hat(x[i]);
                scaled[i] = dy[i] * weight[i];
            }
            // Empty in an RMS norm, which has no mean either.
            dbias.iter_mut().zip(dy).for_each(|(sum, d)| *sum += d);
            let mean_scaled = match norm.bias {
                Some(_) => sum_of(scaled, x, |d, _| d) / embed as f32,
                None => 0.0,
            };
            let mean_along = sum_of(scaled, x, |d, x| d * hat(x)) / embed as f32;
            for i in 0..embed {
                dx[i] += scale * (scaled[i] - mean_scaled - hat(x[i]) * mean_along);
            }
        }
    });
}

/// `x[i] *= factor`, with the factors of dropout from index `first` on.
pub fn drop_in_place(x: &mut [f32], dropout: Dropout, first: usize) {
    if dropout.is_none() {
        return;
    }
    wide!({
        for (i, x) in x.iter_mut().enumerate() {
            *x *= dropout.factor((first + i) as u32);
        }
    });
}

/// `y[i] = x[i] * factor`, with the same factors.
pub fn drop_into(y: &mut [f32], x: &[f32], dropout: Dropout, first: usize) {
    if dropout.is_none() {
        y.copy_from_slice(x);
        return;
    }
    wide!({
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = x * dropout.factor((first + i) as u32);
        }
    });
}

/// `y[i] = x[i] + y[i] * factor`, with the same factors.
pub fn drop_and_add(y: &mut [f32], x: &[f32], dropout: Dropout, first: usize) {
    if dropout.is_none() {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
        return;
    }
    wide!({
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = x + *y * dropout.factor((first + i) as u32);
        }
    });
}

/// Sums the rows of `dy`, which have row stride `step`.
pub fn sum_rows(dy: &[f32], step: usize, sum: &mut [f32]) {
    let width = sum.len();
    sum.fill(0.0);
    wide!({
        for row in dy.chunks_exact(step) {
            for i in 0..width {
                sum[i] += row[i];
            }
        }
    });
}

/// `max(x, 0)`, in place.
pub fn relu(row: &mut [f32]) {
    wide!(row.iter_mut().for_each(|x| *x = x.max(0.0)));
}

/// Backward of [`relu`], in place; `y` is the output.
pub fn relu_backward(dy: &mut [f32], y: &[f32]) {
    wide!((dy.iter_mut().zip(y)).for_each(|(d, &y)| *d = if y > 0.0 { *d } else { 0.0 }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_and_saturates() {
        for i in -8700..=8800 {
            let x = i as f32 * 0.01;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (got - want).abs() <= 3e-7 * want,
                "exp({x}) = {got}, not {want}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e10) < 1e-37 && exp(f32::NEG_INFINITY) >= 0.0 && exp(1e10).is_finite());
    }

    #[test]
    fn softmax_is_its_definition_for_rows_of_any_length() {
        for length in [1, 15, 16, 17, 33] {
            for hidden in [0, length / 2] {
                let mut row: Vec<f32> =
                    (0..length).map(|i| ((i * 37) % 11) as f32 - 90.0).collect();
                row[length - hidden..].fill(f32::NEG_INFINITY);
                let exps: Vec<f64> = row.iter().map(|&s| (f64::from(s) + 90.0).exp()).collect();
                let sum: f64 = exps.iter().sum();
                softmax(&mut row);
                for (got, exp) in row.iter().zip(exps) {
                    assert!(
                        (f64::from(*got) - exp / sum).abs() < 1e-6,
                        "{length}: {row:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn gelu_and_its_slope_match_their_definition() {
        // Φ by Simpson's rule in f64.
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let cumulative = |x: f64| {
            let (n, h) = (2000, x / 2000.0);
            let inner: f64 = (1..n)
                .map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
                .sum();
            0.5 + h / 3.0 * (density(0.0) + inner + density(x))
        };
        for i in -60..=60 {
            let x = f64::from(i) * 0.1;
            let (value, slope) = gelu(x as f32);
            let (want, want_slope) = (x * cumulative(x), cumulative(x) + x * density(x));
            assert!((f64::from(value) - want).abs() < 1e-6, "gelu({x})");
            assert!((f64::from(slope) - want_slope).abs() < 1e-6, "gelu'({x})");
        }
    }

    /// A row of `x`, and the gradient of `Σ dy y` for a norm `y` of it that is written out in f64.
    fn norm_by_formula(
        x: &[f64],
        weight: &[f64],
        bias: Option<&[f64]>,
        dy: &[f64],
    ) -> [Vec<f64>; 2] {
        let y = |x: &[f64]| -> Vec<f64> {
            let count = x.len() as f64;
            let mean = bias.map_or(0.0, |_| x.iter().sum::<f64>() / count);
            let square = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            let root = (square + 1e-5).sqrt();
            let bias = |i: usize| bias.map_or(0.0, |bias| bias[i]);
            (0..x.len())
                .map(|i| (x[i] - mean) / root * weight[i] + bias(i))
                .collect()
        };
        let sum = |x: &[f64]| -> f64 { y(x).iter().zip(dy).map(|(y, dy)| y * dy).sum() };
        let slope = |i: usize| {
            let [mut above, mut below] = [x.to_vec(), x.to_vec()];
            above[i] += 1e-6;
            below[i] -= 1e-6;
            (sum(&above) - sum(&below)) / 2e-6
        };
        [y(x), (0..x.len()).map(slope).collect()]
    }

    #[test]
    fn norms_and_their_gradients_match_formulas_written_out() {
        for width in [1usize, 5, 16, 37] {
            let numbers = |salt: f64| -> Vec<f32> {
                let wave = |i: usize| ((i as f64 + 1.0) * salt).sin() as f32;
                (0..width).map(|i| wave(i) + 0.4).collect()
            };
            let [x, weight, bias, dy] = [1.3, 2.1, 3.7, 4.9].map(numbers);
            let exact = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            for bias in [Some(&bias[..]), None] {
                let norm = RowNorm {
                    weight: &weight,
                    bias,
                };
                let [mut y, mut dx] = [vec![0.0; width], vec![0.0; width]];
                let mut gradient = vec![f32::NAN; norm.len()];
                normalise(&x, norm, &mut y);
                normalise_backward(&dy, &x, norm, &mut dx, &mut gradient);
                let bias_64 = bias.map(exact);
                let [want_y, want_dx] =
                    norm_by_formula(&exact(&x), &exact(&weight), bias_64.as_deref(), &exact(&dy));
                for i in 0..width {
                    let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-5 * (1.0 + b.abs());
                    assert!(close(y[i], want_y[i]), "{width}: {} {}", y[i], want_y[i]);
                    assert!(
                        close(dx[i], want_dx[i]),
                        "{width}: {} {}",
                        dx[i],
                        want_dx[i]
                    );
                    let hat = (want_y[i] - bias_64.as_ref().map_or(0.0, |bias| bias[i]))
                        / f64::from(weight[i]);
                    assert!(close(gradient[i], hat * f64::from(dy[i])), "{width}");
                }
                assert_eq!(&gradient[width..], bias.map_or(&[][..], |_| &dy[..]));
            }
        }
    }
}
