//! Modular arithmetic: sums, differences and products of digits, modulo 5.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::must_be_even;
use super::regular::{Regular, regular_task};
use crate::kinds::BrokenRule;

regular_task! {
    /// The keys of `kind = "modular-arithmetic"`.
    ModularArithmetic
}

const MODULUS: u32 = 5;

/// The letters after the digits.
const PLUS: u32 = MODULUS;
const MINUS: u32 = MODULUS + 1;
const TIMES: u32 = MODULUS + 2;

impl Regular for ModularArithmetic {
    const NAME: &'static str = "modular-arithmetic";
    const ABOUT: &'static str = "modular arithmetic without brackets (Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy): the value modulo 5 of an expression such as 1 + 2 * 3 - 4; lengths are odd; tests length generalisation: held-out strings are longer than training strings";
    const LETTERS: &'static [&'static str] = &["0", "1", "2", "3", "4", "+", "-", "*"];
    const CLASSES: &'static [&'static str] = &["r0", "r1", "r2", "r3", "r4"];

    /// A digit, then an operator and a digit as often as fit: an even length is lowered by one.
    fn string(length: usize, draws: &mut ChaCha8Rng) -> Vec<u32> {
        let length = length - usize::from(length.is_multiple_of(2));
        let letter = |at: usize| match at.is_multiple_of(2) {
            true => draws.gen_range(0..MODULUS),
            false => draws.gen_range(PLUS..=TIMES),
        };
        (0..length).map(letter).collect()
    }

    fn answer(string: &[u32]) -> u32 {
        // The sum of the products that are complete, and the one that may go on.
        let (mut sum, mut product) = (0, string[0]);
        for pair in string[1..].chunks(2) {
            let (operator, digit) = (pair[0], pair[1]);
            if operator == TIMES {
                product = product * digit % MODULUS;
                continue;
            }
            sum += product;
            product = match operator {
                MINUS => MODULUS - digit,
                _ => digit,
            };
        }
        (sum + product) % MODULUS
    }

    /// With an odd one, the shortest held-out strings would be as long as the longest of training.
    fn check(&self) -> Option<BrokenRule> {
        must_be_even("longest_training", self.longest_training)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::regular::testing::{check_answers, check_strings};
    use crate::data::made::testing::broken;

    /// The first three are in the source.
    #[test]
    fn products_come_before_sums_and_differences() {
        check_answers::<ModularArithmetic>(&[
            ("1 + 2 * 3", "r2"),
            ("1 - 1 - 1", "r4"),
            ("0 * 1 + 4 * 3 - 2", "r0"),
            ("3", "r3"),
            ("0 - 0", "r0"),
            ("1 - 2 * 3", "r0"),
            ("4 * 4 * 4 - 3 * 2 * 2 + 1", "r3"),
        ]);
    }

    /// Terms are between minus signs and plus signs, factors between signs of multiplication.
    #[test]
    fn strings_are_short_in_training_and_long_in_held_out_examples() {
        let with = |[longest_training, longest]: [usize; 2]| ModularArithmetic {
            longest_training,
            longest_held_out: longest,
            ..ModularArithmetic::default()
        };
        let answer = |letters: &[&str]| {
            assert!(letters.len() % 2 == 1);
            let text = letters.concat().replace('-', "+-");
            let term = |term: &str| {
                let (sign, term) = match term.strip_prefix('-') {
                    Some(term) => (-1, term),
                    None => (1, term),
                };
                let factors = term.split('*').map(|digit| digit.parse::<i64>());
                sign * factors.fold(1, |product, digit| product * digit.expect("a digit") % 5)
            };
            let sum: i64 = text.split('+').map(term).sum();
            format!("r{}", sum.rem_euclid(5))
        };
        check_strings(with, |length| length - (length + 1) % 2, answer);
    }

    #[test]
    fn held_out_strings_are_longer_than_those_of_training() {
        let task = ModularArithmetic {
            longest_training: 41,
            ..ModularArithmetic::default()
        };
        assert_eq!(broken(&task), ["longest_training"]);
    }
}
