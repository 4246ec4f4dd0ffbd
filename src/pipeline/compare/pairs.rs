//! Matches answers to the same questions, whatever their order.

use std::collections::BTreeMap;

use super::side::LoadedSide;
use super::{Pair, PairedDifference, PairedTest};
use crate::eval::measures::Measure;
use crate::kinds::{Listed as _, Named};
use crate::metrics::rows::PredictionRow;
use crate::metrics::statistics::{mcnemar_exact, mean, paired_difference_95, t_interval_95_within};

/// The pairs of finished runs, and notes on runs without a partner.
///
/// Runs with the same seed belong together; so do the only two that there are.
pub(super) fn pair(a: &LoadedSide, b: &LoadedSide) -> (Vec<Pair>, Vec<String>) {
    let only_two = a.side.runs.len() == 1 && b.side.runs.len() == 1;
    let mut pairs = vec![];
    for (seed_a, answers_a) in &a.answers {
        for (seed_b, answers_b) in &b.answers {
            if seed_a != seed_b && !only_two {
                continue;
            }
            let test = match (answers_a, answers_b) {
                (Some(a), Some(b)) => paired_test(a, b),
                (None, _) => Err(format!("{} evaluates nothing", a.name)),
                (_, None) => Err(format!("{} evaluates nothing", b.name)),
            };
            let both = a.measures.iter().filter(|one| b.measures.contains(one));
            let answers = answers_a.as_deref().zip(answers_b.as_deref());
            let difference = |measure: &Named<Measure>| {
                let (a, b) = answers.filter(|_| test.is_ok())?;
                Some((measure.0.name(), paired_difference(measure.0, a, b)?))
            };
            pairs.push(Pair {
                seed_a: *seed_a,
                seed_b: *seed_b,
                differences: both.filter_map(difference).collect(),
                untested: test.as_ref().err().cloned(),
                test: test.ok(),
            });
        }
    }
    let mut notes = vec![];
    if !only_two {
        for (own, other) in [(a, b), (b, a)] {
            let in_other = |seed: u64| other.answers.iter().any(|(there, _)| *there == seed);
            let alone = own.answers.iter().filter(|(seed, _)| !in_other(*seed));
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

/// The mean difference of a measure over the same questions; `None` unless the same questions, at least two, have a
/// value in both runs.
fn paired_difference(
    measure: &Measure,
    a: &[PredictionRow],
    b: &[PredictionRow],
) -> Option<PairedDifference> {
    let valued = |rows: &[PredictionRow]| {
        let value = |row: &PredictionRow| {
            let key = (row.question.clone(), row.gold.clone());
            Some((key, measure.value(row)?))
        };
        let mut valued: Vec<_> = rows.iter().filter_map(value).collect();
        valued.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        valued.into_iter().unzip()
    };
    let (keys_a, a): (Vec<_>, Vec<f64>) = valued(a);
    let (keys_b, b) = valued(b);
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let interval = t_interval_95_within(&differences, &measure.unit.differences());
    let (low_95, high_95) = interval.filter(|_| keys_a == keys_b)?;
    Some(PairedDifference {
        questions: differences.len(),
        difference: mean(&differences)?,
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
