//! Brier score: the squared error of an answer's probability.

use super::{Better, Measure, Unit, Value};

/// The mean of (probability - right)², where right is 1 or 0. A probability of 0.5
/// for every answer scores 0.25.
///
/// Source: Brier 1950, *Verification of forecasts expressed in terms of probability*.
pub const BRIER_SCORE: Measure = Measure {
    name: "brier-score",
    other_names: &[],
    about: "the mean squared difference between an answer's probability and the outcome, 1 if it is right and 0 if not (Brier 1950)",
    quantity: "Brier score",
    unit: Unit::Score,
    better: Better::Lower,
    needs_probability: true,
    needs_text: false,
    counts: "questions",
    value: Value::Number(|answer| {
        let right = f64::from(u8::from(answer.correct?));
        Some((answer.confidence()? - right).powi(2))
    }),
};
