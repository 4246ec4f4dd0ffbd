//! Data: documents, questions, and the batches made of them.
//!
//! In reading order: [`vocabulary`] (characters to ids), [`ragged`] (a batch without padding), [`questions`],
//! [`objectives`] (training sequences made of either), [`mod@batches`] (their order), and the sources of text:
//! [`synthetic`] (generated), [`cs224n`] (read and verified) and [`fetch`] (downloaded); [`invented`] makes up
//! people who are in none of them, and [`mapped`] selects the questions whose attention maps are recorded.
//!
//! Nothing here depends on a model. There is no shared random generator: each draw has its own key, so
//! neither threads nor order change what a model sees.

// What a name says needs no comment.
#![allow(missing_docs)]

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::metrics::rows::CorruptionRow;
use documents::Documents;
use made::Examples;
use ragged::Sequence;
use vocabulary::Vocabulary;

pub mod batches;
pub mod checksum;
pub mod cs224n;
pub mod directory;
pub mod documents;
pub mod fetch;
pub(crate) mod generator;
pub mod invented;
pub mod made;
pub mod mapped;
mod names;
pub mod objectives;
mod packed;
pub mod questions;
pub mod ragged;
mod source;
pub mod synthetic;
pub mod text;
pub mod vocabulary;

pub use batches::{Batches, batches};
pub use source::{DataKind, DataSource, Offers};

pub static KINDS: [DataKind; 15] = [
    DataKind::of::<synthetic::Biographies>(),
    DataKind::of::<cs224n::Cs224n>(),
    DataKind::of::<text::Text>(),
    DataKind::of::<made::recall::Recall>(),
    DataKind::of::<made::induction::Induction>(),
    DataKind::of::<made::selective_copying::SelectiveCopying>(),
    DataKind::of::<made::in_context_recall::InContextRecall>(),
    DataKind::of::<made::fuzzy_recall::FuzzyRecall>(),
    DataKind::of::<made::noisy_recall::NoisyRecall>(),
    DataKind::of::<made::compression::Compression>(),
    DataKind::of::<made::memorisation::Memorisation>(),
    DataKind::of::<made::parity::Parity>(),
    DataKind::of::<made::even_pairs::EvenPairs>(),
    DataKind::of::<made::modular_arithmetic::ModularArithmetic>(),
    DataKind::of::<made::cycle_navigation::CycleNavigation>(),
];

/// Some of the questions.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The questions that finetuning learns from.
    Train,
    /// Held-out questions with answers, which choices are made on.
    #[schemars(extend("other_names" = ["val", "valid", "validation"]))]
    #[default]
    Dev,
    /// Held-out questions for the end, which need not have answers.
    Test,
    /// Training questions that are kept out of training, or examples of a made task that are drawn apart, so that choices need not
    /// be made on the dev split.
    Validate,
}

impl Split {
    /// The word in file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Validate => "validate",
        }
    }
}

/// A question and, if known, its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The text: `Where was Ada Moss born?`
    pub text: String,
    /// The right answer; `None` if the split has no answers.
    pub answer: Option<String>,
}

impl Question {
    /// A question whose answer is not known.
    pub fn unanswered(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            answer: None,
        }
    }
}

/// How many of the training questions are kept out of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeptOut {
    Count(usize),
    /// A part of them, from 0 to 1.
    Share(f64),
}

/// What a kind of data offers: documents to learn from, questions about them, or the examples of a made task.
pub struct Corpus {
    pub vocabulary: Vocabulary,
    /// The documents of pretraining, one text each, possibly empty.
    pub documents: Arc<Documents>,
    /// Documents that training never sees, by split; none of [`Split::Train`].
    pub held_out: [Arc<Documents>; 2],
    /// Training questions, all with an answer.
    pub train: Vec<Question>,
    /// Those that were [kept out](Corpus::keep_out) of training, all with an answer.
    pub validate: Vec<Question>,
    /// Held-out questions, all with an answer.
    pub dev: Vec<Question>,
    /// Held-out questions, with or without an answer.
    pub test: Vec<Question>,
    /// The examples of a made task.
    pub examples: Option<Arc<dyn Examples>>,
    /// Number of characters of the documents, counting what separates them.
    pub characters: u64,
    /// The user's files that were read.
    pub files: Vec<ReadFile>,
    /// What the user should know about them.
    pub notes: Vec<String>,
}

