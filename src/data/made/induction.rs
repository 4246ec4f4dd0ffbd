//! Induction heads: a special token somewhere in random ones, and again at the end, where it asks for what followed it.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Example, MadeTask, made_task, numbered};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};

made_task! {
    /// The keys of `kind = "induction"`.
    Induction, training_examples = 12_800, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 256,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 16,
    }
}

impl MadeTask for Induction {
    const NAME: &'static str = "induction";
    const ABOUT: &'static str = "induction heads (Gu & Dao 2023, Mamba): a special token somewhere in random ones, and again at the end, where it asks for the token that followed it";

    fn symbols(&self) -> Vec<String> {
        std::iter::once(".".to_owned())
            .chain(numbered('s', self.vocabulary - 1))
            .chain(["<special>".to_owned()])
            .collect()
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn example(&self, _: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        let (special, last) = (self.vocabulary as u32, self.length - 1);
        let mut tokens: Vec<u32> = (0..last).map(|_| draws.gen_range(1..special)).collect();
        // A token that is not special follows the first one.
        let first = draws.gen_range(0..last as u32 - 1) as usize;
        tokens[first] = special;
        let mut targets = vec![PAD; last];
        targets.push(tokens[first + 1]);
        tokens.push(special);
        Example {
            sequence: Sequence { tokens, targets },
            length: self.length,
            distances: vec![last - first],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::testing::{check_examples, check_mean, drawn};

    #[test]
    fn the_second_special_token_asks_for_what_followed_the_first() {
        let small = Induction {
            length: 8,
            vocabulary: 4,
            ..Induction::default()
        };
        for task in [small, Induction::default()] {
            let special = task.vocabulary as u32;
            for split in [Split::Train, Split::Dev] {
                for example in drawn(&task, split, 200) {
                    let Sequence { tokens, targets } = &example.sequence;
                    assert_eq!((tokens.len(), targets.len()), (task.length, task.length));
                    let found = (0..tokens.len()).filter(|&at| tokens[at] == special);
                    let &[first, second] = &found.collect::<Vec<_>>()[..] else {
                        panic!("{tokens:?}")
                    };
                    assert_eq!(second, task.length - 1);
                    assert_eq!(targets[second], tokens[first + 1]);
                    assert_eq!(example.sequence.scored(), 1);
                    assert_ne!(targets[second], special);
                    assert_eq!(example.distances, [second - first]);
                }
            }
        }
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary) in [(8, 4), (9, 5), (8, 65_536), (10_000, 4)] {
            check_examples(&Induction {
                length,
                vocabulary,
                ..Induction::default()
            });
        }
    }

    /// Of 254 places, each of 254 distances from 2 to 255 is equally likely.
    #[test]
    fn the_place_is_uniform() {
        let examples = drawn(&Induction::default(), Split::Train, 5_000).into_iter();
        let distances = examples.flat_map(|example| example.distances);
        let distances: Vec<f64> = distances.map(|distance| distance as f64).collect();
        check_mean("distance", &distances, (128.5, 73.32));
        assert_eq!(distances.iter().copied().reduce(f64::min), Some(2.0));
        assert_eq!(distances.iter().copied().reduce(f64::max), Some(255.0));
    }
}
