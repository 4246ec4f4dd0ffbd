//! Muon: the update of a matrix is its momentum with all singular values near 1.

use rayon::prelude::*;

use super::{Optimiser, Slice, Update};
use crate::ops::kernels::matmul::{Packed, Part, Target, View, multiply};
use crate::ops::kernels::scratch::Scratch;

pub(super) const MUON: Optimiser = Optimiser {
    name: "muon",
    about: "orthogonalised momentum (Jordan et al. 2024), scaled so that AdamW's learning rates suit it (Liu et al. 2025)",
    only_hidden: true,
    runs_on_cuda: false,
    reads_momentum: true,
    update,
};

/// Coefficients of an iteration: the singular values s of a matrix become `a s + b s³ + c s⁵`.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Iterations: after five, singular values that were above 0.01 lie between 0.68 and 1.14.
const ITERATIONS: usize = 5;

/// Rows of a product that a thread computes at once.
const ROWS: usize = 48;

/// `m ← μ m + (1-μ) g; u = μ m + (1-μ) g; w ← w - rate · (decay · w + 0.2 √max(rows, columns) · O(u))`, where `O` gives a matrix
/// the singular values of [`COEFFICIENTS`] and keeps its singular vectors. The factor gives updates the root mean square of
/// AdamW's, so that learning rates carry over.
///
/// Sources: Jordan et al. 2024, *Muon: an optimizer for hidden layers in neural networks*; the factor: Liu et al. 2025,
/// *Muon is scalable for LLM training* (2502.16982), eq. 4.
fn update(parameter: Slice<'_>, update: Update) {
    let Slice {
        weights,
        sizes,
        gradient,
        moments: [first, _],
        scale,
    } = parameter;
    let [rows, columns] = sizes.try_into().expect("a hidden layer is a matrix");
    let momentum = update.momentum as f32;
    let mut direction = Scratch::new(weights.len());
    let moved = direction.iter_mut().zip(first).zip(gradient);
    for ((u, m), g) in moved {
        let g = g * scale;
        *m = momentum * *m + (1.0 - momentum) * g;
        *u = momentum * *m + (1.0 - momentum) * g;
    }
    let short = rows.min(columns);
    let long = rows.max(columns);
    if rows > columns {
        let given = direction;
        direction = Scratch::new(weights.len());
        transpose(&given, columns, &mut direction);
    }
    orthogonalise(&mut direction, [short, long]);
    let rate = (update.learning_rate * 0.2 * (long as f64).sqrt()) as f32;
    let keep = (1.0 - update.learning_rate * update.weight_decay) as f32;
    let at = |row: usize, column: usize| match rows > columns {
        true => direction[column * long + row],
        false => direction[row * long + column],
    };
    weights
        .par_chunks_mut(columns)
        .enumerate()
        .for_each(|(row, weights)| {
            for (column, w) in weights.iter_mut().enumerate() {
                *w = keep * *w - rate * at(row, column);
            }
        });
}

/// Writes the transpose of a matrix with so many columns.
fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    to.par_chunks_mut(rows)
        .enumerate()
        .for_each(|(column, to)| {
            for (row, to) in to.iter_mut().enumerate() {
                *to = from[row * columns + column];
            }
        });
}

/// Newton-Schulz iterations on a matrix that is no taller than wide.
fn orthogonalise(x: &mut Scratch, [m, n]: [usize; 2]) {
    let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    let inverse = (1.0 / squares.sqrt().max(1e-7)) as f32;
    x.iter_mut().for_each(|x| *x *= inverse);
    let [a, b, c] = COEFFICIENTS;
    let mut gram = Scratch::new(m * m);
    let mut polynomial = Scratch::new(m * m);
    for _ in 0..ITERATIONS {
        let right = Packed::new(View::rows(x, n).t(), n, m);
        product(x, &right, 1.0, (&mut gram, Shape::Symmetric), false);
        drop(right);
        polynomial
            .iter_mut()
            .zip(gram.iter())
            .for_each(|(p, g)| *p = b * g);
        let right = Packed::new(View::rows(&gram, m), m, m);
        product(&gram, &right, c, (&mut polynomial, Shape::Symmetric), true);
        let mut next = Scratch::new(m * n);
        next.iter_mut()
            .zip(x.iter())
            .for_each(|(next, x)| *next = a * x);
        let right = Packed::new(View::rows(x, n), m, n);
        product(&polynomial, &right, 1.0, (&mut next, Shape::General), true);
        drop(right);
        *x = next;
    }
}

/// What is known of a product before it is computed.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    General,
    /// It equals its transpose, to the bit: only one half is computed.
    Symmetric,
}

