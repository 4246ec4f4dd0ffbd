//! b.i: `M = A A^T` extracts `v_a` from `v_a + v_b` when the bases A and B are orthonormal and A is
//! perpendicular to B. The reported M has the basis vectors as columns: it is A itself.

use super::vectors::{Vector, distance, dot, normal_vector, orthonormal, weighted_sum};
use crate::data::generator::generator;

/// `|M (v_a + v_b) - v_a| / |v_a|` for two matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extracted {
    /// For `M = A A^T`.
    pub projection: f64,
    /// For the reported M: A, padded with `d - m` columns of zeros so that it is square.
    pub reported: f64,
}

/// One draw: A and B of `m` basis vectors each, `2m <= d`, with `v_a` and `v_b` in their spans.
pub fn measure(basis: usize, dimension: usize, seed: u64, sample: u64) -> Extracted {
    let mut draws = generator(b"extract ", [seed, basis as u64, sample]);
    let both = orthonormal(2 * basis, dimension, &mut draws);
    let (a, b) = both.split_at(basis);
    let v_a = weighted_sum(&normal_vector(basis, &mut draws), a);
    let v_b = weighted_sum(&normal_vector(basis, &mut draws), b);
    let sum: Vector = v_a.iter().zip(&v_b).map(|(x, y)| x + y).collect();
    let along: Vec<f64> = a.iter().map(|vector| dot(vector, &sum)).collect();
    let relative = |found: Vector| distance(&found, &v_a) / dot(&v_a, &v_a).sqrt();
    Extracted {
        projection: relative(weighted_sum(&along, a)),
        reported: relative(weighted_sum(&sum[..basis], a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_extracts_exactly_and_the_reported_matrix_does_not() {
        for sample in 0..50 {
            let error = measure(8, 64, 1, sample);
            assert!(error.projection < 1e-12, "{error:?}");
            assert!(error.reported > 0.1, "{error:?}");
        }
    }
}
