//! c.i: keys `k_i ~ N(mu_i, alpha I)` with orthonormal means and vanishing alpha: `q = beta (mu_a + mu_b)`
//! averages the two values. The reported `q = (mu_a + mu_b) / 2` leaves most of the weight on the other
//! keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention_weights;
use super::averaging::scaled_sum;
use super::curve::Curve;
use super::question::{
    Measurements, Question, Sampling, Sizes, check_grid, check_key_count, orthogonalisation_cost,
};
use super::vectors::{Vector, normal_vector, orthonormal};
use crate::data::generator::generator;
use crate::error::Result;
use crate::kinds::BrokenRule;

/// Which query averages two values, if keys are near their means?
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NoisyAveraging {
    /// Dimension of keys, values and queries.
    #[schemars(range(min = 1, max = 4096))]
    pub dimension: usize,
    /// How many keys, and values; at most `dimension`, and at least 3 for noisy averaging.
    #[schemars(range(min = 2))]
    pub keys: usize,
    /// Scale factors of the query, ascending.
    #[schemars(inner(range(min = 0)))]
    pub betas: Vec<f64>,
    /// Variance of the keys around their means.
    #[schemars(range(min = 0))]
    pub alpha: f64,
    /// How many times keys or subspaces are drawn.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub samples: usize,
}

impl Question for NoisyAveraging {
    const NAME: &'static str = "noisy-averaging";
    const ASKS: &'static str = "c.i: and if keys are near their means?";
    const HEADING: &'static str = "Averaging with keys near their means";
    const NOTE: &'static str = " Keys are drawn from N(μ_i, α I) with orthonormal means.";

    fn sizes(&self) -> Sizes {
        Sizes {
            dimension: self.dimension,
            keys: Some(self.keys),
            alpha: Some(self.alpha),
            samples: Some(self.samples),
            ..Sizes::default()
        }
    }

    fn check(&self) -> Vec<BrokenRule> {
        // The weight on the other keys is measured, so there must be others.
        let alone = format!("= {} must be at least 3", self.keys);
        let alone = (self.keys < 3).then(|| BrokenRule::new("keys", alone));
        let broken = [
            alone,
            check_key_count(self.keys, self.dimension),
            check_grid("betas", &self.betas),
        ];
        broken.into_iter().flatten().collect()
    }

    fn multiplications(&self) -> f64 {
        orthogonalisation_cost(self.keys, self.dimension)
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let scales = [&self.betas[..], &[REPORTED_SCALE]].concat();
        let shape = (self.keys, self.dimension);
        let one = |sample| weight_on_others(shape, self.alpha, &scales, (seed, sample));
        let found = sampling.each(one)?;
        let ours = Curve {
            curve: "q = β (μ_a + μ_b)",
            x: "factor β of the query",
            y: "weight left on the other n - 2 keys",
            is_logarithmic: true,
            ..Curve::default()
        };
        let reported = Curve {
            curve: "as reported: q = (μ_a + μ_b) / 2",
            is_reported: true,
            ..ours
        };
        let last = scales.len() - 1;
        let at = |(i, &scale): (usize, &f64)| {
            let curve = if i == last { reported } else { ours };
            let all: Vec<f64> = found.iter().map(|sample| sample[i]).collect();
            curve.at(scale, &all)
        };
        let rows = scales.iter().enumerate().map(at);
        Ok(Measurements::Curves(rows.collect()))
    }
}

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
