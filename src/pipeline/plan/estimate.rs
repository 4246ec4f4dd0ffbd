//! Estimated cost of a stage: steps and tokens by counting, memory by a formula, time by measurement.
//!
//! Tokens are those of the first epoch times the epochs, although span corruption draws anew in each.
//! Time comes from two steps of the actual model on some of the actual documents, of which only the
//! second is timed; that takes a fraction of a second and is accurate to about 25 %.

use std::time::{Duration, Instant};

use crate::config::schema::{EvaluateSpec, ModelSpec, Settings, Training};
use crate::config::shape::ModelShape;
use crate::data::questions;
use crate::data::ragged::Ragged;
use crate::data::{Task, batches};
use crate::error::Result;
use crate::eval::decode;
use crate::explore::QuestionKind;
use crate::kinds::Kinded;
use crate::model::{Start, StepSettings, Trainable, registry};
use crate::pipeline::asked;
use crate::pipeline::plan::{Action, Plan, PlannedStage};
use crate::pipeline::stage::job::{self, Inputs, Job};

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
    /// Optimiser steps left; `None` for a stage that does not train.
    pub steps: Option<usize>,
    /// Tokens to read.
    pub tokens: u64,
    /// Memory of the process at its largest, in bytes.
    pub memory_bytes: u64,
    /// How long it takes.
    pub time: Duration,
}

/// Tokens and throughput of a whole stage, before completed steps are subtracted.
struct Cost {
    tokens: u64,
    batch_tokens: u64,
    tokens_per_second: f64,
}

/// One estimate per stage of the plan, in order; `None` for stages that are reused.
///
/// # Errors
/// The device fails.
pub fn estimate(plan: &Plan<'_>) -> Result<Vec<Option<Estimate>>> {
    let mut speeds = ThroughputCache::default();
    plan.stages
        .iter()
        .map(|planned| match planned.action {
            Action::Reuse => Ok(None),
            _ => one(planned, &mut speeds).map(Some),
        })
        .collect()
}

fn one(planned: &PlannedStage<'_>, speeds: &mut ThroughputCache) -> Result<Estimate> {
    let seed = planned.seed;
    let (inputs, cost) = match &planned.job {
        Job::Explore(spec) => return Ok(exploration(spec)),
        Job::Pretrain(spec, inputs) => {
            let settings = inputs.settings;
            let task = spec.task(&inputs.corpus, settings.model.context, seed)?;
            let cost = training((settings, seed), task.as_ref(), &spec.training(), speeds)?;
            (inputs, cost)
        }
        Job::Finetune(spec, inputs) => {
            let task = job::finetuning(inputs)?;
            let cost = training((inputs.settings, seed), &task, spec, speeds)?;
            (inputs, cost)
        }
        Job::Evaluate(spec, inputs) => (inputs, evaluation(spec, inputs, seed, speeds)?),
    };
    let settings = inputs.settings;
    let trains = planned.stage.kind.trains();
    let done = match planned.action {
        Action::Resume { step } => step,
        _ => 0,
    };
    let left = 1.0 - done as f64 / planned.steps.max(1) as f64;
    let tokens = (cost.tokens as f64 * left).round();
    let uses_model = cost.tokens > 0;
    let shape = settings.model.shape();
    let parameters = match uses_model {
        true => registry::find(&shape, settings.device)?.parameter_count(),
        false => 0,
    };
    Ok(Estimate {
        parameters,
        steps: trains.then(|| planned.steps - done),
        tokens: tokens as u64,
        memory_bytes: memory(&settings.model, parameters, cost.batch_tokens, trains),
        time: Duration::from_secs_f64(tokens / cost.tokens_per_second),
    })
}

/// A rough estimate of the time, accurate to an order of magnitude.
fn exploration(spec: &Kinded<QuestionKind>) -> Estimate {
    Estimate {
        parameters: 0,
        steps: None,
        tokens: 0,
        memory_bytes: PROGRAM_BYTES,
        time: Duration::from_secs_f64(spec.multiplications() / 1e9),
    }
}

