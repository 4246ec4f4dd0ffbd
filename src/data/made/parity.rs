//! Parity: whether the number of ones in a string is even.

use super::regular::{Regular, regular_task};

regular_task! {
    /// The keys of `kind = "parity"`.
    Parity
}

impl Regular for Parity {
    const NAME: &'static str = "parity";
    const ABOUT: &'static str = "parity of a binary string (Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy): whether the number of ones is even; tests length generalisation: held-out strings are longer than training strings";
    const LETTERS: &'static [&'static str] = &["0", "1"];
    const CLASSES: &'static [&'static str] = &["even", "odd"];

    fn answer(string: &[u32]) -> u32 {
        string.iter().fold(0, |odd, bit| odd ^ bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::regular::testing::{check_answers, check_strings};

    /// The first two are in the source.
    #[test]
    fn ones_are_counted() {
        check_answers::<Parity>(&[
            ("1 0 1 0 1 0 0", "odd"),
            ("0 1 1 1 1", "even"),
            ("0", "even"),
            ("1", "odd"),
            ("", "even"),
        ]);
    }

    #[test]
    fn strings_are_short_in_training_and_long_in_held_out_examples() {
        let with = |[longest_training, longest]: [usize; 2]| Parity {
            longest_training,
            longest_held_out: longest,
            ..Parity::default()
        };
        let answer = |bits: &[&str]| {
            let ones = bits.iter().filter(|&&bit| bit == "1").count();
            ["even", "odd"][ones % 2].to_owned()
        };
        check_strings(with, |length| length, answer);
    }
}
