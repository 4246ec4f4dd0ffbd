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

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::rows::CorruptionRow;
use ragged::Sequence;
use vocabulary::Vocabulary;

pub mod batches;
pub mod checksum;
pub mod cs224n;
pub mod fetch;
pub(crate) mod generator;
pub mod invented;
pub mod mapped;
mod names;
pub mod objectives;
pub mod questions;
pub mod ragged;
mod source;
pub mod synthetic;
pub mod vocabulary;

pub use batches::{Batches, batches};
pub use source::{DataKind, DataSource};

pub static KINDS: [DataKind; 2] = [
    DataKind::of::<synthetic::Biographies>(),
    DataKind::of::<cs224n::Cs224n>(),
];

/// Some of the questions.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The questions that finetuning learns from.
    Train,
    /// Held-out questions with answers.
    #[schemars(extend("other_names" = ["val", "valid", "validation"]))]
    #[default]
    Dev,
    /// Held-out questions without answers.
    Test,
}

impl Split {
    /// The word in file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
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

/// Documents to learn from and questions about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// One line of text each, possibly empty.
    pub documents: Vec<String>,
    /// The character vocabulary of the documents.
    pub vocabulary: Vocabulary,
    /// Training questions, all with an answer.
    pub train: Vec<Question>,
    /// Held-out questions, all with an answer.
    pub dev: Vec<Question>,
    /// Held-out questions without an answer.
    pub test: Vec<Question>,
    /// Number of characters of the documents, counting the newlines between them.
    pub characters: usize,
}

impl Corpus {
    pub fn questions(&self, split: Split) -> &[Question] {
        match split {
            Split::Train => &self.train,
            Split::Dev => &self.dev,
            Split::Test => &self.test,
        }
    }
}

/// A training task: a fixed number of documents, which may look different in each epoch.
///
/// A sequence depends only on the task, the epoch and the index, so batches can be built in any order and on
/// any thread.
pub trait Task: Send + Sync {
    fn len(&self) -> usize;

    /// Document `index` as it appears in `epoch` (from 1).
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn sequence(&self, epoch: u64, index: usize) -> Sequence;

    /// Length of the longest sequence that it can produce; it must fit the model's context.
    fn longest_sequence(&self) -> usize;

    /// The same document in a human-readable form; `None` if the task has no such form.
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn example(&self, _epoch: u64, _index: usize) -> Option<CorruptionRow> {
        None
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
