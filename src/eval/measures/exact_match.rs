//! Exact match, the assignment's measure: the answer equals the reference answer, character by character.

use super::{Better, Measure, Unit, Value};

/// The share of questions answered right, called accuracy in tables.
pub const EXACT_MATCH: Measure = Measure {
    name: "exact-match",
    other_names: &["accuracy"],
    about: "the share of answers that equal the reference answer, with Wilson's interval",
    quantity: "questions answered right",
    unit: Unit::Fraction,
    better: Better::Higher,
    needs_probability: false,
    needs_text: false,
    counts: "questions",
    value: Value::Right(|answer| answer.correct),
};
