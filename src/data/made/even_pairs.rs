//! Even pairs: whether the number of places where a binary string changes, by `01` or `10`, is even.

use super::regular::{Regular, regular_task};

regular_task! {
    /// The keys of `kind = "even-pairs"`.
    EvenPairs
}

impl Regular for EvenPairs {
    const NAME: &'static str = "even-pairs";
    const ABOUT: &'static str = "even pairs (Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy): whether a binary string has an even number of pairs 01 and 10; tests length generalisation: held-out strings are longer than training strings";
    const LETTERS: &'static [&'static str] = &["0", "1"];
    const CLASSES: &'static [&'static str] = &["even", "odd"];

    fn answer(string: &[u32]) -> u32 {
        let changes = string.windows(2).filter(|pair| pair[0] != pair[1]);
        changes.count() as u32 % 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::regular::testing::{check_answers, check_strings};

    /// The first two are in the source.
    #[test]
    fn unequal_pairs_are_counted() {
        check_answers::<EvenPairs>(&[
            ("0 0 1 1 1 0", "even"),
            ("0 1 0 1 0 0 1", "odd"),
            ("1", "even"),
            ("1 0", "odd"),
            ("", "even"),
        ]);
    }

    /// The number of changes is even if the string ends as it starts.
    #[test]
    fn strings_are_short_in_training_and_long_in_held_out_examples() {
        let with = |[longest_training, longest]: [usize; 2]| EvenPairs {
            longest_training,
            longest_held_out: longest,
            ..EvenPairs::default()
        };
        let answer = |bits: &[&str]| {
            let is_even = bits.first() == bits.last();
            if is_even { "even" } else { "odd" }.to_owned()
        };
        check_strings(with, |length| length, answer);
    }
}