impl Corpus {
    /// A corpus without anything to read, whose parts are then filled in.
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            documents: Arc::default(),
            held_out: Default::default(),
            train: vec![],
            validate: vec![],
            dev: vec![],
            test: vec![],
            examples: None,
            characters: 0,
            files: vec![],
            notes: vec![],
        }
    }

    /// A corpus of texts that were one text with newlines between them.
    ///
    /// # Errors
    /// A text has a character that is not in the vocabulary.
    pub fn of_texts(texts: &[String], vocabulary: Vocabulary) -> Result<Self> {
        let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
        let newlines = texts.len().saturating_sub(1);
        let documents = Documents::of_texts(texts.iter().map(String::as_str), &vocabulary)?;
        Ok(Self {
            documents: Arc::new(documents),
            characters: (characters + newlines) as u64,
            ..Self::new(vocabulary)
        })
    }

    pub fn questions(&self, split: Split) -> &[Question] {
        match split {
            Split::Train => &self.train,
            Split::Dev => &self.dev,
            Split::Test => &self.test,
            Split::Validate => &self.validate,
        }
    }

    /// Keeps training questions out of training: those that come first in an order that depends on their text alone, so that
    /// every run keeps out the same and a larger number adds to a smaller one. Questions of one text stay together.
    pub fn keep_out(&mut self, kept_out: KeptOut) {
        let count = match kept_out {
            KeptOut::Count(count) => count,
            KeptOut::Share(share) => (self.train.len() as f64 * share).round() as usize,
        };
        if count == 0 {
            return;
        }
        let place = |question: &Question| {
            let sum = blake3::hash(question.text.as_bytes());
            (*sum.as_bytes(), question.text.clone())
        };
        let mut places: Vec<_> = self.train.iter().map(place).collect();
        places.sort_unstable();
        let first_in = places.get(count);
        let is_in = |question: &Question| first_in.is_some_and(|first| place(question) >= *first);
        let (train, out) = std::mem::take(&mut self.train).into_iter().partition(is_in);
        (self.train, self.validate) = (train, out);
    }

    /// The documents of a split: those of pretraining, or held-out ones.
    pub fn documents(&self, split: Split) -> Arc<Documents> {
        let [dev, test] = &self.held_out;
        match split {
            Split::Train => self.documents.clone(),
            Split::Dev => dev.clone(),
            Split::Test => test.clone(),
            Split::Validate => Arc::default(),
        }
    }
}

/// A file of the user's that was read, for the provenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadFile {
    /// As the experiment file names it.
    pub file: String,
    /// 64 lower-case hex digits.
    pub sha256: String,
}

/// A held-out sequence in the form in which it is scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredSequence {
    pub sequence: Sequence,
    /// The document or example that it belongs to, from 0; those of one item follow each other.
    pub item: usize,
    /// Length by which scores are told apart; by default the number of tokens that are read.
    pub length: usize,
    /// For each scored token, in order: how far back lies what it asks for; empty without such distances.
    pub distances: Vec<usize>,
}

/// A training task: a fixed number of sequences, which may look different in each epoch.
///
/// A sequence depends only on the task, the epoch and the index, so batches can be built in any order and on
/// any thread.
pub trait Task: Send + Sync {
    fn len(&self) -> usize;

    /// Sequence `index` as it appears in `epoch`: from 1, or 0 for the form in which it is scored when it is held out.
    ///
    /// # Errors
    /// Its documents lie in a file that can no longer be read.
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence>;

    /// Sequence `index` with what is known about it where it is scored: for a task on what is held out.
    ///
    /// # Errors
    /// As for [`Task::sequence`].
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn held_out(&self, index: usize) -> Result<ScoredSequence> {
        let sequence = self.sequence(0, index)?;
        Ok(ScoredSequence {
            length: sequence.tokens.len(),
            sequence,
            item: index,
            distances: vec![],
        })
    }

    /// Length of the longest sequence that it can produce; it must fit the model's context.
    fn longest_sequence(&self) -> usize;

    /// The same document in a human-readable form; `None` if the task has no such form.
    ///
    /// # Errors
    /// As for [`Task::sequence`].
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn example(&self, _epoch: u64, _index: usize) -> Result<Option<CorruptionRow>> {
        Ok(None)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
