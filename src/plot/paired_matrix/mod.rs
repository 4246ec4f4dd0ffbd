//! What `kind = "paired-matrix"` shows: the answers of every point of a sweep to the same questions, against those of
//! every other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fonts::{self, Face};
use super::text::{self, number, percent, plural};
use super::theme::{
    BLACK, GREY, GRID, Ink, LINE_HEIGHT, MARGIN, OURS, SMALL_SIZE, TEXT_SIZE, WIDTH, WORSE,
};
use super::{
    Canvas, Caption, Figure, Gathered, Need, NoKeys, Page, Plot, PointLabels, Type, draw_lines,
};
use crate::error::Result;
use crate::metrics::answers::{self, RunAnswers};
use crate::metrics::measured::{Measured, PointRows};
use crate::metrics::rows::PredictionRow;
use crate::metrics::statistics::{holm, mean, sign_flip_exact};

/// A question, its right answer, and its index among identical questions.
type Question = (String, String, usize);

impl Plot for PairedMatrix {
    type Keys = NoKeys;

    const NAME: &'static str = "paired-matrix";
    const SHOWS: &'static str = "which points differ on the same questions, pair by pair";
    const TITLE: &'static str = "Which points differ on the same questions";
    const NEEDS: Need = Need::JudgedPairs;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn gather(_: &NoKeys, measured: &Measured) -> Result<Gathered<Self>> {
        let points = answers::of_points(measured)?;
        if points.len() < 2 {
            return Ok(Gathered::Nothing(
                "fewer than two points have answers".into(),
            ));
        }
        // Only seeds that every point has: otherwise the accuracies would not be comparable.
        let shared = |seed: &u64| points.iter().all(|point| point.seeds().contains(seed));
        let seeds: Vec<u64> = measured.seeds.iter().copied().filter(shared).collect();
        if seeds.is_empty() {
            return Ok(Gathered::Nothing(
                "no seed is finished at every point".into(),
            ));
        }
        let right = points.iter().map(|point| right(point, &seeds));
        let right: Vec<BTreeMap<Question, usize>> = right.collect();
        if right.iter().any(BTreeMap::is_empty) {
            return Ok(Gathered::Nothing(
                "there is no reference answer to compare with".into(),
            ));
        }
        if right.iter().any(|own| !own.keys().eq(right[0].keys())) {
            return Ok(Gathered::Nothing(
                "the points were asked different questions".into(),
            ));
        }
        let side =
            |(point, right): (&PointRows<RunAnswers>, BTreeMap<Question, usize>)| AnsweredSide {
                label: point.label.clone(),
                right_seeds: right.into_values().collect(),
            };
        Ok(Gathered::Figure(Self {
            sides: points.iter().zip(right).map(side).collect(),
            seeds,
        }))
    }

    /// Differences in accuracy and their p values as a square of cells.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let (rows, sheet) = (self.rows(), Sheet::new(self));
        let page = Page::new(self.explained(caption, &sheet), vec![]);
        page.figure(sheet.height(), &rows, |canvas, area| {
            sheet.draw(canvas, area.top + sheet.above, self, &rows)
        })
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

/// How all points of a sweep did on the same questions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairedMatrix {
    /// One row and one column each.
    sides: Vec<AnsweredSide>,
    /// Seeds that every side was run with.
    seeds: Vec<u64>,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
struct AnsweredSide {
    label: String,
    /// For each question, in the same order on all sides, how many seeds answered it right.
    right_seeds: Vec<usize>,
}

/// One pair, a line of the figure's CSV.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PairRow {
    row: String,
    column: String,
    questions: usize,
    seeds: usize,
    row_accuracy: f64,
    column_accuracy: f64,
    /// The row's accuracy minus the column's, a fraction.
    difference: f64,
    p: f64,
    p_holm: f64,
}

/// Pairs with a p value below this count as different.
const SIGNIFICANT: f64 = 0.05;
/// Width of the names before the rows, in px: at least, and for long ones.
const NAMES: f64 = 170.0;
const MOST_NAMES: f64 = 300.0;
/// Longest name over a column, in px.
const UPRIGHT: f64 = 130.0;
/// Height of a row, in px.
const ROW: f64 = 40.0;
/// Widest column, in px.
const WIDEST: f64 = 96.0;
/// Columns narrower than this are coloured only, in px.
const NARROWEST: f64 = 46.0;

impl PairedMatrix {
    fn accuracy(&self, side: usize) -> f64 {
        let right: Vec<f64> = (self.sides[side].right_seeds.iter())
            .map(|&right| right as f64 / self.seeds.len().max(1) as f64)
            .collect();
        mean(&right).unwrap_or(0.0)
    }

