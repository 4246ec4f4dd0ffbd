//! What `kind = "paired-matrix"` shows: the answers of every point to the same questions.

use std::collections::BTreeMap;

use super::{AnsweredSide, PairedMatrix, Sheet};
use crate::error::Result;
use crate::metrics::answers::{self, RunAnswers};
use crate::metrics::measured::{Measured, PointRows};
use crate::metrics::rows::PredictionRow;
use crate::plot::{Figure, Gathered, NoKeys, Page, Plot, paint};

/// A question, its right answer, and its index among identical questions.
type Question = (String, String, usize);

impl Plot for PairedMatrix {
    type Keys = NoKeys;

    const NAME: &'static str = "paired-matrix";
    const SHOWS: &'static str = "which points differ on the same questions, pair by pair";
    const TITLE: &'static str = "Which points differ on the same questions";
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[super::tests::made_up];

    fn gather(_: &NoKeys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let points = answers::of_points(measured)?;
        if points.len() < 2 {
            return Ok(Gathered::Nothing("fewer than two points have answers"));
        }
        // Only seeds that every point has: otherwise the accuracies would not be comparable.
        let shared = |seed: &u64| points.iter().all(|point| point.seeds().contains(seed));
        let seeds: Vec<u64> = measured.seeds.iter().copied().filter(shared).collect();
        if seeds.is_empty() {
            return Ok(Gathered::Nothing("no seed is finished at every point"));
        }
        let right = points.iter().map(|point| right(point, &seeds));
        let right: Vec<BTreeMap<Question, usize>> = right.collect();
        if right.iter().any(BTreeMap::is_empty) {
            return Ok(Gathered::Nothing(
                "there is no reference answer to compare with",
            ));
        }
        if right.iter().any(|own| !own.keys().eq(right[0].keys())) {
            return Ok(Gathered::Nothing(
                "the points were asked different questions",
            ));
        }
        let side =
            |(point, right): (&PointRows<RunAnswers>, BTreeMap<Question, usize>)| AnsweredSide {
                label: point.label.clone(),
                right_seeds: right.into_values().collect(),
            };
        Ok(Gathered::Figure(Self {
            title,
            caption: measured.asked(),
            sides: points.iter().zip(right).map(side).collect(),
            seeds,
        }))
    }

    /// Differences in accuracy and their p values as a square of cells.
    fn draw(&self) -> Result<Figure> {
        let (rows, sheet) = (self.rows(), Sheet::new(self));
        let page = Page::new(&self.title, self.full_caption(&sheet), vec![]);
        let layout = page.layout_of(sheet.height());
        let drawing = paint(layout.height, |canvas| {
            page.draw_head(canvas, &layout)?;
            sheet.draw(canvas, layout.top + sheet.above, self, &rows)?;
            page.draw_caption(canvas, &layout)
        })?;
        Figure::finish(&drawing, &page.title, &page.caption, &rows)
    }
}

/// How many of these seeds answered each question right.
fn right(point: &PointRows<RunAnswers>, seeds: &[u64]) -> BTreeMap<Question, usize> {
    let mut right = BTreeMap::new();
    let compared = |run: &&RunAnswers| seeds.contains(&run.seed);
    for run in point.rows.iter().filter(compared) {
        count_right(&run.asked, &mut right);
    }
    right
}

/// Adds one run's right answers to the count per question. For a question that is asked twice, right
/// answers come first, so that the order of a run's answers does not matter.
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
