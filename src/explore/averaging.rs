//! b.ii: with orthonormal keys `q = beta (k_a + k_b)` gives `c = (v_a + v_b) / 2` as beta grows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attend;
use super::curve::Curve;
use super::question::{Measurements, Question, Sampling, check_grid, check_key_count};
use super::vectors::{distance, orthonormal, scaled_sum};
use crate::data::generator::generator;
use crate::error::Result;
use crate::kinds::BrokenRule;

/// Which query averages two values?
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Averaging {
    /// Dimension of keys, values and queries.
    #[schemars(range(min = 1, max = 4096))]
    pub dimension: usize,
    /// How many keys, and values; at most `dimension`, and at least 3 for noisy averaging.
    #[schemars(range(min = 2))]
    pub keys: usize,
    /// Scale factors of the query, ascending.
    #[schemars(inner(range(min = 0)))]
    pub betas: Vec<f64>,
}

impl Question for Averaging {
    const NAME: &'static str = "averaging";
    const ASKS: &'static str = "b.ii: which query averages two values?";
    const HEADING: &'static str = "One query that averages two values";
    const NOTE: &'static str = " Keys and values are orthonormal.";
    const SETS: usize = 2;

    fn check(&self) -> Vec<Option<BrokenRule>> {
        vec![
            check_key_count(self.keys, self.dimension),
            check_grid("betas", &self.betas),
        ]
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let once = |_| errors(self.keys, self.dimension, &self.betas, seed);
        let found = sampling.each(once)?.concat();
        let curve = Curve {
            curve: "q = β (k_a + k_b)",
            x: "factor β of the query",
            y: "|c - (v_a + v_b) / 2| for values of length 1",
            is_logarithmic: true,
            ..Curve::default()
        };
        let both = self.betas.iter().zip(found);
        let rows = both.map(|(&beta, error)| curve.at(beta, [error]));
        Ok(Measurements::Curves(rows.collect()))
    }
}

/// `|c - (v_a + v_b) / 2|` for each beta; `n` orthonormal keys and values.
pub fn errors(keys: usize, dimension: usize, betas: &[f64], seed: u64) -> Vec<f64> {
    let mut draws = generator(b"average ", [seed, keys as u64, dimension as u64]);
    let k = orthonormal(keys, dimension, &mut draws);
    let v = orthonormal(keys, dimension, &mut draws);
    let middle = scaled_sum(&v[0], &v[1], 0.5);
    let error = |&beta: &f64| distance(&attend(&k, &v, &scaled_sum(&k[0], &k[1], beta)), &middle);
    betas.iter().map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_has_its_closed_form() {
        let betas = [0.0, 1.0, 4.0, 10.0];
        for n in [3, 10, 50] {
            for (beta, error) in betas.iter().zip(errors(n, 64, &betas, 1)) {
                // The weight on the other keys: equal shares of it, and as much missing from a and b.
                let others = n as f64 - 2.0;
                let rest = others / (2.0 * beta.exp() + others);
                let wanted = rest * (0.5 + 1.0 / others).sqrt();
                assert!((error - wanted).abs() < 1e-12, "{n} {beta}");
            }
        }
    }
}
