//! Noisy in-context recall: pairs of a key and its value among tokens of noise, with keys that come again.

use rand_chacha::ChaCha8Rng;

use super::pairs::Pairs;
use super::{Example, MadeTask, made_task, must_be_even};
use crate::data::Split;
use crate::kinds::BrokenRule;

made_task! {
    /// The keys of `kind = "noisy-recall"`.
    NoisyRecall, training_examples = 12_800, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 128,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 32,
        /// Number of symbols of the vocabulary that are noise; half of the others are keys.
        #[schemars(range(min = 1))]
        noise_symbols: usize = 16,
        /// Probability that a pair is replaced by noise.
        #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
        noise: f64 = 0.2,
    }
}

impl NoisyRecall {
    fn pairs(&self) -> Pairs {
        Pairs {
            length: self.length,
            vocabulary: self.vocabulary,
            noise_symbols: self.noise_symbols,
            noise: self.noise,
        }
    }
}

impl MadeTask for NoisyRecall {
    const NAME: &'static str = "noisy-recall";
    const ABOUT: &'static str = "noisy in-context recall (Poli et al. 2024, MAD): as `in-context-recall`, with noise among the pairs";

    fn symbols(&self) -> Vec<String> {
        self.pairs().symbols()
    }

    fn longest(&self) -> usize {
        self.length - 1
    }

    fn check(&self) -> Vec<BrokenRule> {
        let mut broken = Vec::from_iter(must_be_even("length", self.length));
        let (noise, most) = (self.noise_symbols, self.vocabulary.saturating_sub(2));
        if noise > most {
            let message =
                format!("= {noise} must be at most {most}, which leaves a key and a value");
            broken.push(BrokenRule {
                reads: &["vocabulary"],
                ..BrokenRule::new("noise_symbols", message)
            });
        }
        broken
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
    fn keys_among_noise_ask_for_their_values() {
        let task = NoisyRecall::default();
        check_pairs(&task, 1..9, 9..17, 17..33);
        let task = NoisyRecall {
            length: 10,
            vocabulary: 9,
            noise_symbols: 4,
            noise: 0.9,
            ..task
        };
        check_pairs(&task, 1..3, 3..6, 6..10);
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary, noise_symbols, noise) in [
            (8, 4, 1, 0.999_999),
            (8, 4, 2, 0.0),
            (1_000, 65_536, 65_534, 0.999_999),
            (64, 65_536, 1, 0.5),
        ] {
            check_examples(&NoisyRecall {
                length,
                vocabulary,
                noise_symbols,
                noise,
                ..NoisyRecall::default()
            });
        }
    }

    #[test]
    fn a_length_is_even_and_noise_leaves_room_for_a_pair() {
        let task = NoisyRecall {
            length: 9,
            vocabulary: 16,
            noise_symbols: 15,
            ..NoisyRecall::default()
        };
        assert_eq!(broken(&task), ["length", "noise_symbols"]);
    }

    /// Of MAD's `generate_noisy_in_context_recall_instance` (`multi_query = True`, `is_training = False`, 60,000
    /// and 30,000 examples, NumPy 2).
    #[test]
    fn the_draws_have_the_statistics_of_mads_generator() {
        let little = [
            (43.5977, 3.1599),
            (726.33, 55.91),
            (7.9896, 0.1021),
            (24.8255, 6.3245),
        ];
        let much = [
            (19.4808, 4.3272),
            (993.29, 199.59),
            (7.7092, 0.5219),
            (201.6201, 8.9342),
        ];
        for (length, noise, means) in [(128, 0.2, little), (256, 0.8, much)] {
            let task = NoisyRecall {
                length,
                noise,
                ..NoisyRecall::default()
            };
            check_pair_means(&task, 9, 17, means);
        }
    }
}
