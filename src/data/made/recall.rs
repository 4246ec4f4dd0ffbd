//! Multi-query associative recall: key-value pairs, then the keys again, each of which asks for its value.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Example, MadeTask, distinct, made_task, must_be_even};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};
use crate::kinds::BrokenRule;

/// The token between queries.
const FILLER: u32 = 0;

made_task! {
    /// The keys of `kind = "recall"`.
    Recall, training_examples = 100_000, held_out_examples = 3_000, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 64,
        /// Number of key-value pairs in an example; all of them are asked for.
        #[schemars(range(min = 1))]
        pairs: usize = 4,
        /// Number of token ids that the task uses.
        #[schemars(range(min = 8, max = 65_536))]
        symbols: usize = 8_192,
        /// Exponent of the power law by which the gaps before queries are drawn: near 0 most are short, 1 is uniform.
        #[schemars(range(min = 0, max = 1))]
        gap_exponent: f64 = 0.01,
    }
}

impl Recall {
    /// Ids from here on are values; those from 1 up to here are keys.
    fn first_value(&self) -> u32 {
        (self.symbols / 2) as u32
    }

    /// Places for queries: every second one after the pairs.
    fn places(&self) -> usize {
        self.length / 2 - self.pairs
    }

    /// Indices of the queries' places, one for each pair, drawn without replacement by the power law.
    fn drawn_places(&self, draws: &mut ChaCha8Rng) -> Vec<usize> {
        let weight = |place: usize| libm::pow(place as f64 + 1.0, self.gap_exponent - 1.0);
        let mut weights: Vec<f64> = (0..self.places()).map(weight).collect();
        let draw = |_| {
            let total: f64 = weights.iter().sum();
            let mut left = draws.gen_range(0.0..total);
            let passed = |weight: &&f64| {
                left -= **weight;
                left >= 0.0
            };
            let place = weights.iter().take_while(passed).count();
            // Rounding may leave a remainder past the last free place.
            let is_free = |&place: &usize| weights.get(place).is_some_and(|&weight| weight > 0.0);
            let place = (0..=place).rev().find(is_free).expect("a free place");
            weights[place] = 0.0;
            place
        };
        (0..self.pairs).map(draw).collect()
    }
}

impl MadeTask for Recall {
    const NAME: &'static str = "recall";
    const ABOUT: &'static str = "multi-query associative recall, MQAR (Arora et al. 2024, Zoology): key-value pairs, then each key again, which asks for its value";

