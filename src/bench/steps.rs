//! Training steps as `train::fit` takes them, with a watch beside it.

use crate::config::schema::{DeviceKind, Settings, StageKind, Training};
use crate::data::corruption::SpanCorruption;
use crate::data::ragged::Ragged;
use crate::data::{Corpus, batches};
use crate::error::{Error, Result};
use crate::model::{Start, registry};
use crate::progress::{self, Progress};
use crate::train::{self, Outcome, Position, Recorder, fit};

/// Steps that do not count: the first ones pay for fresh memory.
const WARM_UP: usize = 2;

/// The same on a GPU, where they also pay for kernels, and each new length of a batch for memory.
const WARM_UP_ON_A_GPU: usize = 6;

/// A step that counts.
#[derive(Clone, Debug)]
pub struct Taken {
    /// From making the batch to the update, as in a run's `timings.csv`.
    pub seconds: f64,
    /// What was learned from.
    pub batch: Ragged,
}

/// The steps that count, in order.
#[derive(Clone, Debug)]
pub struct Steps {
    /// At least one.
    pub taken: Vec<Taken>,
}

impl Steps {
    /// The batch of median length; of two in the middle, the shorter.
    pub fn median_batch(&self) -> &Ragged {
        let mut batches: Vec<&Ragged> = self.taken.iter().map(|step| &step.batch).collect();
        batches.sort_by_key(|batch| batch.len());
        batches[(batches.len() - 1) / 2]
    }
}

/// Pretrains a fresh model for some steps to warm up and then `wanted` that count, from the first
/// batch of the first epoch on.
///
/// # Errors
/// There is no `[pretrain]`; a step diverges; the data does not fit the model; the device fails.
pub fn watch(
    settings: &Settings,
    start: Start,
    corpus: &Corpus,
    wanted: usize,
    progress: &Progress,
) -> Result<Steps> {
    let Some(spec) = &settings.pretrain else {
        let error = Error::config("`bench` measures pretraining, and there is no `[pretrain]`");
        return Err(error.help("name an experiment that has one"));
    };
    let context = settings.model.context;
    let longest = spec.longest_excerpt(context);
    let task = SpanCorruption::new(corpus, longest, spec.terminated, start.seed)?;
    let warm_up = match registry::device(settings.device) {
        DeviceKind::Cuda => WARM_UP_ON_A_GPU,
        _ => WARM_UP,
    };
    let steps = warm_up + wanted;
    let of_epoch = |epoch: usize| {
        let (documents, shuffle) = (spec.batch_documents, spec.shuffle);
        batches(&task, epoch as u64, documents, shuffle, start.seed)
    };
    let an_epoch = of_epoch(1).len();
    let stage = train::Stage {
        kind: StageKind::Pretrain,
        training: Training {
            epochs: steps.div_ceil(an_epoch),
            ..spec.training()
        },
        dropout: settings.model.dropout,
        context,
        seed: start.seed,
    };
    let mut model = registry::instantiate(&settings.model.shape(), settings.placement(), start)?;
    let mut watch = Watch {
        steps,
        seconds: vec![],
        task: progress.begin("steps", steps),
    };
    let outcome = fit(
        model.as_mut(),
        &task,
        &stage,
        &Position::default(),
        &mut watch,
    );
    match outcome {
        // Enough has been seen, or the last epoch ended with the last step.
        _ if watch.seconds.len() == steps => {}
        Err(error) => return Err(error),
        Ok(Outcome::Diverged {
            step, loss_nats, ..
        }) => {
            let error = Error::run(format!("step {step} diverged: loss_nats is {loss_nats}"));
            return Err(error.help("lower `pretrain.learning_rate`"));
        }
        Ok(Outcome::Overflowed { step, what }) => {
            let error = Error::run(format!("step {step} overflowed: {what}"));
            return Err(error.help("lower `pretrain.learning_rate`"));
        }
        Ok(Outcome::Finished) => {
            return Err(Error::data("there is no document to learn from"));
        }
    }
    let taken = watch.seconds.into_iter().enumerate().skip(warm_up);
    let taken = taken.map(|(step, seconds)| Taken {
        seconds,
        batch: of_epoch(1 + step / an_epoch).batch(step % an_epoch),
    });
    Ok(Steps {
        taken: taken.collect(),
    })
}

/// Notes how long each step took, and stops training after the last.
struct Watch {
    steps: usize,
    seconds: Vec<f64>,
    task: progress::Task,
}

impl Recorder for Watch {
    fn record(&mut self, taken: train::Taken<'_>) -> Result<()> {
        self.seconds.push(taken.timing.step_ms / 1e3);
        let speed = format!("{:.0} tokens/s", taken.timing.tokens_per_second);
        self.task.at(self.seconds.len(), &speed);
        if self.seconds.len() == self.steps {
            return Err(Error::interrupted("all steps are measured"));
        }
        Ok(())
    }
}
