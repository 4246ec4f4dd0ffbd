//! Estimated cost of a stage: steps and tokens by counting, memory by a formula, time by measurement.
//!
//! Tokens are those of the first epoch times the epochs, although span corruption draws anew in each.
//! Time comes from two steps of the actual model on some of the actual documents, of which only the
//! second is timed; that takes a fraction of a second and is accurate to about 25 %.

use std::time::{Duration, Instant};

use crate::config::schema::{EvaluateSpec, ModelSpec, Training};
use crate::data::ragged::Ragged;
use crate::data::{Task, batches};
use crate::error::Result;
use crate::eval::decode;
use crate::kinds::Named;
use crate::model::{StepSettings, Trainable, Update, registry};
use crate::ops::attention::MOST_KEPT;
use crate::ops::optimiser::Optimiser;
use crate::pipeline::plan::{Action, Plan, PlannedStage};
use crate::pipeline::stage::job::{Asked, Inputs, Job};

/// The program with its data and libraries, before any model, in bytes.
const PROGRAM_BYTES: u64 = 75_000_000;

/// Tokens on which the time is measured: enough for all threads, few enough to be quick.
const PROBE_TOKENS: usize = 2048;

/// Weights, gradients, two moments, and the host's copy while they are written.
const COPIES: u64 = 5;

/// Shards of a batch, each with its own gradient buffers; see `ops`.
const SHARDS: u64 = 16;

/// The remaining cost of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Trained parameters of the model; 0 where none is used.
    pub parameters: usize,
    /// Steps left, as the progress of a run counts them: see `Job::steps`.
    pub steps: usize,
    /// Tokens left to read.
    pub tokens: u64,
    /// Memory of the process at its largest, in bytes.
    pub memory_bytes: u64,
    /// Time that this stage still takes, running alone.
    pub time: Duration,
}

/// Tokens and throughput of a whole stage, before completed steps are subtracted.
struct Cost {
    tokens: u64,
    batch_tokens: u64,
    tokens_per_second: f64,
}

/// One estimate per stage of the plan, in order; `None` for stages that are reused. Fails if the device does.
pub fn estimate(plan: &Plan<'_>) -> Result<Vec<Option<Estimate>>> {
    let mut speeds = ThroughputCache::default();
    let mut estimate = |planned: &PlannedStage<'_>| match planned.action {
        Action::Reuse => Ok(None),
        _ => one(planned, &mut speeds).map(Some),
    };
    plan.stages.iter().map(&mut estimate).collect()
}

fn one(planned: &PlannedStage<'_>, speeds: &mut ThroughputCache) -> Result<Estimate> {
    let seed = planned.seed;
    let (inputs, cost) = match &planned.job {
        // The time is accurate to an order of magnitude.
        Job::Explore(spec) => {
            return Ok(Estimate {
                parameters: 0,
                steps: planned.steps,
                tokens: 0,
                memory_bytes: PROGRAM_BYTES,
                time: Duration::from_secs_f64(spec.multiplications() / 1e9),
            });
        }
        Job::Pretrain(spec, inputs) => {
            let task = inputs.pretraining(spec, seed)?;
            let cost = training((inputs, seed), task.as_ref(), &spec.training(), speeds)?;
            (inputs, cost)
        }
        Job::Finetune(spec, inputs) => {
            let task = inputs.finetuning(spec, seed)?;
            let cost = training((inputs, seed), task.as_ref(), spec, speeds)?;
            (inputs, cost)
        }
        Job::Evaluate(spec, inputs) => (inputs, evaluation(spec, inputs, seed, speeds)?),
    };
    let settings = inputs.settings;
    let trains = planned.stage.kind.trains();
    let done = match planned.action {
        Action::Resume(step) => step,
        _ => 0,
    };
    let steps = planned.steps;
    let left = 1.0 - done as f64 / steps.max(1) as f64;
    let tokens = (cost.tokens as f64 * left).round();
    let model = &settings.model;
    let parameters = match cost.tokens > 0 {
        true => registry::find(&model.shape())?.parameter_count(model)?,
        false => 0,
    };
    Ok(Estimate {
        parameters,
        steps: steps - done,
        tokens: tokens as u64,
        memory_bytes: memory(model, parameters, cost.batch_tokens, trains),
        time: Duration::from_secs_f64(tokens / cost.tokens_per_second),
    })
}

