//! What a model says most often about people it has never read of, and how common that is elsewhere.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pooled;
use super::text::{count, number, plural, seeds_in_short};
use super::theme::{
    BASELINE, BLACK, Ink, LINE_HEIGHT, MARGIN, OURS, SERIES, SMALL_SIZE, TEXT_SIZE, WIDTH,
};
use super::{
    Axis, Canvas, Caption, Chart, Figure, Gathered, Mark, Need, Page, Plot, PointLabels,
    PointSubset, PooledPoint, Type, draw_heading,
};
use crate::error::Result;
use crate::metrics::answers::RunAnswers;
use crate::metrics::measured::Measured;
use crate::metrics::rows::PredictionRow;

/// The keys of `kind = "commonest-answers"`.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Number of answers shown per point.
    #[schemars(range(min = 1, max = 20))]
    answers: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { answers: 8 }
    }
}

impl Plot for CommonestAnswers {
    type Keys = Keys;

    const NAME: &'static str = "commonest-answers";
    const SHOWS: &'static str =
        "what is said most often about invented people, and how common those answers are elsewhere";
    const TITLE: &'static str = "What the model says of people it has never read of";
    const NEEDS: Need = Need::InventedAnswers;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn origin(_: &Keys, measured: &Measured) -> String {
        format!("{}.", measured.origin)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let points = pooled::gather(measured, |run| !run.invented.is_empty(), counts_of)?;
        if points.is_empty() {
            return Ok(Gathered::Nothing(
                "no run was asked about invented people (`evaluate.invented`)".into(),
            ));
        }
        Ok(Gathered::Figure(Self {
            answers: keys.answers,
            split: measured.splits.clone(),
            points,
        }))
    }

    /// Groups of horizontal bars.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let height = |point: &AnswersOfPoint| HEADING + point.bars_height(self.answers) + BELOW;
        let tallest = self.points.iter().map(height).fold(0.0, f64::max);
        let shown = PointSubset::of_height(self.points.len(), tallest);
        let names = pooled::names(&self.points);
        let there = |source: &Source| self.points.iter().any(|p| p.total(*source) > 0);
        let legend = |source: Source| {
            let words = source.words("said of", &self.split);
            (Mark::Square(source.ink()), words)
        };
        let legend = SOURCES.into_iter().filter(there).map(legend);
        let caption = self.explained(caption, &names, &shown);
        let page = Page::new(caption, legend.collect());
        let width = WIDTH - 2.0 * MARGIN;
        let names = names.only(&shown).fitted(TEXT_SIZE, width);
        let points = shown.among(&self.points);
        let all: f64 = points.iter().map(height).sum();
        page.figure(all - 12.0, &self.rows(), |canvas, area| {
            let mut top = area.top - 8.0;
            for (point, name) in points.iter().zip(&names) {
                let numbers = point.numbers(self.answers);
                draw_heading(canvas, (name, &numbers), (MARGIN, top), width)?;
                point.draw_bars(canvas, self.answers, top + HEADING)?;
                top += height(point);
            }
            Ok(())
        })
    }
}

/// Commonest answers at each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommonestAnswers {
    /// Answers shown per point.
    answers: usize,
    /// The questions with which the invented people are compared, such as `dev`.
    split: String,
    /// One chart per point, stacked.
    points: Vec<AnswersOfPoint>,
}

/// How often each answer was given, or is right.
type Counts = BTreeMap<String, usize>;

/// One point of a sweep, with the counts of all [`SOURCES`].
type AnswersOfPoint = PooledPoint<[Counts; 4]>;

/// What is counted; its name is in the CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    /// Given to questions about invented people.
    Invented,
    /// Given to the questions of the split.
    Given,
    /// Reference answers of the split, if it has any.
    Gold,
    /// Right answers to the training questions.
    Training,
}

const SOURCES: [Source; 4] = [
    Source::Invented,
    Source::Given,
    Source::Gold,
    Source::Training,
];

fn counts_of(runs: &[RunAnswers]) -> [Counts; 4] {
    let said = |to: fn(&RunAnswers) -> &Vec<PredictionRow>| {
        let rows = runs.iter().flat_map(to);
        count_each(rows.map(|row| row.predicted.as_str()))
    };
    // Reference answers do not depend on the seed.
    let first = &runs[0];
    let training = first.training.iter();
    [
        said(|run| &run.invented),
        said(|run| &run.asked),
        count_each(first.asked.iter().filter_map(|row| row.gold.as_deref())),
        training
            .map(|row| (row.answer.clone(), row.questions))
            .collect(),
    ]
}

/// How often each answer occurs.
fn count_each<'a>(answers: impl Iterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::new();
    for answer in answers {
        *counts.entry(answer.to_owned()).or_default() += 1;
    }
    counts
}

/// One line of the figure's CSV: one bar.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    label: &'a str,
    answer: &'a str,
    /// `invented` and `given`: what the model said; `gold` and `training`: what is right.
    source: Source,
    number: usize,
    /// Total number of answers of this source.
    of: usize,
    share: f64,
}

