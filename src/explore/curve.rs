//! The rows of a curve.

use crate::metrics::rows::CurveRow;
use crate::metrics::statistics::quantile;

/// What the rows of one curve share.
#[derive(Clone, Copy, Default)]
pub struct Curve {
    /// Its name.
    pub curve: &'static str,
    /// What is varied.
    pub x: &'static str,
    /// What is measured.
    pub y: &'static str,
    /// Whether its axis is logarithmic.
    pub is_logarithmic: bool,
    /// Whether somebody else reported the construction.
    pub is_reported: bool,
}

impl Curve {
    /// The row at `x`, with the median of the samples: the mean of a quotient may not exist.
    pub fn at(self, x: f64, samples: impl IntoIterator<Item = f64>) -> CurveRow {
        let samples = Vec::from_iter(samples);
        let end = |share: f64| (samples.len() > 1).then(|| quantile(&samples, share));
        CurveRow {
            curve: self.curve.to_owned(),
            is_reported: self.is_reported,
            x_quantity: self.x.to_owned(),
            x,
            y_quantity: self.y.to_owned(),
            y_is_logarithmic: self.is_logarithmic,
            y: quantile(&samples, 0.5),
            low_90: end(0.05),
            high_90: end(0.95),
            samples: samples.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_has_no_range() {
        let row = Curve::default().at(3.0, [7.0]);
        assert_eq!((row.y, row.low_90, row.samples), (7.0, None, 1));
    }
}
