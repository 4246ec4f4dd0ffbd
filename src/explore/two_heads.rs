//! d: two heads, `q_1 = beta mu_a` and `q_2 = beta mu_b`, `c = (c_1 + c_2) / 2`. Keys are those of
//! [`super::swing`]: the output no longer swings, unless epsilon is close to 0 or negative.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::question::{Measurements, Question, Sampling};
use super::swing::{Keys, ONE_HEAD, Swing};
use super::vectors::{Vector, scaled};
use crate::error::Result;
use crate::kinds::BrokenRule;
use crate::metrics::rows::SampleRow;

/// Two heads, compared with one head on the same keys. The TOML keys are those of [`Swing`].
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(transparent)]
pub struct TwoHeads(Swing);

const TWO_HEADS: &str = "two heads: q1 = β μ_a and q2 = β μ_b";
const REPORTED_HEADS: &str = "two heads as reported: q1 and q2 = (±μ_a + μ_b) / 2";

impl Question for TwoHeads {
    const NAME: &'static str = "two-heads";
    const ASKS: &'static str = "d: and with two heads?";
    const HEADING: &'static str = "One head and two, on the same keys";
    const NOTE: &'static str = " Keys as in c.ii, the same draws for all charts. The reported queries are written in values, \
         (±v_a + v_b) / 2; the keys' means are used instead, because values say nothing about keys.";
    const YIELDS_SAMPLES: bool = true;

    fn check(&self) -> Vec<Option<BrokenRule>> {
        self.0.check()
    }

    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements> {
        let beta = self.0.beta;
        let rows = sampling.each(|sample| {
            let drawn = self.0.draw(seed, sample);
            let row = |series: &str, value: f64| drawn.row(sample, series, value);
            let reported = weight_on_a(&drawn, &reported_queries(&drawn));
            [
                row(ONE_HEAD, drawn.of_one_head(beta)),
                row(TWO_HEADS, weight_on_a(&drawn, &queries(&drawn, beta))),
                SampleRow {
                    is_reported: true,
                    ..row(REPORTED_HEADS, reported)
                },
            ]
        })?;
        Ok(Measurements::Samples(rows.into_iter().flatten().collect()))
    }
}

/// The weight on `v_a` in `c`, given the query of each head.
pub fn weight_on_a(drawn: &Keys, queries: &[Vector; 2]) -> f64 {
    0.5 * (drawn.weight_on_a(&queries[0]) + drawn.weight_on_a(&queries[1]))
}

/// `beta mu_a` and `beta mu_b`.
pub fn queries(drawn: &Keys, beta: f64) -> [Vector; 2] {
    [0, 1].map(|at| scaled(&drawn.means[at], beta))
}

/// The reported `(v_a + v_b) / 2` and `(-v_a + v_b) / 2`.
///
/// The values are taken to be the means of the keys: values alone say nothing about keys.
pub fn reported_queries(drawn: &Keys) -> [Vector; 2] {
    let pairs = || drawn.means[0].iter().zip(&drawn.means[1]);
    [
        pairs().map(|(a, b)| (a + b) / 2.0).collect(),
        pairs().map(|(a, b)| (b - a) / 2.0).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::swing::tests::draw;

    /// Variance of `f(epsilon)` for epsilon ~ N(1, 1/2), by the trapezoidal rule.
    fn variance_by_integral(f: impl Fn(f64) -> f64) -> f64 {
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for i in -8000..=8000 {
            let z = f64::from(i) / 1000.0;
            let (density, y) = ((-z * z / 2.0).exp(), f(1.0 + 0.5_f64.sqrt() * z));
            sum += density;
            first += density * y;
            second += density * y * y;
        }
        second / sum - (first / sum) * (first / sum)
    }

    fn variance(samples: &[f64]) -> f64 {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        samples.iter().map(|y| (y - mean) * (y - mean)).sum::<f64>() / (n - 1.0)
    }

    #[test]
    fn both_variances_are_those_of_the_integral_and_two_heads_have_the_smaller() {
        let (n, beta) = (10, 10.0_f64);
        let drawn: Vec<Keys> = (0..20_000).map(|i| draw(n, 10, 1e-14, i)).collect();
        let one: Vec<f64> = drawn.iter().map(|d| d.of_one_head(beta)).collect();
        let two: Vec<f64> = drawn
            .iter()
            .map(|d| weight_on_a(d, &queries(d, beta)))
            .collect();
        let others = n as f64 - 2.0;
        let single = variance_by_integral(|e| {
            let a = (beta * e).exp();
            a / (a + beta.exp() + others)
        });
        let pair = variance_by_integral(|e| {
            let a = (beta * e).exp();
            0.5 * (a / (a + others + 1.0) + 1.0 / (beta.exp() + others + 1.0))
        });
        assert!((variance(&one) / single - 1.0).abs() < 0.05, "{single}");
        assert!((variance(&two) / pair - 1.0).abs() < 0.08, "{pair}");
        assert!(pair < single / 4.0, "{pair} {single}");
    }

    #[test]
    fn the_reported_queries_leave_most_of_the_weight_on_the_others() {
        for i in 0..20 {
            let drawn = draw(10, 16, 1e-18, i);
            let head = |sign: f64| {
                let a = (sign * drawn.epsilon / 2.0).exp();
                a / (a + 0.5_f64.exp() + 8.0)
            };
            let wanted = 0.5 * (head(1.0) + head(-1.0));
            let found = weight_on_a(&drawn, &reported_queries(&drawn));
            assert!((found - wanted).abs() < 1e-7, "{i}: {found} {wanted}");
            assert!(found < 0.3, "{i}: {found}");
        }
    }
}