    /// All pairs with the row after the column, row by row.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let below = |row| (0..row).map(move |column| (row, column));
        (0..self.sides.len()).flat_map(below).collect()
    }

    /// All sides answer the same questions with the same seeds. With several seeds the test is
    /// [`sign_flip_exact`], which with one is McNemar's; p values are corrected by [`holm`].
    fn rows(&self) -> Vec<PairRow> {
        let p_of = |&(row, column): &(usize, usize)| {
            let (a, b) = (&self.sides[column], &self.sides[row]);
            let both = a.right_seeds.iter().zip(&b.right_seeds);
            let differences: Vec<i64> = both.map(|(&a, &b)| b as i64 - a as i64).collect();
            sign_flip_exact(&differences)
        };
        let pairs = self.pairs();
        let p_values: Vec<f64> = pairs.iter().map(p_of).collect();
        let tests = p_values.iter().zip(holm(&p_values));
        let row = |((row, column), (&p, p_holm)): ((usize, usize), (&f64, f64))| PairRow {
            row: self.sides[row].label.clone(),
            column: self.sides[column].label.clone(),
            questions: self.sides[row].right_seeds.len(),
            seeds: self.seeds.len(),
            row_accuracy: self.accuracy(row),
            column_accuracy: self.accuracy(column),
            difference: self.accuracy(row) - self.accuracy(column),
            p,
            p_holm,
        };
        pairs.into_iter().zip(tests).map(row).collect()
    }

    fn explained(&self, mut caption: Caption, sheet: &Sheet) -> Caption {
        let questions = self.sides.first().map_or(0, |side| side.right_seeds.len());
        let pairs = plural(self.pairs().len(), "pair", "pairs");
        caption.say(format!(
            "n = {}, {}.",
            plural(questions, "question", "questions"),
            text::seeds(&self.seeds)
        ));
        if sheet.is_numbered() {
            caption.say("Columns are numbered like the rows.");
        }
        let cells = match sheet.numbers() {
            true => {
                "Diagonal: accuracy. Below it: the row's accuracy minus the column's, in percentage points. Above it: the p value of"
            }
            false => {
                "Below the diagonal: the row's accuracy minus the column's. Above it: coloured by the p value. The CSV has the numbers; p is of"
            }
        };
        let test = match self.seeds.len() {
            1 => "McNemar's exact test, two-sided,",
            _ => {
                "the exact sign-flip test over questions on how many seeds are right, two-sided (with one seed, McNemar's test),"
            }
        };
        caption.say(format!(
            "{cells} {test} after Holm's correction for {pairs}. Coloured: p < 0.05; blue, the row is better, \
             orange, worse. The test generalises to other questions for these trained models, not to other seeds."
        ));
        caption.labels(&sheet.names)
    }
}

/// Where the square stands, in px.
struct Sheet {
    names: PointLabels,
    /// What stands over each column; nothing where there is no room.
    headings: Vec<String>,
    /// Height of these headings.
    above: f64,
    left: f64,
    column: f64,
    sides: usize,
}

impl Sheet {
    fn new(figure: &PairedMatrix) -> Self {
        let names = PointLabels::of(figure.sides.iter().map(|side| side.label.as_str()));
        let (width, sides) = (WIDTH - 2.0 * MARGIN, figure.sides.len());
        // Wider only as far as the cells keep their numbers, or have none anyway.
        let spare = match width - NARROWEST * sides as f64 {
            spare if spare < NAMES => MOST_NAMES,
            spare => spare.min(MOST_NAMES),
        };
        let longest = fonts::widest(TEXT_SIZE, names.iter()) + 12.0 + numbers_width(sides);
        let left = MARGIN + longest.clamp(NAMES, spare);
        let column = ((WIDTH - MARGIN - left) / sides.max(1) as f64).min(WIDEST);
        let headings = match column < TEXT_SIZE * LINE_HEIGHT {
            true => numbered(sides, column),
            false => names.fitted(TEXT_SIZE, UPRIGHT),
        };
        Self {
            names,
            above: fonts::widest(TEXT_SIZE, &headings) + 6.0,
            headings,
            left,
            column,
            sides,
        }
    }

    /// Whether columns are too narrow for names, so that rows have numbers, and columns some of them.
    fn is_numbered(&self) -> bool {
        self.column < TEXT_SIZE * LINE_HEIGHT
    }

    /// Whether a cell has room for a number.
    fn numbers(&self) -> bool {
        self.column >= NARROWEST
    }

    fn row(&self) -> f64 {
        if self.numbers() {
            ROW
        } else {
            self.column.max(SMALL_SIZE * LINE_HEIGHT)
        }
    }

    fn height(&self) -> f64 {
        self.above + self.row() * self.sides as f64 + 2.0
    }

