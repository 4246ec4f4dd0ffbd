//! How far the probability of an answer is from whether it is right.

use super::{Better, Measure, Unit, Value};

/// The mean of (probability - right)², where right is 1 or 0. A model that is always unsure, at 0.5, has 0.25.
///
/// Source: Brier 1950, *Verification of forecasts expressed in terms of probability*.
pub const BRIER_SCORE: Measure = Measure {
    name: "brier-score",
    about: "the mean squared difference between an answer's probability and whether it is right, 1 or 0 (Brier 1950)",
    quantity: "Brier score",
    axis: "Brier score",
    unit: Unit::Score,
    better: Better::Lower,
    value: Value::Number(|answer| {
        let right = f64::from(u8::from(answer.correct?));
        Some((answer.confidence()? - right).powi(2))
    }),
};
