//! Measures of a model's answers, which `evaluate.measures` selects.
//!
//! A measure gives each answer a value; a run's value is the mean over its answers. It is computed from
//! `predictions/*.tsv` when tables are written, so adding a measure does not rerun the evaluation. Each measure has its
//! own module, and [`MEASURES`] lists them.

mod answer_similarity;
mod brier_score;
mod exact_match;
mod log_loss;
mod unit;

use crate::kinds::{Listed, Named};
use crate::metrics::rows::PredictionRow;
use crate::metrics::statistics::{Estimate, mean};

pub use brier_score::BRIER_SCORE;
pub use exact_match::EXACT_MATCH;
pub use unit::Unit;

/// How a model's answers are judged.
#[derive(Debug)]
pub struct Measure {
    name: &'static str,
    /// Other words by which people know it.
    other_names: &'static [&'static str],
    about: &'static str,
    /// What is measured, as tables say it, such as `questions answered right`.
    pub quantity: &'static str,
    pub unit: Unit,
    pub better: Better,
    /// Whether it needs the probabilities of answers, which a constant answer has not.
    pub needs_probability: bool,
    /// How an answer is valued; an answer without a value, for instance without a reference answer, is not scored.
    value: Value,
}

/// How a measure values an answer.
#[derive(Debug)]
enum Value {
    /// Right or wrong: the value is 1 or 0.
    Right(fn(&PredictionRow) -> Option<bool>),
    /// Any number within the range of the measure's unit.
    Number(fn(&PredictionRow) -> Option<f64>),
}

/// Which values of a measure are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

impl Better {
    /// `higher` or `lower`, as in CSV files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// All measures, in the order in which tables list them.
pub static MEASURES: &[Measure] = &[
    EXACT_MATCH,
    answer_similarity::ANSWER_SIMILARITY,
    BRIER_SCORE,
    log_loss::LOG_LOSS,
];

/// The score of a run's answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Number of answers that were scored.
    pub answers: usize,
    /// How many of them are right; `None` for a measure that does not count right answers.
    pub right: Option<usize>,
    /// Mean of their values, with a 95 % interval over the questions: Wilson's for a share of right answers, otherwise
    /// the bootstrap's.
    pub estimate: Estimate,
}

impl Measure {
    /// Scores a run's answers; `None` if none of them has a value. `seed` is the seed of the bootstrap.
    pub fn score(&self, answers: &[PredictionRow], seed: u64) -> Option<Scored> {
        let values: Vec<f64> = answers.iter().filter_map(|row| self.value(row)).collect();
        let right = match self.value {
            Value::Right(_) => Some(values.iter().filter(|&&value| value == 1.0).count()),
            Value::Number(_) => None,
        };
        let estimate = match right {
            Some(right) => Estimate::of_counts(right, values.len()),
            None => Estimate::bootstrapped(&values, seed, mean),
        };
        Some(Scored {
            answers: values.len(),
            right,
            estimate: estimate?,
        })
    }

    /// The value of one answer; 1 or 0 for right or wrong.
    pub fn value(&self, answer: &PredictionRow) -> Option<f64> {
        match self.value {
            Value::Right(is_right) => is_right(answer).map(|right| f64::from(u8::from(right))),
            Value::Number(value) => value(answer),
        }
    }

    /// Whether this is exact match, which tables call `accuracy` and which reported numbers are compared with.
    pub fn is_exact_match(&self) -> bool {
        self.name == EXACT_MATCH.name
    }

    /// Title of its axis in figures: `questions answered right (%)`.
    pub fn axis(&self) -> String {
        match self.unit.symbol() {
            "" => self.quantity.to_owned(),
            symbol => format!("{} ({symbol})", self.quantity),
        }
    }

    /// Its name as a heading: `Questions answered right`.
    pub fn title(&self) -> String {
        let (first, rest) = self.quantity.split_at(1);
        first.to_uppercase() + rest
    }
}

/// Exact match, the default in experiment files.
impl Default for Named<Measure> {
    fn default() -> Self {
        Self(&MEASURES[0])
    }
}

