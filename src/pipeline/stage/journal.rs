//! What a training stage writes while it runs: one row per step, and checkpoints to resume from.

use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::artefacts::{METRICS, TIMINGS};
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::table::Appender;
use crate::model::weights::{self, Weight};
use crate::model::{TrainingState, averaged};
use crate::pipeline::stage::store::{StageFolder, prefix};
use crate::pipeline::stage::validation::Validation;
use crate::progress::{Task, thousands};
use crate::stop::Stop;
use crate::train::checkpoint::{Best, BestWeights, Checkpoint, CheckpointMetadata, Losses};
use crate::train::{CompletedStep, Next};

/// Number of checkpoints kept besides the best weights: the last might be damaged.
const KEPT: usize = 2;

/// Writes the rows and the checkpoints of a stage.
pub struct Journal<'a> {
    folder: &'a StageFolder,
    /// Steps of the whole stage.
    steps: usize,
    checkpoint_steps: usize,
    stop: &'a Stop,
    task: Task,
    metrics: Appender,
    timings: Appender,
    /// Losses of the current epoch.
    losses: Losses,
    /// The best epoch or validation so far.
    best: Option<Best>,
    /// Its weights, until the next checkpoint writes them.
    unwritten_best: Option<Vec<Weight>>,
    /// How the model is validated, if it is.
    pub validation: Option<Validation<'a>>,
    /// The loss of the last step, for a message.
    pub last_loss_nats: Option<f64>,
}

impl<'a> Journal<'a> {
    /// A journal of a new stage, or of one resumed from a checkpoint: rows of later steps are
    /// dropped. Steps between two checkpoints are by default a fiftieth of the stage, but at least 10, so that short
    /// stages do not spend their time writing.
    pub fn open(
        folder: &'a StageFolder,
        steps: usize,
        checkpoint_steps: Option<usize>,
        from: Option<&CheckpointMetadata>,
        stop: &'a Stop,
        task: Task,
        validation: Option<Validation<'a>>,
    ) -> Result<Self> {
        let (metrics, timings) = (folder.file(&METRICS), folder.file(&TIMINGS));
        let (metrics, timings) = match from {
            None => (
                Appender::create::<StepRow>(&metrics)?,
                Appender::create::<TimingRow>(&timings)?,
            ),
            Some(from) => (
                Appender::resume(&metrics, from.metrics.bytes)?,
                Appender::resume(&timings, from.timings_bytes)?,
            ),
        };
        Ok(Self {
            folder,
            steps,
            checkpoint_steps: checkpoint_steps.unwrap_or((steps / 50).max(10)),
            stop,
            task,
            metrics,
            timings,
            losses: from.map_or_else(Losses::default, |from| from.losses),
            best: from.and_then(|from| from.best.clone()),
            unwritten_best: None,
            validation,
            last_loss_nats: None,
        })
    }

    /// Closes the tables of a stage that has ended after so many epochs and steps, and returns the weights after its best
    /// epoch or validation if that was not the last.
    pub fn close(mut self, (epochs, steps): (usize, usize)) -> Result<Option<Vec<Weight>>> {
        self.metrics.sync()?;
        self.timings.sync()?;
        let validated = self.validation.as_mut().map(Validation::sync).transpose()?;
        let is_last = |best: &Best| match validated {
            Some(_) => best.step == steps,
            None => best.epoch == epochs,
        };
        if self.best.as_ref().is_none_or(is_last) {
            return Ok(None);
        }
        let read = || Ok(BestWeights::read(&self.folder.best_so_far())?.weights);
        self.unwritten_best.map_or_else(read, Ok).map(Some)
    }

    /// Keeps the weights if they cost less than any before.
    fn keep_best(&mut self, completed: &mut CompletedStep<'_>, cost: f64) {
        let before = self.best.as_ref().map(|best| best.cost);
        if before.is_none_or(|before| cost < before) {
            self.best = Some(Best {
                epoch: completed.row.epoch,
                step: completed.row.step,
                cost,
            });
            self.unwritten_best = Some(averaged(completed.model, |model| model.weights()));
        }
    }

    /// Validates the model if it is time for that.
    fn validate(&mut self, completed: &mut CompletedStep<'_>) -> Result<Next> {
        let is_last = completed.row.step == self.steps;
        let due = self.validation.as_mut();
        let Some(validation) = due.filter(|one| one.is_due(completed, is_last)) else {
            return Ok(Next::GoOn);
        };
        let (stop, task) = (self.stop, &mut self.task);
        task.at(completed.row.step, "validating");
        let row = &completed.row;
        averaged(completed.model, |model| {
            validation.run(model, row, &mut || stop.check_folder())
        })?;
        let last = validation.rows.last().expect("a row was added");
        let cost = validation.cost(last);
        let next = match validation.verdict() {
            Some(_) => Next::Stop,
            None => Next::GoOn,
        };
        self.keep_best(completed, cost);
        Ok(next)
    }

    /// Writes a checkpoint.
    fn keep(&mut self, completed: &CompletedStep<'_>, state: TrainingState) -> Result<()> {
        // The rows that the checkpoint refers to must be on disk before it is.
        self.metrics.sync()?;
        let timings_bytes = self.timings.sync()?;
        let folder = self.folder;
        if let (Some(best), Some(weights)) = (&self.best, self.unwritten_best.take()) {
            let best = BestWeights {
                stage_key: folder.key.clone(),
                best: best.clone(),
                weights,
            };
            best.write(&folder.best_so_far())?;
        }
        let path = folder.file(&METRICS);
        let metadata = CheckpointMetadata {
            stage_key: folder.key.clone(),
            position: completed.position.clone(),
            metrics: prefix(&path, None).map_err(|e| Error::io(Kind::Run, "read", &path, e))?,
            timings_bytes,
            losses: self.losses,
            best: self.best.clone(),
            validation: self.validation.as_mut().map(Validation::sync).transpose()?,
        };
        let step = metadata.position.step;
        Checkpoint { metadata, state }.write(&folder.checkpoint(step))?;
        let mut old = folder.steps().into_iter().rev().skip(KEPT);
        old.try_for_each(|step| files::remove(&folder.checkpoint(step)))
    }

