//! Cycle navigation: where steps on a cycle of five positions end.

use super::regular::{Regular, regular_task};

regular_task! {
    /// The keys of `kind = "cycle-navigation"`.
    CycleNavigation
}

impl Regular for CycleNavigation {
    const NAME: &'static str = "cycle-navigation";
    const ABOUT: &'static str = "cycle navigation (Delétang et al. 2023, Neural Networks and the Chomsky Hierarchy): where steps to the left and right on a cycle of five positions end; tests length generalisation: held-out strings are longer than training strings";
    const LETTERS: &'static [&'static str] = &["stay", "right", "left"];
    const CLASSES: &'static [&'static str] = &["0", "1", "2", "3", "4"];

    fn answer(string: &[u32]) -> u32 {
        // One step to the left is four to the right.
        let step = |action: &u32| [0, 1, 4][*action as usize];
        string
            .iter()
            .fold(0, |position, action| (position + step(action)) % 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::made::regular::testing::{check_answers, check_strings};

    /// The first two are in the source.
    #[test]
    fn steps_are_added() {
        check_answers::<CycleNavigation>(&[
            ("right left stay left left", "3"),
            ("right right right left", "2"),
            ("stay", "0"),
            ("left", "4"),
            ("right right right right right", "0"),
            ("", "0"),
        ]);
    }

    #[test]
    fn strings_are_short_in_training_and_long_in_held_out_examples() {
        let with = |[longest_training, longest]: [usize; 2]| CycleNavigation {
            longest_training,
            longest_held_out: longest,
            ..CycleNavigation::default()
        };
        let answer = |actions: &[&str]| {
            let number = |name| actions.iter().filter(|&&action| action == name).count();
            let (right, left) = (number("right") as i32, number("left") as i32);
            (right - left).rem_euclid(5).to_string()
        };
        check_strings(with, |length| length, answer);
    }
}
