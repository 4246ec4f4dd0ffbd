//! Horizontal bars with their labels to the left: for any number of points and any names.

use super::marks::{BODY, DIAMOND, highest, legend};
use super::{AccuracyBars, Bar};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::metrics::statistics::Estimate;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Anchor, Canvas, Type, paint};
use crate::plot::fonts::{self, Face};
use crate::plot::page::{Page, draw_lines};
use crate::plot::point_labels::PointLabels;
use crate::plot::seed_values::tally;
use crate::plot::theme::{
    BASELINE, BLACK, GREY, GRID, Ink, LINE_HEIGHT, MARGIN, OURS, REPORTED, SMALL_SIZE, TEXT_SIZE,
    WHITE, WIDTH,
};

/// Longest line of a name, in px.
const NAME: f64 = 350.0;
/// Lines of a name.
const NAME_LINES: usize = 2;
/// Thickness of a bar, in px.
const BAR: f64 = 14.0;
/// Above and below the name of a row, together, for each of its lines, in px.
const BETWEEN: f64 = 6.0;
/// Between two columns of numbers, in px.
const GUTTER: f64 = 14.0;
/// A plot area taller than this has its numbers at the top as well, in px.
const TALL: f64 = 600.0;
/// Room for a line of numbers at the axis, in px.
const NUMBERS: f64 = 8.0 + SMALL_SIZE * LINE_HEIGHT;

pub(super) fn draw(figure: &AccuracyBars, names: &PointLabels, caption: &str) -> Result<String> {
    let names = names.wrapped(TEXT_SIZE, NAME, NAME_LINES);
    let columns = Column::all(figure);
    let rows = rows(&names);
    let height = rows.last().map_or(0.0, |row| row.bottom);
    let head = if height > TALL { NUMBERS } else { 0.0 };
    let page = Page {
        title: figure.title.clone(),
        caption: caption.to_owned(),
        legend: legend(figure, &constant(figure)),
        vertical: "",
        right: 0.0,
        below: 6.0 + NUMBERS + TEXT_SIZE * LINE_HEIGHT,
    };
    let layout = page.layout_of(head + height);
    let lines = names.iter().flatten();
    let longest = lines.map(|line| fonts::width(Face::Text, TEXT_SIZE, line));
    let mut axis = Axis::new(0.0, 1.02 * highest(figure), 6);
    axis.last_number = *figure.measure.0.unit.range().end();
    let chart = Chart {
        left: MARGIN + longest.fold(0.0, f64::max) + 12.0,
        right: WIDTH
            - MARGIN
            - columns
                .iter()
                .map(|column| column.width + GUTTER)
                .sum::<f64>(),
        top: layout.top + head,
        bottom: layout.bottom,
        axis,
    };
    paint(layout.height, |canvas| {
        page.draw_words(canvas, &layout)?;
        chart.draw_grid(canvas, figure.measure.0, head > 0.0)?;
        chart.draw_baseline(canvas, figure)?;
        for ((bar, row), name) in figure.bars.iter().zip(&rows).zip(&names) {
            chart.draw_bar(canvas, (figure, bar), chart.top + row.middle)?;
            let lines = name.len() as f64 * TEXT_SIZE * LINE_HEIGHT;
            let top = chart.top + row.middle - lines / 2.0;
            let style = Type::new(TEXT_SIZE, BLACK).anchored(Anchor::End);
            draw_lines(canvas, name, (chart.left - 10.0, top), style)?;
        }
        let mut end = chart.right;
        for column in &columns {
            end += GUTTER + column.width;
            let style = Type::new(SMALL_SIZE, column.ink).anchored(Anchor::End);
            for (cell, row) in column.cells.iter().zip(&rows) {
                let ground = chart.top + row.middle + SMALL_SIZE * 0.36;
                canvas.text(cell, (end, ground), style)?;
            }
        }
        let ground = [(chart.left, chart.top), (chart.left, chart.bottom)];
        canvas.polyline(&ground, 1.2, BLACK)
    })
}

/// Legend text of the baseline with its numbers, which are shown nowhere else.
fn constant(figure: &AccuracyBars) -> String {
    figure.baseline.as_ref().map_or_else(String::new, |one| {
        let value = figure.show(one.run.estimate.value);
        format!("{}: {value}, {}", one.label, tally(&[one.run]))
    })
}

/// A column of numbers right of the bars, one per row.
struct Column {
    cells: Vec<String>,
    ink: Ink,
    /// Width of the widest cell, in px.
    width: f64,
}

impl Column {
    fn new(ink: Ink, cells: impl Iterator<Item = String>) -> Self {
        let cells: Vec<String> = cells.collect();
        let widths = cells
            .iter()
            .map(|cell| fonts::width(Face::Text, SMALL_SIZE, cell));
        let width = widths.fold(0.0, f64::max);
        Self { cells, ink, width }
    }

