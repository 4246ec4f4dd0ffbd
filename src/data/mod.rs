//! What a model reads: documents, questions, and the batches made of them.
//!
//! In reading order: [`vocabulary`] (characters to ids), [`ragged`] (a batch without padding),
//! [`corruption`] and [`questions`] (the two tasks), [`mod@batches`] (their order), and the sources of text:
//! [`synthetic`] (generated), [`cs224n`] (read and verified) and [`fetch`] (downloaded); [`invented`] makes up
//! people who are in none of them, and [`mapped`] selects the questions whose attention maps are recorded.
//!
//! Nothing here depends on a model. There is no shared random generator: each draw has its own key, so
//! neither threads nor order change what a model sees.

use std::path::Path;

use crate::config::schema::{DataKind, DataSpec, Split};
use crate::error::Result;

use ragged::Sequence;
use vocabulary::Vocabulary;

pub mod batches;
pub mod checksum;
pub mod corruption;
pub mod cs224n;
pub mod fetch;
pub(crate) mod generator;
pub mod invented;
pub mod mapped;
mod names;
pub mod questions;
pub mod ragged;
pub mod synthetic;
pub mod vocabulary;

pub use batches::{Batches, batches};

/// A question and, if known, its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The text: `Where was Ada Moss born?`
    pub text: String,
    /// The right answer; `None` if the split has no answers.
    pub place: Option<String>,
}

/// Documents to learn from and questions about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// One line of text each, possibly empty.
    pub documents: Vec<String>,
    /// All characters of the documents.
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
    /// The questions of a split.
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
    /// Documents per epoch.
    fn len(&self) -> usize;

    /// Document `index` as it appears in `epoch` (from 1).
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn sequence(&self, epoch: u64, index: usize) -> Sequence;

    /// Whether there are no documents.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Opens the corpus that an experiment names.
///
/// `directory` is the folder of fetched files (`--data`); [`cs224n::locate`] gives its default. Synthetic data
/// does not use it.
///
/// # Errors
/// A file is missing or damaged (kind `Data`), or a number is out of range (kind `Config`).
pub fn open(spec: &DataSpec, directory: Option<&Path>) -> Result<Corpus> {
    match spec.kind {
        DataKind::Synthetic => synthetic::Biographies::from_spec(spec).corpus(),
        DataKind::Cs224n => cs224n::open(directory),
    }
}

#[cfg(test)]
mod tests;
