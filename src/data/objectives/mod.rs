//! What a training step is shown, and which tokens of it are scored.

mod answering;
mod span_corruption;

use super::{Corpus, Task};
use crate::error::Result;
use crate::kinds::Listed;

pub use answering::Answering;
pub use span_corruption::SpanCorruption;

/// What a model can learn from documents.
pub struct Objective {
    name: &'static str,
    about: &'static str,
    task: fn(&Corpus, &Shown) -> Result<Box<dyn Task>>,
}

/// How much of a document a pretraining task shows, from `[pretrain]`.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Longest prefix of a document, in characters.
    pub longest_excerpt: usize,
    /// Whether a mask closes what is shown.
    pub terminated: bool,
    /// Seed of the draws.
    pub seed: u64,
}

/// The objectives of pretraining; finetuning always uses [`Answering`].
pub static OBJECTIVES: [Objective; 1] = [Objective {
    name: "span-corruption",
    about: "a random span moves behind a mask at the end (Raffel et al. 2020, T5, in one sequence)",
    task: |corpus, shown| Ok(Box::new(SpanCorruption::new(corpus, shown)?)),
}];

impl Objective {
    /// The task of learning this from the documents of a corpus.
    ///
    /// # Errors
    /// The documents cannot be shown so.
    pub fn task(&self, corpus: &Corpus, shown: &Shown) -> Result<Box<dyn Task>> {
        (self.task)(corpus, shown)
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
}
