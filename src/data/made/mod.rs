//! Made tasks: data whose examples are drawn by key instead of read from a file. Each task is one file, with its source.
//!
//! In reading order: [`MadeTask`], what a task's file says; [`Examples`], what the rest of the program sees of it; and
//! [`Answers`], its examples as a training task.

use std::sync::Arc;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::generator::generator;
use super::ragged::{PAD, Sequence};
use super::vocabulary::Vocabulary;
use super::{Corpus, DataSource, Offers, ScoredSequence, Split, Task};
use crate::error::Result;
use crate::kinds::BrokenRule;

pub mod compression;
pub mod cycle_navigation;
pub mod even_pairs;
pub mod fuzzy_recall;
pub mod in_context_recall;
pub mod induction;
pub mod memorisation;
pub mod modular_arithmetic;
pub mod noisy_recall;
mod pairs;
pub mod parity;
pub mod recall;
mod regular;
pub mod selective_copying;
#[cfg(test)]
mod testing;

/// One example of a made task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What the model reads, and the targets of the tokens that are scored.
    pub sequence: Sequence,
    /// Length by which accuracies are told apart, such as that of the string that a question is about.
    pub length: usize,
    /// For each scored token, in order: how many tokens back the answer was last seen, or 0 if it never was. Empty for a
    /// task that has no such distance, and where every token is scored.
    pub distances: Vec<usize>,
}

/// How many examples a task has, and how they are drawn. The fields are keys that every made task takes.
#[derive(Clone, Copy, Debug)]
pub struct Drawing {
    pub training_examples: usize,
    pub held_out_examples: usize,
    pub fresh: bool,
    pub seed: u64,
}

/// Settings that say how examples are drawn; `made_task!` declares them.
pub trait Drawn {
    fn drawing(&self) -> Drawing;
}

/// A made task. Its fields are the keys that `[data]` takes beside `kind`, each with a default.
pub trait MadeTask:
    Drawn + DeserializeOwned + Serialize + JsonSchema + Clone + Send + Sync + 'static
{
    /// Its name in an experiment file.
    const NAME: &'static str;
    /// A description for the manual, with its source.
    const ABOUT: &'static str;

    /// The name of each token id, from 0; the last is one below what the model's vocabulary has to hold. Id 0 may be read
    /// but is never a target.
    fn symbols(&self) -> Vec<String>;

    /// Length of its longest example, in tokens.
    fn longest(&self) -> usize;

    /// Example `index` of a split, drawn from its own generator.
    fn example(&self, split: Split, index: usize, draws: &mut ChaCha8Rng) -> Example;

    /// The rules that its keys break.
    fn check(&self) -> Vec<BrokenRule> {
        vec![]
    }
}

/// Declares the settings of a made task: its own keys, each with a default, and those of [`Drawing`]. One macro, because
/// serde cannot flatten a struct and refuse unknown keys at once.
macro_rules! made_task {
    (
        $(#[$about:meta])*
        $name:ident, training_examples = $training:expr, held_out_examples = $held_out:expr, fresh = $fresh:expr,
        { $($(#[$field_about:meta])* $field:ident: $type:ty = $default:expr,)* }
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Debug, serde::Deserialize, schemars::JsonSchema, PartialEq, serde::Serialize,
        )]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
            /// Number of examples that training sees in an epoch.
            #[schemars(range(min = 1))]
            pub training_examples: usize,
            /// Number of examples of each of the splits dev and test.
            #[schemars(range(min = 1))]
            pub held_out_examples: usize,
            /// Whether each epoch draws new training examples.
            pub fresh: bool,
            /// Seed of what is made up or drawn, independent of the seeds of training.
            #[schemars(extend("exclusiveMaximum" = crate::config::sweep::SEED_LIMIT))]
            pub seed: u64,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    training_examples: $training,
                    held_out_examples: $held_out,
                    fresh: $fresh,
                    seed: 0,
                }
            }
        }

        impl crate::data::made::Drawn for $name {
            fn drawing(&self) -> crate::data::made::Drawing {
                crate::data::made::Drawing {
                    training_examples: self.training_examples,
                    held_out_examples: self.held_out_examples,
                    fresh: self.fresh,
                    seed: self.seed,
                }
            }
        }
    };
}
pub(crate) use made_task;

