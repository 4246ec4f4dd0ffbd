//! What the tests of made tasks share.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Example, Examples, MadeTask};
use crate::data::Split;
use crate::data::ragged::{PAD, Sequence};

/// The first examples of a split, as they are in the first epoch.
pub fn drawn<T: MadeTask>(task: &T, split: Split, count: usize) -> Vec<Example> {
    let rules = MadeTask::check(task);
    let rules: Vec<&str> = rules.iter().map(|rule| rule.key).collect();
    assert!(rules.is_empty(), "{rules:?}");
    (0..count)
        .map(|index| Examples::example(task, split, 1, index))
        .collect()
}

/// Draws examples of all splits and checks what is true of every task.
pub fn check_examples<T: MadeTask>(task: &T) {
    let symbols = task.symbols();
    assert!(symbols.iter().all(|symbol| symbol.is_ascii()));
    let distinct: BTreeSet<_> = symbols.iter().collect();
    assert_eq!(distinct.len(), symbols.len());
    for split in [Split::Train, Split::Dev, Split::Test] {
        for example in drawn(task, split, 20) {
            let Sequence { tokens, targets } = &example.sequence;
            assert_eq!(tokens.len(), targets.len());
            assert!(tokens.len() <= MadeTask::longest(task));
            let mut ids = tokens.iter().chain(targets);
            assert!(ids.all(|&id| (id as usize) < symbols.len()));
            let scored = example.sequence.scored();
            assert!(scored > 0);
            assert!([0, scored].contains(&example.distances.len()));
        }
    }
}

/// The keys whose rules a task breaks.
pub fn broken<T: MadeTask>(task: &T) -> Vec<&'static str> {
    let rules = MadeTask::check(task);
    rules.into_iter().map(|rule| rule.key).collect()
}

/// Checks a mean of independent numbers against that of a source, of which the standard deviation is known too.
pub fn check_mean(what: &str, numbers: &[f64], (mean, deviation): (f64, f64)) {
    let ours = numbers.iter().sum::<f64>() / numbers.len() as f64;
    let error = deviation / (numbers.len() as f64).sqrt();
    assert!((ours - mean).abs() <= 5.0 * error, "{what}: {ours}, {mean}");
}

/// Reads examples of pairs of one token each and checks what they score.
pub fn check_pairs<T: MadeTask>(task: &T, keys: Range<u32>, values: Range<u32>, noise: Range<u32>) {
    for split in [Split::Train, Split::Dev, Split::Test] {
        for example in drawn(task, split, 100) {
            let Sequence { tokens, targets } = &example.sequence;
            assert_eq!(tokens.len(), MadeTask::longest(task));
            assert_eq!(example.length, tokens.len() + 1);
            let mut known = BTreeMap::new();
            let (mut answers, mut distances) = (vec![PAD; targets.len()], vec![]);
            for at in (0..tokens.len()).step_by(2) {
                let key = tokens[at];
                let is_last = at + 1 == tokens.len();
                let value = if is_last { targets[at] } else { tokens[at + 1] };
                if noise.contains(&key) {
                    assert!(noise.contains(&value) && !is_last);
                    continue;
                }
                assert!(keys.contains(&key) && values.contains(&value));
                let before = known.insert(key, (value, at));
                assert!(before.is_some() || !is_last);
                if let Some((same, last)) = before {
                    assert_eq!(value, same);
                    answers[at] = value;
                    distances.push(at - last);
                }
            }
            if split == Split::Train {
                assert_eq!(tokens[1..], targets[..targets.len() - 1]);
                assert!(example.distances.is_empty());
            } else {
                assert_eq!(*targets, answers);
                assert_eq!(example.distances, distances);
            }
        }
    }
}

/// Mean and standard deviation over examples.
pub type Mean = (f64, f64);

/// Checks means over held-out examples: of the number of scored tokens, of the sum of the distances, of the number of
/// different keys, which are the ids below `values`, and of the number of tokens of noise.
pub fn check_pair_means<T: MadeTask>(task: &T, values: u32, noise: u32, means: [Mean; 4]) {
    let mut numbers = [const { vec![] }; 4];
    for example in drawn(task, Split::Test, 5_000) {
        let Sequence { tokens, .. } = &example.sequence;
        let keys: BTreeSet<_> = tokens.iter().filter(|&&id| id < values).collect();
        let of_example = [
            example.sequence.scored(),
            example.distances.iter().sum(),
            keys.len(),
            tokens.iter().filter(|&&id| id >= noise).count(),
        ];
        for (numbers, number) in numbers.iter_mut().zip(of_example) {
            numbers.push(number as f64);
        }
    }
    let names = ["scored", "distances", "keys", "noise"];
    for ((name, numbers), mean) in names.iter().zip(&numbers).zip(means) {
        check_mean(name, numbers, mean);
    }
}
