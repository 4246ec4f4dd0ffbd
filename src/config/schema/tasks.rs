//! From the settings of a stage to what it learns from.

use super::training::default_excerpt;
use super::{MixedSpec, PretrainSpec, Settings, Training};
use crate::data::objectives::mix::{self, Mix};
use crate::data::objectives::{
    ALL_WORDS, Objective, ObjectiveSettings, Rewording, SHORTEST_EXCERPT, answers,
};
use crate::data::{Corpus, Split, Task};
use crate::error::{Error, Result};

impl Settings {
    /// The pretraining task.
    ///
    /// # Errors
    /// The settings are invalid, or the data has nothing to learn from.
    pub fn pretraining(
        &self,
        spec: &PretrainSpec,
        corpus: &Corpus,
        seed: u64,
    ) -> Result<Box<dyn Task>> {
        let main = |seed| self.task(spec.objective.0, corpus, Split::Train, seed);
        self.mixed(&spec.mix, corpus, seed, main)
    }

    /// The finetuning task.
    ///
    /// # Errors
    /// There are no training questions, or nothing of what is mixed in.
    pub fn finetuning(&self, spec: &Training, corpus: &Corpus, seed: u64) -> Result<Box<dyn Task>> {
        let main = |_| {
            let task = answers(corpus)?;
            if task.is_empty() {
                let (message, help) = match corpus.validate.is_empty() {
                    true => (
                        "but the data has no training questions",
                        "remove the table, or add questions to the data",
                    ),
                    false => (
                        "but all training questions are kept out",
                        "lower `evaluate.kept_out_questions`",
                    ),
                };
                let message = format!("`[finetune]` learns to answer questions, {message}");
                return Err(Error::config(message).help(help));
            }
            Ok(task)
        };
        self.mixed(&spec.mix, corpus, seed, main)
    }

    /// A main task with others mixed into it.
    fn mixed(
        &self,
        mix: &[MixedSpec],
        corpus: &Corpus,
        seed: u64,
        main: impl Fn(u64) -> Result<Box<dyn Task>>,
    ) -> Result<Box<dyn Task>> {
        if mix.is_empty() {
            return main(seed);
        }
        let others = |seed| {
            let task = |one: &MixedSpec| {
                let task = self.task(one.objective.0, corpus, Split::Train, seed)?;
                Ok((task, one.share))
            };
            mix.iter().map(task).collect::<Result<Vec<_>>>()
        };
        // Measured with one seed for all runs, so that an epoch has as many steps in each.
        const OF_ALL: u64 = 0;
        let counts = mix::sequences(main(OF_ALL)?.as_ref(), &others(OF_ALL)?)?;
        let tasks = others(seed)?.into_iter().zip(counts).zip(mix);
        let tasks = tasks.map(|(((task, _), count), one)| (task, count, one.span()));
        Ok(Box::new(Mix::new(main(seed)?, tasks.collect(), seed)))
    }

    /// The task of an objective on a split.
    ///
    /// # Errors
    /// The settings are invalid, or the data has nothing to learn from.
    pub fn task(
        &self,
        objective: &Objective,
        corpus: &Corpus,
        split: Split,
        seed: u64,
    ) -> Result<Box<dyn Task>> {
        objective.task(corpus, self.objective_settings(split, seed))
    }

    /// What objectives are told.
    pub fn objective_settings(&self, split: Split, seed: u64) -> ObjectiveSettings {
        let (model, pretrain) = (&self.model, self.pretrain.as_ref());
        let longest_excerpt = match pretrain {
            Some(spec) => spec.longest_excerpt(model.context),
            None => default_excerpt(model.context),
        };
        ObjectiveSettings {
            shortest_excerpt: pretrain.map_or(SHORTEST_EXCERPT, PretrainSpec::shortest_excerpt),
            longest_excerpt,
            terminated: pretrain.is_none_or(|spec| spec.terminated),
            entities: pretrain.map_or_else(Default::default, |spec| spec.entities),
            cue_words: pretrain
                .and_then(|spec| spec.cue_words)
                .unwrap_or(ALL_WORDS),
            title_place: pretrain.map_or_else(Default::default, |spec| spec.title_place),
            rewording: match split {
                Split::Train => pretrain.map_or_else(Default::default, |spec| spec.rewording),
                // What is held out is scored as it is.
                _ => Rewording::default(),
            },
            context: model.longest_document(),
            seed,
            split,
        }
    }
}
