//! The work of a stage, with the settings and data that it needs.

use std::sync::Arc;

use super::Kind;
use crate::config::schema::{AttentionMapsSpec, EvaluateSpec, PretrainSpec, Settings, Training};
use crate::data::Corpus;
use crate::data::objectives::Answering;
use crate::error::Result;
use crate::explore::QuestionKind;
use crate::kinds::Kinded;

/// A stage's work.
#[derive(Clone)]
pub enum Job<'a> {
    /// Training on the corpus.
    Pretrain(&'a PretrainSpec, Inputs<'a>),
    /// Training on questions and answers.
    Finetune(&'a Training, Inputs<'a>),
    /// Answering questions.
    Evaluate(&'a EvaluateSpec, Inputs<'a>),
    /// Computing what an attention head can do; it has neither data nor a model.
    Explore(&'a Kinded<QuestionKind>),
}

/// What every stage with a model reads.
#[derive(Clone)]
pub struct Inputs<'a> {
    /// The settings of the run.
    pub settings: &'a Settings,
    /// Its data.
    pub corpus: Arc<Corpus>,
}

impl<'a> Job<'a> {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Pretrain(..) => Kind::Pretrain,
            Self::Finetune(..) => Kind::Finetune,
            Self::Evaluate(..) => Kind::Evaluate,
            Self::Explore(_) => Kind::Explore,
        }
    }

    /// What it reads besides its own settings; nothing for an exploration.
    pub fn inputs(&self) -> Option<&Inputs<'a>> {
        match self {
            Self::Pretrain(_, inputs) | Self::Finetune(_, inputs) | Self::Evaluate(_, inputs) => {
                Some(inputs)
            }
            Self::Explore(_) => None,
        }
    }

    /// Its length as progress counts it: optimiser steps, questions for the model, or samples.
    pub fn steps(&self) -> usize {
        match self {
            Self::Pretrain(spec, inputs) => spec.training().steps(inputs.corpus.documents.len()),
            Self::Finetune(spec, inputs) => spec.steps(inputs.corpus.train.len()),
            Self::Evaluate(spec, _) if !spec.ask_model => 0,
            Self::Evaluate(spec, inputs) => {
                let invented = spec.invented.as_ref().map_or(0, |spec| spec.names);
                let mapped = spec.attention_maps.as_ref();
                let mapped = mapped.map_or(0, AttentionMapsSpec::count);
                inputs.corpus.questions(spec.split).len() + invented + mapped
            }
            Self::Explore(spec) => spec.sizes().samples.unwrap_or(1),
        }
    }
}

/// The task of finetuning.
///
/// # Errors
/// See [`Answering::new`].
pub fn finetuning(inputs: &Inputs<'_>) -> Result<Answering> {
    Answering::new(&inputs.corpus.train, &inputs.corpus.vocabulary)
}
