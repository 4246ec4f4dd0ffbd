//! The work of a stage, with the settings and data that it needs.

use std::sync::Arc;

use super::StageKind;
use crate::config::schema::{
    AttentionMapsSpec, EvaluateSpec, InventedSpec, PretrainSpec, Settings, Training,
};
use crate::data::made::Answers;
use crate::data::objectives::Reads;
use crate::data::questions::prompt;
use crate::data::{Corpus, Question, Split, Task, invented, mapped};
use crate::error::{Error, Result};
use crate::explore::QuestionKind;
use crate::kinds::Kinded;
use crate::model::{Start, Trainable, registry};

/// The work of a stage: one variant per [`StageKind`].
#[derive(Clone)]
pub enum Job<'a> {
    Pretrain(&'a PretrainSpec, Inputs<'a>),
    Finetune(&'a Training, Inputs<'a>),
    Evaluate(&'a EvaluateSpec, Inputs<'a>),
    Explore(&'a Kinded<QuestionKind>),
}

/// What every stage with a model reads.
#[derive(Clone)]
pub struct Inputs<'a> {
    pub settings: &'a Settings,
    pub corpus: Arc<Corpus>,
}

impl<'a> Job<'a> {
    pub fn kind(&self) -> StageKind {
        match self {
            Self::Pretrain(..) => StageKind::Pretrain,
            Self::Finetune(..) => StageKind::Finetune,
            Self::Evaluate(..) => StageKind::Evaluate,
            Self::Explore(_) => StageKind::Explore,
        }
    }

    /// What it reads besides its own settings; nothing for an exploration.
    pub fn inputs(&self) -> Option<&Inputs<'a>> {
        match self {
            Self::Explore(_) => None,
            Self::Pretrain(_, own) | Self::Finetune(_, own) | Self::Evaluate(_, own) => Some(own),
        }
    }

    /// Its length as progress counts it: optimiser steps, questions for the model, or samples. Errors are those of its task.
    pub fn steps(&self) -> Result<usize> {
        Ok(match self {
            Self::Pretrain(spec, inputs) => {
                spec.training().steps(inputs.pretraining(spec, 0)?.len())
            }
            Self::Finetune(spec, inputs) => spec.steps(inputs.finetuning(spec, 0)?.len()),
            Self::Evaluate(spec, _) if !spec.ask_model => 0,
            Self::Evaluate(spec, inputs) => {
                let invented = spec.invented.as_ref().map_or(0, |spec| spec.names);
                let maps = spec.attention_maps.as_ref();
                let mapped = maps.map_or(0, AttentionMapsSpec::count);
                let held_out = match inputs.settings.scores_held_out() {
                    true => inputs.held_out(spec.split)?.len(),
                    false => 0,
                };
                inputs.asked(spec.split).len() + invented + mapped + held_out
            }
            Self::Explore(spec) => spec.sizes().samples.unwrap_or(1),
        })
    }

    /// What [`Self::steps`] counts.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Evaluate(_, inputs) if inputs.settings.scores_held_out() => "sequence",
            Self::Evaluate(..) => "question",
            Self::Explore(spec) if spec.sizes().samples.is_some() => "sample",
            Self::Pretrain(..) | Self::Finetune(..) | Self::Explore(_) => "step",
        }
    }
}

impl Inputs<'_> {
    /// A model with initial weights drawn from the seed.
    pub fn model(&self, seed: u64) -> Result<Box<dyn Trainable>> {
        let model = &self.settings.model;
        let start = Start {
            seed,
            deviation: model.initial_deviation as f32,
        };
        registry::instantiate(model, self.settings.placement(), start)
    }

    /// The pretraining task.
    pub fn pretraining(&self, spec: &PretrainSpec, seed: u64) -> Result<Box<dyn Task>> {
        self.settings.pretraining(spec, &self.corpus, seed)
    }

    /// The finetuning task.
    pub fn finetuning(&self, spec: &Training, seed: u64) -> Result<Box<dyn Task>> {
        self.settings.finetuning(spec, &self.corpus, seed)
    }

    /// What is held out, as sequences of the pretraining objective or examples of a made task. All runs score the same.
    ///
    /// # Errors
    /// The split has nothing.
    pub fn held_out(&self, split: Split) -> Result<Box<dyn Task>> {
        const SEED: u64 = 0;
        let Self { settings, corpus } = self;
        if let Some(examples) = corpus.examples.clone() {
            return Ok(Box::new(Answers { examples, split }));
        }
        if corpus.documents(split).is_empty() {
            let message = format!("no document of the split {:?} is held out", split.name());
            let help = "set `data.held_out` or `data.held_out_test`, or remove what needs held-out documents";
            return Err(Error::config(message).help(help));
        }
        let objective = settings.pretrain.as_ref().map(|spec| spec.objective.0);
        match objective.filter(|one| one.reads == Reads::Documents) {
            Some(objective) => settings.task(objective, corpus, split, SEED),
            None => {
                let message = "held-out documents are scored with the objective of `[pretrain]`, which must read documents";
                Err(Error::config(message))
            }
        }
    }

    /// The questions of a split; none if the evaluation asks none.
    pub fn asked(&self, split: Split) -> &[Question] {
        match self.settings.asks_questions() {
            true => self.corpus.questions(split),
            false => &[],
        }
    }
}

/// The questions of an evaluation.
pub struct Asked<'a> {
    pub split: &'a [Question],
    /// About invented people, who occur nowhere in the data.
    pub invented: Vec<Question>,
    /// Those whose attention maps are recorded.
    pub mapped: Vec<Question>,
}

impl<'a> Asked<'a> {
    pub fn of(spec: &EvaluateSpec, inputs: &'a Inputs<'_>) -> Result<Self> {
        let corpus = inputs.corpus.as_ref();
        let parts = inputs.settings.data.kind.invented_name_parts;
        let invent =
            |spec: &InventedSpec| invented::questions(corpus, parts, spec.names, spec.seed);
        let map = |maps: &AttentionMapsSpec| {
            mapped::questions(corpus, spec.split, &maps.questions, &maps.numbers)
        };
        Ok(Self {
            split: inputs.asked(spec.split),
            invented: spec.invented.as_ref().map_or(Ok(vec![]), invent)?,
            mapped: spec.attention_maps.as_ref().map_or(Ok(vec![]), map)?,
        })
    }

    /// All of them, as prompts for the model.
    pub fn prompts(&self, inputs: &Inputs<'_>) -> impl Iterator<Item = Result<Vec<u32>>> {
        let all = self.split.iter().chain(&self.invented).chain(&self.mapped);
        all.map(|question| prompt(question, &inputs.corpus.vocabulary))
    }
}
