//! Measures, which `evaluate.measures` selects: of a model's answers, or of how well it predicts what is held out.
//!
//! A measure gives each answer a value, or each held-out item a sum and what to divide it by; a run's value is the mean
//! over its answers, or the sums of all items divided by one another. It is computed from `predictions/*.tsv` or
//! `held_out/*.csv` when tables are written, so adding another of the same files does not rerun the evaluation. Each
//! measure has its own entry in a module, and [`MEASURES`] lists them.

mod answer_similarity;
mod brier_score;
mod exact_match;
mod log_loss;
mod loss;
mod token_accuracy;
mod unit;

use crate::data::Split;
use crate::kinds::{Listed, Named};
use crate::metrics::rows::{HeldOutRow, PredictionRow};
use crate::metrics::statistics::Estimate;
use crate::progress::thousands;

pub use brier_score::BRIER_SCORE;
pub use exact_match::EXACT_MATCH;
pub use token_accuracy::TOKEN_ACCURACY;
pub use unit::Unit;

/// How a model is judged.
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
    /// Whether it is of text, whose tokens have characters.
    pub needs_text: bool,
    /// What it counts, as tables say it: `questions`.
    pub counts: &'static str,
    /// How an answer or item is valued; an answer without a value, for instance without a reference answer, is not scored.
    value: Value,
}

/// How a measure values an answer or a held-out item.
#[derive(Debug)]
enum Value {
    /// Right or wrong: the value is 1 or 0.
    Right(fn(&PredictionRow) -> Option<bool>),
    /// Any number within the range of the measure's unit.
    Number(fn(&PredictionRow) -> Option<f64>),
    /// How many tokens are right, and of how many.
    Share(fn(&HeldOutRow) -> (usize, usize)),
    /// A sum, and what it is divided by.
    Ratio(Sums),
}

/// A ratio of two sums over items.
#[derive(Debug)]
struct Sums {
    /// What an item adds to the two sums.
    parts: fn(&HeldOutRow) -> (f64, f64),
    /// What the ratio becomes.
    finish: fn(f64) -> f64,
}

/// What an evaluation wrote about a model, or about a constant answer.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// Answers to the questions of the split; none if none were asked.
    pub answers: Vec<PredictionRow>,
    /// What it predicts of the held-out items of the split; none if it was not asked to.
    pub held_out: Vec<HeldOutRow>,
}

impl From<Vec<PredictionRow>> for Evaluated {
    fn from(answers: Vec<PredictionRow>) -> Self {
        let held_out = vec![];
        Self { answers, held_out }
    }
}

/// An answer or a held-out item as a measure sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// By which it is found in another run: a question and its right answer, or the number and size of an item.
    pub key: (String, String),
    /// What it adds to the sum.
    pub sum: f64,
    /// What it adds to the number that the sum is divided by: 1 for an answer.
    pub weight: f64,
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

    /// The value, negated if higher is better, so that a lower cost is always better.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Self::Higher => -value,
            Self::Lower => value,
        }
    }
}

/// All measures, in the order in which tables list them.
pub static MEASURES: &[Measure] = &[
    EXACT_MATCH,
    answer_similarity::ANSWER_SIMILARITY,
    BRIER_SCORE,
    log_loss::LOG_LOSS,
    TOKEN_ACCURACY,
    loss::LOSS,
    loss::BITS_PER_CHARACTER,
    loss::BITS_PER_BYTE,
    loss::PERPLEXITY,
];

/// The score of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Number of what the measure counts.
    pub count: usize,
    /// How many of them are right; `None` for a measure that does not count what is right.
    pub right: Option<usize>,
    /// The value, with a 95 % interval over what is counted: Wilson's for a share of what is right, otherwise the
    /// bootstrap's.
    pub estimate: Estimate,
}

