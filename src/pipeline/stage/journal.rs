//! What a training stage leaves while it runs: a row a step, and checkpoints to go on from.

use crate::error::{Error, Kind, Result};
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::table::Appender;
use crate::pipeline::stage::Stage;
use crate::pipeline::stage::store::{StageFolder, prefix, remove};
use crate::progress::{Task, thousands};
use crate::stop::Stop;
use crate::train::checkpoint::{Best, Checkpoint, Losses, Progress};
use crate::train::{Position, Recorder, Taken};

/// Regular checkpoints kept beside the best one: the last might be damaged.
const KEPT: usize = 2;

/// Keeps the rows of a stage and its checkpoints.
pub(in crate::pipeline) struct Journal<'a> {
    folder: &'a StageFolder,
    stage: &'a Stage,
    /// Steps of the whole stage.
    steps: usize,
    checkpoint_steps: usize,
    stop: &'a Stop,
    task: Task,
    metrics: Appender,
    timings: Appender,
    losses: Losses,
    best: Option<Best>,
    /// The loss of the last step, for a message.
    pub(in crate::pipeline) last_loss_nats: Option<f64>,
}

/// How often a stage is to keep a checkpoint, if its file does not say: at most a fiftieth of the
/// work is lost, and short stages do not spend their time writing.
pub(in crate::pipeline) fn default_checkpoint_steps(steps: usize) -> usize {
    (steps / 50).max(10)
}

impl<'a> Journal<'a> {
    /// A journal of a stage that begins, or one that goes on after what `from` has behind it: rows
    /// of later steps are dropped.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub(in crate::pipeline) fn open(
        folder: &'a StageFolder,
        stage: &'a Stage,
        [steps, checkpoint_steps]: [usize; 2],
        from: Option<&Progress>,
        stop: &'a Stop,
        task: Task,
    ) -> Result<Self> {
        let (metrics, timings) = (folder.metrics_csv(), folder.timings_csv());
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
            last_loss_nats: None,
        })
    }

    /// Closes the tables of a stage that has ended, and says which checkpoint was better than its
    /// end, if one was.
    ///
    /// # Errors
    /// The tables cannot be written.
    pub(in crate::pipeline) fn close(mut self) -> Result<Option<Best>> {
        self.metrics.sync()?;
        self.timings.sync()?;
        let end = self.losses.mean_nats();
        Ok(self.best.filter(|best| best.mean_loss_nats < end))
    }

    /// A checkpoint that every run of the stage keeps, wherever it was stopped.
    fn keep_regular(&mut self, taken: &Taken<'_>) -> Result<()> {
        let mean_loss_nats = std::mem::take(&mut self.losses).mean_nats();
        if self
            .best
            .as_ref()
            .is_none_or(|best| mean_loss_nats < best.mean_loss_nats)
        {
            let step = taken.position.step;
            self.best = Some(Best {
                step,
                mean_loss_nats,
            });
        }
        self.keep(taken)
    }

    fn keep(&mut self, taken: &Taken<'_>) -> Result<()> {
        // What the checkpoint counts on must be there before it is.
        self.metrics.sync()?;
        let timings_bytes = self.timings.sync()?;
        let path = self.folder.metrics_csv();
        let metrics = prefix(&path, None).map_err(|e| Error::io(Kind::Run, "read", &path, e))?;
        let position: Position = taken.position.clone();
        let path = self.folder.checkpoint(position.step);
        let progress = Progress {
            stage_key: self.stage.key.clone(),
            position,
            metrics,
            timings_bytes,
            losses: self.losses,
            best: self.best.clone(),
        };
        let state = taken.model.state();
        Checkpoint { progress, state }.write(&path)?;
        self.prune()
    }

    /// Removes all checkpoints but the last and the best.
    fn prune(&self) -> Result<()> {
        let steps = self.folder.steps();
        let old = &steps[..steps.len().saturating_sub(KEPT)];
        let best = self.best.as_ref().map(|best| best.step);
        old.iter()
            .filter(|&&step| Some(step) != best)
            .try_for_each(|&step| remove(&self.folder.checkpoint(step)))
    }
}

impl Recorder for Journal<'_> {
    fn record(&mut self, taken: Taken<'_>) -> Result<()> {
        self.metrics.add(&taken.row)?;
        self.timings.add(&taken.timing)?;
        let row = &taken.row;
        self.last_loss_nats = Some(row.loss_nats);
        self.losses.steps += 1;
        self.losses.sum_nats += row.loss_nats;
        let (epoch, loss) = (row.epoch, row.loss_nats);
        let speed = thousands(taken.timing.tokens_per_second as usize);
        let message = format!("epoch {epoch}  loss {loss:.3} nats  {speed} tokens/s");
        self.task.at(row.step, &message);
        let step = taken.position.step;
        if step == self.steps {
            // There are the weights instead.
            return Ok(());
        }
        let stop = self.stop.wanted();
        if step.is_multiple_of(self.checkpoint_steps) {
            self.keep_regular(&taken)?;
        } else if stop.is_some() {
            self.keep(&taken)?;
        }
        let (name, steps) = (self.stage.kind.name(), self.steps);
        match stop {
            Some(why) => Err(why.error(&format!("in {name} after step {step} of {steps}"))),
            None => Ok(()),
        }
    }
}
