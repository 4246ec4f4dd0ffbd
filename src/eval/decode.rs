//! Greedy decoding of many prompts at once; finished sequences leave the batch.

use crate::data::ragged::MASK;
use crate::error::Result;
use crate::eval::are_finite;
use crate::model::Trainable;
use crate::model::decoder::DecoderInput;

/// Prompts decoded together: enough to fill the matrix products, few enough for their keys and
/// values to stay small.
pub const BATCH: usize = 512;

/// A model's continuation of a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Token ids up to the closing mask, excluded.
    pub tokens: Vec<u32>,
    /// Natural logarithm of the probability of these tokens and the closing mask, if there is one. NaN if any
    /// output of the model was not finite; the tokens are meaningless then.
    pub log_probability: f64,
}

/// Picks the most probable next token until the closing mask, or until `most_tokens`.
///
/// The reference decodes a fixed 32 tokens and cuts at the mask, which gives the same answer. `progress` is
/// called before each round and at the end with the number of finished prompts; its error stops decoding.
pub fn greedy(
    model: &dyn Trainable,
    prompts: &[Vec<u32>],
    most_tokens: usize,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Answer>> {
    let mut answers = vec![];
    for prompts in prompts.chunks(BATCH) {
        let before = answers.len();
        let mut ended = |rows: usize| progress(before + rows);
        answers.extend(greedy_batch(model, prompts, most_tokens, &mut ended)?);
    }
    Ok(answers)
}

fn greedy_batch(
    model: &dyn Trainable,
    prompts: &[Vec<u32>],
    most_tokens: usize,
    ended: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Answer>> {
    let mut answers = vec![Answer::default(); prompts.len()];
    let mut decoder = model.decoder(prompts.len());
    let rows = prompts.iter().cloned().enumerate();
    let rows = rows.map(|(row, tokens)| DecoderInput { row, tokens });
    let mut inputs: Vec<DecoderInput> = rows.collect();
    for _ in 0..most_tokens {
        if inputs.is_empty() {
            break;
        }
        ended(prompts.len() - inputs.len())?;
        let distributions = decoder.decode(&inputs)?;
        let mut still_active = vec![];
        for (DecoderInput { row, .. }, distribution) in inputs.into_iter().zip(distributions) {
            let (token, log_probability) = likeliest(&distribution);
            answers[row].log_probability += f64::from(log_probability);
            if token != MASK && log_probability.is_finite() {
                answers[row].tokens.push(token);
                let tokens = vec![token];
                still_active.push(DecoderInput { row, tokens });
            }
        }
        inputs = still_active;
    }
    ended(prompts.len())?;
    Ok(answers)
}

/// Index and value of the first maximum; NaN if any entry is not finite.
pub(super) fn likeliest(distribution: &[f32]) -> (u32, f32) {
    if !are_finite(distribution) {
        return (0, f32::NAN);
    }
    let first = (0, f32::NEG_INFINITY);
    (0u32..).zip(distribution).fold(
        first,
        |best, (token, &p)| if p > best.1 { (token, p) } else { best },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ragged::Ragged;
    use crate::model::{StepMetrics, StepSettings, TrainingState, weights::Weight};

    /// Counts down: after token n comes n - 1, and after 2 the mask, each with probability 1/2.
    struct Countdown;

    impl Trainable for Countdown {
        fn next_token_log_probabilities(
            &self,
            batch: &Ragged,
            rows: &[usize],
        ) -> Result<Vec<Vec<f32>>> {
            let next = |&row: &usize| {
                let mut distribution = vec![-10.0; 10];
                distribution[batch.tokens[row] as usize - 1] = -std::f32::consts::LN_2;
                distribution
            };
            Ok(rows.iter().map(next).collect())
        }
        fn parameter_count(&self) -> usize {
            0
        }
        fn begin_step(&mut self, _: &[Ragged], _: &StepSettings) -> Result<()> {
            Err(crate::error::Error::run("it only counts"))
        }
        fn finish_step(&mut self) -> Result<StepMetrics> {
            Err(crate::error::Error::run("it only counts"))
        }
        fn loss_nats(&self, _: &Ragged) -> Result<f64> {
            Ok(0.0)
        }
        fn reset_optimiser(&mut self) {}
        fn weights(&self) -> Vec<Weight> {
            vec![]
        }
        fn load_weights(&mut self, _: &[Weight]) -> Result<()> {
            Ok(())
        }
        fn state(&self) -> TrainingState {
            TrainingState {
                weights: vec![],
                moments: [vec![], vec![]],
                averages: vec![],
                updates: 0,
            }
        }
        fn load_state(&mut self, _: &TrainingState) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn sequences_end_at_their_mask_or_at_the_limit() {
        let mut heard = vec![];
        let prompts = [vec![9, 5], vec![2], vec![9]];
        let answers = greedy(&Countdown, &prompts, 4, &mut |n| {
            heard.push(n);
            Ok(())
        })
        .expect("answers");
        let tokens: Vec<_> = answers.iter().map(|a| a.tokens.clone()).collect();
        assert_eq!(tokens, [vec![4, 3, 2], vec![], vec![8, 7, 6, 5]]);
        let halvings: Vec<_> = answers
            .iter()
            .map(|a| (-a.log_probability / 2f64.ln()).round())
            .collect();
        assert_eq!(halvings, [4.0, 1.0, 4.0], "the closing mask counts");
        assert_eq!(heard, [0, 1, 1, 1, 3]);
    }
}
