//! Training: one loop for all stages, models and tasks.

// What a name says needs no comment.
#![allow(missing_docs)]

pub mod checkpoint;
pub mod schedule;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::schema::{GroupSpec, Training};
use crate::data::ragged::Ragged;
use crate::data::{Task, batches};
use crate::error::{Error, Result};
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::steps::TrainingStage;
use crate::model::{ParameterGroup, StepMetrics, StepSettings, Trainable, Update, weights};
use schedule::{Clock, learning_rate_at};

/// The resolved settings of a training stage.
#[derive(Clone, Debug)]
pub struct StageSettings {
    pub kind: TrainingStage,
    /// Optimiser, schedule and number of epochs.
    pub training: Training,
    /// Probability of dropping an activation.
    pub dropout: f64,
    /// Context length; the schedule counts each document as one token less.
    pub context: usize,
    /// Seed of the run, for the order of documents and for dropout.
    pub seed: u64,
}

impl StageSettings {
    /// The settings of step `step` (from 1), at the clock's time.
    fn step_settings(&self, step: usize, clock: &Clock) -> StepSettings {
        let training = &self.training;
        let optimiser = &training.optimiser;
        let now = |peak: f64| learning_rate_at(&training.schedule, peak, clock);
        let group = |one: &GroupSpec| ParameterGroup {
            parameters: one.parameters.0.clone(),
            learning_rate: now(one.learning_rate.unwrap_or(training.learning_rate)),
            weight_decay: one.weight_decay,
        };
        StepSettings {
            groups: optimiser.groups.iter().map(group).collect(),
            ema: training.ema,
            update: Update {
                step: step as u64,
                learning_rate: now(training.learning_rate),
                betas: optimiser.betas,
                epsilon: optimiser.epsilon,
                weight_decay: optimiser.weight_decay,
                optimiser: optimiser.kind,
                momentum: optimiser.momentum,
                clip_norm: optimiser.clip_norm,
            },
            dropout: self.dropout,
            dropout_key: self.dropout_key(step),
        }
    }

    /// Refuses a group of parameters to which none of the model's belongs.
    fn check_groups(&self, model: &dyn Trainable) -> Result<()> {
        let groups = &self.training.optimiser.groups;
        if groups.is_empty() {
            return Ok(());
        }
        let weights = model.weights();
        let names: Vec<&str> = weights.iter().map(|one| &*one.name).collect();
        let has_none = |one: &&GroupSpec| !names.iter().any(|name| one.parameters.0.matches(name));
        match groups.iter().find(has_none) {
            None => Ok(()),
            Some(group) => {
                let (stage, pattern) = (self.kind.name(), &group.parameters.0);
                let message = format!(
                    "`{stage}.optimiser.groups`: no parameter has a name like \"{pattern}\""
                );
                let help = format!("the model has {}", names.join(", "));
                Err(Error::config(message).help(help))
            }
        }
    }

    /// Unique among all steps, stages and seeds.
    fn dropout_key(&self, step: usize) -> u64 {
        let stage = match self.kind {
            TrainingStage::Pretrain => 1,
            TrainingStage::Finetune => 2,
        };
        self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stage << 56) ^ step as u64
    }
}

/// The position of training between two steps; together with the model's state, all it takes to resume.
///
/// It contains no random generator: every draw (order, corruption, dropout) has a key made of the seed and
/// these numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Completed optimiser steps.
    pub step: usize,
    /// Completed epochs.
    pub epoch: usize,
    /// Batches of the current epoch already used.
    pub batch: usize,
    /// Tokens counted by the learning rate's clock.
    pub schedule_tokens: u64,
}

/// A training step that has been completed.
pub struct CompletedStep<'a> {
    pub row: StepRow,
    pub timing: TimingRow,
    pub position: &'a Position,
    /// Whether it was the last step of an epoch.
    pub ends_epoch: bool,
    /// The model after the update.
    pub model: &'a mut dyn Trainable,
}

/// Whether training goes on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    /// It has reached what it was for: the stage is finished.
    Stop,
}

/// How a training stage ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainingOutcome {
    /// All epochs are done, or no more are wanted, and all weights are finite.
    Finished,
    /// All epochs are done, but the last step left a weight that is not finite.
    Overflowed {
        /// Number of completed steps.
        step: usize,
        /// The weight, and how many of its values are not finite.
        what: String,
    },
    /// A loss or gradient was not finite; the weights are those before that step.
    Diverged {
        /// The failed step, from 1.
        step: usize,
        /// Its loss and gradient norm.
        metrics: StepMetrics,
    },
}

