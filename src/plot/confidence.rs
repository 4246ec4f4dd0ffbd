//! Cumulative distributions of the probabilities that a model gave its answers.

use serde::{Deserialize, Serialize};

use super::pooled;
use super::text::{count, seeds_in_short};
use super::theme::{GREY, Pen, SERIES};
use super::{
    Canvas, Caption, Chart, Figure, Gathered, Mark, Need, NoKeys, Panels, Plot, PooledPoint,
};
use crate::error::Result;
use crate::metrics::answers::RunAnswers;
use crate::metrics::measured::Measured;
use crate::metrics::rows::PredictionRow;

/// The probabilities of a model's answers at each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confidence {
    /// One chart per point.
    points: Vec<ConfidencePoint>,
}

/// One point of a sweep: each answer's kind and probability, 0 to 1.
type ConfidencePoint = PooledPoint<Vec<(AnswerKind, f64)>>;

impl Plot for Confidence {
    type Keys = NoKeys;

    const NAME: &'static str = "confidence";
    const SHOWS: &'static str =
        "how probable answers were: right ones, wrong ones, and those about invented people";
    const TITLE: &'static str = "How sure the model was of its answers";
    const NEEDS: Need = Need::Answers;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn gather(_: &NoKeys, measured: &Measured) -> Result<Gathered<Self>> {
        let all = |runs: &[RunAnswers]| runs.iter().flat_map(known_answers).collect();
        let points = pooled::gather(measured, |_| true, all)?;
        if points.is_empty() {
            return Ok(Gathered::Nothing("no run has asked a model".into()));
        }
        Ok(Gathered::Figure(Self { points }))
    }

    /// The distribution of the answers' probabilities as step lines, exact at every answer.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let there = |kind: &AnswerKind| {
            let mut all = self.points.iter().flat_map(|point| &point.answers);
            all.any(|(own, _)| own == kind)
        };
        let legend = |kind: AnswerKind| {
            let (name, pen) = kind.line();
            (Mark::Line(pen), name.to_owned())
        };
        let panels = Panels {
            caption: self.explained(caption),
            legend: KINDS.into_iter().rev().filter(there).map(legend).collect(),
            vertical: "cumulative share of answers (%)",
            points: &self.points,
            numbers: &ConfidencePoint::numbers,
            above: 8.0,
        };
        panels.figure(&self.rows(), |canvas, chart, point| {
            KINDS
                .into_iter()
                .try_for_each(|kind| point.draw(canvas, chart, kind))
        })
    }
}

/// The answers whose probability is known.
fn known_answers(run: &RunAnswers) -> Vec<(AnswerKind, f64)> {
    let kind = |row: &PredictionRow| match row.correct {
        Some(true) => AnswerKind::Right,
        Some(false) => AnswerKind::Wrong,
        None => AnswerKind::Unjudged,
    };
    let asked = run.asked.iter().map(|row| (kind(row), row));
    let invented = run.invented.iter().map(|row| (AnswerKind::Invented, row));
    let known = |(kind, row): (AnswerKind, &PredictionRow)| Some((kind, row.confidence()?));
    asked.chain(invented).filter_map(known).collect()
}

/// What is known of an answer; its name is in the CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AnswerKind {
    Right,
    Wrong,
    /// There is no reference answer.
    Unjudged,
    /// It is about an invented person.
    Invented,
}

/// In the order in which they are drawn and listed.
const KINDS: [AnswerKind; 4] = [
    AnswerKind::Wrong,
    AnswerKind::Unjudged,
    AnswerKind::Invented,
    AnswerKind::Right,
];

impl AnswerKind {
    /// Name and pen, of widths such that overlapping lines all stay visible.
    fn line(self) -> (&'static str, Pen) {
        let (name, ink, width) = match self {
            Self::Right => ("right", SERIES[0], 2.6),
            Self::Wrong => ("wrong", SERIES[1], 3.4),
            Self::Unjudged => ("not judged", GREY, 2.6),
            Self::Invented => ("about a person never seen", SERIES[2], 1.8),
        };
        (name, Pen::whole(ink, width))
    }
}

/// One line of the figure's CSV: a step of a curve.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    label: &'a str,
    answers: AnswerKind,
    /// How many there are of that kind.
    number: usize,
    probability: f64,
    /// Fraction of them with at most this probability.
    share_at_most: f64,
}

impl ConfidencePoint {
    /// The probabilities of one kind, in ascending order.
    fn sorted(&self, kind: AnswerKind) -> Vec<f64> {
        let of_kind = self.answers.iter().filter(|(own, _)| *own == kind);
        let mut sorted: Vec<f64> = of_kind.map(|(_, probability)| *probability).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }

    /// The steps of the cumulative distribution of a kind: probability and share.
    fn steps(&self, kind: AnswerKind) -> Vec<(f64, f64)> {
        let sorted = self.sorted(kind);
        let mut done = 0;
        let step = |same: &[f64]| {
            done += same.len();
            (same[0], done as f64 / sorted.len() as f64)
        };
        sorted.chunk_by(|a, b| a == b).map(step).collect()
    }

