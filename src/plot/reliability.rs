//! How often answers of a given probability are right: accuracy against confidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fonts::{self, Face};
use super::pooled;
use super::text::{count, percent, plural, seeds_in_short};
use super::theme::{BLACK, GREY, Ink, OURS, Pen, SMALL_SIZE, WHITE};
use super::{
    Canvas, Caption, Chart, Figure, Gathered, Mark, Need, Panels, Plot, PooledPoint, Type,
};
use crate::error::Result;
use crate::metrics::answers::RunAnswers;
use crate::metrics::measured::Measured;
use crate::metrics::statistics::{
    Bin, DEFAULT_BINS, ScoredAnswer, ece_under_calibration, equal_width_bins,
    expected_calibration_error, wilson_95_of,
};

/// The keys of `kind = "reliability-diagram"`.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Number of bins of equal width.
    #[schemars(range(min = 1, max = 20))]
    bins: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { bins: DEFAULT_BINS }
    }
}

impl Plot for ReliabilityDiagram {
    type Keys = Keys;

    const NAME: &'static str = "reliability-diagram";
    const SHOWS: &'static str = "accuracy against predicted probability, in bins: calibration";
    const TITLE: &'static str = "Is an answer right as often as it is probable?";
    const NEEDS: Need = Need::JudgedAnswers;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let judged = |runs: &[RunAnswers]| runs.iter().flat_map(RunAnswers::judged).collect();
        let points = pooled::gather(measured, |run| !run.judged().is_empty(), judged)?;
        if points.is_empty() {
            return Ok(Gathered::Nothing(
                "no answer of a model has a reference answer to compare with".into(),
            ));
        }
        Ok(Gathered::Figure(Self {
            bins: keys.bins,
            points,
        }))
    }

    /// Accuracy against mean probability in bins, and where perfect calibration would be.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let panels = Panels {
            caption: self.explained(caption),
            legend: vec![
                (Mark::Dot(OURS), "accuracy of a bin".to_owned()),
                (
                    Mark::Line(Pen::dashed(GREY)),
                    "perfect calibration".to_owned(),
                ),
                (Mark::Square(BAR), "share of the answers".to_owned()),
            ],
            vertical: "answers that are right (%)",
            points: &self.points,
            numbers: &|point| point.numbers(self.bins.max(1)),
            above: 30.0,
        };
        panels.figure(&self.rows(), |canvas, chart, point| {
            point.draw(canvas, chart, &self.bins(point))
        })
    }
}

/// Answers and their correctness at each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReliabilityDiagram {
    /// Bins of equal width from 0 to 1, at least 1.
    bins: usize,
    /// One chart per point.
    points: Vec<ReliabilityPoint>,
}

/// One point of a sweep: the probability of each answer, and whether it was right.
type ReliabilityPoint = PooledPoint<Vec<ScoredAnswer>>;

/// One line of the figure's CSV; fractions throughout.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `bin`, or `ece`: the error over all bins.
    kind: &'static str,
    label: &'a str,
    /// Ends of the bin, the upper one included.
    above: Option<f64>,
    at_most: Option<f64>,
    answers: usize,
    right: usize,
    mean_confidence: Option<f64>,
    accuracy: Option<f64>,
    /// Wilson's interval of the accuracy.
    low_95: Option<f64>,
    high_95: Option<f64>,
    /// Fraction of all answers that is in the bin.
    share: f64,
    ece: Option<f64>,
    /// The 97.5 % quantile of the error of a perfectly calibrated model.
    ece_by_chance: Option<f64>,
}

/// Colour of the background bars, which show how the answers are distributed over the bins.
const BAR: Ink = Ink::solid(0xb8, 0xb8, 0xb8).fade(0.5);

impl ReliabilityPoint {
    fn right(&self) -> usize {
        self.answers.iter().filter(|(_, right)| *right).count()
    }

    /// Wilson's interval of a bin's accuracy, with the bin's answers per seed as the number of questions.
    fn interval(&self, bin: &Bin) -> Option<(f64, f64)> {
        let questions = bin.answers as f64 / self.seeds.len().max(1) as f64;
        Some(wilson_95_of(bin.accuracy()?, questions))
    }

