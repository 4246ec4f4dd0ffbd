//! Small charts of one kind beside each other, one for each point of a sweep; both axes are
//! fractions, from 0 to 100 %.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, Point, Type, paint};
use super::crowd::PointSubset;
use super::fonts::Face;
use super::page::{Mark, Page};
use super::point_labels::PointLabels;
use super::text;
use super::theme::{
    BLACK, GREY, GRID, LINE_HEIGHT, MARGIN, PLOT_HEIGHT, SMALL_SIZE, TEXT_SIZE, WIDTH,
};
use crate::error::Result;

/// The words of a figure of small charts.
#[derive(Debug)]
pub(super) struct Panels {
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) legend: Vec<(Mark, String)>,
    /// Quantity and unit of the horizontal axes.
    pub(super) horizontal: &'static str,
    /// Quantity and unit of the vertical axes.
    pub(super) vertical: &'static str,
    /// What each chart is called.
    pub(super) names: PointLabels,
    /// The numbers under each name.
    pub(super) numbers: Vec<String>,
    /// Room between heading and chart, in px.
    pub(super) above: f64,
}

/// The plot area of one chart, in px.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// Between two charts, in px.
const GAP: f64 = 26.0;
/// Left of a chart for its numbers and its quantity, in px.
const AXIS: f64 = 64.0;
/// Over a chart for its heading, in px.
const HEADING: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 6.0;
/// Under a chart for numbers and quantity, in px.
const BELOW: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 14.0;
/// Height of a chart among several, in px.
const SMALL_HEIGHT: f64 = 280.0;

impl Panel {
    /// Where two fractions meet.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        (
            self.left + x * (self.right - self.left),
            self.bottom - y * (self.bottom - self.top),
        )
    }
}

/// Which of so many charts have room in a figure, with so much room between heading and chart, in px.
pub(super) fn shown(charts: usize, above: f64) -> PointSubset {
    let (columns, height) = grid(charts, above);
    let rows = PointSubset::of_height(charts.div_ceil(columns), height + GAP);
    PointSubset::of(charts, rows.points.len() * columns)
}

/// Charts in a row, and a row's height in px.
fn grid(charts: usize, above: f64) -> (usize, f64) {
    let (columns, chart) = match charts {
        0 | 1 => (1, PLOT_HEIGHT),
        _ => (2, SMALL_HEIGHT),
    };
    (columns, HEADING + above + chart + BELOW)
}

impl Panels {
    /// The figure with each chart filled by `fill`, which gets its number and its place.
    ///
    /// # Errors
    /// What `fill` returns.
    pub(super) fn draw(
        self,
        mut fill: impl FnMut(&mut Canvas<'_>, usize, &Panel) -> Result<()>,
    ) -> Result<String> {
        let number = self.numbers.len();
        let (columns, row_height) = grid(number, self.above);
        let rows = number.div_ceil(columns);
        let column_width = (WIDTH - 2.0 * MARGIN - GAP * (columns - 1) as f64) / columns as f64;
        let names = self.names.fitted(TEXT_SIZE, column_width);
        let page = Page {
            title: self.title,
            caption: self.caption,
            legend: self.legend,
            vertical: self.vertical,
            right: 0.0,
            below: 0.0,
        };
        let gaps = GAP * rows.saturating_sub(1) as f64;
        let layout = page.layout_of(rows as f64 * row_height + gaps - 8.0);
        paint(layout.height, |canvas| {
            page.draw_words(canvas, &layout)?;
            for (i, heading) in names.iter().zip(&self.numbers).enumerate() {
                let (row, column) = (i / columns, i % columns);
                let start = MARGIN + column as f64 * (column_width + GAP);
                let head = layout.top - 8.0 + row as f64 * (row_height + GAP);
                let top = head + HEADING + self.above;
                let panel = Panel {
                    left: start + AXIS,
                    // The last number stands around the end of its axis.
                    right: start + column_width - 14.0,
                    top,
                    bottom: head + row_height - BELOW,
                };
                draw_heading(canvas, heading, (start, head), column_width)?;
                draw_axes(canvas, &panel, start, self.horizontal, self.vertical)?;
                fill(canvas, i, &panel)?;
                let ground = [panel.at(0.0, 0.0), panel.at(1.0, 0.0)];
                canvas.polyline(&ground, 1.2, BLACK)?;
            }
            Ok(())
        })
    }
}

fn draw_heading(
    canvas: &mut Canvas<'_>,
    (name, numbers): (&String, &String),
    (x, top): Point,
    width: f64,
) -> Result<()> {
    let mut baseline = top;
    for (words, size, ink) in [(name, TEXT_SIZE, BLACK), (numbers, SMALL_SIZE, GREY)] {
        baseline += size * LINE_HEIGHT;
        let words = text::shorten(Face::Text, size, words, width);
        canvas.text(&words, (x, baseline), Type::new(size, ink))?;
    }
    Ok(())
}

fn draw_axes(
    canvas: &mut Canvas<'_>,
    panel: &Panel,
    start: f64,
    horizontal: &str,
    vertical: &str,
) -> Result<()> {
    let axis = Axis::new(0.0, 1.0, 5);
    let numbers = Type::new(SMALL_SIZE, GREY);
    for number in axis.numbers() {
        let (along, up) = (panel.at(number, 0.0), panel.at(0.0, number));
        canvas.polyline(&[along, panel.at(number, 1.0)], 1.0, GRID)?;
        canvas.polyline(&[up, panel.at(1.0, number)], 1.0, GRID)?;
        let label = axis.label(number, 100.0);
        let under = (along.0, along.1 + 6.0 + SMALL_SIZE);
        canvas.text(&label, under, numbers.anchored(Anchor::Middle))?;
        let before = (up.0 - 8.0, up.1 + SMALL_SIZE * 0.34);
        canvas.text(&label, before, numbers.anchored(Anchor::End))?;
    }
    let quantity = Type::new(TEXT_SIZE, BLACK).anchored(Anchor::Middle);
    let baseline = panel.bottom + 8.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE;
    let middle = (panel.left + panel.right) / 2.0;
    canvas.text(horizontal, (middle, baseline), quantity)?;
    let middle = (panel.top + panel.bottom) / 2.0;
    canvas.upward_text(vertical, (start + TEXT_SIZE * 0.7, middle), quantity)
}
