//! Selective copying: symbols with blanks between them, which are to be repeated without the blanks.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Example, MadeTask, made_task, numbered};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};
use crate::kinds::BrokenRule;

made_task! {
    /// The keys of `kind = "selective-copying"`.
    SelectiveCopying, training_examples = 12_800, held_out_examples = 1_280, fresh = false,
    {
        /// Length of an example, in tokens, as the source counts them.
        #[schemars(range(min = 8, max = 1_000_000))]
        length: usize = 256,
        /// Number of symbols, special ones included, as the source counts them.
        #[schemars(range(min = 4, max = 65_536))]
        vocabulary: usize = 16,
        /// Number of symbols to copy.
        #[schemars(range(min = 1))]
        copied_symbols: usize = 16,
    }
}

impl SelectiveCopying {
    fn blank(&self) -> u32 {
        self.vocabulary as u32 - 1
    }

    /// What asks for the copy.
    fn copy(&self) -> u32 {
        self.vocabulary as u32
    }
}

impl MadeTask for SelectiveCopying {
    const NAME: &'static str = "selective-copying";
    const ABOUT: &'static str = "selective copying (Poli et al. 2024, MAD): symbols with blanks between them, which are to be repeated without the blanks";

    fn symbols(&self) -> Vec<String> {
        std::iter::once(".".to_owned())
            .chain(numbered('s', self.vocabulary - 2))
            .chain(["_".to_owned(), "<copy>".to_owned()])
            .collect()
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn check(&self) -> Vec<BrokenRule> {
        let (copied_symbols, most) = (self.copied_symbols, self.length.saturating_sub(2) / 2);
        let message =
            format!("= {copied_symbols} must be at most {most}, which leaves room for a blank");
        let rule = BrokenRule {
            reads: &["length"],
            ..BrokenRule::new("copied_symbols", message)
        };
        Vec::from_iter((copied_symbols > most).then_some(rule))
    }

    /// Each blank comes before a symbol drawn at random, so that none is behind the last one, as in the source.
    fn example(&self, _: Split, _: usize, draws: &mut ChaCha8Rng) -> Example {
        let copied_symbols: Vec<u32> = (0..self.copied_symbols)
            .map(|_| draws.gen_range(1..self.blank()))
            .collect();
        let mut blanks = vec![0; self.copied_symbols];
        for _ in 0..self.length - 2 * self.copied_symbols - 1 {
            blanks[draws.gen_range(0..self.copied_symbols as u32) as usize] += 1;
        }
        let mut tokens = vec![];
        for (&symbol, blanks) in copied_symbols.iter().zip(blanks) {
            tokens.resize(tokens.len() + blanks, self.blank());
            tokens.push(symbol);
        }
        tokens.push(self.copy());
        let mut targets = vec![PAD; tokens.len()];
        tokens.resize(self.length, self.blank());
        targets.extend(copied_symbols);
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

    #[test]
    fn the_symbols_without_their_blanks_are_the_targets() {
        let small = SelectiveCopying {
            length: 12,
            vocabulary: 4,
            copied_symbols: 3,
            ..SelectiveCopying::default()
        };
        for task in [small, SelectiveCopying::default()] {
            let (blank, copy) = (task.vocabulary as u32 - 1, task.vocabulary as u32);
            for split in [Split::Train, Split::Test] {
                for example in drawn(&task, split, 100) {
                    let Sequence { tokens, targets } = &example.sequence;
                    assert_eq!((tokens.len(), targets.len()), (task.length, task.length));
                    let end = task.length - task.copied_symbols;
                    let (text, space) = tokens.split_at(end);
                    assert!(space.iter().all(|&token| token == blank));
                    assert_eq!(text[end - 1], copy);
                    assert_ne!(text[end - 2], blank);
                    let text = text[..end - 1].iter().copied();
                    let copied_symbols: Vec<u32> = text.filter(|&token| token != blank).collect();
                    assert!(
                        copied_symbols
                            .iter()
                            .all(|token| (1..blank).contains(token))
                    );
                    assert_eq!(copied_symbols, targets[end..]);
                    assert!(targets[..end].iter().all(|&target| target == PAD));
                }
            }
        }
    }

    #[test]
    fn the_smallest_and_largest_settings_draw_examples() {
        for (length, vocabulary, copied_symbols) in [
            (8, 4, 1),
            (8, 4, 3),
            (9, 4, 3),
            (64, 65_536, 31),
            (10_000, 4, 4_999),
        ] {
            let task = SelectiveCopying {
                length,
                vocabulary,
                copied_symbols,
                ..SelectiveCopying::default()
            };
            check_examples(&task);
            let copied_symbols = length / 2;
            assert_eq!(
                broken(&SelectiveCopying {
                    copied_symbols,
                    ..task
                }),
                ["copied_symbols"]
            );
        }
    }

    /// Of MAD's `generate_selective_copying_instance` (20,000 examples, NumPy 2): where the first symbol is, and where the
    /// one after half of them is.
    #[test]
    fn the_draws_have_the_statistics_of_mads_generator() {
        for (length, copied_symbols, first, middle) in [
            (256, 16, (13.974, 3.606), (133.379, 7.404)),
            (64, 4, (13.753, 3.212), (43.27, 3.234)),
        ] {
            let task = SelectiveCopying {
                length,
                copied_symbols,
                ..SelectiveCopying::default()
            };
            let (mut firsts, mut middles) = (vec![], vec![]);
            for example in drawn(&task, Split::Train, 5_000) {
                let tokens = example.sequence.tokens.into_iter().enumerate();
                let mut symbols = tokens.filter(|&(_, token)| token != task.blank());
                firsts.extend(symbols.next().map(|(at, _)| at as f64));
                middles.extend(symbols.nth(copied_symbols / 2 - 1).map(|(at, _)| at as f64));
            }
            check_mean("first", &firsts, first);
            check_mean("middle", &middles, middle);
        }
    }
}
