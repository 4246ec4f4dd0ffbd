//! Training objectives: which token sequences are made of the data, and which of their tokens are scored.

mod answering;
mod span_corruption;

use super::{Corpus, Task};
use crate::error::Result;
use crate::kinds::Listed;

pub use answering::Answering;
pub use span_corruption::SpanCorruption;

pub struct Objective {
    name: &'static str,
    about: &'static str,
    /// The training task of this objective on the documents of a corpus.
    pub task: fn(&Corpus, ObjectiveSettings) -> Result<Box<dyn Task>>,
}

/// Settings of a pretraining task, from `[pretrain]`.
#[derive(Clone, Copy, Debug)]
pub struct ObjectiveSettings {
    /// Longest prefix of a document, in characters.
    pub longest_excerpt: usize,
    /// Whether the sequence ends with a closing mask.
    pub terminated: bool,
    pub seed: u64,
}

/// The objectives of pretraining; finetuning always uses [`Answering`].
static OBJECTIVES: [Objective; 1] = [Objective {
    name: "span-corruption",
    about: "a random span moves behind a mask at the end (Raffel et al. 2020, T5, in one sequence)",
    task: |corpus, settings| Ok(Box::new(SpanCorruption::new(corpus, settings)?)),
}];

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
}
