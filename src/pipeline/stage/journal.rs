//! What a training stage writes while it runs: one row per step, and checkpoints to resume from.

use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::artefacts::{METRICS, TIMINGS};
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::table::Appender;
use crate::model::TrainingState;
use crate::model::weights::{self, Weight};
use crate::pipeline::stage::store::{StageFolder, prefix};
use crate::progress::{Task, thousands};
use crate::stop::Stop;
use crate::train::CompletedStep;
use crate::train::checkpoint::{Best, BestWeights, Checkpoint, CheckpointMetadata, Losses};

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
    /// The best epoch so far.
    best: Option<Best>,
    /// Its weights, until the next checkpoint writes them.
    unwritten_best: Option<Vec<Weight>>,
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
            last_loss_nats: None,
        })
    }

    /// Closes the tables of a stage that has ended, and returns the weights after its best epoch if
    /// that was not the last.
    pub fn close(mut self, epochs: usize) -> Result<Option<Vec<Weight>>> {
        self.metrics.sync()?;
        self.timings.sync()?;
        if self.best.is_none_or(|best| best.epoch == epochs) {
            return Ok(None);
        }
        let read = || Ok(BestWeights::read(&self.folder.best_so_far())?.weights);
        self.unwritten_best.map_or_else(read, Ok).map(Some)
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
        };
        let step = metadata.position.step;
        Checkpoint { metadata, state }.write(&folder.checkpoint(step))?;
        let mut old = folder.steps().into_iter().rev().skip(KEPT);
        old.try_for_each(|step| files::remove(&folder.checkpoint(step)))
    }

    /// Writes the rows of a step, and a checkpoint if it is time for one or the user asks to stop.
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
        let (name, steps) = (self.folder.kind.name(), self.steps);
        let state = completed.model.state();
        let overflow = weights::check_finite(&state.weights).err();
        if overflow.is_none() {
            self.keep(completed, state)?;
        }
        match (stop, overflow) {
            // Training cannot resume from weights that overflowed: the next step reports what went wrong.
            (None, _) => Ok(()),
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
        fn begin_step(&mut self, _: &Ragged, _: &StepSettings) -> Result<()> {
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
            let journal = Journal::open(&folder, 9, Some(4), None, &stop, task);
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