/// Thickness of a bar, in px.
const BAR: f64 = 8.0;
/// Between the bars of two answers, in px.
const GAP: f64 = 14.0;
/// Left of the bars for the answers, in px.
const NAMES: f64 = 170.0;
/// Right of the bars for a number, in px.
const NUMBERS: f64 = 110.0;
/// Over a chart for its heading, in px.
const HEADING: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 12.0;
/// Space below a chart for tick labels and axis title, in px.
const BELOW: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 30.0;

impl Source {
    fn ink(self) -> Ink {
        match self {
            Self::Invented => OURS,
            Self::Given => SERIES[5],
            Self::Gold => SERIES[4],
            Self::Training => BASELINE.fade(0.6),
        }
    }

    /// What they are; `said of` people, or `answers about` them after a count.
    fn words(self, said: &str, split: &str) -> String {
        match self {
            Self::Invented => format!("{said} people never seen"),
            Self::Given => format!("{said} {split} people"),
            Self::Gold => format!("reference answers for {split} people"),
            Self::Training => "reference answers for training people".to_owned(),
        }
    }
}

impl AnswersOfPoint {
    fn counts(&self, source: Source) -> &Counts {
        &self.answers[source as usize]
    }

    fn total(&self, source: Source) -> usize {
        self.counts(source).values().sum()
    }

    /// How often an answer occurs, as a count and as a share of all.
    fn share(&self, source: Source, answer: &str) -> (usize, f64) {
        let number = self.counts(source).get(answer).copied().unwrap_or(0);
        (number, number as f64 / self.total(source).max(1) as f64)
    }

    /// The answers given most often about invented people, ties by name.
    fn commonest(&self, most: usize) -> Vec<&str> {
        let invented = self.counts(Source::Invented);
        let mut answers: Vec<(&String, &usize)> = invented.iter().collect();
        answers.sort_by_key(|(_, number)| Reverse(**number));
        let names = answers.into_iter().map(|(answer, _)| answer.as_str());
        names.take(most).collect()
    }

    fn sources(&self) -> impl Iterator<Item = Source> {
        SOURCES.into_iter().filter(|&source| self.total(source) > 0)
    }

    fn numbers(&self, most: usize) -> String {
        let (invented, asked) = (self.counts(Source::Invented), self.total(Source::Invented));
        let shown = self.commonest(most);
        let together: usize = shown.iter().map(|answer| invented[*answer]).sum();
        let seeds = seeds_in_short(&self.seeds);
        format!(
            "{} to {} ({seeds}); these {} make {} %",
            plural(invented.len(), "different answer", "different answers"),
            plural(asked, "question", "questions"),
            count(shown.len()),
            number(100.0 * together as f64 / asked.max(1) as f64, 0)
        )
    }

    fn bars_height(&self, answers: usize) -> f64 {
        let group = self.sources().count() as f64 * BAR + GAP;
        self.commonest(answers).len() as f64 * group.max(SMALL_SIZE * LINE_HEIGHT)
    }

    fn draw_bars(&self, canvas: &mut Canvas<'_>, answers: usize, top: f64) -> Result<()> {
        let height = self.bars_height(answers);
        let names = self.commonest(answers);
        let shares = names.iter().flat_map(|answer| {
            let share = move |source| self.share(source, answer).1;
            self.sources().map(share)
        });
        let mut axis = Axis::new(0.0, shares.fold(0.01, f64::max), 6);
        axis.last_number = 1.0;
        let chart = Chart {
            left: MARGIN + NAMES,
            right: WIDTH - MARGIN - NUMBERS,
            top,
            bottom: top + height,
        };
        let left = chart.left;
        chart.draw_across(canvas, &axis.ticks(100.0))?;
        chart.quantity_below(canvas, "share of the answers (%)")?;
        let group = height / names.len().max(1) as f64;
        let said = PointLabels::of(names.iter().copied()).fitted(TEXT_SIZE, NAMES - 12.0);
        for (i, answer) in names.iter().enumerate() {
            let (mut y, mut longest) = (top + i as f64 * group + GAP / 2.0, left);
            let middle = top + (i as f64 + 0.5) * group + TEXT_SIZE * 0.34;
            let words = match answer.trim() {
                "" => "(no answer)".to_owned(),
                _ => said[i].clone(),
            };
            canvas.text(&words, (left - 10.0, middle), Type::LABEL.end())?;
            for source in self.sources() {
                let end = chart.at(axis.share(self.share(source, answer).1), 0.0).0;
                canvas.rectangle((left, y), (end, y + BAR), source.ink())?;
                longest = longest.max(end);
                y += BAR;
            }
            // The share of the first bar, in its colour, to the right of the longest bar.
            let (times, share) = self.share(Source::Invented, answer);
            let words = format!("{} % ({})", number(100.0 * share, 1), count(times));
            let style = Type::new(SMALL_SIZE, Source::Invented.ink());
            canvas.text(&words, (longest + 8.0, middle), style)?;
        }
        canvas.polyline(&[(left, top), (left, chart.bottom)], 1.2, BLACK)
    }
}

