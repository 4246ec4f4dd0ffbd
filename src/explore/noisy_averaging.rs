//! c.i: keys `k_i ~ N(mu_i, alpha I)` with orthonormal means and vanishing alpha: `q = beta (mu_a + mu_b)`
//! averages the two values. The reported `q = (mu_a + mu_b) / 2` leaves most of the weight on the other
//! keys.

use super::attention_weights;
use super::averaging::scaled_sum;
use super::vectors::{Vector, normal_vector, orthonormal};
use crate::data::generator::generator;

/// The scale of the reported query.
pub const REPORTED_SCALE: f64 = 0.5;

/// The weight that `q = scale (mu_a + mu_b)` leaves on the other `n - 2` keys, for each scale; one draw of
/// keys.
pub fn weight_on_others(
    (keys, dimension): (usize, usize),
    alpha: f64,
    scales: &[f64],
    (seed, sample): (u64, u64),
) -> Vec<f64> {
    let mut draws = generator(b"noisy   ", [seed, keys as u64, sample]);
    let means = orthonormal(keys, dimension, &mut draws);
    let noisy = |mean: &Vector| {
        let noise = normal_vector(dimension, &mut draws);
        let pairs = mean.iter().zip(noise);
        pairs.map(|(x, e)| x + alpha.sqrt() * e).collect()
    };
    let k: Vec<Vector> = means.iter().map(noisy).collect();
    let left = |&scale: &f64| {
        let weights = attention_weights(&k, &scaled_sum(&means[0], &means[1], scale));
        weights[2..].iter().sum()
    };
    scales.iter().map(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reported_query_leaves_most_of_the_weight_on_the_others() {
        let left = weight_on_others((10, 16), 1e-12, &[REPORTED_SCALE, 20.0], (1, 0));
        let wanted = 8.0 / (2.0 * 0.5_f64.exp() + 8.0);
        assert!((left[0] - wanted).abs() < 1e-4, "{left:?}");
        assert!(left[0] > 0.7 && left[1] < 1e-7, "{left:?}");
    }
}
