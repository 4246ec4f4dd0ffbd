//! Log loss: cross-entropy between an answer's probability and whether it is right.

use super::{Better, Measure, Unit, Value};

/// The mean of -ln(p) for right answers and -ln(1 - p) for wrong ones, in nats.
///
/// Token probabilities are 32-bit floats, accurate near 1 only to about [`f32::EPSILON`]. The probability of the
/// outcome, p or 1 - p, is therefore clamped to at least that: no answer costs more than 15.94 nats.
///
/// Source: Good 1952, *Rational decisions*.
pub(super) const LOG_LOSS: Measure = Measure {
    name: "log-loss",
    other_names: &["cross-entropy", "nll"],
    about: "the mean of -ln(p) for a right answer of probability p and of -ln(1 - p) for a wrong one (Good 1952)",
    quantity: "log loss",
    unit: Unit::Nats,
    better: Better::Lower,
    needs_probability: true,
    needs_text: false,
    counts: "questions",
    value: Value::Number(|answer| {
        let probability = answer.confidence()?;
        let of_truth = match answer.correct? {
            true => probability,
            false => 1.0 - probability,
        };
        // Subtracted from 0, since the logarithm of 1 would become -0.
        Some(0.0 - of_truth.max(f64::from(f32::EPSILON)).ln())
    }),
};
