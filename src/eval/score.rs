//! Likelihood of lines of text under a model.

use crate::data::ragged::{PAD, Ragged, Sequence};
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::eval::{are_finite, not_finite};
use crate::metrics::rows::ScoreRow;
use crate::model::Trainable;

/// Chunks scored in one batch.
const BATCH: usize = 64;

/// Mean negative log-likelihood of each line.
///
/// The first token of a line has no context and is not scored. A line longer than `context` is split into
/// chunks of that length; each chunk begins with the last token of the previous one and sees nothing else
/// of it.
///
/// # Errors
/// A line has a character outside the vocabulary or a loss that is not finite; the message has its number.
pub fn lines(
    model: &dyn Trainable,
    vocabulary: &Vocabulary,
    context: usize,
    text: &str,
) -> Result<Vec<ScoreRow>> {
    let mut rows = vec![];
    let mut pieces: Vec<(usize, Sequence)> = vec![];
    for (number, line) in text.lines().enumerate() {
        let ids = vocabulary
            .encode(line)
            .map_err(|e| Error::data(format!("line {}: {}", number + 1, e.message())))?;
        let scored_tokens = ids.len().saturating_sub(1);
        for start in (0..scored_tokens).step_by(context) {
            let end = (start + context).min(scored_tokens);
            let sequence = Sequence {
                tokens: ids[start..end].to_vec(),
                targets: ids[start + 1..=end].to_vec(),
            };
            pieces.push((number, sequence));
        }
        rows.push(ScoreRow {
            line: number + 1,
            scored_tokens,
            loss_nats: None,
            text: line.to_owned(),
        });
    }
    let mut sums = vec![0.0; rows.len()];
    for pieces in pieces.chunks(BATCH) {
        let batch = Ragged::from_sequences(pieces.iter().map(|(_, sequence)| sequence));
        let all: Vec<usize> = (0..batch.len()).collect();
        let distributions = model.next_token_log_probabilities(&batch, &all)?;
        let owners = pieces
            .iter()
            .flat_map(|(line, s)| std::iter::repeat_n(*line, s.tokens.len()));
        for ((owner, distribution), &target) in owners.zip(&distributions).zip(&batch.targets) {
            debug_assert_ne!(target, PAD);
            if !are_finite(distribution) {
                let row = &rows[owner];
                return Err(not_finite("line", row.line, &row.text));
            }
            sums[owner] -= f64::from(distribution[target as usize]);
        }
    }
    for (row, sum) in rows.iter_mut().zip(sums) {
        row.loss_nats = (row.scored_tokens > 0).then(|| sum / row.scored_tokens as f64);
    }
    Ok(rows)
}