/// So many different numbers from a range, in the order drawn.
fn distinct(count: usize, range: std::ops::Range<u32>, draws: &mut ChaCha8Rng) -> Vec<u32> {
    let mut drawn = vec![];
    while drawn.len() < count {
        let one = draws.gen_range(range.clone());
        if !drawn.contains(&one) {
            drawn.push(one);
        }
    }
    drawn
}

/// The names of so many symbols: a letter, then a number from 0.
fn numbered(letter: char, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{letter}{number}"))
}

/// The rule that a number is even, if it is not.
fn must_be_even(key: &'static str, number: usize) -> Option<BrokenRule> {
    let rule = || BrokenRule::new(key, format!("= {number} must be even"));
    (!number.is_multiple_of(2)).then(rule)
}

impl<T: MadeTask> DataSource for T {
    const NAME: &'static str = T::NAME;
    const ABOUT: &'static str = T::ABOUT;

    fn open(&self, _: Option<&std::path::Path>) -> Result<Corpus> {
        Ok(Corpus {
            examples: Some(Arc::new(self.clone())),
            ..Corpus::new(Vocabulary::Symbols(self.symbols().into()))
        })
    }

    fn check(&self) -> Vec<BrokenRule> {
        MadeTask::check(self)
    }

    fn offers(&self) -> Offers {
        Offers {
            examples: true,
            ..Offers::NOTHING
        }
    }
}

/// The examples of a made task.
pub trait Examples: Send + Sync {
    /// The task's name in an experiment file.
    fn name(&self) -> &'static str;

    /// Number of examples of a split.
    fn len(&self, split: Split) -> usize;

    /// Length of the longest example, in tokens.
    fn longest(&self) -> usize;

    /// Example `index` of a split. Training examples of a task that draws fresh ones differ from epoch to epoch.
    fn example(&self, split: Split, epoch: u64, index: usize) -> Example;

    /// What stands for them where a stage's inputs are hashed: the task with all its settings.
    fn identity(&self) -> String;
}

impl<T: MadeTask> Examples for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn len(&self, split: Split) -> usize {
        match split {
            Split::Train => self.drawing().training_examples,
            Split::Dev | Split::Test | Split::Validate => self.drawing().held_out_examples,
        }
    }

    fn longest(&self) -> usize {
        MadeTask::longest(self)
    }

    fn example(&self, split: Split, epoch: u64, index: usize) -> Example {
        let Drawing { fresh, seed, .. } = self.drawing();
        let (purpose, epoch) = match split {
            Split::Train if fresh => (b"example.", epoch),
            Split::Train => (b"example.", 1),
            Split::Dev => (b"exam.dev", 0),
            Split::Test => (b"examtest", 0),
            Split::Validate => (b"examvali", 0),
        };
        let mut draws = generator(purpose, [seed, epoch, index as u64]);
        let example = MadeTask::example(self, split, index, &mut draws);
        let Sequence { tokens, targets } = &example.sequence;
        debug_assert_eq!(tokens.len(), targets.len());
        debug_assert!(targets.iter().any(|&target| target != PAD), "{}", T::NAME);
        example
    }

    fn identity(&self) -> String {
        let settings = serde_json::to_string(self).expect("settings are plain numbers");
        format!("{} {settings}", T::NAME)
    }
}

/// Training on the examples of a made task, whose scored tokens are given.
pub struct Answers {
    pub examples: Arc<dyn Examples>,
    pub split: Split,
}

impl Task for Answers {
    fn len(&self) -> usize {
        self.examples.len(self.split)
    }

    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
        Ok(self.examples.example(self.split, epoch, index).sequence)
    }

    fn held_out(&self, index: usize) -> Result<ScoredSequence> {
        let Example {
            sequence,
            length,
            distances,
        } = self.examples.example(self.split, 0, index);
        Ok(ScoredSequence {
            sequence,
            item: index,
            length,
            distances,
        })
    }

    fn longest_sequence(&self) -> usize {
        self.examples.longest()
    }
}