impl Listed for Measure {
    fn all() -> &'static [Self] {
        MEASURES
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn other_names(&self) -> &'static [&'static str] {
        self.other_names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::statistics::{Interval, IntervalKind, wilson_95};

    fn answer(right: Option<bool>, probability: f64) -> PredictionRow {
        PredictionRow {
            question: "Where was Ada born?".to_owned(),
            gold: right.map(|_| "London".to_owned()),
            predicted: if right == Some(false) {
                "Lima"
            } else {
                "London"
            }
            .to_owned(),
            correct: right,
            log_probability: Some(probability.ln()),
        }
    }

    fn named(name: &str) -> &'static Measure {
        Measure::named(name).expect("listed")
    }

    /// Twelve answers: four right at 0.9, eight wrong at 0.25.
    fn answers() -> Vec<PredictionRow> {
        let right = vec![answer(Some(true), 0.9); 4];
        [right, vec![answer(Some(false), 0.25); 8]].concat()
    }

    #[test]
    fn exact_match_is_the_share_of_right_answers_with_wilsons_interval() {
        let scored = EXACT_MATCH.score(&answers(), 1).expect("answers");
        assert_eq!((scored.answers, scored.right), (12, Some(4)));
        assert_eq!(scored.estimate.value, 4.0 / 12.0);
        let (low, high) = wilson_95(4, 12);
        let kind = IntervalKind::Wilson;
        assert_eq!(scored.estimate.interval, Some(Interval { low, high, kind }));
    }

    #[test]
    fn brier_score_and_log_loss_are_means_over_the_answers() {
        let scored = |name: &str| named(name).score(&answers(), 1).expect("answers");
        let brier = scored("brier-score").estimate.value;
        let expected = (4.0 * 0.01 + 8.0 * 0.0625) / 12.0;
        assert!((brier - expected).abs() < 1e-12, "{brier}");
        let loss = scored("log-loss").estimate;
        let expected = -(4.0 * 0.9f64.ln() + 8.0 * 0.75f64.ln()) / 12.0;
        assert!((loss.value - expected).abs() < 1e-12, "{loss:?}");
        let interval = loss.interval.expect("twelve answers");
        assert_eq!(interval.kind, IntervalKind::Bootstrap);
        assert!(interval.low < loss.value && loss.value < interval.high);
    }

    #[test]
    fn the_brier_score_agrees_with_a_computation_by_hand() {
        let brier = |answers: &[(f64, bool)]| {
            let row = |&(probability, right): &(f64, bool)| answer(Some(right), probability);
            let rows: Vec<PredictionRow> = answers.iter().map(row).collect();
            BRIER_SCORE
                .score(&rows, 1)
                .map(|scored| scored.estimate.value)
        };
        let five = [
            (0.1, false),
            (0.2, true),
            (0.4, false),
            (0.8, true),
            (1.0, true),
        ];
        // (0.01 + 0.64 + 0.16 + 0.04 + 0) / 5
        let found = brier(&five).expect("five answers");
        assert!((found - 0.17).abs() < 1e-12, "{found}");
        for (right, worst) in [(true, 0.0), (false, 1.0)] {
            assert_eq!(brier(&[(1.0, right); 7]), Some(worst));
        }
        assert_eq!(brier(&[]), None);
    }

    #[test]
    fn a_certain_and_right_answer_loses_nothing_without_a_sign() {
        let value = named("log-loss").value(&answer(Some(true), 1.0));
        assert!(value.is_some_and(|value| value == 0.0 && value.is_sign_positive()));
    }

    #[test]
    fn no_answer_costs_more_log_loss_than_the_manual_says() {
        let worst = named("log-loss").value(&answer(Some(false), 1.0));
        assert_eq!(
            worst.map(|loss| Unit::Nats.digits(loss)).as_deref(),
            Some("15.942")
        );
    }

    #[test]
    fn what_a_measure_says_of_itself_is_so() {
        let constant = PredictionRow {
            log_probability: None,
            ..answer(Some(true), 0.5)
        };
        for measure in MEASURES {
            let is_scored = measure.value(&constant).is_some();
            assert_eq!(is_scored, !measure.needs_probability, "{}", measure.name);
        }
    }

    #[test]
    fn every_value_is_finite_and_within_the_range_of_its_unit() {
        for measure in MEASURES {
            for probability in [0.0, f64::MIN_POSITIVE, 0.5, 1.0, 1.0 + 1e-7] {
                for right in [true, false] {
                    let row = answer(Some(right), probability);
                    let value = measure.value(&row);
                    let fits =
                        |value: f64| value.is_finite() && measure.unit.range().contains(&value);
                    assert!(value.is_none_or(fits), "{} {row:?} {value:?}", measure.name);
                }
            }
            assert_eq!(measure.value(&answer(None, 0.5)), None, "{}", measure.name);
            assert_eq!(measure.score(&[], 1), None, "{}", measure.name);
        }
    }

    #[test]
    fn a_right_and_certain_answer_is_the_best_and_a_wrong_and_certain_one_the_worst() {
        for measure in MEASURES {
            let value = |right| measure.value(&answer(Some(right), 0.99)).expect("a value");
            let (best, worst) = match measure.better {
                Better::Higher => (value(true), value(false)),
                Better::Lower => (value(false), value(true)),
            };
            assert!(best > worst, "{}: {best} {worst}", measure.name);
        }
    }
}
