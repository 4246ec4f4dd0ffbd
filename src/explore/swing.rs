//! c.ii: the covariance of `k_a` is `alpha I + (mu_a mu_a^T) / 2`, so `k_a` is about `epsilon mu_a` with
//! epsilon ~ N(1, 1/2), and the output for `q = beta (mu_a + mu_b)` swings between `v_a` and `v_b`.

use rand::Rng as _;
use rand_distr::StandardNormal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention_weights;
use super::question::{Measurements, Question, Sampling, check_key_count};
use super::vectors::{Vector, noisy, orthonormal, scaled_sum};
use crate::data::generator::generator;
use crate::error::Result;
use crate::kinds::BrokenRule;
use crate::metrics::rows::SampleRow;

/// Which query averages two values, if one key is of uncertain length?
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Swing {
    /// Dimension of keys, values and queries.
    #[schemars(range(min = 1, max = 4096))]
    pub dimension: usize,
    /// How many keys, and values; at most `dimension`, and at least 3 for noisy averaging.
    #[schemars(range(min = 2))]
    pub keys: usize,
    /// Scale factor of the query.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
    /// Variance of the keys around their means.
    #[schemars(range(min = 0))]
    pub alpha: f64,
    /// How many times keys or subspaces are drawn.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub samples: usize,
}

impl Question for Swing {
    const NAME: &'static str = "swing";
    const ASKS: &'static str = "c.ii: and if one key is of uncertain length?";
    const HEADING: &'static str = "One head with a key of uncertain length";
    const NOTE: &'static str = " Keys are drawn around orthonormal means with covariance α I, that of a with α I + (μ_a μ_a^T) / 2: \
         its length is about N(1, 1/2).";
    const YIELDS_SAMPLES: bool = true;

    fn check(&self) -> Vec<Option<BrokenRule>> {
        vec![check_key_count(self.keys, self.dimension)]
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let one = |sample| {
            let drawn = self.draw(seed, sample);
            drawn.row(sample, ONE_HEAD, drawn.of_one_head(self.beta))
        };
        Ok(Measurements::Samples(sampling.each(one)?))
    }
}

/// Name of the construction with one head.
pub const ONE_HEAD: &str = "one head: q = β (μ_a + μ_b)";

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

impl Swing {
    /// Draws the keys of sample `sample`.
    pub fn draw(&self, seed: u64, sample: u64) -> Keys {
        let mut draws = generator(b"swing   ", [seed, self.keys as u64, sample]);
        let means = orthonormal(self.keys, self.dimension, &mut draws);
        let normal: f64 = draws.sample(StandardNormal);
        let epsilon = 1.0 + 0.5_f64.sqrt() * normal;
        let key = |(i, mean): (usize, &Vector)| {
            let length = if i == 0 { epsilon } else { 1.0 };
            noisy(mean, length, self.alpha, &mut draws)
        };
        Keys {
            keys: means.iter().enumerate().map(key).collect(),
            means,
            epsilon,
        }
    }
}

impl Keys {
    /// The weight that a query puts on `v_a`.
    pub fn weight_on_a(&self, query: &[f64]) -> f64 {
        attention_weights(&self.keys, query)[0]
    }

    /// The weight on `v_a` for `q = beta (mu_a + mu_b)`.
    pub fn of_one_head(&self, beta: f64) -> f64 {
        self.weight_on_a(&scaled_sum(&self.means[0], &self.means[1], beta))
    }

    /// The row for the value that a construction gives on these keys.
    pub fn row(&self, sample: u64, series: &str, value: f64) -> SampleRow {
        SampleRow {
            series: series.to_owned(),
            is_reported: false,
            quantity: "weight on value a".to_owned(),
            sample,
            epsilon: self.epsilon,
            value,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn draw(keys: usize, dimension: usize, alpha: f64, sample: u64) -> Keys {
        let swing = Swing {
            dimension,
            keys,
            beta: 1.0,
            alpha,
            samples: 2,
        };
        swing.draw(1, sample)
    }

    #[test]
    fn epsilon_is_below_zero_as_often_as_the_normal_distribution_says() {
        let samples = 20_000;
        let below = |&i: &u64| draw(3, 4, 1e-10, i).epsilon < 0.0;
        let share = (0..samples).filter(below).count() as f64 / samples as f64;
        // P(N(1, 1/2) < 0) = 7.86 %; four standard errors are 0.76 points.
        assert!((share - 0.0786).abs() < 0.0077, "{share}");
    }

    #[test]
    fn the_weight_follows_epsilon() {
        for i in 0..20 {
            let drawn = draw(10, 16, 1e-18, i);
            let (a, b) = ((10.0 * drawn.epsilon).exp(), 10_f64.exp());
            let wanted = a / (a + b + 8.0);
            assert!((drawn.of_one_head(10.0) - wanted).abs() < 1e-6, "{i}");
        }
    }
}
