//! In-context recall: pairs of a key and its value, with keys that come again, each of which asks for its value.

use rand_chacha::ChaCha8Rng;

use super::pairs::Pairs;
use super::{Example, MadeTask, made_task, must_be_even};
use crate::data::Split;
use crate::kinds::BrokenRule;

made_task! {
    /// The keys of `kind = "in-context-recall"`.
    InContextRecall, training_examples = 12_800, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 128,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 16,
    }
}

impl InContextRecall {
    fn pairs(&self) -> Pairs {
        Pairs {
            length: self.length,
            vocabulary: self.vocabulary,
            noise_symbols: 0,
            noise: 0.0,
        }
    }
}

impl MadeTask for InContextRecall {
    const NAME: &'static str = "in-context-recall";
    const ABOUT: &'static str = "in-context recall (Poli et al. 2024, MAD): pairs of a key and its value, with keys that come again; training scores every token, held-out examples the values of keys that came before";

    fn symbols(&self) -> Vec<String> {
        self.pairs().symbols()
    }

    fn longest(&self) -> usize {
        self.length - 1
    }

    fn check(&self) -> Vec<BrokenRule> {
        Vec::from_iter(must_be_even("length", self.length))
    }

    fn example(&self, split: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        self.pairs().example(split, draws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::testing::{broken, check_examples, check_pair_means, check_pairs};

    #[test]
    fn keys_that_come_again_ask_for_their_values() {
        let task = InContextRecall::default();
        check_pairs(&task, 1..9, 9..17, 17..17);
        let task = InContextRecall {
            length: 10,
            vocabulary: 7,
            ..task
        };
        check_pairs(&task, 1..4, 4..8, 8..8);
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary) in [(8, 4), (8, 5), (8, 65_536), (1_000, 4), (1_000, 65_535)] {
            check_examples(&InContextRecall {
                length,
                vocabulary,
                ..InContextRecall::default()
            });
        }
    }

    #[test]
    fn a_length_is_even() {
        let task = InContextRecall {
            length: 9,
            ..InContextRecall::default()
        };
        assert_eq!(broken(&task), ["length"]);
    }

    /// Of MAD's `generate_in_context_recall_instance` (`multi_query = True`, `is_training = False`, 20,000 examples,
    /// NumPy 2).
    #[test]
    fn the_draws_have_the_statistics_of_mads_generator() {
        let small = [(56.0016, 0.0406), (784.5, 41.69), (7.9984, 0.0406)];
        let large = [(36.3215, 1.5988), (1_135.08, 122.94), (27.6785, 1.5988)];
        for (vocabulary, [scored, distances, keys]) in [(16, small), (64, large)] {
            let task = InContextRecall {
                vocabulary,
                ..InContextRecall::default()
            };
            let (values, noise) = (vocabulary as u32 / 2 + 1, vocabulary as u32 + 1);
            let means = [scored, distances, keys, (0.0, 0.0)];
            check_pair_means(&task, values, noise, means);
        }
    }
}