/// Trains `model` on `task` from a position and calls `record` after every step, which may end it. At step 0 the optimiser state is
/// reset; otherwise the model must already be in the state that belongs to the position. A model that has finished has the moving
/// average of its weights in their place, if the stage asks for one.
///
/// # Errors
/// A batch does not fit the model, a group of parameters has none, or `record` ends training.
pub fn fit(
    model: &mut dyn Trainable,
    task: &dyn Task,
    stage: &StageSettings,
    from: &Position,
    record: &mut dyn FnMut(CompletedStep<'_>) -> Result<Next>,
) -> Result<TrainingOutcome> {
    let training = &stage.training;
    if from.step == 0 {
        stage.check_groups(model)?;
        model.reset_optimiser();
    }
    let epoch_documents = training.epoch_documents(task.len());
    let documents = epoch_documents * training.epochs;
    let mut clock = Clock::new(documents, stage.context, from.schedule_tokens);
    let mut at = from.clone();
    'training: while at.epoch < training.epochs {
        let epoch = at.epoch + 1;
        let (all, each) = (training.update_documents(), training.batch_documents);
        let batches = batches(task, epoch as u64, all, training.shuffle, stage.seed);
        let batches = batches.first(epoch_documents);
        let mut next = None;
        while at.batch < batches.len() {
            let started = Instant::now();
            let batch = match next.take() {
                Some(batch) => batch,
                None => batches.micro_batches(at.batch, each)?,
            };
            let documents = batch.iter().map(Ragged::documents).sum();
            let tokens: usize = batch.iter().map(Ragged::len).sum();
            clock.begin_step(documents);
            at.step += 1;
            let settings = stage.step_settings(at.step, &clock);
            model.begin_step(&batch, &settings)?;
            // Overlaps with the GPU's work.
            let following = at.batch + 1;
            let prepared =
                (following < batches.len()).then(|| batches.micro_batches(following, each));
            let metrics = model.finish_step()?;
            next = prepared.transpose()?;
            if !metrics.is_finite() {
                let step = at.step;
                return Ok(TrainingOutcome::Diverged { step, metrics });
            }
            at.batch += 1;
            at.schedule_tokens = clock.through;
            let seconds = started.elapsed().as_secs_f64();
            let next_is = record(CompletedStep {
                row: StepRow {
                    stage: stage.kind.name().to_owned(),
                    epoch,
                    step: at.step,
                    documents,
                    tokens,
                    loss_nats: metrics.loss_nats,
                    learning_rate: settings.update.learning_rate,
                    gradient_norm: metrics.gradient_norm,
                },
                timing: TimingRow {
                    stage: stage.kind.name().to_owned(),
                    step: at.step,
                    step_ms: seconds * 1e3,
                    tokens_per_second: tokens as f64 / seconds,
                },
                position: &at,
                ends_epoch: at.batch == batches.len(),
                model,
            })?;
            if next_is == Next::Stop {
                break 'training;
            }
        }
        (at.epoch, at.batch) = (at.epoch + 1, 0);
    }
    model.swap_averages();
    // An overflow in an earlier step shows in the next step's loss.
    Ok(match weights::check_finite(&model.weights()) {
        Ok(()) => TrainingOutcome::Finished,
        Err(error) => TrainingOutcome::Overflowed {
            step: at.step,
            what: error.message(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{OptimiserSpec, ScheduleSpec};
    use crate::data::ragged::Sequence;
    use crate::model::TrainingState;
    use crate::model::weights::Weight;

    /// A mock model that reports scripted losses and records the settings of every step.
    #[derive(Default)]
    struct Scripted {
        losses: Vec<f64>,
        asked: Vec<(usize, StepSettings)>,
        /// Its only weight.
        weight: f32,
    }

    impl Trainable for Scripted {
        fn parameter_count(&self) -> usize {
            0
        }
        fn begin_step(&mut self, batch: &[Ragged], settings: &StepSettings) -> Result<()> {
            let documents = batch.iter().map(Ragged::documents).sum();
            self.asked.push((documents, settings.clone()));
            Ok(())
        }
        fn finish_step(&mut self) -> Result<StepMetrics> {
            let loss_nats = self.losses[self.asked.len() - 1];
            let gradient_norm = 1.0;
            Ok(StepMetrics {
                loss_nats,
                gradient_norm,
            })
        }
        fn loss_nats(&self, _: &Ragged) -> Result<f64> {
            Ok(0.0)
        }
        fn next_token_log_probabilities(&self, _: &Ragged, _: &[usize]) -> Result<Vec<Vec<f32>>> {
            Ok(vec![])
        }
        fn reset_optimiser(&mut self) {
            self.asked.clear();
        }
        fn weights(&self) -> Vec<Weight> {
            vec![Weight {
                name: "w".to_owned(),
                shape: vec![],
                values: vec![self.weight],
            }]
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

    struct FiveDocuments;

    impl Task for FiveDocuments {
        fn len(&self) -> usize {
            5
        }
        fn longest_sequence(&self) -> usize {
            5
        }
        fn sequence(&self, _: u64, index: usize) -> Result<Sequence> {
            Ok(Sequence {
                tokens: vec![2; index + 1],
                targets: vec![3; index + 1],
            })
        }
    }

    #[derive(Default)]
    struct Rows(Vec<StepRow>, Vec<Position>);

    fn fit_scripted(losses: Vec<f64>) -> (Scripted, Rows, TrainingOutcome) {
        fit_scripted_from(&Position::default(), losses)
    }

    fn fit_scripted_from(from: &Position, losses: Vec<f64>) -> (Scripted, Rows, TrainingOutcome) {
        let model = Scripted {
            losses,
            ..Scripted::default()
        };
        fit_model(model, from)
    }

    fn stage() -> StageSettings {
        StageSettings {
            kind: TrainingStage::Pretrain,
            training: Training {
                epochs: 2,
                batch_documents: 2,
                accumulate: 1,
                learning_rate: 0.1,
                init: None,
                ema: None,
                optimiser: OptimiserSpec::default(),
                schedule: ScheduleSpec::default(),
                mix: vec![],
                validate: None,
                shuffle: false,
                epoch_documents: None,
                checkpoint_steps: None,
            },
            dropout: 0.1,
            context: 8,
            seed: 3,
        }
    }

    fn fit_model(mut model: Scripted, from: &Position) -> (Scripted, Rows, TrainingOutcome) {
        let mut rows = Rows::default();
        let stage = stage();
        let mut record = |completed: CompletedStep<'_>| {
            rows.0.push(completed.row);
            rows.1.push(completed.position.clone());
            Ok(Next::GoOn)
        };
        let outcome = fit(&mut model, &FiveDocuments, &stage, from, &mut record).expect("a fit");
        (model, rows, outcome)
    }

    #[test]
    fn every_document_is_seen_once_per_epoch_and_every_step_is_recorded() {
        let (model, rows, outcome) = fit_scripted(vec![1.0; 6]);
        assert_eq!(outcome, TrainingOutcome::Finished);
        assert_eq!(
            model.asked.iter().map(|a| a.0).collect::<Vec<_>>(),
            [2, 2, 1, 2, 2, 1]
        );
        let seen: Vec<_> = rows.0.iter().map(|r| (r.epoch, r.step, r.tokens)).collect();
        assert_eq!(
            seen,
            [
                (1, 1, 3),
                (1, 2, 7),
                (1, 3, 5),
                (2, 4, 3),
                (2, 5, 7),
                (2, 6, 5)
            ]
        );
        let mut keys: Vec<u64> = model.asked.iter().map(|a| a.1.dropout_key).collect();
        keys.dedup();
        assert_eq!(keys.len(), 6, "dropout has a new key in each step");
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_at_its_step() {
        let (model, rows, outcome) = fit_scripted(vec![1.0, 2.0, f64::NAN, 1.0, 1.0, 1.0]);
        assert!(
            matches!(outcome, TrainingOutcome::Diverged { step: 3, .. }),
            "{outcome:?}"
        );
        assert_eq!((model.asked.len(), rows.0.len()), (3, 2));
    }

    #[test]
    fn an_overflow_in_the_last_step_does_not_count_as_finished() {
        let model = Scripted {
            losses: vec![1.0; 6],
            weight: f32::INFINITY,
            ..Scripted::default()
        };
        let (_, rows, outcome) = fit_model(model, &Position::default());
        let what = "`w` has non-finite values (1 of 1)".to_owned();
        assert_eq!(outcome, TrainingOutcome::Overflowed { step: 6, what });
        assert_eq!(rows.0.len(), 6);
    }

    #[test]
    fn a_group_without_a_parameter_is_refused_with_the_names_that_there_are() {
        let groups = |pattern: &str| {
            let group = serde_json::json!({"parameters": pattern, "learning_rate": 0.3});
            serde_json::from_value(serde_json::json!({"groups": [group]})).expect("an optimiser")
        };
        let fitted = |pattern: &str| {
            let mut stage = stage();
            stage.training.optimiser = groups(pattern);
            let mut model = Scripted {
                losses: vec![1.0; 6],
                ..Scripted::default()
            };
            let mut go_on = |_: CompletedStep<'_>| Ok(Next::GoOn);
            let from = Position::default();
            let outcome = fit(&mut model, &FiveDocuments, &stage, &from, &mut go_on);
            outcome.map(|_| model.asked)
        };
        let error = fitted("blocks.*").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "error: `pretrain.optimiser.groups`: no parameter has a name like \"blocks.*\"\n  help: the model has w"
        );
        // A group's rate follows the schedule.
        let asked = fitted("?").expect("fitted");
        for (_, settings) in asked {
            let rates = [
                settings.groups[0].learning_rate,
                settings.update.learning_rate,
            ];
            assert!((rates[0] - 3.0 * rates[1]).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn resuming_from_any_position_repeats_the_remaining_steps() {
        let (whole, all, _) = fit_scripted(vec![1.0; 6]);
        for (done, from) in all.1.iter().enumerate().map(|(i, at)| (i + 1, at)) {
            let (rest, rows, outcome) = fit_scripted_from(from, vec![1.0; 6]);
            assert_eq!(outcome, TrainingOutcome::Finished);
            assert_eq!(rows.0, all.0[done..], "after step {done}");
            assert_eq!(rest.asked, whole.asked[done..], "after step {done}");
        }
    }
}
