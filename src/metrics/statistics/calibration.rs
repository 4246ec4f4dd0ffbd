//! Calibration: of the answers to which a model gives a probability of 30 %, are 30 % right?

/// An answer's probability, and whether it was right.
pub type ScoredAnswer = (f64, bool);

pub const DEFAULT_BINS: usize = 10;

/// The answers with a probability above `low` and at most `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bin {
    /// Lower end, a fraction; only the first bin includes it.
    pub low: f64,
    pub high: f64,
    pub answers: usize,
    pub right: usize,
    /// Mean probability; `None` without answers.
    pub mean_confidence: Option<f64>,
}

impl Bin {
    /// Fraction of right answers; `None` without answers.
    pub fn accuracy(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.right as f64 / self.answers as f64)
    }
}

/// Answers by their probability, in bins of equal width from 0 to 1, empty ones included.
///
/// A probability on the border of two bins belongs to the lower one, as in the source.
///
/// Source: Guo et al. 2017, *On calibration of modern neural networks*, section 2.
pub fn equal_width_bins(answers: &[ScoredAnswer], bins: usize) -> Vec<Bin> {
    let width = |edge: usize| edge as f64 / bins as f64;
    let mut sums = vec![(0, 0, 0.0); bins];
    for &(confidence, right) in answers {
        let upper = ((confidence * bins as f64).ceil() as usize).clamp(1, bins);
        // Rounding may push the product over the border.
        let over = upper > 1 && confidence <= width(upper - 1);
        let sum = &mut sums[upper - 1 - usize::from(over)];
        *sum = (sum.0 + 1, sum.1 + usize::from(right), sum.2 + confidence);
    }
    let bin = |(i, (answers, right, sum)): (usize, (usize, usize, f64))| Bin {
        low: width(i),
        high: width(i + 1),
        answers,
        right,
        mean_confidence: (answers > 0).then(|| sum / answers as f64),
    };
    sums.into_iter().enumerate().map(bin).collect()
}

/// The expected calibration error: the difference between accuracy and mean probability of a bin, averaged
/// over all answers. `None` without answers.
///
/// Even a calibrated model has a positive error by chance, and with few answers a large one: see
/// [`super::ece_under_calibration`].
///
/// Source: Guo et al. 2017, *On calibration of modern neural networks*, equation 3.
///
/// ```
/// use attnlab::metrics::statistics::{equal_width_bins, expected_calibration_error};
/// let bins = equal_width_bins(&[(0.9, true), (0.7, false), (0.2, false)], 2);
/// // Above one half: 1 of 2 right, 80 % probable. Below: none right, 20 % probable.
/// let error = expected_calibration_error(&bins).unwrap();
/// assert!((error - (2.0 * 0.3 + 0.2) / 3.0).abs() < 1e-12);
/// ```
pub fn expected_calibration_error(bins: &[Bin]) -> Option<f64> {
    let all: usize = bins.iter().map(|bin| bin.answers).sum();
    let apart = |bin: &Bin| {
        let gap = (bin.accuracy()? - bin.mean_confidence?).abs();
        Some(gap * bin.answers as f64)
    };
    (all > 0).then(|| bins.iter().filter_map(apart).sum::<f64>() / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_belong_to_the_lower_bin() {
        let answers: Vec<ScoredAnswer> = (0..=10).map(|i| (f64::from(i) / 10.0, false)).collect();
        let counts: Vec<usize> = equal_width_bins(&answers, 10)
            .iter()
            .map(|bin| bin.answers)
            .collect();
        // 0 and 0.1 are both in the first.
        assert_eq!(counts, [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(equal_width_bins(&[(0.7, true)], 10)[6].right, 1);
        assert_eq!(equal_width_bins(&[(1.0, true)], 3)[2].right, 1);
    }

    /// By hand: bins of a quarter hold 0.1 (wrong), 0.2 (right) | 0.4 (wrong) | nothing | 0.8, 1.0
    /// (both right), so gaps of 0.35, 0.4 and 0.1 with weights 2, 1 and 2 of 5.
    #[test]
    fn the_error_agrees_with_a_computation_by_hand() {
        let answers = [
            (0.1, false),
            (0.2, true),
            (0.4, false),
            (0.8, true),
            (1.0, true),
        ];
        let bins = equal_width_bins(&answers, 4);
        let filled: Vec<_> = bins.iter().map(|bin| (bin.answers, bin.right)).collect();
        assert_eq!(filled, [(2, 1), (1, 0), (0, 0), (2, 2)]);
        assert_eq!((bins[2].accuracy(), bins[2].mean_confidence), (None, None));
        let error = expected_calibration_error(&bins).expect("five answers");
        assert!((error - (0.7 + 0.4 + 0.2) / 5.0).abs() < 1e-12, "{error}");
    }

    #[test]
    fn certainty_that_is_right_has_no_error_and_one_that_is_wrong_all_of_it() {
        for (right, worst) in [(true, 0.0), (false, 1.0)] {
            let answers = [(1.0, right); 7];
            let bins = equal_width_bins(&answers, DEFAULT_BINS);
            assert_eq!(expected_calibration_error(&bins), Some(worst));
        }
    }

    #[test]
    fn no_answer_has_no_error() {
        let bins = equal_width_bins(&[], DEFAULT_BINS);
        assert_eq!(bins.len(), DEFAULT_BINS);
        assert_eq!(expected_calibration_error(&bins), None);
    }
}
