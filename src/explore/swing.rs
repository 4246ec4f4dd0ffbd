//! c.ii: the covariance of `k_a` is `alpha I + (mu_a mu_a^T) / 2`, so `k_a` is about `epsilon mu_a` with
//! epsilon ~ N(1, 1/2), and the output for `q = beta (mu_a + mu_b)` swings between `v_a` and `v_b`.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::attention_weights;
use super::averaging::scaled_sum;
use super::vectors::{Vector, normal_vector, orthonormal};
use crate::data::generator::generator;

/// The keys of one sample and the quantities they were drawn from.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Orthonormal, shape `[n, d]`; a is the first and b the second.
    pub means: Vec<Vector>,
    /// Shape `[n, d]`.
    pub keys: Vec<Vector>,
    /// The length of `k_a` along its mean, without the noise of alpha.
    pub epsilon: f64,
}

/// Draws the keys of sample `sample`.
pub fn draw(keys: usize, dimension: usize, alpha: f64, (seed, sample): (u64, u64)) -> Keys {
    let mut draws = generator(b"swing   ", [seed, keys as u64, sample]);
    let means = orthonormal(keys, dimension, &mut draws);
    let normal: f64 = draws.sample(StandardNormal);
    let epsilon = 1.0 + 0.5_f64.sqrt() * normal;
    let mut key = |(i, mean): (usize, &Vector)| {
        let length = if i == 0 { epsilon } else { 1.0 };
        let noise = normal_vector(dimension, &mut draws);
        let pairs = mean.iter().zip(noise);
        pairs.map(|(x, e)| length * x + alpha.sqrt() * e).collect()
    };
    let keys = means.iter().enumerate().map(&mut key).collect();
    Keys {
        means,
        keys,
        epsilon,
    }
}

/// The weight on `v_a` for `q = beta (mu_a + mu_b)`.
pub fn weight_on_a(drawn: &Keys, beta: f64) -> f64 {
    let query = scaled_sum(&drawn.means[0], &drawn.means[1], beta);
    attention_weights(&drawn.keys, &query)[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_is_below_zero_as_often_as_the_normal_distribution_says() {
        let samples = 20_000;
        let below = |&i: &u64| draw(3, 4, 1e-10, (1, i)).epsilon < 0.0;
        let share = (0..samples).filter(below).count() as f64 / samples as f64;
        // P(N(1, 1/2) < 0) = 7.86 %; four standard errors are 0.76 points.
        assert!((share - 0.0786).abs() < 0.0077, "{share}");
    }

    #[test]
    fn the_weight_follows_epsilon() {
        for i in 0..20 {
            let drawn = draw(10, 16, 1e-18, (1, i));
            let (a, b) = ((10.0 * drawn.epsilon).exp(), 10_f64.exp());
            let wanted = a / (a + b + 8.0);
            assert!((weight_on_a(&drawn, 10.0) - wanted).abs() < 1e-6, "{i}");
        }
    }
}
