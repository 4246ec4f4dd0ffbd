//! How well a model predicts what it was not trained on.

use crate::data::ragged::{PAD, Ragged};
use crate::data::vocabulary::Vocabulary;
use crate::data::{ScoredSequence, Task};
use crate::error::Result;
use crate::eval::decode::likeliest;
use crate::eval::not_finite;
use crate::metrics::rows::HeldOutRow;
use crate::model::Trainable;

/// Tokens read in one batch.
const BATCH_TOKENS: usize = 8_192;

/// Numbers that the distributions of one batch may have: 64 MiB.
const BATCH_NUMBERS: usize = 1 << 24;

/// The rows of the items that the first `most` sequences of a task belong to, in the form in which they are scored when they
/// are held out.
///
/// `progress` is called with the number of sequences done so far; its error stops the evaluation.
///
/// # Errors
/// A sequence cannot be read or does not fit the model, or the model's output is not finite.
pub fn rows(
    model: &dyn Trainable,
    (task, most): (&dyn Task, usize),
    vocabulary: &Vocabulary,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<HeldOutRow>> {
    let mut rows: Vec<HeldOutRow> = vec![];
    let mut batch: Vec<ScoredSequence> = vec![];
    let (mut tokens, mut scored) = (0, 0);
    let (count, size) = (task.len().min(most), vocabulary.size());
    for index in 0..count {
        let one = task.held_out(index)?;
        let (own_tokens, own_scored) = (one.sequence.tokens.len(), one.sequence.scored());
        let is_full =
            tokens + own_tokens > BATCH_TOKENS || (scored + own_scored) * size > BATCH_NUMBERS;
        if is_full && !batch.is_empty() {
            add(model, &batch, vocabulary, &mut rows)?;
            progress(index)?;
            batch.clear();
            (tokens, scored) = (0, 0);
        }
        batch.push(one);
        (tokens, scored) = (tokens + own_tokens, scored + own_scored);
    }
    add(model, &batch, vocabulary, &mut rows)?;
    progress(count)?;
    Ok(rows)
}

/// Adds the rows of a batch; those of an item that is continued are added up.
fn add(
    model: &dyn Trainable,
    sequences: &[ScoredSequence],
    vocabulary: &Vocabulary,
    rows: &mut Vec<HeldOutRow>,
) -> Result<()> {
    let batch = Ragged::from_sequences(sequences.iter().map(|one| &one.sequence));
    let scored = batch.targets.iter().enumerate();
    let scored = scored.filter(|(_, target)| **target != PAD);
    let scored: Vec<usize> = scored.map(|(token, _)| token).collect();
    let mut distributions = model
        .next_token_log_probabilities(&batch, &scored)?
        .into_iter();
    for one in sequences {
        let targets = one.sequence.targets.iter().filter(|&&target| target != PAD);
        for (number, &target) in targets.enumerate() {
            let distribution = distributions.next().expect("one for each scored token");
            let (likeliest, best) = likeliest(&distribution);
            if !best.is_finite() {
                let text = vocabulary.decode(&one.sequence.tokens);
                return Err(not_finite("item", one.item + 1, &text));
            }
            let text = vocabulary.bytes(target);
            let distance = one.distances.get(number).copied();
            let row = row_of(rows, one, distance);
            row.scored_tokens += 1;
            row.right += usize::from(likeliest == target);
            row.loss_nats -= f64::from(distribution[target as usize]);
            // The first byte of each character.
            row.characters += text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
            row.bytes += text.len();
        }
    }
    Ok(())
}

/// The row of an item and distance, which may be new.
fn row_of<'a>(
    rows: &'a mut Vec<HeldOutRow>,
    one: &ScoredSequence,
    distance: Option<usize>,
) -> &'a mut HeldOutRow {
    let item = one.item + 1;
    let own = rows
        .iter()
        .rposition(|row| row.item != item)
        .map_or(0, |before| before + 1);
    let same = rows[own..].iter().position(|row| row.distance == distance);
    let at = same.map_or(rows.len(), |at| own + at);
    if at == rows.len() {
        rows.push(HeldOutRow {
            item,
            length: one.length,
            distance,
            scored_tokens: 0,
            right: 0,
            loss_nats: 0.0,
            characters: 0,
            bytes: 0,
        });
    }
    &mut rows[at]
}
