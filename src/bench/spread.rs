//! A summary of repeated measurements.

use serde::Serialize;

use crate::metrics::statistics::quantile;

/// Median, and the 10th and 90th percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
}

impl Spread {
    /// Summarises at least one value, none of them NaN.
    pub fn of(values: &[f64]) -> Self {
        let [median, p10, p90] = [0.5, 0.1, 0.9].map(|share| quantile(values, share));
        Self { median, p10, p90 }
    }
}

/// The median of at least one value.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let spread = Spread::of(&[40.0, 10.0, 30.0, 20.0]);
        assert_eq!(spread.median, 25.0);
        assert!((spread.p10 - 13.0).abs() < 1e-9, "{spread:?}");
        assert!((spread.p90 - 37.0).abs() < 1e-9, "{spread:?}");
    }

    #[test]
    fn a_single_value_is_all_of_them() {
        let (median, p10, p90) = (7.0, 7.0, 7.0);
        assert_eq!(Spread::of(&[7.0]), Spread { median, p10, p90 });
    }
}
