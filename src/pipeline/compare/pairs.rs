//! Matches answers to the same questions, whatever their order.

use std::collections::BTreeMap;

use super::side::LoadedSide;
use super::{Pair, PairedDifference, PairedTest};
use crate::eval::measures::{Evaluated, Measure, total};
use crate::kinds::{Listed as _, Named};
use crate::metrics::rows::PredictionRow;
use crate::metrics::statistics::{
    Estimate, LEAST_RESAMPLED, mcnemar_exact, mean, paired_difference_95, t_interval_95_within,
};

/// The pairs of finished runs, and notes on runs without a partner.
///
/// Runs with the same seed belong together; so do the only two that there are.
pub(super) fn pair(a: &LoadedSide, b: &LoadedSide) -> (Vec<Pair>, Vec<String>) {
    let only_two = a.side.runs.len() == 1 && b.side.runs.len() == 1;
    // Items are known by their numbers, which mean the same in the same data alone.
    let holds_out_the_same = a.settings.data == b.settings.data && a.side.split == b.side.split;
    let mut pairs = vec![];
    for (seed_a, of_a) in &a.evaluated {
        for (seed_b, of_b) in &b.evaluated {
            if seed_a != seed_b && !only_two {
                continue;
            }
            let none_asked =
                |of: &Option<Evaluated>| of.as_ref().is_some_and(|of| of.answers.is_empty());
            let test = match (of_a, of_b) {
                (Some(_), Some(_)) if none_asked(of_a) && none_asked(of_b) => None,
                (Some(a), Some(b)) => Some(paired_test(&a.answers, &b.answers)),
                (None, _) => Some(Err(format!("{} evaluates nothing", a.name))),
                (_, None) => Some(Err(format!("{} evaluates nothing", b.name))),
            };
            let both = a.measures.iter().filter(|one| b.measures.contains(one));
            let is_tested = matches!(test, Some(Ok(_)));
            let difference = |measure: &Named<Measure>| {
                let both = of_a.as_ref().zip(of_b.as_ref());
                let is_of_answers = measure.0.is_of_answers();
                let is_paired = if is_of_answers {
                    is_tested
                } else {
                    holds_out_the_same
                };
                let (a, b) = both.filter(|_| is_paired)?;
                Some((measure.0.name(), paired_difference(measure.0, a, b)?))
            };
            pairs.push(Pair {
                seed_a: *seed_a,
                seed_b: *seed_b,
                differences: both.filter_map(difference).collect(),
                untested: test.as_ref().and_then(|test| test.as_ref().err().cloned()),
                test: test.and_then(Result::ok),
            });
        }
    }
    let mut notes = vec![];
    if !only_two {
        for (own, other) in [(a, b), (b, a)] {
            let in_other = |seed: u64| other.evaluated.iter().any(|(there, _)| *there == seed);
            let alone = own.evaluated.iter().filter(|(seed, _)| !in_other(*seed));
            notes.extend(alone.map(|(seed, _)| {
                let (own, other) = (own.name, other.name);
                format!(
                    "{own}, seed {seed} has no partner: {other} has no finished run with that seed"
                )
            }));
        }
    }
    (pairs, notes)
}

/// McNemar's test of two runs, or why it would be meaningless.
pub(super) fn paired_test(a: &[PredictionRow], b: &[PredictionRow]) -> Result<PairedTest, String> {
    let (a, b) = (judged("A", a)?, judged("B", b)?);
    check_same_questions(&a, &b)?;
    let count = |right_a: bool, right_b: bool| {
        let both = a.iter().zip(&b);
        both.filter(|(a, b)| (a.right, b.right) == (right_a, right_b))
            .count()
    };
    let (both_right, only_a_right) = (count(true, true), count(true, false));
    let (only_b_right, neither_right) = (count(false, true), count(false, false));
    let (low_95, high_95) =
        paired_difference_95(both_right, only_a_right, only_b_right, neither_right);
    Ok(PairedTest {
        questions: a.len(),
        both_right,
        only_a_right,
        only_b_right,
        neither_right,
        p: mcnemar_exact(only_a_right, only_b_right),
        difference: (only_b_right as f64 - only_a_right as f64) / a.len() as f64,
        low_95,
        high_95,
    })
}