    fn draw(
        &self,
        canvas: &mut Canvas<'_>,
        top: f64,
        figure: &PairedMatrix,
        rows: &[PairRow],
    ) -> Result<()> {
        self.draw_names(canvas, top)?;
        for i in 0..self.sides {
            self.draw_cell(canvas, top, (i, i), GRID, &percent(figure.accuracy(i)))?;
        }
        for ((row, column), pair) in figure.pairs().into_iter().zip(rows) {
            let points = signed(pair.difference * 100.0);
            self.draw_cell(canvas, top, (row, column), shade(pair), &points)?;
            let grey = match pair.p_holm < SIGNIFICANT {
                true => GREY.fade(0.07),
                false => GREY.fade(0.0),
            };
            self.draw_cell(canvas, top, (column, row), grey, &p_value(pair.p_holm))?;
        }
        self.draw_grid(canvas, top)
    }

    fn draw_names(&self, canvas: &mut Canvas<'_>, top: f64) -> Result<()> {
        let row = self.row();
        let lines = if row >= ROW { 2 } else { 1 };
        let numbers = match self.is_numbered() {
            true => numbers_width(self.sides),
            false => 0.0,
        };
        let room = self.left - MARGIN - 12.0 - numbers;
        let style = Type::LABEL.end();
        let names = self.names.wrapped(TEXT_SIZE, room, lines);
        for (i, lines) in names.iter().enumerate() {
            let middle = top + (i as f64 + 0.5) * row;
            let top = middle - lines.len() as f64 * TEXT_SIZE * LINE_HEIGHT / 2.0;
            draw_lines(canvas, lines, (self.left - 10.0 - numbers, top), style)?;
            if self.is_numbered() {
                let ground = middle + SMALL_SIZE * 0.36;
                let place = (self.left - 10.0, ground);
                canvas.text(&(i + 1).to_string(), place, Type::SMALL.end())?;
            }
        }
        for (i, heading) in self.headings.iter().enumerate() {
            let x = self.left + (i as f64 + 0.5) * self.column + TEXT_SIZE * 0.34;
            canvas.upward_text(heading, (x, top - 8.0), Type::LABEL)?;
        }
        Ok(())
    }

    fn draw_cell(
        &self,
        canvas: &mut Canvas<'_>,
        top: f64,
        (row, column): (usize, usize),
        ink: Ink,
        words: &str,
    ) -> Result<()> {
        let left = self.left + column as f64 * self.column;
        let top = top + row as f64 * self.row();
        let (right, bottom) = (left + self.column, top + self.row());
        canvas.rectangle((left, top), (right, bottom), ink)?;
        if !self.numbers() {
            return Ok(());
        }
        let ground = (top + bottom) / 2.0 + SMALL_SIZE * 0.36;
        let style = Type::new(SMALL_SIZE, BLACK).middle();
        canvas.text(words, ((left + right) / 2.0, ground), style)
    }

    fn draw_grid(&self, canvas: &mut Canvas<'_>, top: f64) -> Result<()> {
        let x = |column: usize| self.left + self.column * column as f64;
        let y = |row: usize| top + self.row() * row as f64;
        let (right, bottom) = (x(self.sides), y(self.sides));
        for i in 0..=self.sides {
            canvas.polyline(&[(x(i), top), (x(i), bottom)], 1.0, GRID)?;
            canvas.polyline(&[(self.left, y(i)), (right, y(i))], 1.0, GRID)?;
        }
        Ok(())
    }
}

/// Room for the number of a row after its name, in px.
fn numbers_width(sides: usize) -> f64 {
    14.0 + fonts::width(Face::Text, SMALL_SIZE, &sides.to_string())
}

/// The numbers of the columns, as many of them as stand apart.
fn numbered(sides: usize, column: f64) -> Vec<String> {
    let apart = [1, 2, 5, 10, 20, 50, 100].into_iter();
    let mut apart = apart.filter(|&each| each as f64 * column >= TEXT_SIZE * LINE_HEIGHT);
    let each = apart.next().unwrap_or(sides.max(1));
    let number = |number: usize| match number.is_multiple_of(each) {
        true => number.to_string(),
        false => String::new(),
    };
    (1..=sides).map(number).collect()
}

/// Colour of a difference: none where it may be chance, else deeper the larger it is.
fn shade(pair: &PairRow) -> Ink {
    let depth = 0.2 + 0.4 * pair.difference.abs().min(0.5) / 0.5;
    match pair.difference > 0.0 {
        _ if pair.p_holm >= SIGNIFICANT => OURS.fade(0.0),
        true => OURS.fade(depth),
        false => WORSE.fade(depth),
    }
}

fn signed(points: f64) -> String {
    let words = number(points, 1);
    if points > 0.0 && words != "0.0" {
        return format!("+{words}");
    }
    words
}

fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "<0.001".to_owned(),
        p if p < 0.1 => number(p, 3),
        p => number(p, 2),
    }
}

#[cfg(test)]
mod tests;
