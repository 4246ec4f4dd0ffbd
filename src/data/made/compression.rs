//! Compression: symbols, a token that asks to compress them, then the same symbols.
//!
//! This differs from MAD, which trains an auto-encoder: layers read the symbols and the compression token, and an MLP,
//! given nothing but the last state of these layers and a position, names the token at that position. Here a causal
//! language model reads the symbols, then names them one after another, each with the right ones before it as inputs.
//! A model that attends to all tokens looks the symbols up, which is copying, and compresses nothing. Only a model whose
//! state is all that it keeps of the past, such as a recurrent one, has to hold all of them in its state when it reads
//! the compression token, and even that one may change its state from answer to answer. MAD also scores the
//! compression token itself, which is always the same; here it is not scored.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Example, MadeTask, made_task, numbered};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};

made_task! {
    /// The keys of `kind = "compression"`.
    Compression, training_examples = 12_800, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 32,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 16,
    }
}

impl MadeTask for Compression {
    const NAME: &'static str = "compression";
    const ABOUT: &'static str = "compression (Poli et al. 2024, MAD, whose auto-encoder is a language model here): `length` - 1 symbols, a compression token, then the same symbols; it measures copying in a model that attends to all tokens";

    fn symbols(&self) -> Vec<String> {
        std::iter::once(".".to_owned())
            .chain(numbered('s', self.vocabulary - 1))
            .chain(["<compress>".to_owned()])
            .collect()
    }

    /// The last symbol is only a target.
    fn longest(&self) -> usize {
        2 * self.length - 2
    }

    fn example(&self, _: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        let compress = self.vocabulary as u32;
        let symbols: Vec<u32> = (1..self.length)
            .map(|_| draws.gen_range(1..compress))
            .collect();
        let mut tokens = symbols.clone();
        tokens.push(compress);
        tokens.extend(&symbols[..symbols.len() - 1]);
        let mut targets = vec![PAD; symbols.len()];
        targets.extend(symbols);
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
    use crate::data::made::testing::{check_examples, check_mean, drawn};
    use std::collections::BTreeSet;

    #[test]
    fn the_symbols_come_again_after_the_compression_token() {
        let task = Compression::default();
        for split in [Split::Train, Split::Dev] {
            for example in drawn(&task, split, 100) {
                let Sequence { tokens, targets } = &example.sequence;
                assert_eq!((tokens.len(), targets.len()), (62, 62));
                let (symbols, again) = tokens.split_at(31);
                assert!(symbols.iter().all(|id| (1..16).contains(id)));
                assert_eq!(again[0], 16);
                assert_eq!(again[1..], symbols[..30]);
                assert!(targets[..31].iter().all(|&target| target == PAD));
                assert_eq!(targets[31..], *symbols);
            }
        }
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary) in [(8, 4), (9, 5), (8, 65_536), (10_000, 4)] {
            check_examples(&Compression {
                length,
                vocabulary,
                ..Compression::default()
            });
        }
    }

    /// Of MAD's `generate_compression_instance` (20,000 examples, NumPy 2): the number of different symbols.
    #[test]
    fn the_draws_have_the_statistics_of_mads_generator() {
        for (length, vocabulary, mean) in [(32, 16, (13.226, 1.067)), (64, 64, (40.021, 2.477))] {
            let task = Compression {
                length,
                vocabulary,
                ..Compression::default()
            };
            let different = |example: Example| {
                let symbols = &example.sequence.tokens[..length - 1];
                symbols.iter().collect::<BTreeSet<_>>().len() as f64
            };
            let examples = drawn(&task, Split::Train, 5_000).into_iter();
            check_mean("different", &Vec::from_iter(examples.map(different)), mean);
        }
    }
}
