//! Small multiples, one chart for each point of a sweep: a share of its answers against their probability, both
//! from 0 to 100 %.

use serde::{Deserialize, Serialize};

use super::Figure;
use super::axis::Axis;
use super::canvas::Canvas;
use super::caption::Caption;
use super::chart::{Chart, draw_heading};
use super::crowd::PointSubset;
use super::page::{Mark, Page};
use super::pooled::{self, PooledPoint};
use super::theme::{GRID, LINE_HEIGHT, MARGIN, PLOT_HEIGHT, SMALL_SIZE, TEXT_SIZE, WIDTH};
use crate::error::Result;

/// A figure of small multiples.
pub(super) struct Panels<'a, A> {
    /// Explains the charts; notes on which points are shown and what they share are appended.
    pub(super) caption: Caption,
    pub(super) legend: Vec<(Mark, String)>,
    /// Title of the vertical axes, with the unit.
    pub(super) vertical: &'static str,
    pub(super) points: &'a [PooledPoint<A>],
    /// The numbers under the name of a point.
    pub(super) numbers: &'a dyn Fn(&PooledPoint<A>) -> String,
    /// Room between heading and chart, in px.
    pub(super) above: f64,
}

/// Between two charts, in px.
const GAP: f64 = 26.0;
/// Space left of a chart for tick labels and axis title, in px.
const AXIS: f64 = 64.0;
/// Space above a chart for its heading, in px.
const HEADING: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 6.0;
/// Height of a chart among several, in px.
const SMALL_HEIGHT: f64 = 280.0;

impl<A> Panels<'_, A> {
    /// Draws as many points as have room; `fill` draws into each chart, and `rows` become the CSV.
    pub(super) fn figure<'r, Row: Serialize + Deserialize<'r>>(
        self,
        rows: &[Row],
        fill: impl Fn(&mut Canvas<'_>, &Chart, &PooledPoint<A>) -> Result<()>,
    ) -> Result<Figure> {
        let all = self.points.len();
        let (columns, height) = match all {
            0 | 1 => (1, PLOT_HEIGHT),
            _ => (2, SMALL_HEIGHT),
        };
        let row_height = HEADING + self.above + height + Chart::BELOW;
        let fitting = PointSubset::of_height(all.div_ceil(columns), row_height + GAP);
        let shown = PointSubset::of(all, fitting.points.len() * columns);
        let names = pooled::names(self.points);
        let caption = self.caption.shown(&shown, "points").labels(&names);
        let page = Page::new(caption, self.legend);
        let width = (WIDTH - 2.0 * MARGIN - GAP * (columns - 1) as f64) / columns as f64;
        let names = names.only(&shown).fitted(TEXT_SIZE, width);
        let rows_shown = names.len().div_ceil(columns);
        let gaps = GAP * rows_shown.saturating_sub(1) as f64;
        let plot_height = rows_shown as f64 * row_height + gaps - 8.0;
        page.figure(plot_height, rows, |canvas, area| {
            for (i, (name, &point)) in names.iter().zip(&shown.points).enumerate() {
                let (row, column) = (i / columns, i % columns);
                let start = MARGIN + column as f64 * (width + GAP);
                let head = area.top - 8.0 + row as f64 * (row_height + GAP);
                let chart = Chart {
                    left: start + AXIS,
                    // The last tick label is centred on the end of its axis.
                    right: start + width - 14.0,
                    top: head + HEADING + self.above,
                    bottom: head + row_height - Chart::BELOW,
                };
                let point = &self.points[point];
                let numbers = (self.numbers)(point);
                draw_heading(canvas, (name, &numbers), (start, head), width)?;
                draw_axes(canvas, &chart, start, self.vertical)?;
                fill(canvas, &chart, point)?;
                chart.draw_ground(canvas)?;
            }
            Ok(())
        })
    }
}

fn draw_axes(canvas: &mut Canvas<'_>, chart: &Chart, start: f64, vertical: &str) -> Result<()> {
    for (place, label) in Axis::new(0.0, 1.0, 5).ticks(100.0) {
        canvas.polyline(&[chart.at(place, 0.0), chart.at(place, 1.0)], 1.0, GRID)?;
        canvas.polyline(&[chart.at(0.0, place), chart.at(1.0, place)], 1.0, GRID)?;
        chart.number_below(canvas, place, &label)?;
        chart.number_before(canvas, place, &label)?;
    }
    chart.quantity_below(canvas, "probability of the answer (%)")?;
    chart.quantity_before(canvas, start, (vertical, TEXT_SIZE))
}
