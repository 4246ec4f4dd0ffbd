//! b.i: `M = A A^T` extracts `v_a` from `v_a + v_b` when the bases A and B are orthonormal and A is
//! perpendicular to B. The reported M has the basis vectors as columns: it is A itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::question::{Measurements, Question, Sampling, check_grid};
use super::vectors::{Vector, distance, dot, normal_vector, orthonormal, scaled_sum, weighted_sum};
use crate::data::generator::generator;
use crate::error::Result;
use crate::kinds::BrokenRule;

/// Which matrix takes one vector out of a sum of two?
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Extraction {
    /// Dimension of keys, values and queries.
    #[schemars(range(min = 1, max = 4096))]
    pub dimension: usize,
    /// Vectors in the basis of each of the two subspaces, ascending; twice the largest is at most `dimension`.
    #[schemars(inner(range(min = 1)))]
    pub bases: Vec<usize>,
    /// How many times keys or subspaces are drawn.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub samples: usize,
}

impl Question for Extraction {
    const NAME: &'static str = "extraction";
    const ASKS: &'static str = "b.i: which matrix takes one vector out of a sum of two?";
    const HEADING: &'static str = "Taking one vector out of a sum of two";
    const NOTE: &'static str = " A has the m basis vectors of v_a as columns. The reported M is A itself, d × m, with d - m \
         columns of zeros so that it is square.";

    fn check(&self) -> Vec<Option<BrokenRule>> {
        let as_numbers: Vec<f64> = self.bases.iter().map(|&m| m as f64).collect();
        let largest = self.bases.iter().copied().max().unwrap_or(0);
        let dimension = self.dimension;
        let message = format!(
            "goes to {largest}: two bases of that many do not fit into `explore.dimension` = {dimension}"
        );
        let too_large = BrokenRule {
            reads: &["dimension"],
            ..BrokenRule::new("bases", message)
        };
        let too_large = (largest > dimension / 2).then_some(too_large);
        vec![check_grid("bases", &as_numbers), too_large]
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let ours = Curve {
            curve: "M = A times its transpose",
            x: "vectors in each basis: m",
            y: "|M (v_a + v_b) - v_a| / |v_a|",
            is_logarithmic: true,
            is_reported: false,
        };
        let reported = Curve {
            curve: "as reported: M with the basis vectors as columns",
            is_reported: true,
            ..ours
        };
        let found = sampling.each(|sample| {
            let one = |&basis: &usize| measure(basis, self.dimension, seed, sample);
            self.bases.iter().map(one).collect::<Vec<_>>()
        })?;
        let at = |(i, &basis): (usize, &usize)| {
            let x = basis as f64;
            [
                ours.at(x, found.iter().map(|sample| sample[i].0)),
                reported.at(x, found.iter().map(|sample| sample[i].1)),
            ]
        };
        let rows = self.bases.iter().enumerate().flat_map(at);
        Ok(Measurements::Curves(rows.collect()))
    }
}

/// `|M (v_a + v_b) - v_a| / |v_a|` for `M = A A^T`, and for the reported M: A, padded with `d - m` columns of zeros
/// so that it is square. One draw: A and B of `m` basis vectors each, `2m <= d`, with `v_a` and `v_b` in their spans.
pub fn measure(basis: usize, dimension: usize, seed: u64, sample: u64) -> (f64, f64) {
    let mut draws = generator(b"extract ", [seed, basis as u64, sample]);
    let both = orthonormal(2 * basis, dimension, &mut draws);
    let (a, b) = both.split_at(basis);
    let v_a = weighted_sum(&normal_vector(basis, &mut draws), a);
    let v_b = weighted_sum(&normal_vector(basis, &mut draws), b);
    let sum = scaled_sum(&v_a, &v_b, 1.0);
    let along: Vec<f64> = a.iter().map(|vector| dot(vector, &sum)).collect();
    let relative = |found: Vector| distance(&found, &v_a) / dot(&v_a, &v_a).sqrt();
    let reported = relative(weighted_sum(&sum[..basis], a));
    (relative(weighted_sum(&along, a)), reported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_extracts_exactly_and_the_reported_matrix_does_not() {
        for sample in 0..50 {
            let error = measure(8, 64, 1, sample);
            assert!(error.0 < 1e-12, "{error:?}");
            assert!(error.1 > 0.1, "{error:?}");
        }
    }
}
