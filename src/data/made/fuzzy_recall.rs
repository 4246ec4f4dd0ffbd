//! Fuzzy in-context recall: pairs of a key and its value, each of one or more tokens, with keys that come again.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::pairs::Transcript;
use super::{Example, MadeTask, distinct, made_task, numbered};
use crate::data::Split;
use crate::kinds::BrokenRule;

made_task! {
    /// The keys of `kind = "fuzzy-recall"`.
    FuzzyRecall, training_examples = 12_800, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 128,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 16,
        /// Largest number of tokens of a key. In held-out examples every key has this length.
        #[schemars(range(min = 1, max = 16))]
        longest_key: usize = 3,
        /// Largest number of tokens of a value.
        #[schemars(range(min = 1, max = 16))]
        longest_value: usize = 3,
    }
}

impl FuzzyRecall {
    /// Ids from 1 up to here are of keys; those from here up to padding are of values.
    fn first_value(&self) -> u32 {
        (self.vocabulary as u32).saturating_sub(1) / 2 + 1
    }

    /// What fills an example from its start. Training predicts it, as it does in the source.
    fn padding(&self) -> u32 {
        self.vocabulary as u32
    }

    /// Different tokens in any order: in training their number is drawn, in held-out examples it is the largest.
    fn key(&self, split: Split, draws: &mut ChaCha8Rng) -> Vec<u32> {
        let longest = self.longest_key as u32;
        let length = match split {
            Split::Train => draws.gen_range(1..=longest),
            Split::Dev | Split::Test | Split::Validate => longest,
        };
        distinct(length as usize, 1..self.first_value(), draws)
    }

    fn value(&self, draws: &mut ChaCha8Rng) -> Vec<u32> {
        let length = draws.gen_range(1..=self.longest_value as u32);
        distinct(length as usize, self.first_value()..self.padding(), draws)
    }
}

impl MadeTask for FuzzyRecall {
    const NAME: &'static str = "fuzzy-recall";
    const ABOUT: &'static str = "fuzzy in-context recall (Poli et al. 2024, MAD): as `in-context-recall`, with keys and values of one or more tokens";