    fn error(&self, bins: usize) -> Option<f64> {
        expected_calibration_error(&equal_width_bins(&self.answers, bins))
    }

    /// Upper end of the error of a calibrated model; `None` for several seeds, because answers to the same
    /// questions are not independent.
    fn chance(&self, bins: usize) -> Option<f64> {
        let [seed] = self.seeds.as_slice() else {
            return None;
        };
        let confidences: Vec<f64> = self.answers.iter().map(|(p, _)| *p).collect();
        ece_under_calibration(&confidences, bins, *seed).map(|error| error.ends().1)
    }

    fn numbers(&self, bins: usize) -> String {
        let (n, right) = (count(self.answers.len()), count(self.right()));
        let mut words = format!("{right} of {n} right ({})", seeds_in_short(&self.seeds));
        if let Some(error) = self.error(bins) {
            words += &format!("; ECE {}", percent(error));
        }
        if let Some(chance) = self.chance(bins) {
            words += &format!(", by chance up to {}", percent(chance));
        }
        words
    }

    fn draw(&self, canvas: &mut Canvas<'_>, chart: &Chart, bins: &[Bin]) -> Result<()> {
        let counts = Type::SMALL.middle();
        let mut free_from = f64::NEG_INFINITY;
        for bin in bins.iter().filter(|bin| bin.answers > 0) {
            let share = share(bin, self.answers.len());
            let (low, high) = (chart.at(bin.low, 0.0), chart.at(bin.high, share));
            canvas.rectangle((low.0 + 1.0, low.1), (high.0 - 1.0, high.1), BAR)?;
            let words = count(bin.answers);
            let half = fonts::width(Face::Text, SMALL_SIZE, &words) / 2.0;
            let middle = (low.0 + high.0) / 2.0;
            // A count that would overlap the previous one is only in the CSV.
            if middle - half >= free_from {
                canvas.text(&words, (middle, chart.top - 11.0), counts)?;
                free_from = middle + half + 4.0;
            }
        }
        canvas.dashes(chart.at(0.0, 0.0), chart.at(1.0, 1.0), 1.5, GREY)?;
        for bin in bins {
            let (Some(accuracy), Some(confidence), Some((low, high))) =
                (bin.accuracy(), bin.mean_confidence, self.interval(bin))
            else {
                continue;
            };
            let ends = [chart.at(confidence, low), chart.at(confidence, high)];
            canvas.polyline(&ends, 1.6, BLACK)?;
            for (x, y) in ends {
                canvas.polyline(&[(x - 5.0, y), (x + 5.0, y)], 1.6, BLACK)?;
            }
            let dot = chart.at(confidence, accuracy);
            canvas.dot(dot, 6.0, WHITE)?;
            canvas.dot(dot, 5.0, OURS)?;
        }
        Ok(())
    }
}

impl ReliabilityDiagram {
    fn bins(&self, point: &ReliabilityPoint) -> Vec<Bin> {
        equal_width_bins(&point.answers, self.bins.max(1))
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let mut rows = vec![];
        for point in &self.points {
            let all = point.answers.len();
            rows.extend(self.bins(point).iter().map(|bin| PlottedRow {
                kind: "bin",
                label: &point.label,
                above: Some(bin.low),
                at_most: Some(bin.high),
                answers: bin.answers,
                right: bin.right,
                mean_confidence: bin.mean_confidence,
                accuracy: bin.accuracy(),
                low_95: point.interval(bin).map(|i| i.0),
                high_95: point.interval(bin).map(|i| i.1),
                share: share(bin, all),
                ..PlottedRow::default()
            }));
            rows.push(PlottedRow {
                kind: "ece",
                label: &point.label,
                answers: all,
                right: point.right(),
                share: 1.0,
                ece: point.error(self.bins.max(1)),
                ece_by_chance: point.chance(self.bins.max(1)),
                ..PlottedRow::default()
            });
        }
        rows
    }

