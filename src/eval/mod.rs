//! Evaluation: batched greedy decoding, what is held out, measures of both, attention maps, and likelihoods of plain text.

// What a name says needs no comment.
#![allow(missing_docs)]

pub mod attention;
pub mod decode;
pub mod held_out;
pub mod measures;
pub mod score;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::data::vocabulary::Vocabulary;
use crate::data::{Question, questions};
use crate::error::{Error, Result};
use crate::metrics::rows::{PredictionRow, TrainingAnswerRow};
use crate::model::Trainable;

/// Lets a model answer questions and scores them by exact match, as the assignment does.
///
/// `progress` is called with the number of questions answered so far; its error stops the evaluation.
///
/// # Errors
/// A question has a character outside the vocabulary or does not fit the context, or the model's output is
/// not finite.
pub fn ask_model(
    model: &dyn Trainable,
    vocabulary: &Vocabulary,
    asked: &[Question],
    most_characters: usize,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<PredictionRow>> {
    let prompts = asked.iter().map(|one| questions::prompt(one, vocabulary));
    let prompts: Vec<_> = prompts.collect::<Result<_>>()?;
    let answers = decode::greedy(model, &prompts, most_characters, progress)?;
    let rows = (1..).zip(asked).zip(answers);
    rows.map(|((number, question), answer)| {
        if !answer.log_probability.is_finite() {
            return Err(not_finite("question", number, &question.text));
        }
        let predicted = vocabulary.decode(&answer.tokens);
        let log_probability = Some(answer.log_probability);
        Ok(prediction(question, predicted, log_probability))
    })
    .collect()
}

/// Whether all numbers are finite. There is no early exit, so the loop vectorises.
fn are_finite(numbers: &[f32]) -> bool {
    numbers.iter().fold(true, |all, x| all & x.is_finite())
}

/// The error for a model whose output is not finite, which must never become a result. `what` is the kind of
/// input it read.
fn not_finite(what: &str, number: usize, text: &str) -> Error {
    /// The most characters of the text that a message shows.
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('\u{2026}');
    }
    Error::run(format!(
        "the model's output is not finite at {what} {number} ({shown})"
    ))
    .help("its weights are too large for 32-bit floats: train it with a lower learning rate")
}

/// Scores one constant answer to every question.
pub fn answer_always(asked: &[Question], answer: &str) -> Vec<PredictionRow> {
    let row = |question| prediction(question, answer.to_owned(), None);
    asked.iter().map(row).collect()
}

/// How often each place is the answer, most frequent first, ties by name.
pub fn count_answers(questions: &[Question]) -> Vec<TrainingAnswerRow> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for place in questions.iter().filter_map(|q| q.answer.as_deref()) {
        *counts.entry(place).or_default() += 1;
    }
    let row = |(answer, questions): (&str, usize)| TrainingAnswerRow {
        answer: answer.to_owned(),
        questions,
    };
    let mut rows: Vec<TrainingAnswerRow> = counts.into_iter().map(row).collect();
    rows.sort_by_key(|row| Reverse(row.questions));
    rows
}

fn prediction(
    question: &Question,
    predicted: String,
    log_probability: Option<f64>,
) -> PredictionRow {
    PredictionRow {
        question: question.text.clone(),
        gold: question.answer.clone(),
        correct: question.answer.as_ref().map(|gold| *gold == predicted),
        predicted,
        log_probability,
    }
}
