//! Accuracy of one recipe over its seeds: mean, standard deviation, and a confidence interval.

use super::{mean, standard_deviation, t_interval_95, wilson_95};

/// The name of Wilson's interval in tables: uncertainty about *other questions*.
pub const WILSON: &str = "wilson";

/// The name of Student's interval in tables: uncertainty about *other seeds*, on the same questions.
pub const STUDENT_T: &str = "student-t";

/// Mean accuracy over seeds, as fractions.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyOverSeeds {
    /// Mean of the seeds' fractions.
    pub mean: f64,
    /// Sample standard deviation of the seeds' fractions; `None` with one seed.
    pub standard_deviation: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low_95: f64,
    /// Upper end of the 95 % interval.
    pub high_95: f64,
    /// [`WILSON`] or [`STUDENT_T`].
    pub interval: &'static str,
}

/// Combines seeds, each `(right, asked)`; `None` if nothing was asked.
///
/// Several seeds get Student's interval of their mean, clipped to 0 to 1. One seed, or seeds that all agree
/// and so say nothing about the variance, get Wilson's interval over the first seed's questions.
pub fn accuracy_over_seeds(runs: &[(usize, usize)]) -> Option<AccuracyOverSeeds> {
    let asked: Vec<(usize, usize)> = runs.iter().copied().filter(|run| run.1 > 0).collect();
    let fractions: Vec<f64> = asked
        .iter()
        .map(|&(right, of)| right as f64 / of as f64)
        .collect();
    let &(right, of) = asked.first()?;
    let agree = fractions.iter().all(|fraction| *fraction == fractions[0]);
    let ((low, high), interval) = match t_interval_95(&fractions) {
        Some((low, high)) if !agree => ((low.max(0.0), high.min(1.0)), STUDENT_T),
        _ => (wilson_95(right, of), WILSON),
    };
    Some(AccuracyOverSeeds {
        // The mean of equal numbers is that number, however their sum was rounded.
        mean: if agree {
            fractions[0]
        } else {
            mean(&fractions)?
        },
        standard_deviation: match agree && fractions.len() > 1 {
            true => Some(0.0),
            false => standard_deviation(&fractions),
        },
        low_95: low,
        high_95: high,
        interval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gets_the_interval_of_its_questions() {
        let (low_95, high_95) = wilson_95(48, 60);
        let found = accuracy_over_seeds(&[(48, 60)]);
        let expected = AccuracyOverSeeds {
            mean: 0.8,
            standard_deviation: None,
            low_95,
            high_95,
            interval: WILSON,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(accuracy_over_seeds(&[(0, 0), (48, 60)]), found);
    }

    #[test]
    fn several_seeds_get_the_interval_of_their_mean_within_0_to_1() {
        let found = accuracy_over_seeds(&[(48, 60), (51, 60), (55, 60)]).expect("three seeds");
        assert_eq!(found.interval, STUDENT_T);
        assert!((found.mean - 154.0 / 180.0).abs() < 1e-12);
        // Computed with scipy.stats.t.interval: 0.71016 to 1.00096.
        assert!((found.low_95 - 0.7101554733033035).abs() < 1e-12);
        assert_eq!(found.high_95, 1.0);
        let found = accuracy_over_seeds(&[(0, 60), (60, 60)]).expect("two seeds");
        assert_eq!((found.low_95, found.high_95), (0.0, 1.0));
    }

    #[test]
    fn seeds_that_agree_get_the_interval_of_one() {
        let one = accuracy_over_seeds(&[(7, 19)]).expect("one seed");
        let found = accuracy_over_seeds(&[(7, 19); 3]).expect("three seeds");
        let expected = AccuracyOverSeeds {
            standard_deviation: Some(0.0),
            ..one
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_asked_has_no_accuracy() {
        assert_eq!(accuracy_over_seeds(&[]), None);
        assert_eq!(accuracy_over_seeds(&[(0, 0)]), None);
    }
}