    /// The columns: value, counts, and reported accuracy.
    fn all(figure: &AccuracyBars) -> Vec<Self> {
        let bars = || figure.bars.iter();
        let reported = |bar: &Bar| bar.reported().map(|(accuracy, _)| figure.show(accuracy));
        let (values, tallies): (Vec<_>, Vec<_>) = bars().map(|bar| figure.numbers(bar)).unzip();
        let mut columns = vec![
            Self::new(BLACK, values.into_iter().map(Option::unwrap_or_default)),
            Self::new(BLACK, tallies.into_iter()),
        ];
        if bars().any(|bar| reported(bar).is_some()) {
            let cells = bars().map(|bar| reported(bar).unwrap_or_default());
            columns.push(Self::new(REPORTED, cells));
        }
        columns
    }
}

/// Position of a row, in px below the top of the first one.
struct Row {
    middle: f64,
    bottom: f64,
}

fn rows(names: &[Vec<String>]) -> Vec<Row> {
    let mut top = 0.0;
    let row = |name: &Vec<String>| {
        let lines = name.len().max(1) as f64;
        let height = lines * (TEXT_SIZE * LINE_HEIGHT + BETWEEN);
        let row = Row {
            middle: top + height / 2.0,
            bottom: top + height,
        };
        top = row.bottom;
        row
    };
    names.iter().map(row).collect()
}

/// The plot area, in px.
struct Chart {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    axis: Axis,
}

impl Chart {
    fn x(&self, value: f64) -> f64 {
        self.axis.pixel(value, self.left, self.right)
    }

    fn draw_grid(
        &self,
        canvas: &mut Canvas<'_>,
        measure: &Measure,
        numbers_above: bool,
    ) -> Result<()> {
        let style = Type::new(SMALL_SIZE, GREY).anchored(Anchor::Middle);
        for number in self.axis.numbers() {
            let x = self.x(number);
            canvas.polyline(&[(x, self.top), (x, self.bottom)], 1.0, GRID)?;
            let label = self.axis.label(number, measure.unit.scale());
            canvas.text(&label, (x, self.bottom + 6.0 + SMALL_SIZE), style)?;
            if numbers_above {
                canvas.text(&label, (x, self.top - 8.0), style)?;
            }
        }
        let quantity = Type::new(TEXT_SIZE, BLACK).anchored(Anchor::Middle);
        let baseline = self.bottom + NUMBERS + TEXT_SIZE;
        let middle = (self.left + self.right) / 2.0;
        canvas.text(measure.axis, (middle, baseline), quantity)
    }

    fn draw_baseline(&self, canvas: &mut Canvas<'_>, figure: &AccuracyBars) -> Result<()> {
        let Some(baseline) = &figure.baseline else {
            return Ok(());
        };
        let Estimate { value, interval } = baseline.run.estimate;
        if let Some(interval) = interval {
            let (low, high) = (self.x(interval.low), self.x(interval.high));
            let band = BASELINE.fade(0.16);
            canvas.rectangle((low, self.top), (high, self.bottom), band)?;
        }
        let x = self.x(value);
        canvas.dashes((x, self.top), (x, self.bottom), 1.5, BASELINE)
    }

    /// Body, whisker, dots, and the diamond of a reported number, around the height `y`.
    fn draw_bar(
        &self,
        canvas: &mut Canvas<'_>,
        (figure, bar): (&AccuracyBars, &Bar),
        y: f64,
    ) -> Result<()> {
        let (top, bottom) = (y - BAR / 2.0, y + BAR / 2.0);
        if let Some(height) = figure.height(bar) {
            let end = self.x(height.mean);
            canvas.rectangle((self.left, top), (end, bottom), WHITE)?;
            canvas.rectangle((self.left, top), (end, bottom), OURS.fade(BODY))?;
            canvas.polyline(&[(end, top), (end, bottom)], 2.0, OURS)?;
            if let Some(interval) = height.interval {
                let ends = [self.x(interval.low), self.x(interval.high)];
                canvas.polyline(&[(ends[0], y), (ends[1], y)], 1.6, BLACK)?;
                for x in ends {
                    canvas.polyline(&[(x, y - 4.0), (x, y + 4.0)], 1.6, BLACK)?;
                }
            }
        }
        let runs = &bar.runs;
        if runs.len() > 1 {
            for (i, run) in runs.iter().enumerate() {
                // Stacked vertically, so that equal seeds stay visible.
                let aside = (i as f64 + 0.5) / runs.len() as f64 - 0.5;
                let place = (self.x(run.estimate.value), y + aside * BAR);
                canvas.dot(place, 3.4, WHITE)?;
                canvas.dot(place, 2.6, OURS)?;
            }
        }
        match bar.reported() {
            Some((accuracy, _)) => canvas.hollow_diamond((self.x(accuracy), y), DIAMOND, REPORTED),
            None => Ok(()),
        }
    }
}
