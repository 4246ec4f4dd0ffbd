//! Several objectives in one task, by share of the scored tokens.

use rand::Rng as _;

use crate::data::Task;
use crate::data::generator::generator;
use crate::data::ragged::Sequence;
use crate::error::{Error, Result};
use crate::metrics::rows::CorruptionRow;

/// Sequences of a part by which its mean number of scored tokens is measured.
const MEASURED: usize = 2_000;

/// A task of which each epoch has all sequences of a main one, and among them as many of others as give these their shares
/// of the scored tokens.
///
/// The sequences of the others are taken in turn from one shuffled order after another, so that each is shown as often as
/// any other; they are spread evenly over the epoch. Outside its span, or once all of its sequences have been shown as often as
/// they may, the places of another task go to further sequences of the main one, so that all epochs are equally long.
pub struct Mix {
    main: Box<dyn Task>,
    others: Vec<Part>,
    /// For each sequence of an epoch: its part, from 0 for the main one, and its number among those of the part.
    order: Vec<(u32, u32)>,
    seed: u64,
}

struct Part {
    task: Box<dyn Task>,
    /// Its sequences in an epoch.
    sequences: usize,
    span: Span,
}

/// When a task is mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first and the last epoch, from 1.
    pub epochs: [u64; 2],
    /// How often each sequence is shown at most.
    pub repetitions: u64,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            epochs: [1, u64::MAX],
            repetitions: u64::MAX,
        }
    }
}

impl Part {
    /// The pass over its sequences, from 0, and the place in that pass of one of them in an epoch; `None` outside its span.
    fn shown(&self, epoch: u64, number: u64) -> Option<(u64, u64)> {
        let [first, last] = self.span.epochs;
        let before = epoch.checked_sub(first).filter(|_| epoch <= last)?;
        let shown = before * self.sequences as u64 + number;
        let count = self.task.len() as u64;
        let (pass, at) = (shown / count, shown % count);
        (pass < self.span.repetitions).then_some((pass, at))
    }
}

/// Epochs of the main task that stand in for other tasks are numbered from here, so that nothing is shown twice.
const STANDING_IN: u64 = 1 << 32;

impl Mix {
    /// Mixes tasks into another, each with its [`sequences`] in an epoch and its span.
    pub fn new(main: Box<dyn Task>, others: Vec<(Box<dyn Task>, usize, Span)>, seed: u64) -> Self {
        let part = |(task, sequences, span)| Part {
            task,
            sequences,
            span,
        };
        let others: Vec<Part> = others.into_iter().map(part).collect();
        let counts = std::iter::once(main.len()).chain(others.iter().map(|part| part.sequences));
        let mut order: Vec<(u32, u32, f64)> = vec![];
        for (part, count) in counts.enumerate() {
            let place = |number: usize| (number as f64 + 0.5) / count as f64;
            order.extend((0..count).map(|number| (part as u32, number as u32, place(number))));
        }
        order.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.0.cmp(&b.0)));
        let order = order.into_iter().map(|(part, number, _)| (part, number));
        Self {
            main,
            others,
            order: order.collect(),
            seed,
        }
    }

    /// The task, epoch and index that a sequence of an epoch is.
    fn place(&self, epoch: u64, index: usize) -> (&dyn Task, u64, usize) {
        let (part, number) = self.order[index];
        let Some(other) = (part as usize).checked_sub(1) else {
            return (self.main.as_ref(), epoch, number as usize);
        };
        let other = &self.others[other];
        let (number, part) = (u64::from(number), u64::from(part));
        let in_order_of = |task: &dyn Task, pass: u64, at: u64| {
            permuted(at, task.len() as u64, [self.seed, pass, part]) as usize
        };
        if let Some((pass, at)) = other.shown(epoch, number) {
            let task = other.task.as_ref();
            return (task, pass + 1, in_order_of(task, pass, at));
        }
        let main = self.main.as_ref();
        let at = number % main.len() as u64;
        (
            main,
            part * STANDING_IN + epoch,
            in_order_of(main, epoch, at),
        )
    }
}