    fn symbols(&self) -> Vec<String> {
        let (keys, values) = (self.first_value() - 1, self.padding() - self.first_value());
        std::iter::once(".".to_owned())
            .chain(numbered('k', keys as usize))
            .chain(numbered('v', values as usize))
            .chain(["<pad>".to_owned()])
            .collect()
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn check(&self) -> Vec<BrokenRule> {
        let mut broken = vec![];
        let keys = (self.first_value() - 1) as usize;
        let values = self.padding().saturating_sub(self.first_value()) as usize;
        for (key, tokens, most) in [
            ("longest_key", self.longest_key, keys),
            ("longest_value", self.longest_value, values),
        ] {
            if tokens > most {
                let message =
                    format!("= {tokens} must be at most {most}, the number of its symbols");
                broken.push(BrokenRule {
                    reads: &["vocabulary"],
                    ..BrokenRule::new(key, message)
                });
            }
        }
        let pair = self.longest_key.saturating_add(self.longest_value);
        let two = pair.saturating_mul(2);
        if self.length <= two {
            let message = format!(
                "= {} must be above {two}, the length of two pairs",
                self.length
            );
            broken.push(BrokenRule {
                reads: &["longest_key", "longest_value"],
                ..BrokenRule::new("length", message)
            });
        }
        broken
    }

    /// A pair is chosen that ends the example and comes somewhere before; in a few percent of examples its place is so
    /// late that it never does, as in the source.
    fn example(&self, split: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        let (last_key, last_value) = (self.key(split, draws), self.value(draws));
        let last = last_key.len() + last_value.len();
        let place = draws.gen_range(0..(self.length - 2 * last) as u32) as usize;
        let end = self.length - last - (self.longest_key + self.longest_value);

        let mut transcript = Transcript::default();
        let mut is_placed = false;
        while transcript.len() < end {
            let is_here = !is_placed && transcript.len() >= place;
            let key = match is_here {
                true => last_key.clone(),
                false => self.key(split, draws),
            };
            let is_last_key = key == last_key;
            is_placed |= is_last_key;
            transcript.push_pair(key, false, || match is_last_key {
                true => last_value.clone(),
                false => self.value(draws),
            });
        }
        transcript.push_pair(last_key, true, || last_value);
        let padding = self.length + 1 - transcript.len();
        transcript
            .after(padding, self.padding())
            .example(split, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::testing::{broken, check_examples, check_mean, drawn};
    use crate::data::ragged::PAD;
    use std::collections::BTreeMap;

    /// A pair as it is read: where its key is, the key, and the value.
    type Pair = (usize, Vec<u32>, Vec<u32>);

    /// The amount of padding, and the pairs after it.
    fn read(task: &FuzzyRecall, split: Split, example: &Example) -> (usize, Vec<Pair>) {
        let mut tokens = example.sequence.tokens.clone();
        tokens.extend(example.sequence.targets.last());
        let padding = tokens.iter().take_while(|&&id| id == task.padding());
        let padding = padding.count();
        let keys = 1..task.first_value();
        let values = task.first_value()..task.padding();
        let (mut pairs, mut at): (Vec<Pair>, _) = (vec![], padding);
        let run = |at, ids: &std::ops::Range<u32>, most| {
            let run = tokens[at..].iter().take_while(|id| ids.contains(id));
            let run: Vec<u32> = run.copied().collect();
            assert!((1..=most).contains(&run.len()), "{tokens:?}");
            assert!((1..run.len()).all(|at| !run[..at].contains(&run[at])));
            run
        };
        while at < tokens.len() {
            let key = run(at, &keys, task.longest_key);
            let value = run(at + key.len(), &values, task.longest_value);
            assert!(split == Split::Train || key.len() == task.longest_key);
            let next = at + key.len() + value.len();
            pairs.push((at, key, value));
            at = next;
        }
        (padding, pairs)
    }

    #[test]
    fn keys_that_come_again_ask_for_all_tokens_of_their_values() {
        let small = FuzzyRecall {
            length: 16,
            vocabulary: 6,
            longest_key: 1,
            longest_value: 3,
            ..FuzzyRecall::default()
        };
        for (task, split) in [small, FuzzyRecall::default()]
            .iter()
            .flat_map(|task| [Split::Train, Split::Dev].map(|split| (task, split)))
        {
            for example in drawn(task, split, 200) {
                let sequence = &example.sequence;
                assert_eq!(sequence.tokens.len(), task.length);
                let (_, pairs) = read(task, split, &example);
                if split == Split::Train {
                    let (_, next) = sequence.tokens.split_at(1);
                    assert_eq!(sequence.targets[..task.length - 1], *next);
                    assert!(example.distances.is_empty());
                    continue;
                }
                let mut known = BTreeMap::new();
                let (mut targets, mut distances) = (vec![PAD; task.length], vec![]);
                for (pair, (at, key, value)) in pairs.iter().enumerate() {
                    let before = known.insert(key, (at, value));
                    assert!(before.is_none_or(|(_, same)| same == value));
                    if before.is_some() || pair + 1 == pairs.len() {
                        let from = at + key.len() - 1;
                        targets[from..from + value.len()].copy_from_slice(value);
                        let distance = before.map_or(0, |(last, _)| at - last);
                        distances.extend(vec![distance; value.len()]);
                    }
                }
                assert_eq!(sequence.targets, targets);
                assert_eq!(example.distances, distances);
            }
        }
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary, longest_key, longest_value) in [
            (8, 4, 1, 1),
            (8, 4, 1, 2),
            (65, 33, 16, 16),
            (65, 65_536, 16, 16),
            (1_000, 4, 1, 2),
        ] {
            let task = FuzzyRecall {
                length,
                vocabulary,
                longest_key,
                longest_value,
                ..FuzzyRecall::default()
            };
            check_examples(&task);
            let refused = [
                FuzzyRecall {
                    length: 2 * (longest_key + longest_value),
                    ..task.clone()
                },
                FuzzyRecall {
                    length: 2 * (longest_key + longest_value) - 1,
                    ..task
                },
            ];
            for task in refused {
                assert_eq!(broken(&task), ["length"]);
            }
        }
    }

    #[test]
    fn there_are_symbols_for_keys_and_values() {
        let task = FuzzyRecall {
            vocabulary: 5,
            ..FuzzyRecall::default()
        };
        assert_eq!(broken(&task), ["longest_key", "longest_value"]);
    }

    /// Of MAD's `generate_fuzzy_in_context_recall_instance` (`multi_query = True`, 20,000 and 80,000 examples, NumPy 2),
    /// for each example: the number of tokens that answer, the sum of their distances, padding, whether the last key never
    /// came before, tokens of keys, and pairs.
    #[test]
    fn the_draws_have_the_statistics_of_mads_generator() {
        for (task, means) in fuzzy_statistics() {
            for (split, means) in [Split::Train, Split::Test].into_iter().zip(means) {
                let mut numbers = [const { vec![] }; 6];
                for example in drawn(&task, split, 4_000) {
                    let (padding, pairs) = read(&task, split, &example);
                    let mut known = BTreeMap::new();
                    let (mut answers, mut distances, mut is_new) = (0, 0, false);
                    for (at, key, value) in &pairs {
                        let before = known.insert(key, at);
                        is_new = before.is_none();
                        if let Some(last) = before {
                            answers += value.len();
                            distances += (at - last) * value.len();
                        }
                    }
                    if is_new {
                        answers += pairs[pairs.len() - 1].2.len();
                    }
                    let keys = pairs.iter().map(|(_, key, _)| key.len()).sum();
                    let is_new = usize::from(is_new);
                    let of_example = [answers, distances, padding, is_new, keys, pairs.len()];
                    for (numbers, number) in numbers.iter_mut().zip(of_example) {
                        numbers.push(number as f64);
                    }
                }
                let names = ["answers", "distances", "padding", "new", "keys", "pairs"];
                for ((name, numbers), mean) in names.iter().zip(&numbers).zip(means) {
                    check_mean(name, numbers, mean);
                }
            }
        }
    }

    /// A task, with the means and standard deviations of its training and test examples.
    type Statistics = (FuzzyRecall, [[(f64, f64); 6]; 2]);

    fn fuzzy_statistics() -> [Statistics; 2] {
        let small = FuzzyRecall {
            length: 64,
            vocabulary: 12,
            longest_key: 2,
            longest_value: 4,
            ..FuzzyRecall::default()
        };
        let of_default = [
            [
                (13.4905, 5.2327),
                (505.69, 206.67),
                (5.3366, 1.3776),
                (0.0184, 0.1344),
                (61.9433, 3.7603),
                (30.8986, 1.8678),
            ],
            [
                (4.3949, 2.3475),
                (215.36, 138.42),
                (4.9361, 1.5185),
                (0.0226, 0.1485),
                (74.4252, 2.7494),
                (24.8084, 0.9165),
            ],
        ];
        let of_small = [
            [
                (12.3805, 4.2759),
                (231.88, 91.52),
                (5.3142, 1.402),
                (0.0282, 0.1654),
                (22.5293, 2.5949),
                (14.9743, 1.6041),
            ],
            [
                (9.4478, 3.3443),
                (196.94, 86.14),
                (5.1114, 1.4883),
                (0.0327, 0.1778),
                (26.6939, 2.3814),
                (13.3469, 1.1907),
            ],
        ];
        [(FuzzyRecall::default(), of_default), (small, of_small)]
    }
}
