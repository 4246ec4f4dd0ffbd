//! Training objectives: which token sequences are made of the data, and which of their tokens are scored.
//!
//! An objective is one file and one line of `OBJECTIVES`; [`mix`] trains on several at once.

mod answering;
mod cued_recall;
mod entities;
mod language_model;
pub mod mix;
mod rewording;
mod span_corruption;
mod titles;

use self::rewording::{Excerpts, Noised};
use super::{Corpus, Split, Task};
use crate::error::{Error, Result};
use crate::kinds::Listed;

pub use answering::{Answering, answers};
pub use cued_recall::{CuedRecall, TitlePlace};
pub use entities::Entities;
pub use language_model::LanguageModel;
pub use rewording::Rewording;
pub use span_corruption::{SHORTEST_EXCERPT, SpanCorruption, Spans};

pub struct Objective {
    name: &'static str,
    other_names: &'static [&'static str],
    about: &'static str,
    /// What it learns from.
    pub reads: Reads,
    /// Whether it corrupts documents, so that before and after can be shown side by side.
    pub corrupts: bool,
    /// Whether it shows an excerpt as a whole, which therefore has to fit into the context.
    pub shows_excerpt: bool,
    /// Keys of `[pretrain]` that it reads, besides those that every objective reads.
    pub own_keys: &'static [&'static str],
    /// The task of this objective on the documents of a split, or on the training questions.
    task: fn(&Corpus, ObjectiveSettings) -> Result<Box<dyn Task>>,
}

/// The part of the data that an objective learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    Documents,
    /// Questions, or the examples of a made task.
    Answers,
}

/// As many words as there are.
pub const ALL_WORDS: usize = usize::MAX;

/// Settings of a pretraining task, from `[pretrain]`.
#[derive(Clone, Copy, Debug)]
pub struct ObjectiveSettings {
    /// Shortest and longest prefix of a document that is shown, in characters; a shorter document is shown whole.
    pub shortest_excerpt: usize,
    pub longest_excerpt: usize,
    /// Whether the sequence ends with a closing mask.
    pub terminated: bool,
    /// What counts as an entity.
    pub entities: Entities,
    /// Most words that cued recall shows before an entity.
    pub cue_words: usize,
    /// Where cued recall puts the title.
    pub title_place: TitlePlace,
    /// How documents are reworded.
    pub rewording: Rewording,
    /// Longest sequence that the model reads, in tokens.
    pub context: usize,
    pub seed: u64,
    /// The split whose documents are read.
    pub split: Split,
}

/// The objectives of pretraining; finetuning always uses [`answers`].
static OBJECTIVES: [Objective; 6] = [
    Objective {
        name: "span-corruption",
        other_names: &["t5", "denoising"],
        about: "a random span moves behind a mask at the end (Raffel et al. 2020, T5, in one sequence)",
        reads: Reads::Documents,
        corrupts: true,
        shows_excerpt: true,
        own_keys: &["shortest_excerpt", "longest_excerpt"],
        task: |corpus, settings| {
            let task = SpanCorruption::new(corpus, settings, Spans::Uniform)?;
            Ok(Box::new(task))
        },
    },
    Objective {
        name: "masked-entities",
        other_names: &["salient-spans", "salient-span-masking"],
        about: "span corruption of a run of capitalised words, where an excerpt has one (after the salient spans of Guu et al. 2020, REALM)",
        reads: Reads::Documents,
        corrupts: true,
        shows_excerpt: true,
        own_keys: &["entities", "shortest_excerpt", "longest_excerpt"],
        task: |corpus, settings| {
            let task = SpanCorruption::new(corpus, settings, Spans::Entities)?;
            Ok(Box::new(task))
        },
    },
    Objective {
        name: "cued-recall",
        other_names: &["closed-book", "entity-recall"],
        about: "a name that a document mentions, asked for by the document's title and some of the words before it",
        reads: Reads::Documents,
        corrupts: true,
        shows_excerpt: false,
        own_keys: &["entities", "cue_words", "title_place", "longest_excerpt"],
        task: |corpus, settings| Ok(Box::new(CuedRecall::new(corpus, settings))),
    },
    Objective {
        name: "language-model",
        other_names: &["lm", "next-token", "causal"],
        about: "next-token prediction at every position; documents longer than the context window are split into windows",
        reads: Reads::Documents,
        corrupts: false,
        shows_excerpt: false,
        own_keys: &[],
        task: |corpus, settings| Ok(Box::new(LanguageModel::new(corpus, settings, false))),
    },
    Objective {
        name: "prefix-language-model",
        other_names: &["prefix-lm"],
        about: "next-token prediction after an unscored prefix of random length (Raffel et al. 2020, T5, §3.2.1, with causal attention over the prefix)",
        reads: Reads::Documents,
        corrupts: false,
        shows_excerpt: false,
        own_keys: &[],
        task: |corpus, settings| Ok(Box::new(LanguageModel::new(corpus, settings, true))),
    },
    Objective {
        name: "answers",
        other_names: &["questions", "supervised"],
        about: "the answers to the training questions, or what a made task scores; documents are not read",
        reads: Reads::Answers,
        corrupts: false,
        shows_excerpt: false,
        own_keys: &[],
        task: |corpus, _| answers(corpus),
    },
];

impl Objective {
    /// The training task of this objective.
    ///
    /// # Errors
    /// The data has nothing that it could learn from, or the settings are invalid.
    pub fn task(&self, corpus: &Corpus, settings: ObjectiveSettings) -> Result<Box<dyn Task>> {
        let mut task = (self.task)(corpus, settings)?;
        if task.is_empty() {
            let lacks = match self.reads {
                Reads::Documents => "documents",
                Reads::Answers => "training questions",
            };
            let message = format!(
                "the objective {:?} learns from {lacks}, but the data has none",
                self.name
            );
            return Err(Error::config(message));
        }
        let noise = settings.rewording.noise;
        if noise > 0.0 && self.reads == Reads::Documents {
            task = Box::new(Noised::new(task, noise, settings.seed));
        }
        Ok(task)
    }
}

impl ObjectiveSettings {
    /// The documents of the split, reworded.
    fn excerpts(&self, corpus: &Corpus) -> Excerpts {
        Excerpts::new(corpus, self.split, self.rewording, self.seed)
    }
}

impl Listed for Objective {
    fn all() -> &'static [Self] {
        &OBJECTIVES
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn other_names(&self) -> &'static [&'static str] {
        self.other_names
    }
}

#[cfg(test)]
impl Default for ObjectiveSettings {
    fn default() -> Self {
        Self {
            shortest_excerpt: SHORTEST_EXCERPT,
            longest_excerpt: 112,
            terminated: true,
            entities: Entities::default(),
            cue_words: ALL_WORDS,
            title_place: TitlePlace::default(),
            rewording: Rewording::default(),
            context: 128,
            seed: 0,
            split: Split::Train,
        }
    }
}