impl Measure {
    /// The split on which validations during training score: training questions that are kept out, or held-out data.
    pub fn validation_split(&self) -> Split {
        match self.is_of_answers() {
            true => Split::Validate,
            false => Split::Dev,
        }
    }

    /// Whether it judges answers to questions, and not what is held out.
    pub fn is_of_answers(&self) -> bool {
        matches!(self.value, Value::Right(_) | Value::Number(_))
    }

    /// Scores a run; `None` if nothing in it has a value. `seed` is the seed of the bootstrap.
    pub fn score(&self, evaluated: &Evaluated, seed: u64) -> Option<Scored> {
        let items = self.items(evaluated);
        let sums: Vec<[f64; 2]> = items.iter().map(|item| [item.sum, item.weight]).collect();
        let [sum, weight] = total(&sums);
        let (right, count) = match self.value {
            Value::Right(_) => (Some(sum as usize), items.len()),
            Value::Share(_) => (Some(sum as usize), weight as usize),
            Value::Number(_) | Value::Ratio(_) => (None, items.len()),
        };
        let estimate = match right {
            Some(right) => Estimate::of_counts(right, count),
            None => Estimate::bootstrapped(&sums, seed, |sample| self.ratio(total(sample))),
        };
        Some(Scored {
            count,
            right,
            estimate: estimate?,
        })
    }

    /// The answers or held-out items that have a value.
    pub fn items(&self, evaluated: &Evaluated) -> Vec<Item> {
        let answer = |row: &PredictionRow| {
            Some(Item {
                key: (row.question.clone(), row.gold.clone().unwrap_or_default()),
                sum: self.value(row)?,
                weight: 1.0,
            })
        };
        let parts = |row: &HeldOutRow| match &self.value {
            Value::Share(counts) => {
                let (right, of) = counts(row);
                (right as f64, of as f64)
            }
            Value::Ratio(sums) => (sums.parts)(row),
            Value::Right(_) | Value::Number(_) => (0.0, 0.0),
        };
        if self.is_of_answers() {
            return evaluated.answers.iter().filter_map(answer).collect();
        }
        let of_item = |rows: &[HeldOutRow]| {
            let parts: Vec<[f64; 2]> = rows.iter().map(|row| parts(row).into()).collect();
            let [sum, weight] = total(&parts);
            let tokens: usize = rows.iter().map(|row| row.scored_tokens).sum();
            let bytes: usize = rows.iter().map(|row| row.bytes).sum();
            let size = format!("{} {tokens} {bytes}", rows[0].length);
            Item {
                key: (rows[0].item.to_string(), size),
                sum,
                weight,
            }
        };
        let items = evaluated.held_out.chunk_by(|a, b| a.item == b.item);
        items.map(of_item).collect()
    }

    /// The value of sums over several items; `None` without any.
    pub fn ratio(&self, [sum, weight]: [f64; 2]) -> Option<f64> {
        let ratio = (weight > 0.0).then(|| sum / weight)?;
        Some(match &self.value {
            Value::Ratio(sums) => (sums.finish)(ratio),
            _ => ratio,
        })
    }

