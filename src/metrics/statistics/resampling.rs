//! Intervals by resampling, for statistics without a formula.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::calibration::{ScoredAnswer, equal_width_bins, expected_calibration_error};
use super::{Estimate, Interval, IntervalKind, mean};

/// Smallest sample that is resampled; smaller ones do not represent their population.
pub const LEAST_RESAMPLED: usize = 10;

const SAMPLES: usize = 1000;

/// The percentile bootstrap's 95 % interval of a statistic: the middle of its values on 1,000
/// samples, each drawn from `sample` with replacement. The same seed draws the same samples.
///
/// `None` for fewer than ten numbers, or if more than one sample in twenty has no value: a handful of answers
/// has no meaningful interval. Also `None` if all samples agree: a statistic at the end of its range is not
/// certain to be there.
///
/// Source: Efron 1979, *Bootstrap methods: another look at the jackknife*.
pub fn bootstrap_95<T: Copy>(
    sample: &[T],
    seed: u64,
    statistic: impl Fn(&[T]) -> Option<f64>,
) -> Option<(f64, f64)> {
    if sample.len() < LEAST_RESAMPLED {
        return None;
    }
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let mut one_of = |_: &T| sample[draws.gen_range(0..sample.len() as u64) as usize];
    let values: Vec<f64> = (0..SAMPLES)
        .filter_map(|_| statistic(&sample.iter().map(&mut one_of).collect::<Vec<T>>()))
        .collect();
    if values.len() * 20 < SAMPLES * 19 {
        return None;
    }
    let (low, high) = middle_95(values);
    (low < high).then_some((low, high))
}

/// The expected calibration error of a perfectly calibrated model: mean and middle 95 % over 1,000 draws in
/// which each answer is right with exactly its probability.
///
/// An error within that range is no evidence of miscalibration. `None` without answers.
///
/// Source: Bröcker and Smith 2007, *Increasing the reliability of reliability diagrams*.
pub fn ece_under_calibration(confidences: &[f64], bins: usize, seed: u64) -> Option<Estimate> {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let error = |_| {
        let judged = |&confidence: &f64| (confidence, draws.gen_range(0.0..1.0) < confidence);
        let answers: Vec<ScoredAnswer> = confidences.iter().map(judged).collect();
        expected_calibration_error(&equal_width_bins(&answers, bins))
    };
    let errors: Vec<f64> = (0..SAMPLES).map(error).collect::<Option<_>>()?;
    let value = mean(&errors)?;
    let ((low, high), kind) = (middle_95(errors), IntervalKind::Simulation);
    let interval = Some(Interval { low, high, kind });
    Some(Estimate { value, interval })
}

/// The 2.5 % and 97.5 % quantiles of at least one number, by nearest rank.
fn middle_95(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::statistics::wilson_95;

    #[test]
    fn the_bootstrap_interval_of_a_proportion_is_near_wilsons() {
        let answers: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i < 120))).collect();
        let (low, high) = bootstrap_95(&answers, 7, mean).expect("an interval");
        let (wilson_low, wilson_high) = wilson_95(120, 400);
        assert!((low - wilson_low).abs() < 0.01, "{low} {wilson_low}");
        assert!((high - wilson_high).abs() < 0.01, "{high} {wilson_high}");
        assert_eq!(bootstrap_95(&answers, 7, mean), Some((low, high)));
        assert_ne!(bootstrap_95(&answers, 8, mean), Some((low, high)));
    }

    #[test]
    fn a_statistic_of_few_answers_has_no_interval() {
        assert_eq!(bootstrap_95(&[1.0; 9], 0, mean), None);
        assert_eq!(bootstrap_95(&[1.0; 10], 0, mean), None);
        let ten: Vec<f64> = (0..10).map(f64::from).collect();
        assert!(bootstrap_95(&ten, 0, mean).is_some());
        let first = |drawn: &[usize]| drawn.contains(&0).then_some(1.0);
        // One of 50 is missing from a sample with a chance of 36 %.
        let numbers: Vec<usize> = (0..50).collect();
        assert_eq!(bootstrap_95(&numbers, 0, first), None);
    }

    /// With one bin and n answers of probability p the error is |share - p|, on average about
    /// sqrt(2 p (1 - p) / (pi n)).
    #[test]
    fn the_error_of_a_calibrated_model_falls_with_the_root_of_its_answers() {
        for n in [25, 100, 400] {
            let found = ece_under_calibration(&vec![0.3; n], 1, 3).expect("answers");
            let (found, (low, high)) = (found.value, found.ends());
            let expected = (2.0 * 0.3 * 0.7 / (std::f64::consts::PI * n as f64)).sqrt();
            assert!(
                (found / expected - 1.0).abs() < 0.1,
                "{n}: {found} {expected}"
            );
            assert!(low <= found && found <= high);
        }
        let certain = ece_under_calibration(&[1.0; 9], 10, 3).expect("answers");
        assert_eq!((certain.value, certain.ends()), (0.0, (0.0, 0.0)));
        assert_eq!(ece_under_calibration(&[], 10, 3), None);
    }
}
