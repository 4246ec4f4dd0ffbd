//! Answer similarity: one minus the normalised edit distance to the reference answer.

use strsim::normalized_levenshtein;

use super::{Better, Measure, Unit, Value};

/// The mean of 1 - d / n, where d is the edit distance between answer and reference answer, the least number of
/// characters to insert, delete or replace, and n is the length of the longer one.
///
/// Source: Levenshtein 1966, *Binary codes capable of correcting deletions, insertions, and reversals*.
pub(super) const ANSWER_SIMILARITY: Measure = Measure {
    name: "answer-similarity",
    other_names: &[],
    about: "the mean of 1 - d / n, with d the edit distance between answer and reference answer and n the length of the longer one (Levenshtein 1966)",
    quantity: "similarity to the reference answer",
    unit: Unit::Fraction,
    better: Better::Higher,
    needs_probability: false,
    needs_text: false,
    counts: "questions",
    value: Value::Number(|answer| {
        let gold = answer.gold.as_deref()?;
        Some(normalized_levenshtein(gold, &answer.predicted))
    }),
};
