//! Token accuracy: how often the most probable token is the right one.

use super::{Better, Measure, Unit, Value};

/// The share of scored tokens that were predicted right, which is what made tasks are compared by. The tokens of one example
/// are counted as if they were independent, as the sources of these tasks do.
pub const TOKEN_ACCURACY: Measure = Measure {
    name: "token-accuracy",
    other_names: &["scored-token-accuracy"],
    about: "top-1 accuracy: the share of scored held-out tokens to which the model assigns the highest probability, with Wilson's interval",
    quantity: "token accuracy",
    unit: Unit::Fraction,
    better: Better::Higher,
    needs_probability: false,
    needs_text: false,
    counts: "scored tokens",
    value: Value::Share(|row| (row.right, row.scored_tokens)),
};
