//! Horizontal bars with their labels to the left: for any number of points and any names.

use super::marks::{DIAMOND, Ground, Place, highest, legend};
use super::{AccuracyBars, Bar};
use crate::error::Result;
use crate::plot::seed_values::tally;
use crate::plot::theme::{BLACK, Ink, LINE_HEIGHT, MARGIN, REPORTED, SMALL_SIZE, TEXT_SIZE, WIDTH};
use crate::plot::{Canvas, Caption, Chart, Figure, Page, PointLabels, Type, draw_lines, fonts};

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

pub(super) fn draw(figure: &AccuracyBars, names: &PointLabels, caption: Caption) -> Result<Figure> {
    let names = names.wrapped(TEXT_SIZE, NAME, NAME_LINES);
    let columns = columns(figure);
    let (middles, height) = rows(&names);
    let head = if height > TALL { NUMBERS } else { 0.0 };
    // The numbers of the baseline are shown nowhere else.
    let constant = figure.baseline.as_ref().map_or_else(String::new, |one| {
        let value = figure.show(one.run.estimate.value);
        format!("{}: {value}, {}", one.label, tally(&[one.run]))
    });
    let page = Page {
        below: 6.0 + NUMBERS + TEXT_SIZE * LINE_HEIGHT,
        ..Page::new(caption, legend(figure, &constant))
    };
    let widths = columns.iter().map(|column| column.width + GUTTER);
    let numbers = widths.sum::<f64>();
    page.figure(head + height, &figure.rows(), |canvas, area| {
        let chart = Chart {
            left: MARGIN + fonts::widest(TEXT_SIZE, names.iter().flatten()) + 12.0,
            right: WIDTH - MARGIN - numbers,
            top: area.top + head,
            bottom: area.bottom,
        };
        let ground = Ground::new(figure, chart, 1.02 * highest(figure), false);
        draw_grid(canvas, &ground, head > 0.0)?;
        ground.draw_band(canvas)?;
        if let Some(baseline) = &figure.baseline {
            ground.draw_baseline(canvas, baseline.run.estimate.value)?;
        }
        for ((bar, middle), name) in figure.bars.iter().zip(&middles).zip(&names) {
            let (middle, half) = (chart.top + middle, BAR / 2.0);
            let place = Place { middle, half };
            ground.draw_body(canvas, bar, &place)?;
            ground.draw_marks(canvas, bar, &place)?;
            if let Some((value, _)) = bar.reported() {
                canvas.hollow_diamond(ground.at(middle, value), DIAMOND, REPORTED)?;
            }
            let lines = name.len() as f64 * TEXT_SIZE * LINE_HEIGHT;
            let corner = (chart.left - 10.0, middle - lines / 2.0);
            draw_lines(canvas, name, corner, Type::LABEL.end())?;
        }
        let mut end = chart.right;
        for column in &columns {
            end += GUTTER + column.width;
            let style = Type::new(SMALL_SIZE, column.ink).end();
            for (cell, middle) in column.cells.iter().zip(&middles) {
                let baseline = chart.top + middle + SMALL_SIZE * 0.36;
                canvas.text(cell, (end, baseline), style)?;
            }
        }
        canvas.polyline(&[chart.at(0.0, 1.0), chart.at(0.0, 0.0)], 1.2, BLACK)
    })
}

/// A column of numbers right of the bars, one per row.
struct Column {
    cells: Vec<String>,
    ink: Ink,
    /// Width of the widest cell, in px.
    width: f64,
}

/// The columns: value, counts, and reported accuracy.
fn columns(figure: &AccuracyBars) -> Vec<Column> {
    let column = |ink, cell: &dyn Fn(&Bar) -> String| {
        let cells: Vec<String> = figure.bars.iter().map(cell).collect();
        let width = fonts::widest(SMALL_SIZE, &cells);
        Column { cells, ink, width }
    };
    let reported = |bar: &Bar| bar.reported().map(|(value, _)| figure.show(value));
    let mut columns = vec![
        column(BLACK, &|bar| figure.numbers(bar).0.unwrap_or_default()),
        column(BLACK, &|bar| figure.numbers(bar).1),
    ];
    if figure.reported().next().is_some() {
        columns.push(column(REPORTED, &|bar| reported(bar).unwrap_or_default()));
    }
    columns
}

/// The middles of the rows, in px below the top of the first one, and the height of all.
fn rows(names: &[Vec<String>]) -> (Vec<f64>, f64) {
    let mut top = 0.0;
    let middle = |name: &Vec<String>| {
        let height = name.len().max(1) as f64 * (TEXT_SIZE * LINE_HEIGHT + BETWEEN);
        let middle = top + height / 2.0;
        top += height;
        middle
    };
    let middles = names.iter().map(middle).collect();
    (middles, top)
}

fn draw_grid(canvas: &mut Canvas<'_>, ground: &Ground<'_>, numbers_above: bool) -> Result<()> {
    let (chart, measure) = (ground.chart, ground.figure.measure.0);
    let ticks = ground.axis.ticks(measure.unit.scale());
    chart.draw_across(canvas, &ticks)?;
    if numbers_above {
        chart.numbers_above(canvas, &ticks)?;
    }
    chart.quantity_below(canvas, &measure.axis())
}