    /// The caption without the notes on what is left out.
    fn explained(&self, mut caption: Caption) -> Caption {
        let mut about = format!(
            "{} of equal width; above each the number of answers, in grey their share of all. \
             Dot: a bin's accuracy at its mean probability; whisker: Wilson's 95 % interval, over \
             questions. ECE: expected calibration error over these bins (Guo et al. 2017, eq. 3)",
            plural(self.bins.max(1), "bin", "bins")
        );
        let single = self.points.iter().any(|point| point.seeds.len() == 1);
        about += match single {
            true => "; by chance: the 97.5 % quantile of the ECE of a perfectly calibrated model.",
            false => ".",
        };
        caption.say(about);
        let hence = "; intervals count each question once, not once per seed";
        pooled::explain(&mut caption, &self.points, hence);
        caption
    }
}

fn share(bin: &Bin, all: usize) -> f64 {
    bin.answers as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::drawn;
    use crate::plot::tests::gallery::{Label, chance};

    /// A figure of made-up values.
    pub fn made_up(points: usize, label: Label<'_>) -> Figure {
        let point = |i: usize| ReliabilityPoint {
            label: label(i),
            seeds: vec![1],
            answers: (0..60)
                .map(|j| (chance(i, j), chance(i, j + 100) < chance(i, j)))
                .collect(),
        };
        let figure = ReliabilityDiagram {
            bins: 10,
            points: (0..points).map(point).collect(),
        };
        drawn(&figure, "A figure of calibration")
    }

    use crate::metrics::statistics::wilson_95;

    fn figure(seeds: &[u64]) -> ReliabilityDiagram {
        let one = [(0.9, true), (0.7, false), (0.2, false)];
        ReliabilityDiagram {
            bins: 2,
            points: vec![ReliabilityPoint {
                label: "a".to_owned(),
                seeds: seeds.to_vec(),
                answers: one.repeat(seeds.len()),
            }],
        }
    }

    #[test]
    fn the_table_holds_bins_and_error() {
        let drawn = figure(&[4]).draw(Caption::default()).expect("drawn");
        assert_eq!(drawn, figure(&[4]).draw(Caption::default()).expect("drawn"));
        let text = String::from_utf8(drawn.csv).expect("text");
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
        assert_eq!(lines[0][..4], ["kind", "label", "above", "at_most"]);
        assert_eq!(lines[1][..6], ["bin", "a", "0.0", "0.5", "1", "0"]);
        assert_eq!(lines[2][..6], ["bin", "a", "0.5", "1.0", "2", "1"]);
        let number = |row: usize, column: usize| lines[row][column].parse::<f64>().expect("one");
        assert_eq!((number(2, 6), number(2, 7)), (0.8, 0.5));
        assert_eq!((number(2, 8), number(2, 9)), wilson_95(1, 2));
        assert!((number(3, 11) - 0.8 / 3.0).abs() < 1e-12);
        assert!(number(3, 12) > 0.0);
        assert_eq!(lines[3][2..4], ["", ""], "the error has no bin");
    }

    #[test]
    fn seeds_on_the_same_questions_do_not_narrow_an_interval() {
        let (one, three) = (figure(&[1]), figure(&[1, 2, 3]));
        let interval = |figure: &ReliabilityDiagram| {
            let point = &figure.points[0];
            point.interval(&figure.bins(point)[1])
        };
        assert_eq!(interval(&one), interval(&three));
        assert_eq!(three.points[0].chance(2), None);
        let caption = three
            .explained(Caption::new(String::new(), "lab".to_owned()))
            .finish();
        assert!(
            caption.contains("pooled") && !caption.contains("by chance"),
            "{caption}"
        );
        assert!(
            caption.starts_with("lab. 2 bins of equal width;"),
            "{caption}"
        );
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        ReliabilityDiagram::default()
            .draw(Caption::default())
            .expect("nothing");
        let point = |answers| ReliabilityPoint {
            label: "x漢 ".repeat(90),
            seeds: vec![],
            answers,
        };
        for bins in [1, 20] {
            let figure = ReliabilityDiagram {
                bins,
                points: vec![
                    point(vec![]),
                    point(vec![(0.0, true), (1.0, false)]),
                    point(
                        (0..9999)
                            .map(|i| (f64::from(i) / 9998.0, i % 3 == 0))
                            .collect(),
                    ),
                ],
            };
            let drawn = figure.draw(Caption::default()).expect("drawn");
            assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
        }
    }
}
