//! Memorisation: a fixed key-value map that must be stored in the weights, since values never appear in the input.

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Example, MadeTask, made_task, must_be_even, numbered};
use crate::data::Split;
use crate::data::generator::generator;
use crate::data::ragged::{PAD, Sequence};
use crate::kinds::BrokenRule;

made_task! {
    /// The keys of `kind = "memorisation"`.
    Memorisation, training_examples = 256, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 32,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 256,
    }
}

impl Memorisation {
    /// Ids from 1 up to here are keys; those from here up to the insertion token are values.
    fn first_value(&self) -> u32 {
        (self.insert() - 1) / 2 + 1
    }

    /// What is in the place of a value.
    fn insert(&self) -> u32 {
        self.vocabulary as u32
    }

    /// The value of each key: one of its own, the same in all splits.
    fn values(&self) -> Vec<u32> {
        let mut values: Vec<u32> = (self.first_value()..self.insert()).collect();
        values.shuffle(&mut generator(b"key.map.", [self.seed, 0, 0]));
        values
    }
}

impl MadeTask for Memorisation {
    const NAME: &'static str = "memorisation";
    const ABOUT: &'static str = "memorisation (Poli et al. 2024, MAD): a fixed key-value map that must be stored in the weights: values never appear in the input";

    fn symbols(&self) -> Vec<String> {
        let (keys, values) = (self.first_value() - 1, self.insert() - self.first_value());
        std::iter::once(".".to_owned())
            .chain(numbered('k', keys as usize))
            .chain(numbered('v', values as usize))
            .chain(["<insert>".to_owned()])
            .collect()
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn check(&self) -> Vec<BrokenRule> {
        Vec::from_iter(must_be_even("length", self.length))
    }

    fn example(&self, _: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        let values = self.values();
        let (mut tokens, mut targets) = (vec![], vec![]);
        for _ in 0..self.length / 2 {
            let key = draws.gen_range(1..self.first_value());
            tokens.extend([key, self.insert()]);
            targets.extend([PAD, values[key as usize - 1]]);
        }
        Example {
            sequence: Sequence { tokens, targets },
            length: self.length,
            distances: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::testing::{broken, check_examples, check_mean, drawn};
    use std::collections::{BTreeMap, BTreeSet};

    /// The value of each key in all splits.
    fn map(task: &Memorisation) -> BTreeMap<u32, u32> {
        let mut known = BTreeMap::new();
        for split in [Split::Train, Split::Dev, Split::Test] {
            for example in drawn(task, split, 200) {
                let Sequence { tokens, targets } = &example.sequence;
                assert_eq!((tokens.len(), targets.len()), (task.length, task.length));
                for (token, target) in tokens.chunks(2).zip(targets.chunks(2)) {
                    assert_eq!(token[1], task.vocabulary as u32);
                    assert_eq!(target[0], PAD);
                    let value = known.entry(token[0]).or_insert(target[1]);
                    assert_eq!(*value, target[1]);
                }
            }
        }
        known
    }

    /// The numbers of keys and values are those of MAD's `generate_kv_map`.
    #[test]
    fn each_key_has_a_value_of_its_own_in_all_splits() {
        let task = Memorisation::default();
        let known = map(&task);
        assert!(known.keys().copied().eq(1..128));
        let values: BTreeSet<u32> = known.values().copied().collect();
        assert_eq!(values.len(), 127);
        assert!(values.iter().all(|value| (128..256).contains(value)));
        assert_ne!(map(&Memorisation { seed: 1, ..task }), known);
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary) in [(8, 4), (8, 5), (8, 65_536), (10_000, 7)] {
            check_examples(&Memorisation {
                length,
                vocabulary,
                ..Memorisation::default()
            });
        }
    }

    #[test]
    fn a_length_is_even() {
        let task = Memorisation {
            length: 31,
            ..Memorisation::default()
        };
        assert_eq!(broken(&task), ["length"]);
    }

    /// Of MAD's `generate_memorization_instance` (20,000 examples, NumPy 2): the number of different keys.
    #[test]
    fn the_draws_have_the_statistics_of_mads_generator() {
        for (length, vocabulary, mean) in [(32, 256, (15.089, 0.886)), (64, 32, (13.37, 1.043))] {
            let task = Memorisation {
                length,
                vocabulary,
                ..Memorisation::default()
            };
            let different = |example: Example| {
                let keys = example.sequence.tokens.iter().step_by(2);
                keys.collect::<BTreeSet<_>>().len() as f64
            };
            let examples = drawn(&task, Split::Test, 5_000).into_iter();
            check_mean("different", &Vec::from_iter(examples.map(different)), mean);
        }
    }
}
