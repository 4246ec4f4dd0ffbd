//! What a model reads: documents, questions, and the batches made of them.
//!
//! In reading order: [`vocabulary`] (characters to ids), [`ragged`] (a batch without padding),
//! [`corruption`] and [`questions`] (the two tasks), [`mod@batches`] (their order), and where text
//! comes from: [`synthetic`] (made here), [`cs224n`] (read and verified), [`fetch`] (brought here);
//! [`invented`] has people who are in none of it, and [`mapped`] the questions that are looked into.
//!
//! Nothing here knows a model. Nothing is drawn from a shared generator: each draw has its own
//! key, so neither threads nor order change what a model sees.

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

/// A question, and its answer where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// As asked: `Where was Ada Moss born?`
    pub text: String,
    /// The right answer; `None` where the split has none.
    pub place: Option<String>,
}

/// Documents to learn from and questions about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// One line of text each; may be empty.
    pub documents: Vec<String>,
    /// The characters of the documents.
    pub vocabulary: Vocabulary,
    /// Questions to learn from, all with an answer.
    pub train: Vec<Question>,
    /// Held-out questions, all with an answer.
    pub dev: Vec<Question>,
    /// Held-out questions without an answer.
    pub test: Vec<Question>,
    /// Characters of the documents, with the newline between each two.
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

/// Something to learn: a fixed number of documents, shown differently in each epoch.
///
/// A sequence depends on the task, the epoch and the index alone, so that batches may be made in
/// any order and on any thread.
pub trait Task: Send + Sync {
    /// Documents an epoch.
    fn len(&self) -> usize;

    /// Document `index` as epoch `epoch` (from 1) shows it.
    ///
    /// # Panics
    /// `index` is not below [`Task::len`].
    fn sequence(&self, epoch: u64, index: usize) -> Sequence;

    /// Whether there is no document at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Opens the corpus that an experiment names.
///
/// `directory` is where fetched files are (`--data`); see [`cs224n::locate`] for what holds
/// without it. Synthetic data needs none.
///
/// # Errors
/// A file that is missing or damaged (kind `Data`), or a number out of range (kind `Config`).
pub fn open(spec: &DataSpec, directory: Option<&Path>) -> Result<Corpus> {
    match spec.kind {
        DataKind::Synthetic => synthetic::Biographies::from_spec(spec).corpus(),
        DataKind::Cs224n => cs224n::open(directory),
    }
}

#[cfg(test)]
mod tests;
