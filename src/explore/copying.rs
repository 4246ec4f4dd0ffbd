//! a: attention copies `v_j` when `k_j . q` is much larger than every other score.

use super::attention_weights;
use super::vectors::{distance, orthonormal, weighted_sum};
use crate::data::generator::generator;

/// How well attention copies at one margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Copied {
    /// By how much the score of key `j` exceeds all others.
    pub margin: f64,
    /// The weight on key `j`.
    pub weight: f64,
    /// `|c - v_j|`, where values have length 1.
    pub error: f64,
}

/// Draws `n` orthonormal keys and values, and points a query along key 0 for each margin.
pub fn measure(keys: usize, dimension: usize, margins: &[f64], seed: u64) -> Vec<Copied> {
    let mut draws = generator(b"copying ", [seed, keys as u64, dimension as u64]);
    let k = orthonormal(keys, dimension, &mut draws);
    let v = orthonormal(keys, dimension, &mut draws);
    let at = |&margin: &f64| {
        let query: Vec<f64> = k[0].iter().map(|x| margin * x).collect();
        let weights = attention_weights(&k, &query);
        Copied {
            margin,
            weight: weights[0],
            error: distance(&weighted_sum(&weights, &v), &v[0]),
        }
    };
    margins.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_and_error_have_their_closed_forms() {
        let (n, margins) = (10, [0.0, 1.0, 5.0, 12.0]);
        for found in measure(n, 16, &margins, 1) {
            let others = n as f64 - 1.0;
            let weight = found.margin.exp() / (found.margin.exp() + others);
            let rest = 1.0 - weight;
            let error = (rest * rest + rest * rest / others).sqrt();
            assert!((found.weight - weight).abs() < 1e-12, "{found:?}");
            assert!((found.error - error).abs() < 1e-12, "{found:?}");
        }
    }
}
