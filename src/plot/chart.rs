//! Boxes on a canvas, and plot areas with their grid lines, tick labels and axis titles.

use super::axis::Ticks;
use super::canvas::{Canvas, Point, Type};
use super::fonts::Face;
use super::text::shorten;
use super::theme::{
    BLACK, GREY, GRID, LINE_HEIGHT, MARGIN, PLOT_HEIGHT, SMALL_SIZE, TEXT_SIZE, WIDTH,
};
use crate::error::Result;

/// A box, in px; `left` < `right`, `top` < `bottom`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// A plot area.
pub(super) type Chart = Area;

impl Area {
    /// A box of this width and height around a point.
    pub(super) fn around((x, y): Point, (width, height): (f64, f64)) -> Self {
        Self {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        }
    }

    /// The area that both cover, in square px.
    pub(super) fn shared(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    pub(super) fn size(&self) -> f64 {
        (self.right - self.left) * (self.bottom - self.top)
    }

    /// The point of the box nearest to `to`.
    pub(super) fn nearest(&self, to: Point) -> Point {
        (
            to.0.clamp(self.left, self.right),
            to.1.clamp(self.top, self.bottom),
        )
    }
}

/// As a plot area.
impl Area {
    /// Space below a chart for tick labels and axis title, in px.
    pub(super) const BELOW: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 14.0;

    /// The point at these fractions of the width, from the left, and of the height, from the bottom.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        (
            self.left + x * (self.right - self.left),
            self.bottom - y * (self.bottom - self.top),
        )
    }

    /// Vertical grid lines, with tick labels below them.
    pub(super) fn draw_across(&self, canvas: &mut Canvas<'_>, ticks: &Ticks) -> Result<()> {
        for (x, label) in ticks {
            canvas.polyline(&[self.at(*x, 0.0), self.at(*x, 1.0)], 1.0, GRID)?;
            self.number_below(canvas, *x, label)?;
        }
        Ok(())
    }

    /// Tick labels above the chart, for one so tall that those below are far away.
    pub(super) fn numbers_above(&self, canvas: &mut Canvas<'_>, ticks: &Ticks) -> Result<()> {
        for (x, label) in ticks {
            let (x, top) = self.at(*x, 1.0);
            canvas.text(label, (x, top - 8.0), Type::SMALL.middle())?;
        }
        Ok(())
    }

    /// Horizontal grid lines, with tick labels to their left.
    pub(super) fn draw_up(&self, canvas: &mut Canvas<'_>, ticks: &Ticks) -> Result<()> {
        for (y, label) in ticks {
            canvas.polyline(&[self.at(0.0, *y), self.at(1.0, *y)], 1.0, GRID)?;
            self.number_before(canvas, *y, label)?;
        }
        Ok(())
    }

    pub(super) fn number_below(&self, canvas: &mut Canvas<'_>, x: f64, label: &str) -> Result<()> {
        let foot = self.at(x, 0.0);
        let place = (foot.0, foot.1 + 6.0 + SMALL_SIZE);
        canvas.text(label, place, Type::SMALL.middle())
    }

    pub(super) fn number_before(&self, canvas: &mut Canvas<'_>, y: f64, label: &str) -> Result<()> {
        let foot = self.at(0.0, y);
        let place = (foot.0 - 8.0, foot.1 + SMALL_SIZE * 0.34);
        canvas.text(label, place, Type::SMALL.end())
    }

    /// The title of the horizontal axis, below its tick labels.
    pub(super) fn quantity_below(&self, canvas: &mut Canvas<'_>, words: &str) -> Result<()> {
        let baseline = self.bottom + 8.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE;
        let place = ((self.left + self.right) / 2.0, baseline);
        canvas.text(words, place, Type::LABEL.middle())
    }

    /// The title of the vertical axis, rotated to read upwards, at the left border `start`.
    pub(super) fn quantity_before(
        &self,
        canvas: &mut Canvas<'_>,
        start: f64,
        (words, size): (&str, f64),
    ) -> Result<()> {
        let place = (start + TEXT_SIZE * 0.7, (self.top + self.bottom) / 2.0);
        canvas.upward_text(words, place, Type::new(size, BLACK).middle())
    }

    /// The line of the horizontal axis.
    pub(super) fn draw_ground(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        canvas.polyline(&[self.at(0.0, 0.0), self.at(1.0, 0.0)], 1.2, BLACK)
    }
}

/// Charts in one column, or in two if there are several.
pub(super) struct Grid {
    charts: usize,
    columns: usize,
    /// Width of a column, in px.
    width: f64,
    /// Space above a chart for its heading, in px.
    above: f64,
}

impl Grid {
    /// Between two charts, in px.
    const GAP: f64 = 26.0;
    /// Space left of a chart for tick labels and axis title, in px.
    const AXIS: f64 = 82.0;

    pub(super) fn of(charts: usize, above: f64) -> Self {
        let columns = charts.clamp(1, 2);
        let gaps = Self::GAP * (columns - 1) as f64;
        Self {
            charts,
            columns,
            width: (WIDTH - 2.0 * MARGIN - gaps) / columns as f64,
            above,
        }
    }

    fn row(&self) -> f64 {
        self.above + PLOT_HEIGHT + Chart::BELOW + Self::GAP
    }

    /// Height of all charts, in px.
    pub(super) fn height(&self) -> f64 {
        self.charts.div_ceil(self.columns).max(1) as f64 * self.row() - Self::GAP
    }

    /// Width of a chart with its axis, in px.
    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// Where the column of a chart starts, and the chart, below `top`.
    pub(super) fn place(&self, chart: usize, top: f64) -> (f64, Chart) {
        let start = MARGIN + (chart % self.columns) as f64 * (self.width + Self::GAP);
        let top = top + (chart / self.columns) as f64 * self.row() + self.above;
        let chart = Chart {
            left: start + Self::AXIS,
            right: start + self.width - 12.0,
            top,
            bottom: top + PLOT_HEIGHT,
        };
        (start, chart)
    }
}

/// The heading of a chart: a name, and below it numbers, shortened to `width` px.
pub(super) fn draw_heading(
    canvas: &mut Canvas<'_>,
    (name, numbers): (&str, &str),
    (x, top): Point,
    width: f64,
) -> Result<()> {
    let numbers = shorten(Face::Text, SMALL_SIZE, numbers, width);
    let mut baseline = top;
    for (words, size, ink) in [(name, TEXT_SIZE, BLACK), (&numbers, SMALL_SIZE, GREY)] {
        baseline += size * LINE_HEIGHT;
        canvas.text(words, (x, baseline), Type::new(size, ink))?;
    }
    Ok(())
}
