//! Training steps as `train::fit` runs them, with a stopwatch beside it.

use crate::config::schema::{DeviceKind, Settings, Training};
use crate::data::ragged::Ragged;
use crate::data::{Corpus, batches};
use crate::error::{Error, Kind, Result};
use crate::metrics::steps::TrainingStage;
use crate::model::{Start, registry};
use crate::progress::Progress;
use crate::train::{CompletedStep, Next, Position, StageSettings, TrainingOutcome, fit};

/// Untimed steps at the start: the first ones pay for page faults.
const WARM_UP: usize = 2;

/// The same on a GPU, where the first steps also pay for compiling kernels, and each new batch length for
/// memory.
const WARM_UP_ON_A_GPU: usize = 6;

#[derive(Clone, Debug)]
pub struct TimedStep {
    /// From building the batch to the update, in seconds, as in a run's `timings.csv`.
    pub seconds: f64,
    pub batch: Ragged,
}

/// The batch of median length; of an even number of batches, the shorter of the middle two.
pub fn median_batch(steps: &[TimedStep]) -> &Ragged {
    let mut batches: Vec<&Ragged> = steps.iter().map(|step| &step.batch).collect();
    batches.sort_by_key(|batch| batch.len());
    batches[(batches.len() - 1) / 2]
}

/// Pretrains a fresh model for some warm-up steps and `wanted` timed ones, starting with the first batch of
/// the first epoch.
pub fn time(
    settings: &Settings,
    start: Start,
    corpus: &Corpus,
    wanted: usize,
    progress: &Progress,
) -> Result<Vec<TimedStep>> {
    let Some(spec) = &settings.pretrain else {
        let error = Error::config("`bench` measures pretraining, and there is no `[pretrain]`");
        return Err(error.help("name an experiment that has one"));
    };
    let context = settings.model.context;
    let task = settings.pretraining(spec, corpus, start.seed)?;
    let warm_up = match registry::device(settings.device) {
        DeviceKind::Cuda => WARM_UP_ON_A_GPU,
        _ => WARM_UP,
    };
    let steps = warm_up + wanted;
    let of_epoch = |epoch: usize| {
        let (documents, shuffle) = (spec.training().update_documents(), spec.shuffle);
        let all = batches(task.as_ref(), epoch as u64, documents, shuffle, start.seed);
        all.first(spec.training().epoch_documents(task.len()))
    };
    let an_epoch = of_epoch(1).len();
    let stage = StageSettings {
        kind: TrainingStage::Pretrain,
        training: Training {
            epochs: steps.div_ceil(an_epoch),
            ..spec.training()
        },
        dropout: settings.model.dropout,
        context,
        seed: start.seed,
    };
    let mut model = registry::instantiate(&settings.model, settings.placement(), start)?;
    let mut bar = progress.begin("steps", steps);
    let mut seconds = vec![];
    let mut record = |completed: CompletedStep<'_>| {
        seconds.push(completed.timing.step_ms / 1e3);
        let speed = format!("{:.0} tokens/s", completed.timing.tokens_per_second);
        bar.at(seconds.len(), &speed);
        match seconds.len() == steps {
            true => Err(Error::new(Kind::Interrupted, "all steps are measured")),
            false => Ok(Next::GoOn),
        }
    };
    let start = Position::default();
    let outcome = fit(model.as_mut(), task.as_ref(), &stage, &start, &mut record);
    // Once all steps are timed, the outcome does not matter: `record` stopped the training, or the last epoch ended.
    if seconds.len() < steps {
        let failed = match outcome? {
            TrainingOutcome::Finished => {
                return Err(Error::data("there is no document to learn from"));
            }
            TrainingOutcome::Diverged { step, metrics } => {
                format!("step {step} diverged: loss_nats is {}", metrics.loss_nats)
            }
            TrainingOutcome::Overflowed { step, what } => format!("step {step} overflowed: {what}"),
        };
        return Err(Error::run(failed).help("lower `pretrain.learning_rate`"));
    }
    let timed = seconds.into_iter().enumerate().skip(warm_up);
    let timed = timed.map(|(step, seconds)| {
        let batch = of_epoch(1 + step / an_epoch).batch(step % an_epoch)?;
        Ok(TimedStep { seconds, batch })
    });
    timed.collect()
}
