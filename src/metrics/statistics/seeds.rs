//! Estimates with their intervals: of one run over its questions, and of one recipe over its seeds.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{bootstrap_95, mean, standard_deviation, t_interval_95_within, wilson_95};

/// How a 95 % interval is computed, and which uncertainty it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntervalKind {
    /// Of a share of right answers: uncertainty about *other questions*.
    Wilson,
    /// Of a mean over seeds: uncertainty about *other seeds*, on the same questions.
    StudentT,
    /// Of any statistic, by resampling: uncertainty about *other questions*.
    Bootstrap,
    /// The range of the calibration error of a calibrated model.
    Simulation,
}

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    pub kind: IntervalKind,
}

impl Interval {
    /// Its ends and its kind, as columns of a table.
    pub fn columns(of: Option<Self>) -> (Option<f64>, Option<f64>, Option<IntervalKind>) {
        match of {
            Some(Self { low, high, kind }) => (Some(low), Some(high), Some(kind)),
            None => (None, None, None),
        }
    }

    /// The same back from these columns; `None` where any is empty.
    pub fn of_columns(
        low: Option<f64>,
        high: Option<f64>,
        kind: Option<IntervalKind>,
    ) -> Option<Self> {
        let (low, high, kind) = (low?, high?, kind?);
        Some(Self { low, high, kind })
    }
}

/// The value of one run, with its interval over the questions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    /// `None` if it cannot be computed, for instance with too few questions.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// A statistic of a sample with its bootstrap interval, where it has one; `None` where the statistic has no value.
    pub fn bootstrapped<T: Copy>(
        sample: &[T],
        seed: u64,
        statistic: impl Fn(&[T]) -> Option<f64>,
    ) -> Option<Self> {
        let kind = IntervalKind::Bootstrap;
        let interval = bootstrap_95(sample, seed, &statistic);
        Some(Self {
            value: statistic(sample)?,
            interval: interval.map(|(low, high)| Interval { low, high, kind }),
        })
    }

    /// The share of `right` answers among `asked` questions; `None` without questions.
    pub fn of_counts(right: usize, asked: usize) -> Option<Self> {
        let (low, high) = wilson_95(right, asked);
        let kind = IntervalKind::Wilson;
        (asked > 0).then(|| Self {
            value: right as f64 / asked as f64,
            interval: Some(Interval { low, high, kind }),
        })
    }

    /// A number without an interval.
    pub fn exact(value: f64) -> Self {
        let interval = None;
        Self { value, interval }
    }

    /// The ends of the interval; without one, the number itself.
    pub fn ends(&self) -> (f64, f64) {
        self.interval
            .map_or((self.value, self.value), |one| (one.low, one.high))
    }
}

/// The mean of a measure over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct OverSeeds {
    pub mean: Estimate,
    /// Sample standard deviation of the seeds' values; `None` with one seed.
    pub standard_deviation: Option<f64>,
}

/// Combines the values of several seeds; `None` without seeds.
///
/// Several seeds get Student's interval of their mean, clipped to `within`. One seed, or seeds that all agree
/// and so say nothing about the variance, get the first seed's own interval, over its questions.
pub fn over_seeds(runs: &[Estimate], within: &RangeInclusive<f64>) -> Option<OverSeeds> {
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    let first = runs.first()?;
    if values.iter().all(|value| *value == first.value) {
        // The mean of equal numbers is that number, however their sum was rounded.
        return Some(OverSeeds {
            mean: *first,
            standard_deviation: (values.len() > 1).then_some(0.0),
        });
    }
    let kind = IntervalKind::StudentT;
    let interval = t_interval_95_within(&values, within);
    let interval = interval.map(|(low, high)| Interval { low, high, kind });
    let value = mean(&values)?;
    Some(OverSeeds {
        mean: Estimate { value, interval },
        standard_deviation: standard_deviation(&values),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_shares(runs: &[(usize, usize)]) -> Option<OverSeeds> {
        let runs = runs.iter();
        let runs: Vec<Estimate> = runs
            .filter_map(|&(right, asked)| Estimate::of_counts(right, asked))
            .collect();
        over_seeds(&runs, &(0.0..=1.0))
    }

    #[test]
    fn one_seed_gets_the_interval_of_its_questions() {
        let (low, high) = wilson_95(48, 60);
        let kind = IntervalKind::Wilson;
        let found = of_shares(&[(48, 60)]);
        let expected = OverSeeds {
            mean: Estimate {
                value: 0.8,
                interval: Some(Interval { low, high, kind }),
            },
            standard_deviation: None,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(of_shares(&[(0, 0), (48, 60)]), found);
    }

    #[test]
    fn several_seeds_get_the_interval_of_their_mean_within_0_to_1() {
        let found = of_shares(&[(48, 60), (51, 60), (55, 60)]).expect("three seeds");
        let interval = found.mean.interval.expect("of three");
        assert_eq!(interval.kind, IntervalKind::StudentT);
        assert!((found.mean.value - 154.0 / 180.0).abs() < 1e-12);
        // Computed with scipy.stats.t.interval: 0.71016 to 1.00096.
        assert!((interval.low - 0.7101554733033035).abs() < 1e-12);
        assert_eq!(interval.high, 1.0);
        let found = of_shares(&[(0, 60), (60, 60)]).expect("two seeds");
        let interval = found.mean.interval.expect("of two");
        assert_eq!((interval.low, interval.high), (0.0, 1.0));
    }

    #[test]
    fn seeds_that_agree_get_the_interval_of_one() {
        let one = of_shares(&[(7, 19)]).expect("one seed");
        let found = of_shares(&[(7, 19); 3]).expect("three seeds");
        let expected = OverSeeds {
            standard_deviation: Some(0.0),
            ..one
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_asked_has_no_value() {
        assert_eq!(of_shares(&[]), None);
        assert_eq!(of_shares(&[(0, 0)]), None);
    }
}