    fn symbols(&self) -> Vec<String> {
        let name = |id: u32| match id {
            FILLER => "_".to_owned(),
            key if key < self.first_value() => format!("k{key}"),
            value => format!("v{}", value - self.first_value()),
        };
        (0..self.symbols as u32).map(name).collect()
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn check(&self) -> Vec<BrokenRule> {
        let (length, pairs, symbols) = (self.length, self.pairs, self.symbols);
        let mut broken = Vec::from_iter(must_be_even("length", length));
        if pairs > length / 4 {
            broken.push(BrokenRule {
                reads: &["length"],
                ..BrokenRule::new(
                    "pairs",
                    format!(
                        "= {pairs} must be at most {}, a quarter of the length",
                        length / 4
                    ),
                )
            });
        }
        if pairs >= symbols / 2 {
            broken.push(BrokenRule {
                reads: &["symbols"],
                ..BrokenRule::new(
                    "pairs",
                    format!(
                        "= {pairs} must be below {}, half of the symbols",
                        symbols / 2
                    ),
                )
            });
        }
        broken
    }

    fn example(&self, _: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        let keys = distinct(self.pairs, 1..self.first_value(), draws);
        let values = distinct(self.pairs, self.first_value()..self.symbols as u32, draws);
        let places = self.drawn_places(draws);

        let mut tokens = vec![FILLER; self.length];
        let mut targets = vec![PAD; self.length];
        let mut queries = vec![];
        for (pair, ((&key, &value), place)) in keys.iter().zip(&values).zip(places).enumerate() {
            let query = 2 * (self.pairs + place);
            tokens[2 * pair] = key;
            tokens[2 * pair + 1] = value;
            tokens[query] = key;
            targets[query] = value;
            queries.push((query, query - 2 * pair));
        }
        queries.sort_unstable();
        Example {
            sequence: Sequence { tokens, targets },
            length: self.length,
            distances: queries.into_iter().map(|(_, distance)| distance).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::Examples;

    /// So many training examples of a task.
    fn drawn(task: &Recall, count: usize) -> Vec<Example> {
        (0..count)
            .map(|index| Examples::example(task, Split::Train, 1, index))
            .collect()
    }

    #[test]
    fn an_example_is_pairs_then_queries_that_ask_for_their_values() {
        let task = Recall {
            length: 16,
            pairs: 2,
            symbols: 12,
            ..Recall::default()
        };
        for Example {
            sequence,
            distances,
            ..
        } in drawn(&task, 200)
        {
            let Sequence { tokens, targets } = &sequence;
            assert_eq!((tokens.len(), targets.len()), (16, 16));
            let pairs = [(tokens[0], tokens[1]), (tokens[2], tokens[3])];
            assert_ne!(pairs[0].0, pairs[1].0);
            assert_ne!(pairs[0].1, pairs[1].1);
            assert!(
                pairs
                    .iter()
                    .all(|(key, value)| (1..6).contains(key) && (6..12).contains(value))
            );
            let mut asked = vec![];
            for at in 4..16 {
                let of_key = pairs.iter().position(|(key, _)| *key == tokens[at]);
                let expected = of_key.map_or(PAD, |pair| pairs[pair].1);
                assert_eq!(targets[at], expected, "{sequence:?}");
                asked.extend(of_key.map(|pair| at - 2 * pair));
            }
            assert_eq!(asked, distances);
            assert_eq!(asked.len(), 2);
            assert!(targets[..4].iter().all(|&target| target == PAD));
        }
    }

    /// Statistics of Zoology's `multiquery_ar` (`random_non_queries = False`, vocabulary 8,192, 20,000 examples of each
    /// size, NumPy 2): the share of queries in each of the first three places, and the mean place.
    #[test]
    fn the_draws_have_the_statistics_of_zoologys_generator() {
        for (length, pairs, first, mean) in RECALL_STATISTICS {
            let task = Recall {
                length,
                pairs,
                ..Recall::default()
            };
            let count = 5_000;
            let (mut places, mut keys, mut values) = (vec![0usize; length], vec![], vec![]);
            for Example {
                sequence: Sequence { tokens, targets },
                ..
            } in drawn(&task, count)
            {
                for (at, _) in targets
                    .iter()
                    .enumerate()
                    .filter(|(_, target)| **target != PAD)
                {
                    places[at / 2 - pairs] += 1;
                }
                keys.extend(tokens[..2 * pairs].iter().step_by(2).copied());
                values.extend(tokens[1..2 * pairs].iter().step_by(2).copied());
            }
            let queries = (count * pairs) as f64;
            for (place, expected) in first.into_iter().enumerate() {
                let share = places[place] as f64 / queries;
                let error = (expected * (1.0 - expected) / queries).sqrt();
                assert!(
                    (share - expected).abs() < 5.0 * error,
                    "{length} {place} {share} {expected}"
                );
            }
            let sum: usize = places
                .iter()
                .enumerate()
                .map(|(place, count)| place * count)
                .sum();
            assert!(
                (sum as f64 / queries - mean).abs() < 0.05 * mean,
                "{length}: {}",
                sum as f64 / queries
            );
            let range = |all: &[u32]| (all.iter().min().copied(), all.iter().max().copied());
            let (low, high) = range(&keys);
            assert!(
                low < Some(10) && high > Some(4_085) && high < Some(4_096),
                "{low:?} {high:?}"
            );
            let (low, high) = range(&values);
            assert!(
                low >= Some(4_096) && low < Some(4_106) && high > Some(8_181),
                "{low:?} {high:?}"
            );
        }
    }

    /// Length, pairs, shares of the first three places, mean place.
    const RECALL_STATISTICS: [(usize, usize, [f64; 3], f64); 3] = [
        (64, 4, [0.1814, 0.1187, 0.0860], 7.142),
        (128, 8, [0.1118, 0.0865, 0.0672], 14.177),
        (256, 16, [0.0614, 0.0552, 0.0480], 28.183),
    ];
}
