//! The linear algebra that the questions need.

use rand::Rng;
use rand_distr::StandardNormal;

/// A vector, shape `[d]`.
pub type Vector = Vec<f64>;

/// `a . b`
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `|a - b|`
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y));
    squares.sum::<f64>().sqrt()
}

/// `scale a`
pub fn scaled(a: &[f64], scale: f64) -> Vector {
    a.iter().map(|x| scale * x).collect()
}

/// `scale (a + b)`
pub fn scaled_sum(a: &[f64], b: &[f64], scale: f64) -> Vector {
    a.iter().zip(b).map(|(x, y)| scale * (x + y)).collect()
}

/// `sum of weight_i vector_i` for at least one vector, all of equal length.
pub fn weighted_sum(weights: &[f64], vectors: &[Vector]) -> Vector {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (weight, vector) in weights.iter().zip(vectors) {
        for (total, x) in sum.iter_mut().zip(vector) {
            *total += weight * x;
        }
    }
    sum
}

/// `d` independent draws of N(0, 1).
pub fn normal_vector(dimension: usize, draws: &mut impl Rng) -> Vector {
    let draw = |_| draws.sample(StandardNormal);
    (0..dimension).map(draw).collect()
}

/// A draw of `N(length mean, alpha I)`.
pub fn noisy(mean: &[f64], length: f64, alpha: f64, draws: &mut impl Rng) -> Vector {
    let noise = normal_vector(mean.len(), draws);
    let pairs = mean.iter().zip(noise);
    pairs.map(|(x, e)| length * x + alpha.sqrt() * e).collect()
}

/// `count` random orthonormal vectors of `dimension`, which is at least `count`.
///
/// Gram-Schmidt, applied twice to each vector: once leaves an error that grows with the count.
pub fn orthonormal(count: usize, dimension: usize, draws: &mut impl Rng) -> Vec<Vector> {
    assert!(count <= dimension, "{count} directions in {dimension}");
    let mut basis: Vec<Vector> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector = normal_vector(dimension, draws);
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                for (x, y) in vector.iter_mut().zip(other) {
                    *x -= along * y;
                }
            }
            let length = dot(&vector, &vector).sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
        }
        basis.push(vector);
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::generator::generator;

    #[test]
    fn bases_are_orthonormal() {
        for (count, dimension) in [(1, 1), (3, 3), (64, 64), (20, 100)] {
            let basis = orthonormal(count, dimension, &mut generator(b"expltest", [1, 0, 0]));
            for (i, a) in basis.iter().enumerate() {
                for (j, b) in basis.iter().enumerate() {
                    let wanted = f64::from(u8::from(i == j));
                    assert!((dot(a, b) - wanted).abs() < 1e-13, "{i} {j}");
                }
            }
        }
    }
}
