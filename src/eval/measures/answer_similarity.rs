//! How near a wrong answer is to the reference answer.

use strsim::normalized_levenshtein;

use super::{Better, Measure, Unit, Value};

/// The mean of 1 - distance / length: the distance is the least number of characters that must be inserted, removed or
/// replaced to turn the answer into the reference answer, the length that of the longer of the two.
///
/// Source: Levenshtein 1966, *Binary codes capable of correcting deletions, insertions, and reversals*.
pub(super) const ANSWER_SIMILARITY: Measure = Measure {
    name: "answer-similarity",
    about: "the mean of 1 less the edit distance between answer and reference answer, divided by the length of the longer one (Levenshtein 1966)",
    quantity: "similarity to the reference answer",
    axis: "similarity to the reference answer (%)",
    unit: Unit::Fraction,
    better: Better::Higher,
    value: Value::Number(|answer| {
        let gold = answer.gold.as_deref()?;
        Some(normalized_levenshtein(gold, &answer.predicted))
    }),
};
