//! Statistics: measures with their intervals, several seeds of a recipe, paired tests, effects in a
//! factorial design, and calibration.

mod calibration;
pub mod factorial;
mod paired;
#[cfg(test)]
mod properties;
mod proportion;
mod ranking;
mod resampling;
mod seeds;
mod sign_flip;
mod student;

pub use calibration::{
    Bin, DEFAULT_BINS, ScoredAnswer, equal_width_bins, expected_calibration_error,
};
pub use paired::{mcnemar_exact, paired_difference_95};
pub use proportion::{wilson_95, wilson_95_of};
pub use ranking::auroc;
pub use resampling::{LEAST_RESAMPLED, bootstrap_95, ece_under_calibration};
pub use seeds::{Estimate, Interval, IntervalKind, OverSeeds, over_seeds};
pub use sign_flip::{holm, sign_flip_exact};
pub use student::{t_interval_95, t_interval_95_within};

/// Mean; `None` without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (n - 1); `None` with fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// A quantile of at least one value, by linear interpolation.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_needs_two_numbers() {
        assert_eq!(standard_deviation(&[3.0]), None);
        assert_eq!(standard_deviation(&[1.0, 3.0]), Some(2f64.sqrt()));
        assert_eq!(mean(&[]), None);
    }
}