impl CommonestAnswers {
    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let mut rows = vec![];
        for point in &self.points {
            for answer in point.commonest(self.answers) {
                rows.extend(point.sources().map(|source| {
                    let (number, share) = point.share(source, answer);
                    PlottedRow {
                        label: &point.label,
                        answer,
                        source,
                        number,
                        of: point.total(source),
                        share,
                    }
                }));
            }
        }
        rows
    }

    fn explained(&self, mut caption: Caption, names: &PointLabels, shown: &PointSubset) -> Caption {
        let totals = |source: Source| {
            let totals: Vec<usize> = self.points.iter().map(|p| p.total(source)).collect();
            let (least, most) = (totals.iter().min()?, totals.iter().max()?);
            let least = match least == most {
                true => String::new(),
                false => format!("{} to ", count(*least)),
            };
            let counted = source.words("answers about", &self.split);
            (*most > 0).then(|| format!("{least}{} {counted}", count(*most)))
        };
        let totals: Vec<String> = SOURCES.into_iter().filter_map(totals).collect();
        let numbers = match totals.is_empty() {
            true => String::new(),
            false => format!("; n = {}", totals.join(", ")),
        };
        caption.say(format!("Bar: share of all answers of its colour{numbers}."));
        pooled::explain(&mut caption, &self.points, "");
        let points = shown.points.iter().map(|&point| &self.points[point]);
        let answers = points.flat_map(|point| point.commonest(self.answers));
        caption.shown(shown, "points").labels(names).draws(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::drawn;
    use crate::plot::tests::gallery::{Label, chance};

    /// A figure of made-up values.
    pub fn made_up(points: usize, label: Label<'_>) -> Figure {
        let counts = |i: usize, k: usize| -> Counts {
            let places = [
                "London",
                "Lima",
                "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
                "Oslo",
                "Rome",
            ];
            let count = |(j, place): (usize, &&str)| {
                ((*place).to_owned(), 1 + (40.0 * chance(i + k, j)) as usize)
            };
            places.iter().enumerate().map(count).collect()
        };
        let point = |i: usize| AnswersOfPoint {
            label: label(i),
            seeds: vec![1],
            answers: [counts(i, 0), counts(i, 1), counts(0, 2), counts(0, 3)],
        };
        let figure = CommonestAnswers {
            answers: 5,
            split: "dev".to_owned(),
            points: (0..points).map(point).collect(),
        };
        drawn(&figure, "A figure of answers")
    }

    fn counts(pairs: &[(&str, usize)]) -> Counts {
        let own = |&(answer, number): &(&str, usize)| (answer.to_owned(), number);
        pairs.iter().map(own).collect()
    }

    fn figure() -> CommonestAnswers {
        CommonestAnswers {
            answers: 2,
            split: "dev".to_owned(),
            points: vec![AnswersOfPoint {
                label: "a".to_owned(),
                seeds: vec![1],
                answers: [
                    counts(&[("Lima", 2), ("London", 5), ("Oslo", 2), ("Rome", 1)]),
                    counts(&[("London", 3), ("Rome", 1)]),
                    counts(&[]),
                    counts(&[("London", 30), ("Lima", 70)]),
                ],
            }],
        }
    }

    #[test]
    fn the_table_holds_every_bar_and_equal_counts_go_by_name() {
        let drawn = figure().draw(Caption::default()).expect("drawn");
        let expected = "label,answer,source,number,of,share\n\
                        a,London,invented,5,10,0.5\na,London,given,3,4,0.75\n\
                        a,London,training,30,100,0.3\n\
                        a,Lima,invented,2,10,0.2\na,Lima,given,0,4,0.0\n\
                        a,Lima,training,70,100,0.7\n";
        assert_eq!(
            String::from_utf8(drawn.csv.clone()).expect("text"),
            expected
        );
        assert_eq!(drawn, figure().draw(Caption::default()).expect("drawn"));
    }

    #[test]
    fn words_say_how_many() {
        let mut figure = figure();
        assert_eq!(
            figure.points[0].numbers(2),
            "4 different answers to 10 questions (seed 1); these 2 make 70 %"
        );
        let caption = |figure: &CommonestAnswers| {
            let (names, shown) = (PointLabels::default(), PointSubset::of(1, 1));
            figure
                .explained(Caption::default(), &names, &shown)
                .finish()
        };
        let n = "n = 10 answers about people never seen, 4 answers about dev people, \
                 100 reference answers for training people.";
        assert!(caption(&figure).ends_with(n), "{}", caption(&figure));
        figure.points[0].seeds = vec![1, 2];
        assert!(caption(&figure).ends_with("pooled."));
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        CommonestAnswers::default()
            .draw(Caption::default())
            .expect("nothing");
        let mut figure = figure();
        figure.answers = 20;
        let long = "x漢 ".repeat(90);
        figure.points.push(AnswersOfPoint::default());
        figure.points.push(AnswersOfPoint {
            label: long.clone(),
            seeds: vec![],
            answers: [&[("", 9), (&long, usize::MAX >> 12)][..], &[], &[], &[]].map(counts),
        });
        let drawn = figure.draw(Caption::default()).expect("drawn");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
    }
}