/// `out = scale * left · right`, or that added to `out`, by all threads.
fn product(
    left: &[f32],
    right: &Packed<'_>,
    scale: f32,
    (out, shape): (&mut [f32], Shape),
    add: bool,
) {
    let (depth, columns) = (right.depth(), right.columns());
    let blocks = out.par_chunks_mut(ROWS * columns);
    let blocks = blocks.zip(left.par_chunks(ROWS * depth)).enumerate();
    blocks.for_each(|(block, (out, left))| {
        let (rows, left) = (out.len() / columns, View::rows(left, depth));
        let part = match shape {
            Shape::General => Part::Whole,
            Shape::Symmetric => Part::LowerResult(block * ROWS),
        };
        let target = Target::set(out, columns).adding(add);
        multiply(rows, left, right, scale, part, target);
    });
    if shape == Shape::Symmetric {
        for row in 0..columns {
            for column in row + 1..columns {
                out[row * columns + column] = out[column * columns + row];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Update {
        Update {
            step,
            learning_rate: 0.01,
            ..Update::default()
        }
    }

    /// The weights after three steps, from waves.
    fn after_three_steps(sizes: [usize; 2]) -> Vec<f32> {
        let count = sizes[0] * sizes[1];
        let wave = |f: &dyn Fn(f64) -> f64| -> Vec<f32> {
            (0..count).map(|i| f(i as f64) as f32).collect()
        };
        let mut weights = wave(&|i| (0.37 * i).sin());
        let mut momentum = vec![0.0; count];
        for t in 1..=3u32 {
            let t64 = f64::from(t);
            let gradient = wave(&|i| (0.7 * i * i * t64 + t64).cos());
            let parameter = Slice {
                weights: &mut weights,
                sizes: &sizes,
                gradient: &gradient,
                moments: [&mut momentum, &mut []],
                scale: 1.0,
            };
            update(parameter, step(u64::from(t)));
        }
        weights
    }

    #[test]
    fn agrees_with_the_published_code() {
        // `torch.optim.Muon` of PyTorch 2.15 with `adjust_lr_fn="match_rms_adamw"`, its iterations in f32 instead of bf16.
        let wide = [
            0.000148, 0.365416, 0.67469, 0.894743, 0.9861, 0.949944, 0.796008, 0.524511, 0.182754,
            -0.187112, -0.527424, -0.796808, -0.95853, -1.000038, -0.898051,
        ];
        let tall = [
            0.001071, 0.364642, 0.67224, 0.891665, 0.989312, 0.954429, 0.796113, 0.522073,
            0.184795, -0.183924, -0.525118, -0.797747, -0.959486, -0.997222, -0.895191,
        ];
        for (sizes, expected) in [([3, 5], wide), ([5, 3], tall)] {
            let weights = after_three_steps(sizes);
            for (ours, theirs) in weights.iter().zip(expected) {
                assert!(
                    (f64::from(*ours) - theirs).abs() < 2e-6,
                    "{sizes:?}: {ours} is not {theirs}"
                );
            }
        }
    }

    #[test]
    fn singular_values_come_near_one_and_vectors_stay() {
        // A diagonal matrix shows its singular values: each goes its own way through the iterations.
        let (m, n) = (70, 90);
        let mut matrix = Scratch::zeros(m * n);
        let value = |i: usize| 0.2 + i as f32;
        (0..m).for_each(|i| matrix[i * n + i] = value(i));
        let norm = (0..m).map(|i| value(i).powi(2)).sum::<f32>().sqrt();
        orthogonalise(&mut matrix, [m, n]);
        let [a, b, c] = COEFFICIENTS;
        for row in 0..m {
            for column in 0..n {
                let mut expected = if row == column {
                    value(row) / norm
                } else {
                    0.0
                };
                for _ in 0..ITERATIONS {
                    let s = expected;
                    expected = a * s + b * s.powi(3) + c * s.powi(5);
                }
                let found = matrix[row * n + column];
                assert!(
                    (found - expected).abs() < 1e-4,
                    "({row}, {column}): {found} is not {expected}"
                );
            }
        }
        assert!((0.6..1.3).contains(&matrix[20 * n + 20]));
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads")
                .install(|| after_three_steps([130, 70]))
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn a_matrix_without_a_gradient_only_decays() {
        let mut weights = vec![1.0; 6];
        let parameter = Slice {
            weights: &mut weights,
            sizes: &[2, 3],
            gradient: &[0.0; 6],
            moments: [&mut [0.0; 6], &mut []],
            scale: 1.0,
        };
        update(parameter, step(1));
        assert!(
            weights.iter().all(|w| (w - 0.999).abs() < 1e-6),
            "{weights:?}"
        );
    }
}