fn training(
    from: (&Settings, u64),
    task: &dyn Task,
    spec: &Training,
    speeds: &mut ThroughputCache,
) -> Result<Cost> {
    let lengths = (0..task.len()).map(|index| task.sequence(1, index).tokens.len() as u64);
    let tokens: u64 = lengths.sum();
    let documents = task.len().max(1);
    let batch = batches(task, 1, documents, false, 0).batch(0);
    Ok(Cost {
        tokens: tokens * spec.epochs as u64,
        batch_tokens: tokens * spec.batch_documents.min(documents) as u64 / documents as u64,
        tokens_per_second: speeds.of(from, Probe::Step(&batch))?,
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
    let (settings, corpus) = (inputs.settings, inputs.corpus.as_ref());
    let nobody = asked::invented(spec, settings, corpus)?;
    let mapped = asked::mapped(spec, corpus)?;
    let asked = [corpus.questions(spec.split), &nobody, &mapped].concat();
    if !spec.ask_model || asked.is_empty() {
        return Ok(Cost {
            tokens: 0,
            batch_tokens: 0,
            tokens_per_second: 1.0,
        });
    }
    let answers = corpus
        .train
        .iter()
        .filter_map(|question| question.answer.as_ref());
    let characters: usize = answers.map(|place| place.chars().count()).sum();
    let answer = (characters / corpus.train.len().max(1)).clamp(1, spec.answer_characters);
    let prompts: Result<Vec<Vec<u32>>> = asked
        .iter()
        .map(|question| questions::prompt(question, &corpus.vocabulary))
        .collect();
    let prompts = prompts?;
    let tokens = tokens_of(&prompts, answer);
    let together = decode::BATCH.min(prompts.len()) as u64;
    Ok(Cost {
        tokens,
        batch_tokens: together * tokens / prompts.len() as u64,
        tokens_per_second: speeds.of((settings, seed), Probe::Answers(&prompts, answer))?,
    })
}

/// Tokens read for all prompts with an answer of `answer` tokens each.
fn tokens_of(prompts: &[Vec<u32>], answer: usize) -> u64 {
    prompts
        .iter()
        .map(|prompt| (prompt.len() + answer) as u64)
        .sum()
}

/// Peak memory in bytes: parameters and buffers of their size, gradients per shard, and the activations
/// that a step keeps for the backward pass. Accurate to about 20 % for vanilla attention on the CPU; rougher
/// for kinds that keep more (differential attention keeps two maps per head) or less.
fn memory(model: &ModelSpec, parameters: usize, batch_tokens: u64, trains: bool) -> u64 {
    let [layers, embed, hidden, vocabulary] =
        [model.layers, model.embed, model.hidden, model.vocabulary].map(|n| n as u64);
    let shards = if trains {
        SHARDS * 2 * embed * hidden
    } else {
        0
    };
    // Queries, keys, values, heads and two outputs; the hidden layer; attention to half the context.
    let attended = (model.heads * model.context / 2) as u64;
    let layer = 6 * embed + hidden + attended;
    let token = if trains {
        layers * layer + 2 * (embed + vocabulary)
    } else {
        layer
    };
    let copies = if trains { COPIES } else { 2 };
    PROGRAM_BYTES + 4 * (copies * parameters as u64 + shards + batch_tokens * token)
}

/// A short workload whose speed is measured: the beginning of the real one.
#[derive(Clone, Copy)]
enum Probe<'a> {
    /// A training step on some documents.
    Step(&'a Ragged),
    /// Answers of the given number of tokens to some questions.
    Answers(&'a [Vec<u32>], usize),
}

/// Measured tokens per second of each model, training or answering.
#[derive(Default)]
struct ThroughputCache(Vec<((ModelShape, bool), f64)>);

impl ThroughputCache {
    fn of(&mut self, (settings, seed): (&Settings, u64), probe: Probe<'_>) -> Result<f64> {
        let spec = &settings.model;
        let key = (spec.shape(), matches!(probe, Probe::Step(_)));
        if let Some((_, speed)) = self.0.iter().find(|(known, _)| *known == key) {
            return Ok(*speed);
        }
        let start = Start {
            seed,
            deviation: spec.initial_deviation as f32,
        };
        let mut model = registry::instantiate(&key.0, settings.placement(), start)?;
        // Warm-up: the first pass also allocates memory.
        probe.at(model.as_mut(), spec.dropout)?;
        let started = Instant::now();
        let tokens = probe.at(model.as_mut(), spec.dropout)?;
        let speed = tokens as f64 / started.elapsed().as_secs_f64().max(1e-6);
        self.0.push((key, speed));
        Ok(speed)
    }
}

impl Probe<'_> {
    /// Runs the workload and returns its number of tokens.
    fn at(self, model: &mut dyn Trainable, dropout: f64) -> Result<u64> {
        match self {
            Self::Step(batch) => {
                let settings = StepSettings {
                    learning_rate: 0.0,
                    betas: [0.9, 0.95],
                    epsilon: 1e-8,
                    weight_decay: 0.0,
                    clip_norm: 1.0,
                    dropout,
                    dropout_key: 0,
                };
                let some = beginning(batch, PROBE_TOKENS);
                model.step(&some, &settings)?;
                Ok(some.len() as u64)
            }
            Self::Answers(prompts, answer) => {
                let mean = (tokens_of(prompts, answer) as usize / prompts.len()).max(1);
                let some = &prompts[..(PROBE_TOKENS / mean).clamp(1, prompts.len())];
                let answers = decode::greedy(model, some, answer, &mut |_| Ok(()))?;
                let given: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
                Ok(tokens_of(some, 0) + given as u64)
            }
        }
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
        let model = |layers, embed, heads, vocabulary| ModelSpec {
            layers,
            embed,
            heads,
            head_dim: embed / heads,
            hidden: 4 * embed,
            vocabulary,
            context: 128,
            attention: AttentionSpec::vanilla(),
            dropout: 0.1,
            initial_deviation: 0.02,
        };
        let assignment = model(4, 256, 8, 256);
        for (spec, parameters, tokens, mebibytes) in [
            (&assignment, 3_323_392, 7475, 530.0),
            (&assignment, 3_323_392, 1869, 281.0),
            (&model(2, 64, 4, 64), 116_480, 1280, 90.0),
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