/// Sequences of an epoch by which its length is estimated.
const MEASURED: usize = 10_000;

fn training(
    from: (&Inputs<'_>, u64),
    task: &dyn Task,
    spec: &Training,
    speeds: &mut ThroughputCache,
) -> Result<Cost> {
    let documents = spec.epoch_documents(task.len()).max(1);
    let some = batches(task, 1, MEASURED, false, 0).first(documents);
    let batch = some.batch(0)?;
    let measured = some.documents(0).len().max(1) as f64;
    let tokens = (batch.len() as f64 * documents as f64 / measured).round() as u64;
    let step = |model: &mut dyn Trainable| {
        let some = beginning(&batch, PROBE_TOKENS);
        let settings = StepSettings {
            update: Update {
                optimiser: spec.optimiser.kind,
                ..Update::default()
            },
            groups: vec![],
            ema: spec.ema,
            dropout: from.0.settings.model.dropout,
            dropout_key: 0,
        };
        model.step(&some, &settings)?;
        Ok(some.len() as u64)
    };
    Ok(Cost {
        tokens: tokens * spec.epochs as u64,
        batch_tokens: tokens * spec.batch_documents.min(documents) as u64 / documents as u64,
        tokens_per_second: speeds.of(from, Some(spec.optimiser.kind), &step)?,
    })
}

/// Every question is read once, and so is each character of its answer, which is assumed to be as long as the mean
/// training answer.
fn evaluation(
    spec: &EvaluateSpec,
    inputs: &Inputs<'_>,
    seed: u64,
    speeds: &mut ThroughputCache,
) -> Result<Cost> {
    let prompts: Vec<Vec<u32>> = match spec.ask_model {
        true => (Asked::of(spec, inputs)?.prompts(inputs)).collect::<Result<_>>()?,
        false => vec![],
    };
    if prompts.is_empty() {
        return Ok(Cost {
            tokens: 0,
            batch_tokens: 0,
            tokens_per_second: 1.0,
        });
    }
    let train = &inputs.corpus.train;
    let answers = train.iter().filter_map(|question| question.answer.as_ref());
    let characters: usize = answers.map(|place| place.chars().count()).sum();
    let answer = (characters / train.len().max(1)).clamp(1, spec.answer_characters);
    let tokens = tokens_of(&prompts, answer);
    let mean = tokens / prompts.len() as u64;
    let ask = |model: &mut dyn Trainable| {
        let some = (PROBE_TOKENS / mean.max(1) as usize).clamp(1, prompts.len());
        let some = &prompts[..some];
        let answers = decode::greedy(model, some, answer, &mut |_| Ok(()))?;
        let given: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
        Ok(tokens_of(some, 0) + given as u64)
    };
    Ok(Cost {
        tokens,
        batch_tokens: decode::BATCH.min(prompts.len()) as u64 * tokens / prompts.len() as u64,
        tokens_per_second: speeds.of((inputs, seed), None, &ask)?,
    })
}

/// Tokens read for all prompts with an answer of `answer` tokens each.
fn tokens_of(prompts: &[Vec<u32>], answer: usize) -> u64 {
    let lengths = prompts.iter().map(|prompt| (prompt.len() + answer) as u64);
    lengths.sum()
}

/// Peak memory in bytes: parameters and buffers of their size, gradients per shard, and the activations
/// that a step keeps for the backward pass. Accurate to about 20 % for vanilla attention on the CPU; rougher
/// for kinds that keep more (differential attention keeps two maps per head) or less.
fn memory(model: &ModelSpec, parameters: usize, batch_tokens: u64, trains: bool) -> u64 {
    let [layers, embed, hidden, vocabulary] =
        [model.layers, model.embed, model.hidden, model.vocabulary].map(|n| n as u64);
    // Queries, keys, values, heads and two outputs; the hidden layers; attention to half the context, if it is kept.
    let attended = match model.context <= MOST_KEPT {
        true => (model.heads * model.context / 2) as u64,
        false => 0,
    };
    let hidden_width = model.mlp.hidden_width(model.hidden) as u64;
    let layer = 6 * embed + hidden_width + attended;
    let (copies, shards, token) = match trains {
        true => {
            let token = layers * layer + 2 * (embed + vocabulary);
            let back = if hidden_width == 0 { 0 } else { hidden };
            (COPIES, SHARDS * embed * (hidden_width + back), token)
        }
        false => (2, 0, layer),
    };
    PROGRAM_BYTES + 4 * (copies * parameters as u64 + shards + batch_tokens * token)
}

/// Measured tokens per second of each model, training by an optimiser or answering.
#[derive(Default)]
struct ThroughputCache(Vec<(Work, f64)>);

/// A model, and the optimiser that trains it, if any does.
type Work = (ModelSpec, Option<Named<Optimiser>>);

impl ThroughputCache {
    /// Tokens per second of a model, measured on the start of the real work; `workload` returns its number of tokens.
    fn of(
        &mut self,
        (inputs, seed): (&Inputs<'_>, u64),
        optimiser: Option<Named<Optimiser>>,
        workload: &dyn Fn(&mut dyn Trainable) -> Result<u64>,
    ) -> Result<f64> {
        let key = (inputs.settings.model.clone(), optimiser);
        if let Some((_, speed)) = self.0.iter().find(|(known, _)| *known == key) {
            return Ok(*speed);
        }
        let mut model = inputs.model(seed)?;
        // Warm-up: the first pass also allocates memory.
        workload(model.as_mut())?;
        let started = Instant::now();
        let tokens = workload(model.as_mut())?;
        let speed = tokens as f64 / started.elapsed().as_secs_f64().max(1e-6);
        self.0.push((key, speed));
        Ok(speed)
    }
}

/// The first whole documents of a batch, up to `tokens` tokens but at least one document.
fn beginning(batch: &Ragged, tokens: usize) -> Ragged {
    let documents = batch.starts.partition_point(|&end| end <= tokens).max(2) - 1;
    let starts = batch.starts[..batch.starts.len().min(documents + 1)].to_vec();
    let end = starts[starts.len() - 1];
    Ragged {
        tokens: batch.tokens[..end].to_vec(),
        targets: batch.targets[..end].to_vec(),
        starts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::AttentionSpec;
    use crate::data::ragged::Sequence;

    #[test]
    fn a_probe_takes_whole_documents_and_at_least_one() {
        let sequence = |n: usize| Sequence {
            tokens: vec![2; n],
            targets: vec![3; n],
        };
        let batch = Ragged::from_sequences(&[sequence(5), sequence(4), sequence(3)]);
        let starts = |tokens| beginning(&batch, tokens).starts;
        assert_eq!(starts(1), [0, 5]);
        assert_eq!(starts(8), [0, 5]);
        assert_eq!(starts(9), [0, 5, 9]);
        assert_eq!(starts(100), [0, 5, 9, 12]);
    }

    /// Peaks of the whole process as the system counted them (getrusage), on two AVX-512 cores.
    #[test]
    fn estimated_memory_is_within_20_percent_of_measured_runs() {
        let model = |layers, embed, heads, vocabulary, context| ModelSpec {
            embed,
            heads,
            head_dim: embed / heads,
            hidden: 4 * embed,
            vocabulary,
            context,
            ..ModelSpec::small(layers, AttentionSpec::of("vanilla"))
        };
        let assignment = model(4, 256, 8, 256, 128);
        for (spec, parameters, tokens, mebibytes) in [
            (&assignment, 3_323_392, 7475, 530.0),
            (&assignment, 3_323_392, 1869, 281.0),
            (&model(2, 64, 4, 64, 128), 116_480, 1280, 90.0),
            (&model(4, 256, 8, 64, 256), 3_257_856, 8192, 734.0),
            (&model(4, 256, 8, 64, 2048), 3_716_608, 8192, 496.0),
        ] {
            let estimated = memory(spec, parameters, tokens, true) as f64 / f64::from(1 << 20);
            let ratio = estimated / mebibytes;
            assert!(
                (0.8..1.2).contains(&ratio),
                "{estimated} of {mebibytes} MiB"
            );
        }
    }
}
