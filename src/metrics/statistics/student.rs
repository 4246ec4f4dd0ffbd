//! Confidence interval of the mean of a few numbers, such as one per seed.

use std::ops::RangeInclusive;

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{mean, standard_deviation};

/// Student's 95 % interval of the mean, in the unit of the numbers; `None` with fewer than two.
///
/// It assumes draws from one normal distribution. Equal numbers give an interval of width 0, which means that
/// no variation was observed, not that there is none.
///
/// Source: Student 1908, *The probable error of a mean*.
///
/// ```
/// let (low, high) = attnlab::metrics::statistics::t_interval_95(&[0.19, 0.20, 0.21]).unwrap();
/// assert_eq!(format!("{low:.4} {high:.4}"), "0.1752 0.2248");
/// ```
pub fn t_interval_95(values: &[f64]) -> Option<(f64, f64)> {
    let (mean, deviation) = (mean(values)?, standard_deviation(values)?);
    let half = t_975(values.len() - 1) * deviation / (values.len() as f64).sqrt();
    Some((mean - half, mean + half))
}

/// [`t_interval_95`] of numbers whose mean can only lie `within` a range, clipped to it.
pub fn t_interval_95_within(values: &[f64], within: &RangeInclusive<f64>) -> Option<(f64, f64)> {
    let (low, high) = t_interval_95(values)?;
    Some((low.max(*within.start()), high.min(*within.end())))
}

/// The 97.5 % quantile of Student's t with `freedom` degrees of freedom, at least 1.
fn t_975(freedom: usize) -> f64 {
    t_quantile(0.975, freedom)
}

/// The quantile of Student's t at a probability, with `freedom` degrees of freedom, at least 1.
pub(super) fn t_quantile(probability: f64, freedom: usize) -> f64 {
    StudentsT::new(0.0, 1.0, freedom as f64)
        .expect("at least one degree of freedom")
        .inverse_cdf(probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with scipy.stats.t.ppf(0.975, freedom).
    #[test]
    fn quantiles_agree_with_another_library() {
        for (freedom, quantile) in [
            (1, 12.706204736174694),
            (2, 4.302652729749462),
            (4, 2.7764451051977934),
            (9, 2.262157162798205),
            (29, 2.045229642132703),
            (99, 1.9842169515864174),
            (999, 1.9623414611334493),
        ] {
            let found = t_975(freedom);
            let error = (found / quantile - 1.0).abs();
            assert!(error < 1e-11, "{freedom}: {found} is not {quantile}");
        }
    }

    /// Computed with scipy.stats.t.interval(0.95, n - 1, mean, deviation / sqrt(n)).
    #[test]
    fn intervals_agree_with_another_library() {
        for (values, low, high) in [
            (
                &[0.19, 0.20, 0.21][..],
                0.1751586228824967,
                0.22484137711750327,
            ),
            (
                &[1.25, 1.5, 1.0, 1.75, 2.0],
                1.0091892096306108,
                1.9908107903693892,
            ),
        ] {
            let found = t_interval_95(values).expect("several values");
            let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
            assert!(close(found.0, low) && close(found.1, high), "{found:?}");
        }
    }

    #[test]
    fn an_interval_needs_two_numbers_and_collapses_where_they_agree() {
        assert_eq!(t_interval_95(&[]), None);
        assert_eq!(t_interval_95(&[0.5]), None);
        assert_eq!(t_interval_95(&[0.5, 0.5]), Some((0.5, 0.5)));
    }
}
