//! How surprised a model is to learn whether its answer is right.

use super::{Better, Measure, Unit, Value};

/// The mean of -ln(p) for right answers and -ln(1 - p) for wrong ones, in nats.
///
/// 32-bit floats cannot tell a probability from 1 that is nearer to it than [`f32::EPSILON`], so neither p nor
/// 1 - p is taken to be less than that: no answer costs more than 15.94 nats.
///
/// Source: Good 1952, *Rational decisions*.
pub(super) const LOG_LOSS: Measure = Measure {
    name: "log-loss",
    about: "the mean of -ln(p) for a right answer of probability p and of -ln(1 - p) for a wrong one (Good 1952)",
    quantity: "log loss",
    axis: "log loss (nats)",
    unit: Unit::Nats,
    better: Better::Lower,
    value: Value::Number(|answer| {
        let probability = answer.confidence()?;
        let of_truth = match answer.correct? {
            true => probability,
            false => 1.0 - probability,
        };
        Some(-of_truth.max(f64::from(f32::EPSILON)).ln())
    }),
};