    fn numbers(&self) -> String {
        let words = [
            (AnswerKind::Right, "right"),
            (AnswerKind::Wrong, "wrong"),
            (AnswerKind::Unjudged, "not judged"),
            (AnswerKind::Invented, "never seen"),
        ];
        let part = |(kind, words)| match self.sorted(kind).len() {
            0 => None,
            number => Some(format!("{} {words}", count(number))),
        };
        let parts: Vec<String> = words.into_iter().filter_map(part).collect();
        let seeds = seeds_in_short(&self.seeds);
        format!("n = {} ({seeds})", parts.join(", "))
    }

    fn draw(&self, canvas: &mut Canvas<'_>, chart: &Chart, kind: AnswerKind) -> Result<()> {
        let (mut share, mut path) = (0.0, vec![]);
        for (probability, next) in self.steps(kind) {
            path.extend([chart.at(probability, share), chart.at(probability, next)]);
            share = next;
        }
        // Lines end at their first and last answers, so that they do not hide others.
        canvas.curve(&path, kind.line().1)
    }
}

impl Confidence {
    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let mut rows = vec![];
        let curves = |point| KINDS.map(|kind| (point, kind));
        for (point, answers) in self.points.iter().flat_map(curves) {
            let number = point.sorted(answers).len();
            for (probability, share_at_most) in point.steps(answers) {
                rows.push(PlottedRow {
                    label: &point.label,
                    answers,
                    number,
                    probability,
                    share_at_most,
                });
            }
        }
        rows
    }

    /// The caption without the notes on what is left out.
    fn explained(&self, mut caption: Caption) -> Caption {
        caption.say(
            "A line at (x, y): of these answers, y % had at most the probability x, the product over their \
             characters and the closing mask. A line further right is of answers given with more confidence.",
        );
        pooled::explain(&mut caption, &self.points, "");
        caption
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::drawn;
    use crate::plot::tests::gallery::{Label, chance};

    /// A figure of made-up values.
    pub fn made_up(points: usize, label: Label<'_>) -> Figure {
        let point = |i: usize| ConfidencePoint {
            label: label(i),
            seeds: vec![1, 2],
            answers: (0..60)
                .map(|j| match j % 3 {
                    0 => (AnswerKind::Right, chance(i, j).sqrt()),
                    1 => (AnswerKind::Wrong, chance(i, j)),
                    _ => (AnswerKind::Invented, chance(i, j).powi(2)),
                })
                .collect(),
        };
        let points = (0..points).map(point).collect();
        drawn(&Confidence { points }, "A figure of probabilities")
    }

    fn figure() -> Confidence {
        let answers = [(0.9, true), (0.5, true), (0.5, false), (0.2, false)];
        let kind = |right| match right {
            true => AnswerKind::Right,
            false => AnswerKind::Wrong,
        };
        let mut answers: Vec<_> = answers.map(|(p, right)| (kind(right), p)).to_vec();
        answers.extend([0.3, 0.3, 0.6].map(|p| (AnswerKind::Invented, p)));
        Confidence {
            points: vec![ConfidencePoint {
                label: "a".to_owned(),
                seeds: vec![1],
                answers,
            }],
        }
    }

    #[test]
    fn the_table_holds_every_step() {
        let drawn = figure().draw(Caption::default()).expect("drawn");
        let text = String::from_utf8(drawn.csv.clone()).expect("text");
        let expected = "label,answers,number,probability,share_at_most\n\
                        a,wrong,2,0.2,0.5\na,wrong,2,0.5,1.0\n\
                        a,invented,3,0.3,0.6666666666666666\na,invented,3,0.6,1.0\n\
                        a,right,2,0.5,0.5\na,right,2,0.9,1.0\n";
        assert_eq!(text, expected);
        assert_eq!(drawn, figure().draw(Caption::default()).expect("drawn"));
        assert!(!drawn.svg.contains("<text"));
    }

    #[test]
    fn the_heading_counts_the_answers_of_each_kind() {
        let mut figure = figure();
        assert_eq!(
            figure.points[0].numbers(),
            "n = 2 right, 2 wrong, 3 never seen (seed 1)"
        );
        figure.points[0].seeds = vec![1, 2];
        figure.points[0]
            .answers
            .retain(|(kind, _)| *kind == AnswerKind::Invented);
        assert_eq!(figure.points[0].numbers(), "n = 3 never seen (2 seeds)");
        let caption = figure.explained(Caption::default()).finish();
        assert!(caption.contains("pooled"), "{caption}");
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        Confidence::default()
            .draw(Caption::default())
            .expect("nothing");
        let mut figure = figure();
        figure.points.push(ConfidencePoint::default());
        figure.points.push(ConfidencePoint {
            label: "x漢 ".repeat(90),
            seeds: vec![],
            answers: vec![(AnswerKind::Right, 0.0), (AnswerKind::Unjudged, 1.0)],
        });
        let drawn = figure.draw(Caption::default()).expect("drawn");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
    }
}