/// Where `at` goes in a shuffled order of so many: a Feistel network of four rounds over the smallest square of a power of two
/// that holds them, walked until it ends below `count`. So no order has to be held in memory.
fn permuted(at: u64, count: u64, key: [u64; 3]) -> u64 {
    let half_bits = (u64::BITS - count.saturating_sub(1).leading_zeros())
        .div_ceil(2)
        .max(1);
    let half = (1 << half_bits) - 1;
    let rounds: [u64; 4] = generator(b"mixture.", key).r#gen();
    let mut at = at;
    loop {
        let (mut left, mut right) = (at >> half_bits, at & half);
        for round in rounds {
            let mixed = (right ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            (left, right) = (right, left ^ ((mixed >> 32) & half));
        }
        at = (left << half_bits) | right;
        if at < count {
            return at;
        }
    }
}

/// How many sequences of each other task, with its share of the scored tokens, belong to an epoch of the main one.
///
/// # Errors
/// The shares do not add up to less than 1, a task scores nothing, or a sequence cannot be read.
pub fn sequences(main: &dyn Task, others: &[(Box<dyn Task>, f64)]) -> Result<Vec<usize>> {
    let rest = 1.0 - others.iter().map(|(_, share)| share).sum::<f64>();
    if rest <= 0.0 {
        return Err(Error::config(
            "the shares of `mix` must add up to less than 1",
        ));
    }
    let main_tokens = main.len() as f64 * mean_scored(main)?;
    let count = |(task, share): &(Box<dyn Task>, f64)| {
        let wanted = main_tokens * share / rest;
        let sequences = (wanted / mean_scored(task.as_ref())?).round() as usize;
        Ok(sequences.max(1))
    };
    others.iter().map(count).collect()
}

/// Mean number of scored tokens in the first epoch, by sequences that are spread over it.
fn mean_scored(task: &dyn Task) -> Result<f64> {
    let some = task.len().min(MEASURED);
    let mut scored = 0;
    for number in 0..some {
        scored += task.sequence(1, number * task.len() / some)?.scored();
    }
    match scored {
        0 => Err(Error::config("an objective of `mix` scores no token")),
        _ => Ok(scored as f64 / some as f64),
    }
}

impl Task for Mix {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
        let (task, epoch, index) = self.place(epoch, index);
        task.sequence(epoch, index)
    }

    fn longest_sequence(&self) -> usize {
        let others = self.others.iter().map(|part| part.task.longest_sequence());
        others
            .chain([self.main.longest_sequence()])
            .max()
            .unwrap_or(0)
    }

    fn example(&self, epoch: u64, index: usize) -> Result<Option<CorruptionRow>> {
        let (task, epoch, index) = self.place(epoch, index);
        task.example(epoch, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Sequences of one length; the tokens are `name`, the epoch and the index.
    struct Fixed {
        name: u32,
        count: usize,
        scored: usize,
    }

    impl Task for Fixed {
        fn len(&self) -> usize {
            self.count
        }

        fn longest_sequence(&self) -> usize {
            self.scored + 3
        }

        fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
            let epoch = (epoch ^ (epoch >> 32)) as u32;
            let mut tokens = vec![self.name, epoch, index as u32];
            tokens.resize(self.scored + 3, 0);
            let targets = [vec![0; 3], vec![1; self.scored]].concat();
            Ok(Sequence { tokens, targets })
        }
    }

    fn mixed(shares: &[(usize, usize, f64)]) -> Result<Mix> {
        mixed_for(shares, Span::default())
    }

    fn mixed_for(shares: &[(usize, usize, f64)], span: Span) -> Result<Mix> {
        let fixed = |name, count, scored| -> Box<dyn Task> {
            Box::new(Fixed {
                name,
                count,
                scored,
            })
        };
        let others = (1..).zip(shares);
        let others =
            others.map(|(name, &(count, scored, share))| (fixed(name, count, scored), share));
        let (main, others) = (fixed(0, 600, 4), others.collect::<Vec<_>>());
        let counts = sequences(main.as_ref(), &others)?;
        let others = others.into_iter().zip(counts);
        let others = others.map(|((task, _), count)| (task, count, span));
        Ok(Mix::new(main, others.collect(), 7))
    }

    #[test]
    fn outside_its_span_a_part_leaves_its_places_to_the_main_one() {
        let shown_in = |task: &Mix, epoch| {
            let all = (0..task.len()).map(|index| task.sequence(epoch, index).expect("made"));
            let all: Vec<Vec<u32>> = all.map(|one| one.tokens).collect();
            let others = all.iter().filter(|tokens| tokens[0] == 1).count();
            let mut mains: Vec<_> = all.iter().filter(|tokens| tokens[0] == 0).collect();
            mains.sort_unstable();
            let count = mains.len();
            mains.dedup();
            assert_eq!(
                mains.len(),
                count,
                "nothing is shown twice in epoch {epoch}"
            );
            (others, count)
        };
        // 75 of 50 in an epoch.
        let span = Span {
            epochs: [3, 4],
            ..Span::default()
        };
        let task = mixed_for(&[(50, 8, 0.2)], span).expect("mixed");
        let shown: Vec<_> = (1..=5).map(|epoch| shown_in(&task, epoch)).collect();
        let (within, outside) = ((75, 600), (0, 675));
        assert_eq!(shown, [outside, outside, within, within, outside]);
        // Two passes of 50 end within the second epoch.
        let span = Span {
            repetitions: 2,
            ..Span::default()
        };
        let task = mixed_for(&[(50, 8, 0.2)], span).expect("mixed");
        let shown: Vec<_> = (1..=3).map(|epoch| shown_in(&task, epoch)).collect();
        assert_eq!(shown, [(75, 600), (25, 650), (0, 675)]);
    }

    #[test]
    fn every_part_has_its_share_of_the_scored_tokens() {
        // 2,400 tokens are half; 960 in sequences of 8 a fifth, 1,440 in sequences of 2 three tenths.
        let task = mixed(&[(50, 8, 0.2), (7, 2, 0.3)]).expect("mixed");
        assert_eq!(task.len(), 600 + 120 + 720);
        let mut scored: BTreeMap<u32, usize> = BTreeMap::new();
        for index in 0..task.len() {
            let sequence = task.sequence(1, index).expect("made");
            *scored.entry(sequence.tokens[0]).or_default() += sequence.scored();
        }
        assert_eq!(scored, BTreeMap::from([(0, 2_400), (1, 960), (2, 1_440)]));
        assert_eq!(task.longest_sequence(), 11);
    }

    #[test]
    fn parts_are_spread_evenly_and_shown_in_turn() {
        let task = mixed(&[(50, 8, 0.2)]).expect("mixed");
        let mut shown: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        let mut passes = vec![];
        for epoch in 1..=10 {
            let all =
                (0..task.len()).map(|index| task.sequence(epoch, index).expect("made").tokens);
            let all: Vec<Vec<u32>> = all.collect();
            let first = all[..75].iter().filter(|tokens| tokens[0] == 1).count();
            assert!((8..=10).contains(&first), "{first} of the first ninth");
            for tokens in all.iter().filter(|tokens| tokens[0] == 1) {
                *shown.entry((tokens[1], tokens[2])).or_default() += 1;
                passes.push(tokens[2]);
            }
        }
        // 75 an epoch are 15 passes over 50.
        assert_eq!(shown.len(), 15 * 50);
        assert!(shown.values().all(|&times| times == 1));
        assert_ne!(
            passes[..50],
            passes[50..100],
            "each pass has an order of its own"
        );
    }

    #[test]
    fn an_order_is_a_permutation() {
        for count in [1, 2, 3, 5, 16, 17, 1_000] {
            let mut all: Vec<u64> = (0..count)
                .map(|at| permuted(at, count, [1, 2, 3]))
                .collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shares_leave_something_to_the_main_objective() {
        let error = mixed(&[(50, 8, 0.6), (7, 2, 0.4)]).err().expect("refused");
        assert_eq!(
            error.to_string(),
            "error: the shares of `mix` must add up to less than 1"
        );
    }
}
