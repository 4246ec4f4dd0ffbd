//! a: attention copies `v_j` when `k_j . q` is much larger than every other score.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention_weights;
use super::curve::Curve;
use super::question::{
    Measurements, Question, Sampling, Sizes, check_grid, check_key_count, orthogonalisation_cost,
};
use super::vectors::{distance, orthonormal, weighted_sum};
use crate::data::generator::generator;
use crate::error::Result;
use crate::kinds::BrokenRule;

/// When is the output one of the values?
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Copying {
    /// Dimension of keys, values and queries.
    #[schemars(range(min = 1, max = 4096))]
    pub dimension: usize,
    /// How many keys, and values; at most `dimension`, and at least 3 for noisy averaging.
    #[schemars(range(min = 2))]
    pub keys: usize,
    /// How far one score exceeds all others, ascending.
    pub margins: Vec<f64>,
}

impl Question for Copying {
    const NAME: &'static str = "copying";
    const ASKS: &'static str = "a: when is the output one of the values?";
    const HEADING: &'static str = "When attention copies one value";
    const NOTE: &'static str = " Keys and values are orthonormal.";

    fn sizes(&self) -> Sizes {
        Sizes {
            dimension: self.dimension,
            keys: Some(self.keys),
            ..Sizes::default()
        }
    }

    fn check(&self) -> Vec<BrokenRule> {
        let broken = [
            check_key_count(self.keys, self.dimension),
            check_grid("margins", &self.margins),
        ];
        broken.into_iter().flatten().collect()
    }

    fn multiplications(&self) -> f64 {
        2.0 * orthogonalisation_cost(self.keys, self.dimension)
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let once = |_| measure(self.keys, self.dimension, &self.margins, seed);
        let found = sampling.each(once)?.concat();
        let x = "margin: score of key j minus each other score";
        let weight = Curve {
            curve: "weight",
            x,
            y: "weight on value j",
            ..Curve::default()
        };
        let error = Curve {
            curve: "distance",
            x,
            y: "|c - v_j| for values of length 1",
            is_logarithmic: true,
            ..Curve::default()
        };
        let weights = found.iter().map(|one| weight.at(one.margin, &[one.weight]));
        let errors = found.iter().map(|one| error.at(one.margin, &[one.error]));
        Ok(Measurements::Curves(weights.chain(errors).collect()))
    }
}

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