    /// The value of one answer; 1 or 0 for right or wrong. `None` for a measure of what is held out.
    pub fn value(&self, answer: &PredictionRow) -> Option<f64> {
        match self.value {
            Value::Right(is_right) => is_right(answer).map(|right| f64::from(u8::from(right))),
            Value::Number(value) => value(answer),
            Value::Share(_) | Value::Ratio(_) => None,
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

    /// A number of what it counts, in words: `1 question`, `60 questions`.
    pub fn counted(&self, count: usize) -> String {
        let plural = if count == 1 {
            self.counts.trim_end_matches('s')
        } else {
            self.counts
        };
        format!("{} {plural}", thousands(count))
    }

    /// Its name as a heading: `Questions answered right`.
    pub fn title(&self) -> String {
        let (first, rest) = self.quantity.split_at(1);
        first.to_uppercase() + rest
    }
}

/// Sums of both columns.
pub fn total<const N: usize>(rows: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column]).sum())
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

    fn of_answers() -> impl Iterator<Item = &'static Measure> {
        MEASURES.iter().filter(|measure| measure.is_of_answers())
    }

    /// Twelve items of two rows each; `loss` is that of each of their four tokens, of which `right` are right.
    fn held_out(loss: f64, right: usize) -> Evaluated {
        let row = |item, distance| HeldOutRow {
            item,
            length: 4,
            distance: Some(distance),
            scored_tokens: 4,
            right,
            loss_nats: 4.0 * loss,
            characters: 8,
            bytes: 16,
        };
        Evaluated {
            answers: vec![],
            held_out: (1..=12)
                .flat_map(|item| [row(item, 1), row(item, 2)])
                .collect(),
        }
    }

    #[test]
    fn measures_of_what_is_held_out_are_ratios_of_sums() {
        let ln_2 = std::f64::consts::LN_2;
        let scored = |name: &str| {
            named(name)
                .score(&held_out(3.0 * ln_2, 3), 1)
                .expect("items")
        };
        for (name, expected) in [
            ("loss", 3.0 * ln_2),
            ("bits-per-character", 1.5),
            ("bits-per-byte", 0.75),
            ("perplexity", 8.0),
        ] {
            let scored = scored(name);
            assert!((scored.estimate.value - expected).abs() < 1e-12, "{name}");
            assert_eq!((scored.count, scored.right), (12, None), "{name}");
            assert_eq!(scored.estimate.interval, None, "all items agree");
        }
        let accuracy = scored("token-accuracy");
        assert_eq!((accuracy.count, accuracy.right), (96, Some(72)));
        assert_eq!(accuracy.estimate.ends(), wilson_95(72, 96));
    }

    #[test]
    fn the_interval_of_the_loss_is_over_items_not_rows() {
        let mut of = held_out(1.0, 3);
        for row in of.held_out.iter_mut().filter(|row| row.item > 6) {
            row.loss_nats = 8.0;
        }
        let twice = Evaluated {
            held_out: of
                .held_out
                .iter()
                .flat_map(|row| [row.clone(), row.clone()])
                .collect(),
            ..Evaluated::default()
        };
        let interval = |of: &Evaluated| named("loss").score(of, 1).expect("items").estimate;
        assert_eq!(interval(&of), interval(&twice));
        let (low, high) = interval(&of).ends();
        assert!(low < 1.5 && 1.5 < high, "{low} {high}");
    }

    #[test]
    fn exact_match_is_the_share_of_right_answers_with_wilsons_interval() {
        let scored = EXACT_MATCH.score(&answers().into(), 1).expect("answers");
        assert_eq!((scored.count, scored.right), (12, Some(4)));
        assert_eq!(scored.estimate.value, 4.0 / 12.0);
        let (low, high) = wilson_95(4, 12);
        let kind = IntervalKind::Wilson;
        assert_eq!(scored.estimate.interval, Some(Interval { low, high, kind }));
    }

    #[test]
    fn brier_score_and_log_loss_are_means_over_the_answers() {
        let scored = |name: &str| named(name).score(&answers().into(), 1).expect("answers");
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
                .score(&rows.into(), 1)
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
        for measure in of_answers() {
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
            assert_eq!(
                measure.score(&Evaluated::default(), 1),
                None,
                "{}",
                measure.name
            );
        }
    }

    #[test]
    fn a_right_and_certain_answer_is_the_best_and_a_wrong_and_certain_one_the_worst() {
        for measure in of_answers() {
            let value = |right| measure.value(&answer(Some(right), 0.99)).expect("a value");
            let (best, worst) = match measure.better {
                Better::Higher => (value(true), value(false)),
                Better::Lower => (value(false), value(true)),
            };
            assert!(best > worst, "{}: {best} {worst}", measure.name);
        }
    }
}
