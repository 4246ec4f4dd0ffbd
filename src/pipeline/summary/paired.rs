//! What a figure of all pairs shows: the answers of every point to the same questions.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::schema::FigureSpec;
use crate::config::{Experiment, Point};
use crate::error::Result;
use crate::metrics::rows::PredictionRow;
use crate::metrics::table;
use crate::pipeline::directory::{RunDirectory, finished};
use crate::pipeline::summary::content::{Content, origin, splits};
use crate::plot::{AnsweredSide, PairedMatrix, draw_paired_matrix};

/// A question with its right answer, and which it is of those that are the same.
type Question = (String, String, usize);

/// Draws the figure, unless there is nothing to pair.
pub(super) fn gather(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let run = |point: &Point, seed| RunDirectory::new(experiment, point, seed, results);
    let asked = |point: &Point| {
        let evaluate = point.settings.training()?.evaluate.as_ref()?;
        Some(evaluate.split.name())
    };
    let seeds_of = |point: &Point| -> Vec<u64> {
        let answered = |run: &RunDirectory| {
            asked(point).is_some_and(|split| run.predictions_tsv(split, "model").is_file())
        };
        let runs = finished(experiment, point, results).into_iter();
        let runs = runs.filter(|(_, run)| answered(run));
        runs.map(|(seed, _)| seed).collect()
    };
    let points = experiment.points.iter();
    let started: Vec<(&Point, Vec<u64>)> = points
        .map(|point| (point, seeds_of(point)))
        .filter(|(_, seeds)| !seeds.is_empty())
        .collect();
    if started.len() < 2 {
        return Ok(Content::Nothing("fewer than two points have answered"));
    }
    // A seed that one of the points lacks would make its accuracy another quantity.
    let shared = |seed: &u64| started.iter().all(|(_, seeds)| seeds.contains(seed));
    let seeds: Vec<u64> = experiment.seeds.iter().copied().filter(shared).collect();
    if seeds.is_empty() {
        return Ok(Content::Nothing("no seed is done at all points"));
    }
    let mut sides = vec![];
    let mut questions: Option<Vec<Question>> = None;
    for (point, _) in started {
        let mut right: BTreeMap<Question, usize> = BTreeMap::new();
        for &seed in &seeds {
            let path = run(point, seed).predictions_tsv(asked(point).unwrap_or_default(), "model");
            count_right(&table::read(&path)?, &mut right);
        }
        let own: Vec<Question> = right.keys().cloned().collect();
        if own.is_empty() {
            return Ok(Content::Nothing(
                "no answer can be compared with a right one",
            ));
        }
        if *questions.get_or_insert_with(|| own.clone()) != own {
            return Ok(Content::Nothing(
                "the points were asked different questions",
            ));
        }
        let right_seeds = right.into_values().collect();
        let label = point.label.clone();
        sides.push(AnsweredSide { label, right_seeds });
    }
    let split = splits(experiment);
    let title = spec.title.clone();
    Ok(Content::Drawn(draw_paired_matrix(&PairedMatrix {
        title: title.unwrap_or_else(|| "Which points differ on the same questions".to_owned()),
        caption: format!("{}, {split} questions.", origin(experiment)),
        sides,
        seeds,
    })?))
}

/// Adds one run's right answers to the questions'. Of a question that is asked twice the right
/// answers come first, so that equal runs count alike whatever their order.
fn count_right(answers: &[PredictionRow], right: &mut BTreeMap<Question, usize>) {
    let mut times: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for answer in answers {
        let (Some(gold), Some(correct)) = (&answer.gold, answer.correct) else {
            continue;
        };
        let of = times.entry((&answer.question, gold)).or_default();
        *of = (of.0 + 1, of.1 + usize::from(correct));
    }
    for ((question, gold), (asked, correct)) in times {
        for copy in 0..asked {
            let question = (question.to_owned(), gold.to_owned(), copy);
            *right.entry(question).or_default() += usize::from(copy < correct);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &str, gold: Option<&str>, correct: Option<bool>) -> PredictionRow {
        PredictionRow {
            question: question.to_owned(),
            gold: gold.map(str::to_owned),
            predicted: "London".to_owned(),
            correct,
            log_probability: None,
        }
    }

    #[test]
    fn right_answers_are_counted_over_seeds_whatever_the_order_of_questions() {
        let first = [
            answer("Ada", Some("London"), Some(true)),
            answer("Max", Some("Paris"), Some(false)),
            answer("Ada", Some("London"), Some(false)),
            answer("Eve", None, None),
        ];
        let mut second = first.clone();
        second.reverse();
        let mut right = BTreeMap::new();
        count_right(&first, &mut right);
        count_right(&second, &mut right);
        let counts: Vec<(&str, usize)> = right.iter().map(|(q, n)| (q.0.as_str(), *n)).collect();
        assert_eq!(counts, [("Ada", 2), ("Ada", 0), ("Max", 0)]);
    }
}
