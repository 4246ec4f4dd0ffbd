//! Incremental decoding of several sequences: prompts first, then the tokens of their answers.

use super::Trainable;
use crate::data::ragged::{PAD, Ragged, Sequence};
use crate::error::{Error, Result};

/// The next tokens of one sequence for a [`Decoder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderInput {
    /// The sequence, counted from 0.
    pub row: usize,
    /// Its next tokens.
    pub tokens: Vec<u32>,
}

/// Sequences in the process of being decoded.
pub trait Decoder {
    /// Log-probabilities (nats) of the token after the last of each input, one row of vocabulary size each.
    ///
    /// Inputs are in ascending order of their sequences, each sequence at most once; sequences that are
    /// left out stay as they are. The last bits of the result for a sequence may depend on the others in
    /// the call, but not on the number of threads.
    ///
    /// # Errors
    /// An input without tokens, or one that does not fit the model's context or vocabulary; then nothing is
    /// changed. After a failure of the device the decoder cannot be used any more.
    fn decode(&mut self, inputs: &[DecoderInput]) -> Result<Vec<Vec<f32>>>;
}

/// The reference: keeps only tokens, and recomputes every sequence from its beginning.
pub(super) struct RecomputingDecoder<'a, M: ?Sized> {
    model: &'a M,
    rows: Vec<Vec<u32>>,
}

impl<'a, M: Trainable + ?Sized> RecomputingDecoder<'a, M> {
    pub(super) fn new(model: &'a M, rows: usize) -> Self {
        Self {
            model,
            rows: vec![vec![]; rows],
        }
    }
}

impl<M: Trainable + ?Sized> Decoder for RecomputingDecoder<'_, M> {
    fn decode(&mut self, inputs: &[DecoderInput]) -> Result<Vec<Vec<f32>>> {
        check_rows(inputs)?;
        let whole = |u: &DecoderInput| [&self.rows[u.row][..], &u.tokens].concat();
        let sequences: Vec<Sequence> = inputs
            .iter()
            .map(whole)
            .map(|tokens| Sequence {
                targets: vec![PAD; tokens.len()],
                tokens,
            })
            .collect();
        let batch = Ragged::from_sequences(&sequences);
        let last: Vec<usize> = batch.starts[1..].iter().map(|&end| end - 1).collect();
        let distributions = self.model.next_token_log_probabilities(&batch, &last)?;
        for (inputs, sequence) in inputs.iter().zip(sequences) {
            self.rows[inputs.row] = sequence.tokens;
        }
        Ok(distributions)
    }
}

/// Refuses inputs that no decoder accepts.
pub(super) fn check_rows(inputs: &[DecoderInput]) -> Result<()> {
    debug_assert!(
        inputs.is_sorted_by(|a, b| a.row < b.row),
        "rows ascend, and none comes twice"
    );
    if inputs.iter().any(|u| u.tokens.is_empty()) {
        return Err(Error::run("a row without any token to read"));
    }
    Ok(())
}

/// Log-softmax: log-probabilities from logits.
pub(super) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits
        .iter()
        .fold(f32::NEG_INFINITY, |most, &l| most.max(l));
    let sum: f64 = logits.iter().map(|&l| f64::from(l - most).exp()).sum();
    logits.iter().map(|&l| l - most - sum.ln() as f32).collect()
}