    /// Writes the rows of a step, and a checkpoint if it is time for one or the user asks to stop.
    ///
    /// Returns whether training goes on.
    pub fn record(&mut self, completed: &mut CompletedStep<'_>) -> Result<Next> {
        self.stop.check_folder()?;
        self.metrics.add(&completed.row)?;
        self.timings.add(&completed.timing)?;
        let row = &completed.row;
        self.last_loss_nats = Some(row.loss_nats);
        self.losses.steps += 1;
        self.losses.sum_nats += row.loss_nats;
        let (epoch, loss) = (row.epoch, row.loss_nats);
        let speed = thousands(completed.timing.tokens_per_second as usize);
        let message = format!("epoch {epoch}  loss {loss:.3} nats  {speed} tokens/s");
        self.task.at(row.step, &message);
        if completed.ends_epoch {
            let mean_loss_nats = std::mem::take(&mut self.losses).mean_nats();
            if self.validation.is_none() {
                self.keep_best(completed, mean_loss_nats);
            }
        }
        let next = self.validate(completed)?;
        let step = completed.position.step;
        if step == self.steps || next == Next::Stop {
            // The final weights are written instead.
            return Ok(next);
        }
        let stop = self.stop.wanted();
        if stop.is_none() && !step.is_multiple_of(self.checkpoint_steps) {
            return Ok(Next::GoOn);
        }
        let (name, steps) = (self.folder.kind.name(), self.steps);
        let state = completed.model.state();
        let overflow = weights::check_finite(&state.weights).err();
        if overflow.is_none() {
            self.keep(completed, state)?;
        }
        match (stop, overflow) {
            // Training cannot resume from weights that overflowed: the next step reports what went wrong.
            (None, _) => Ok(Next::GoOn),
            (Some(why), None) => Err(why.error(&format!("in {name} after step {step} of {steps}"))),
            (Some(_), Some(error)) => {
                let what = error.message();
                let message = format!("{name} overflowed in step {step} of {steps}: {what}");
                Err(Error::run(message).help(format!("lower `{name}.learning_rate`")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ragged::Ragged;
    use crate::model::{StepMetrics, StepSettings, Trainable};
    use crate::pipeline::stage::StageKind;
    use crate::progress::{Progress, Verbosity};
    use crate::train::Position;

    /// A model of one weight that is never trained.
    struct Still(f32);

    impl Trainable for Still {
        fn parameter_count(&self) -> usize {
            1
        }
        fn begin_step(&mut self, _: &[Ragged], _: &StepSettings) -> Result<()> {
            Ok(())
        }
        fn finish_step(&mut self) -> Result<StepMetrics> {
            unreachable!("no step is begun")
        }
        fn loss_nats(&self, _: &Ragged) -> Result<f64> {
            Ok(0.0)
        }
        fn next_token_log_probabilities(&self, _: &Ragged, _: &[usize]) -> Result<Vec<Vec<f32>>> {
            Ok(vec![])
        }
        fn reset_optimiser(&mut self) {}
        fn weights(&self) -> Vec<Weight> {
            vec![Weight {
                name: "w".to_owned(),
                shape: vec![1],
                values: vec![self.0],
            }]
        }
        fn load_weights(&mut self, _: &[Weight]) -> Result<()> {
            Ok(())
        }
        fn state(&self) -> TrainingState {
            TrainingState {
                weights: self.weights(),
                moments: [self.weights(), self.weights()],
                averages: vec![],
                updates: 3,
            }
        }
        fn load_state(&mut self, _: &TrainingState) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stage_that_is_stopped_keeps_its_weights_or_says_that_it_cannot() {
        let stopped_with = |weight: f32| {
            let results = tempfile::tempdir().expect("a folder");
            let folder = StageFolder::new(results.path(), StageKind::Pretrain, "key");
            std::fs::create_dir_all(folder.path()).expect("made");
            let stop = Stop::default();
            stop.after_failure();
            let task = Progress::new(Verbosity::Quiet).begin("pretrain", 9);
            let journal = Journal::open(&folder, 9, Some(4), None, &stop, task, None);
            let mut completed = CompletedStep {
                row: StepRow {
                    stage: "pretrain".to_owned(),
                    epoch: 1,
                    step: 3,
                    documents: 1,
                    tokens: 1,
                    loss_nats: 1.0,
                    learning_rate: 1.0,
                    gradient_norm: 1.0,
                },
                timing: TimingRow {
                    stage: "pretrain".to_owned(),
                    step: 3,
                    step_ms: 1.0,
                    tokens_per_second: 1.0,
                },
                position: &Position {
                    step: 3,
                    ..Position::default()
                },
                ends_epoch: false,
                model: &mut Still(weight),
            };
            let recorded = journal.expect("tables").record(&mut completed);
            (recorded.expect_err("stopped").message(), folder.steps())
        };
        let (said, kept) = stopped_with(1.0);
        assert!(said.contains("in pretrain after step 3 of 9"), "{said}");
        assert_eq!(kept, [3]);
        let (said, kept) = stopped_with(f32::NAN);
        assert!(
            said.starts_with("pretrain overflowed in step 3 of 9: "),
            "{said}"
        );
        assert_eq!(kept, [0; 0]);
    }
}