/// The difference of a measure over the same questions or held-out items; `None` unless the same ones, at least two, have a
/// value in both runs.
///
/// Of answers it is a mean of differences, with Student's interval. Of held-out items it is a difference of ratios, with the
/// interval of a bootstrap over the items, each drawn with its numbers in both runs.
fn paired_difference(measure: &Measure, a: &Evaluated, b: &Evaluated) -> Option<PairedDifference> {
    let [a, b] = [a, b].map(|of| {
        let mut items = measure.items(of);
        items.sort_by(|a, b| a.key.cmp(&b.key).then(a.sum.total_cmp(&b.sum)));
        items
    });
    let same = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.key == b.key);
    if !same || a.is_empty() {
        return None;
    }
    let pairs = a.iter().zip(&b);
    let (difference, (low_95, high_95)) = if measure.is_of_answers() {
        let differences: Vec<f64> = pairs.map(|(a, b)| b.sum - a.sum).collect();
        let interval = t_interval_95_within(&differences, &measure.unit.differences());
        (mean(&differences)?, interval?)
    } else {
        const SEED: u64 = 0;
        let sums: Vec<[f64; 4]> = pairs
            .map(|(a, b)| [a.sum, a.weight, b.sum, b.weight])
            .collect();
        let difference = |sample: &[[f64; 4]]| {
            let [sum_a, weight_a, sum_b, weight_b] = total(sample);
            Some(measure.ratio([sum_b, weight_b])? - measure.ratio([sum_a, weight_a])?)
        };
        let Estimate { value, interval } = Estimate::bootstrapped(&sums, SEED, difference)?;
        // Without an interval all items agree, or they are too few.
        let ends = interval.map_or((value, value), |one| (one.low, one.high));
        (sums.len() >= LEAST_RESAMPLED).then_some((value, ends))?
    };
    Some(PairedDifference {
        questions: a.len(),
        difference,
        low_95,
        high_95,
    })
}

/// A question whose right answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct JudgedAnswer<'a> {
    question: &'a str,
    gold: &'a str,
    right: bool,
}

/// The questions whose right answer is known, sorted.
///
/// A question may be asked twice: a name with two birth places makes two questions. Only one with the same
/// right answer, answered right once and wrong once, is refused, because the two cannot be told apart.
fn judged<'a>(name: &str, rows: &'a [PredictionRow]) -> Result<Vec<JudgedAnswer<'a>>, String> {
    let known = |row: &'a PredictionRow| {
        Some(JudgedAnswer {
            question: &row.question,
            gold: row.gold.as_deref()?,
            right: row.correct?,
        })
    };
    let mut judged: Vec<JudgedAnswer<'_>> = rows.iter().filter_map(known).collect();
    if judged.is_empty() {
        return Err(format!("no right answer is known in {name}"));
    }
    judged.sort();
    let unsure = |two: &&[JudgedAnswer<'_>]| {
        (two[0].question, two[0].gold) == (two[1].question, two[1].gold) && two[0] != two[1]
    };
    match judged.windows(2).find(unsure) {
        Some(two) => Err(format!(
            "{name} asks '{}' twice, and answers it right once and wrong once",
            two[0].question
        )),
        None => Ok(judged),
    }
}

fn check_same_questions(a: &[JudgedAnswer<'_>], b: &[JudgedAnswer<'_>]) -> Result<(), String> {
    let differ = |key: fn(&JudgedAnswer<'_>) -> (String, String)| {
        let mut surplus: BTreeMap<(String, String), isize> = BTreeMap::new();
        a.iter()
            .for_each(|one| *surplus.entry(key(one)).or_default() += 1);
        b.iter()
            .for_each(|one| *surplus.entry(key(one)).or_default() -= 1);
        let in_a_alone: isize = surplus.values().filter(|n| **n > 0).sum();
        let in_b_alone: isize = -surplus.values().filter(|n| **n < 0).sum::<isize>();
        (in_a_alone, in_b_alone)
    };
    let (in_a_alone, in_b_alone) = differ(|one| (one.question.to_owned(), String::new()));
    if (in_a_alone, in_b_alone) != (0, 0) {
        let in_both = a.len() as isize - in_a_alone;
        return Err(format!(
            "the questions are not the same: {in_a_alone} are in A alone, {in_b_alone} in B alone, \
             {in_both} in both"
        ));
    }
    let (other_gold, _) = differ(|one| (one.question.to_owned(), one.gold.to_owned()));
    if other_gold > 0 {
        return Err(format!(
            "{other_gold} of the {} questions have another right answer in A than in B",
            a.len()
        ));
    }
    Ok(())
}
