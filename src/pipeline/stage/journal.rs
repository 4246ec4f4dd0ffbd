//! What a training stage writes while it runs: one row per step, and checkpoints to resume from.

use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::artefacts::{METRICS, TIMINGS};
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::table::Appender;
use crate::model::TrainingState;
use crate::model::weights::{self, Weight};
use crate::pipeline::stage::Stage;
use crate::pipeline::stage::store::{StageFolder, prefix};
use crate::progress::{Task, thousands};
use crate::stop::{Stop, StopReason};
use crate::train::checkpoint::{Best, BestWeights, Checkpoint, CheckpointMetadata, Losses};
use crate::train::{CompletedStep, Position};

/// Number of checkpoints kept besides the best weights: the last might be damaged.
const KEPT: usize = 2;

/// Writes the rows and the checkpoints of a stage.
pub struct Journal<'a> {
    folder: &'a StageFolder,
    stage: &'a Stage,
    /// Steps of the whole stage.
    steps: usize,
    checkpoint_steps: usize,
    stop: &'a Stop,
    task: Task,
    metrics: Appender,
    timings: Appender,
    /// Losses of the current epoch.
    losses: Losses,
    /// The best epoch so far.
    best: Option<Best>,
    /// Its weights, until the next checkpoint writes them.
    unwritten_best: Option<Vec<Weight>>,
    /// The loss of the last step, for a message.
    pub last_loss_nats: Option<f64>,
}

/// Default number of steps between two checkpoints: a fiftieth of the stage, but at least 10, so that short
/// stages do not spend their time writing.
pub fn default_checkpoint_steps(steps: usize) -> usize {
    (steps / 50).max(10)
}

impl<'a> Journal<'a> {
    /// A journal of a new stage, or of one resumed from a checkpoint: rows of later steps are
    /// dropped.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub fn open(
        folder: &'a StageFolder,
        stage: &'a Stage,
        [steps, checkpoint_steps]: [usize; 2],
        from: Option<&CheckpointMetadata>,
        stop: &'a Stop,
        task: Task,
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
            stage,
            steps,
            checkpoint_steps,
            stop,
            task,
            metrics,
            timings,
            losses: from.map_or_else(Losses::default, |from| from.losses),
            best: from.and_then(|from| from.best.clone()),
            unwritten_best: None,
            last_loss_nats: None,
        })
    }

    /// Closes the tables of a stage that has ended, and returns the weights after its best epoch if
    /// that was not the last.
    ///
    /// # Errors
    /// The tables cannot be written, or the best weights cannot be read.
    pub fn close(mut self, epochs: usize) -> Result<Option<Vec<Weight>>> {
        self.metrics.sync()?;
        self.timings.sync()?;
        match (self.best, self.unwritten_best) {
            (Some(best), _) if best.epoch == epochs => Ok(None),
            (Some(_), Some(weights)) => Ok(Some(weights)),
            (Some(_), None) => {
                let kept = BestWeights::read(&self.folder.best_so_far())?;
                Ok(Some(kept.weights))
            }
            (None, _) => Ok(None),
        }
    }

    /// Ends an epoch: keeps its weights if its mean loss is the lowest so far.
    fn keep_best(&mut self, completed: &CompletedStep<'_>) {
        let mean_loss_nats = std::mem::take(&mut self.losses).mean_nats();
        let before = self.best.as_ref().map(|best| best.mean_loss_nats);
        if before.is_none_or(|before| mean_loss_nats < before) {
            let epoch = completed.row.epoch;
            self.best = Some(Best {
                epoch,
                mean_loss_nats,
            });
            self.unwritten_best = Some(completed.model.weights());
        }
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// It cannot be written.
    fn keep(&mut self, completed: &CompletedStep<'_>, state: TrainingState) -> Result<()> {
        // The rows that the checkpoint refers to must be on disk before it is.
        self.metrics.sync()?;
        let timings_bytes = self.timings.sync()?;
        let stage_key = self.stage.key.clone();
        if let (Some(best), Some(weights)) = (&self.best, self.unwritten_best.take()) {
            let (stage_key, best) = (stage_key.clone(), best.clone());
            let best = BestWeights {
                stage_key,
                best,
                weights,
            };
            best.write(&self.folder.best_so_far())?;
        }
        let path = self.folder.file(&METRICS);
        let metrics = prefix(&path, None).map_err(|e| Error::io(Kind::Run, "read", &path, e))?;
        let position: Position = completed.position.clone();
        let path = self.folder.checkpoint(position.step);
        let metadata = CheckpointMetadata {
            stage_key,
            position,
            metrics,
            timings_bytes,
            losses: self.losses,
            best: self.best.clone(),
        };
        Checkpoint { metadata, state }.write(&path)?;
        let steps = self.folder.steps();
        let old = &steps[..steps.len().saturating_sub(KEPT)];
        old.iter()
            .try_for_each(|&step| files::remove(&self.folder.checkpoint(step)))
    }

    /// Writes the rows of a step, and a checkpoint if it is time for one or the user asks to stop.
    ///
    /// # Errors
    /// A file cannot be written, or the user asks to stop.
    pub fn record(&mut self, completed: &CompletedStep<'_>) -> Result<()> {
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
            self.keep_best(completed);
        }
        let step = completed.position.step;
        if step == self.steps {
            // The final weights are written instead.
            return Ok(());
        }
        let stop = self.stop.wanted();
        if stop.is_none() && !step.is_multiple_of(self.checkpoint_steps) {
            return Ok(());
        }
        let (name, steps) = (self.stage.kind.name(), self.steps);
        let state = completed.model.state();
        match (weights::check_finite(&state.weights), stop) {
            (Ok(()), stop) => {
                self.keep(completed, state)?;
                let stopped =
                    |why: StopReason| why.error(&format!("in {name} after step {step} of {steps}"));
                stop.map(stopped).map_or(Ok(()), Err)
            }
            // Training cannot resume from such weights: the next step reports what went wrong.
            (Err(_), None) => Ok(()),
            // There is no next step.
            (Err(error), Some(_)) => {
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
    use crate::model::{StepReport, StepSettings, Trainable};
    use crate::pipeline::stage::{Ingredients, Kind as StageKind, Source};
    use crate::progress::{Progress, Verbosity};

    /// A model of one weight that is never trained.
    struct Still(f32);

    impl Trainable for Still {
        fn parameter_count(&self) -> usize {
            1
        }
        fn begin_step(&mut self, _: &Ragged, _: &StepSettings) -> Result<()> {
            Ok(())
        }
        fn finish_step(&mut self) -> Result<StepReport> {
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
            let stage = Stage::new(StageKind::Pretrain, Source::Fresh, Ingredients::new());
            let folder = StageFolder::new(results.path(), stage.kind, &stage.key);
            std::fs::create_dir_all(folder.path()).expect("made");
            let stop = Stop::default();
            stop.after_failure();
            let task = Progress::new(Verbosity::Quiet).begin("pretrain", 9);
            let journal = Journal::open(&folder, &stage, [9, 4], None, &stop, task);
            let completed = CompletedStep {
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
                model: &Still(weight),
            };
            let recorded = journal.expect("tables").record(&completed);
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
