//! Regular languages: strings of letters, each followed by the question which class it belongs to. Training sees short
//! strings, held-out ones are longer.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Drawn, Example, MadeTask};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};
use crate::kinds::BrokenRule;

/// Settings that say how long strings are; `regular_task!` declares them.
pub trait Lengths {
    /// Of the longest strings of training and of the held-out splits.
    fn longest_strings(&self) -> [usize; 2];
}

/// A task on strings. Letters and classes are numbered from 0; the ids of tokens are those of letters, of `=`, which asks
/// for the class, and of classes, from 1.
pub trait Regular:
    Drawn + Lengths + DeserializeOwned + Serialize + JsonSchema + Clone + Send + Sync + 'static
{
    const NAME: &'static str;
    const ABOUT: &'static str;
    const LETTERS: &'static [&'static str];
    const CLASSES: &'static [&'static str];

    /// A random string of a length.
    fn string(length: usize, draws: &mut ChaCha8Rng) -> Vec<u32> {
        let letters = Self::LETTERS.len() as u32;
        (0..length).map(|_| draws.gen_range(0..letters)).collect()
    }

    /// The class of a string.
    fn answer(string: &[u32]) -> u32;

    /// The rules that it has beside those of all such tasks.
    fn check(&self) -> Option<BrokenRule> {
        None
    }
}

/// Declares the settings of a task on strings.
macro_rules! regular_task {
    ($(#[$about:meta])* $name:ident) => {
        crate::data::made::made_task! {
            $(#[$about])*
            $name, training_examples = 12_800, held_out_examples = 1_200, fresh = true,
            {
                /// Length of the longest training string; lengths are drawn uniformly from 1 to this.
                #[schemars(range(min = 1, max = 1_000_000))]
                longest_training: usize = 40,
                /// Length of the longest held-out string; the shortest is one longer than any of training.
                #[schemars(range(min = 2, max = 1_000_000))]
                longest_held_out: usize = 100,
            }
        }

        impl crate::data::made::regular::Lengths for $name {
            fn longest_strings(&self) -> [usize; 2] {
                [self.longest_training, self.longest_held_out]
            }
        }
    };
}
pub(crate) use regular_task;

impl<T: Regular> MadeTask for T {
    const NAME: &'static str = T::NAME;
    const ABOUT: &'static str = T::ABOUT;

    fn symbols(&self) -> Vec<String> {
        [&["."], T::LETTERS, &["="], T::CLASSES]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// With the token that asks.
    fn longest(&self) -> usize {
        let [trained, held_out] = self.longest_strings();
        trained.max(held_out) + 1
    }

    fn check(&self) -> Vec<BrokenRule> {
        let [trained, held_out] = self.longest_strings();
        let message = format!("= {held_out} must be above {trained}, the longest of training");
        let rule = BrokenRule {
            reads: &["longest_training"],
            ..BrokenRule::new("longest_held_out", message)
        };
        let rule = (held_out <= trained).then_some(rule);
        rule.into_iter().chain(Regular::check(self)).collect()
    }

    fn example(&self, split: Split, index: usize, draws: &mut ChaCha8Rng) -> Example {
        let [trained, held_out] = self.longest_strings();
        let length = match split {
            Split::Train => draws.gen_range(1..=trained as u32) as usize,
            Split::Dev | Split::Test | Split::Validate => {
                trained + 1 + index % (held_out - trained)
            }
        };
        let string = T::string(length, draws);
        let asks = T::LETTERS.len() as u32 + 1;
        let mut targets = vec![PAD; string.len()];
        targets.push(asks + 1 + T::answer(&string));
        let mut tokens: Vec<u32> = string.iter().map(|letter| letter + 1).collect();
        tokens.push(asks);
        Example {
            sequence: Sequence { tokens, targets },
            length: string.len(),
            distances: vec![],
        }
    }
}

/// What the tests of these tasks share.
#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::data::made::Examples;
    use crate::data::made::testing::{broken, check_examples, drawn};

    /// Checks the classes of strings that are written as letters with spaces between them.
    pub fn check_answers<T: Regular>(answers: &[(&str, &str)]) {
        let number = |names: &[&str], name| names.iter().position(|known| *known == name);
        for (string, class) in answers {
            let letters = string.split(' ').filter(|letter| !letter.is_empty());
            let letters: Option<Vec<_>> =
                letters.map(|letter| number(T::LETTERS, letter)).collect();
            let letters = letters.expect("letters").into_iter();
            let letters: Vec<u32> = letters.map(|letter| letter as u32).collect();
            let answer = T::answer(&letters) as usize;
            assert_eq!(T::CLASSES[answer], *class, "{string}");
        }
    }

    /// Checks examples of all lengths against an independent answer, given the names of the letters. `with` makes the task
    /// with its longest lengths.
    pub fn check_strings<T: Regular>(
        with: impl Fn([usize; 2]) -> T,
        length: impl Fn(usize) -> usize,
        answer: impl Fn(&[&str]) -> String,
    ) {
        let task = with([40, 100]);
        let symbols = MadeTask::symbols(&task);
        let (mut lengths, mut answers) = (vec![0; 101], vec![0; symbols.len()]);
        for split in [Split::Train, Split::Dev, Split::Test] {
            for (index, example) in drawn(&task, split, 1_200).into_iter().enumerate() {
                let Example {
                    sequence: Sequence { tokens, targets },
                    length: string,
                    distances,
                } = example;
                assert_eq!((tokens.len(), targets.len()), (string + 1, string + 1));
                let names = tokens.iter().map(|&id| symbols[id as usize].as_str());
                let names: Vec<&str> = names.collect();
                let (asks, letters) = names.split_last().expect("a token that asks");
                assert_eq!(*asks, "=");
                assert!(letters.iter().all(|letter| T::LETTERS.contains(letter)));
                assert!(targets[..string].iter().all(|&target| target == PAD));
                assert!(distances.is_empty());
                let target = targets[string] as usize;
                assert!(target > T::LETTERS.len() + 1);
                assert_eq!(symbols[target], answer(letters), "{letters:?}");
                if split == Split::Train {
                    assert!((1..=40).contains(&string));
                    lengths[string] += 1;
                    answers[target] += 1;
                } else {
                    assert_eq!(string, length(41 + index % 60));
                }
            }
        }
        // Of 1,200 strings, 30 or 60 have each length; 5 standard deviations are at most 38.
        let expected: Vec<usize> = (1..=40).map(&length).collect();
        for (string, count) in lengths.into_iter().enumerate() {
            let share = expected.iter().filter(|&&one| one == string).count();
            assert!(
                (30 * share).abs_diff(count) <= 38 && (share == 0) == (count == 0),
                "{string}"
            );
        }
        // No class is rare.
        let classes = &answers[T::LETTERS.len() + 2..];
        assert_eq!(classes.len(), T::CLASSES.len());
        assert!(classes.iter().all(|&count| count > 120), "{classes:?}");

        let first = |epoch| Examples::example(&task, Split::Train, epoch, 0);
        assert_ne!(first(1), first(2));
        for longest in [[2, 3], [2, 4], [40, 41], [40, 10_000], [10_000, 10_001]] {
            check_examples(&with(longest));
        }
        for longest in [[40, 40], [40, 39], [40, 2]] {
            assert_eq!(broken(&with(longest)), ["longest_held_out"]);
        }
    }
}
