//! How well held-out text is predicted: the loss, and the same as bits and as perplexity.

use std::f64::consts::LN_2;

use super::{Better, Measure, Sums, Unit, Value};

/// The sum of -ln(p) over the predicted tokens, divided by their number.
pub(super) const LOSS: Measure = Measure {
    name: "loss",
    other_names: &["validation-loss", "held-out-loss"],
    about: "held-out cross-entropy: the mean of -ln(p) over the predicted tokens, in nats, where p is the probability of the correct token",
    quantity: "held-out loss per token",
    unit: Unit::Nats,
    better: Better::Lower,
    needs_probability: false,
    needs_text: false,
    counts: "items",
    value: Value::Ratio(Sums {
        parts: |row| (row.loss_nats, row.scored_tokens as f64),
        finish: |loss| loss,
    }),
};

/// Comparable between tokenizers.
pub(super) const BITS_PER_CHARACTER: Measure = Measure {
    name: "bits-per-character",
    other_names: &["bpc"],
    about: "the sum of -log2(p) over the predicted tokens of held-out text, divided by the number of characters in those tokens",
    quantity: "held-out loss per character",
    unit: Unit::Bits,
    needs_text: true,
    value: Value::Ratio(Sums {
        parts: |row| (row.loss_nats / LN_2, row.characters as f64),
        finish: |bits| bits,
    }),
    ..LOSS
};

/// Comparable between tokenizers and alphabets.
pub(super) const BITS_PER_BYTE: Measure = Measure {
    name: "bits-per-byte",
    other_names: &["bpb"],
    about: "the sum of -log2(p) over the predicted tokens of held-out text, divided by the number of UTF-8 bytes in those tokens",
    quantity: "held-out loss per byte",
    unit: Unit::Bits,
    needs_text: true,
    value: Value::Ratio(Sums {
        parts: |row| (row.loss_nats / LN_2, row.bytes as f64),
        finish: |bits| bits,
    }),
    ..LOSS
};

/// The exponential of the loss.
///
/// Source: Jelinek et al. 1977, *Perplexity, a measure of the difficulty of speech recognition tasks*.
pub(super) const PERPLEXITY: Measure = Measure {
    name: "perplexity",
    other_names: &["ppl"],
    about: "exp(loss): the number of equally likely tokens that would leave the model as uncertain (Jelinek et al. 1977)",
    quantity: "held-out perplexity per token",
    unit: Unit::Tokens,
    value: Value::Ratio(Sums {
        parts: |row| (row.loss_nats, row.scored_tokens as f64),
        finish: f64::exp,
    }),
    ..LOSS
};
