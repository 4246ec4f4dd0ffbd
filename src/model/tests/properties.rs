//! What must hold of every model, given by its name, as functions of a fresh model.
//!
//! Models have 256 token ids and take documents of up to [`LONGEST`] tokens.

use super::*;
use crate::model::decoder::{Decoder, DecoderInput, RecomputingDecoder};

/// The context.
pub(super) const CONTEXT: usize = 72;

/// The document length that every model can process.
pub(super) const LONGEST: usize = CONTEXT - 1;

/// A fresh model, given the seed and the standard deviation of its weights.
pub(super) type Fresh<'a> = &'a (dyn Fn(u64, f32) -> Box<dyn Trainable> + Sync);

/// Checks every property.
pub(super) fn check(name: &str, fresh: Fresh<'_>) {
    future_tokens_cannot_change_past_predictions(name, fresh);
    ragged_equals_padded(name, fresh);
    one_batch_can_be_memorised(name, fresh);
    incremental_decoding_equals_recomputing(name, fresh);
    the_number_of_threads_changes_no_bit(name, fresh);
    weights_make_the_same_model(name, fresh);
}

pub(super) fn future_tokens_cannot_change_past_predictions(name: &str, fresh: Fresh<'_>) {
    let mut model = fresh(1, 0.02);
    let batch = Ragged::from_sequences(&documents(&[60, 12]));
    model.step(&batch, &settings(0.01, 0.0)).expect("a step");
    let rows: Vec<usize> = (0..batch.len()).collect();
    let said = |batch: &Ragged| {
        let said = model.next_token_log_probabilities(batch, &rows);
        said.expect("predictions")
    };
    let before = said(&batch);
    for edited in [1, 7, 59, 65] {
        let mut other = batch.clone();
        other.tokens[edited] = 1 + (other.tokens[edited] + 99) % 255;
        let after = said(&other);
        let end = if edited < 60 { 60 } else { 72 };
        for row in rows.iter().filter(|row| !(edited..end).contains(row)) {
            let (before, after) = (&before[*row], &after[*row]);
            assert_eq!(before, after, "{name}: token {edited} reached row {row}");
        }
        let unread = before[edited] == after[edited];
        assert!(!unread, "{name}: token {edited} is not read");
    }
}

pub(super) fn ragged_equals_padded(name: &str, fresh: Fresh<'_>) {
    let sequences = documents(&[LONGEST, 5, 1, 33, 2]);
    let padded = sequences.iter().cloned().map(|mut s| {
        s.tokens.resize(LONGEST, PAD);
        s.targets.resize(LONGEST, PAD);
        s
    });
    let padded = Ragged::from_sequences(&padded.collect::<Vec<_>>());
    let ragged = Ragged::from_sequences(&sequences);
    assert_eq!((ragged.len(), padded.len()), (112, 5 * LONGEST));
    let mut unclipped = settings(0.01, 0.0);
    unclipped.update.clip_norm = 0.0;
    let [a, b] = [&ragged, &padded].map(|batch| {
        let mut model = fresh(1, 0.02);
        let report = model.step(batch, &unclipped).expect("a step");
        // After one step the first moment is a tenth of the gradient.
        let [first, _] = model.state().moments;
        (report.loss_nats, first)
    });
    let close = (a.0 - b.0).abs() <= 1e-5 * a.0.abs();
    assert!(close, "{name}: loss {} ragged, {} padded", a.0, b.0);
    for (a, b) in a.1.iter().zip(&b.1) {
        let largest = a.values.iter().fold(1e-4f32, |m, g| m.max(g.abs()));
        for (x, y) in a.values.iter().zip(&b.values) {
            let (weight, close) = (&a.name, (x - y).abs() <= 1e-5 * largest);
            assert!(
                close,
                "{name}: gradient of {weight}: {x} ragged, {y} padded"
            );
        }
    }
}

pub(super) fn one_batch_can_be_memorised(name: &str, fresh: Fresh<'_>) {
    let mut model = fresh(2, 0.02);
    let batch = Ragged::from_sequences(&documents(&[12, 9, 16]));
    for _ in 0..200 {
        model.step(&batch, &settings(0.01, 0.0)).expect("a step");
    }
    let loss = model.loss_nats(&batch).expect("a loss");
    assert!(loss < 0.05, "{name}: {loss}");
}

pub(super) fn incremental_decoding_equals_recomputing(name: &str, fresh: Fresh<'_>) {
    incremental_decoding_is_close_to_recomputing(name, fresh, 1e-3);
}

pub(super) fn incremental_decoding_is_close_to_recomputing(
    name: &str,
    fresh: Fresh<'_>,
    nats: f32,
) {
    let model = fresh(5, 0.3);
    let prompts: Vec<Vec<u32>> = (documents(&[40, 3, 62, 33]).into_iter())
        .flat_map(|d| [d.tokens.clone(), [&d.tokens[..2], &[9, 8, 7]].concat()])
        .collect();
    let rows = prompts.into_iter().enumerate();
    let mut inputs: Vec<DecoderInput> = rows
        .map(|(row, tokens)| DecoderInput { row, tokens })
        .collect();
    let mut cached = model.decoder(inputs.len());
    let mut recomputed = RecomputingDecoder::new(&*model, inputs.len());
    for round in 0..9 {
        let (said, truth) = (cached.decode(&inputs), recomputed.decode(&inputs));
        let (said, truth) = (said.expect("it fits"), truth.expect("it fits"));
        for (a, b) in said.concat().into_iter().zip(truth.concat()) {
            let close = (a - b).abs() < nats;
            assert!(close, "{name}, round {round}: {a}, {b} recomputed");
        }
        inputs
            .iter_mut()
            .for_each(|u| u.tokens = vec![2 + (u.row as u32 * 7 + round) % 250]);
    }
}

pub(super) fn the_number_of_threads_changes_no_bit(name: &str, fresh: Fresh<'_>) {
    let lengths: Vec<usize> = (0..60).map(|i| 1 + (i * 7) % 50).collect();
    let batch = Ragged::from_sequences(&documents(&lengths));
    let trained_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(|| {
            let mut model = fresh(3, 0.02);
            for _ in 0..3 {
                model.step(&batch, &settings(0.01, 0.1)).expect("a step");
            }
            bits(&*model)
        })
    };
    let one = trained_on(1);
    assert!(one == trained_on(2) && one == trained_on(8), "{name}");
}

/// Weights by their names make another model the same.
pub(super) fn weights_make_the_same_model(name: &str, fresh: Fresh<'_>) {
    let (model, mut other) = (fresh(1, 0.1), fresh(2, 0.1));
    let weights = model.weights();
    let mut names: Vec<&str> = weights.iter().map(|weight| &*weight.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names.len(),
        weights.len(),
        "{name}: two weights of one name"
    );
    other.load_weights(&weights).expect("the same layout");
    assert_eq!(bits(&*model), bits(&*other), "{name}");
}
