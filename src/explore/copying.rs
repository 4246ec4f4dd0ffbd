//! a: attention copies `v_j` when `k_j . q` is much larger than every other score.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention_weights;
use super::curve::Curve;
use super::question::{Measurements, Question, Sampling, check_grid, check_key_count};
use super::vectors::{distance, orthonormal, scaled, weighted_sum};
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
    const SETS: usize = 2;

    fn check(&self) -> Vec<Option<BrokenRule>> {
        vec![
            check_key_count(self.keys, self.dimension),
            check_grid("margins", &self.margins),
        ]
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let once = |_| measure(self.keys, self.dimension, &self.margins, seed);
        let found = sampling.each(once)?.concat();
        let weight = Curve {
            curve: "weight",
            x: "margin: score of key j minus each other score",
            y: "weight on value j",
            ..Curve::default()
        };
        let error = Curve {
            curve: "distance",
            y: "|c - v_j| for values of length 1",
            is_logarithmic: true,
            ..weight
        };
        let both = || self.margins.iter().zip(&found);
        let weights = both().map(|(&margin, one)| weight.at(margin, [one.0]));
        let errors = both().map(|(&margin, one)| error.at(margin, [one.1]));
        Ok(Measurements::Curves(weights.chain(errors).collect()))
    }
}

/// For each margin, the weight on key 0 and `|c - v_0|`. Keys and values are random and orthonormal; the query points
/// along key 0, whose score exceeds all others by the margin.
pub fn measure(keys: usize, dimension: usize, margins: &[f64], seed: u64) -> Vec<(f64, f64)> {
    let mut draws = generator(b"copying ", [seed, keys as u64, dimension as u64]);
    let k = orthonormal(keys, dimension, &mut draws);
    let v = orthonormal(keys, dimension, &mut draws);
    let at = |&margin: &f64| {
        let weights = attention_weights(&k, &scaled(&k[0], margin));
        (weights[0], distance(&weighted_sum(&weights, &v), &v[0]))
    };
    margins.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_and_error_have_their_closed_forms() {
        let (n, margins) = (10, [0.0, 1.0, 5.0, 12.0]);
        for (margin, found) in margins.iter().zip(measure(n, 16, &margins, 1)) {
            let others = n as f64 - 1.0;
            let weight = margin.exp() / (margin.exp() + others);
            let rest = 1.0 - weight;
            let error = (rest * rest + rest * rest / others).sqrt();
            assert!((found.0 - weight).abs() < 1e-12, "{found:?}");
            assert!((found.1 - error).abs() < 1e-12, "{found:?}");
        }
    }
}
