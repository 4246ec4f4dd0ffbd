//! The frame that shows most of the curves, and the lines in it.

use super::{Curve, Kind, LONG, LearningCurves, Weight};
use crate::error::Result;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::page::{Layout, Mark, Page};
use crate::plot::theme::{BLACK, GREY, Ink, LINE_HEIGHT, MESH, SERIES, SMALL_SIZE, TEXT_SIZE};

/// With more series than this, seeds are paler and bands are left to the CSV: on one another they
/// would hide the curves.
pub(super) const CROWD: usize = 4;

/// How many series have anything to show.
pub(super) fn crowd(figure: &LearningCurves) -> usize {
    let shown = figure.series.iter().filter(|s| !s.traces.is_empty());
    shown.count()
}

/// The ranges of both axes.
#[derive(Debug)]
pub(super) struct Frame {
    steps: Axis,
    losses: Axis,
    /// Points of the runs above the vertical axis.
    pub(super) beyond: usize,
}

impl Frame {
    /// Everything, except that a long run's first fall does not press the rest into a line: where
    /// that would happen the axis ends a little above 98 % of all points.
    pub(super) fn around(curves: &[Curve]) -> Self {
        let samples = || curves.iter().flat_map(|c| &c.samples);
        let (first, last) = ends(samples().map(|s| s.0));
        let first = if first <= 0.05 * last {
            first.min(0.0)
        } else {
            first
        };
        let (least, most) = ends(samples().map(|s| s.1));
        let runs = || {
            curves
                .iter()
                .filter(|c| c.kind == Kind::Loss)
                .flat_map(|c| &c.samples)
        };
        let mut losses: Vec<f64> = runs().map(|s| s.1).collect();
        losses.sort_unstable_by(f64::total_cmp);
        let usual = losses.get(losses.len() * 98 / 100).copied().unwrap_or(most);
        let top = usual + 0.25 * (usual - least);
        let long = curves.iter().any(|c| c.samples.len() > LONG);
        let crop = long && usual > least && most - least > 1.6 * (usual - least);
        let losses = loss_axis(least, if crop { top } else { most });
        let beyond = runs().filter(|s| s.1 > losses.high).count();
        Self {
            steps: Axis::new(first, last, 7).whole(),
            losses,
            beyond,
        }
    }
}

/// Starts at 0 where that is near, for no loss is less; else just under the least.
fn loss_axis(least: f64, most: f64) -> Axis {
    let from = if least >= 0.0 && least < 0.2 * most {
        0.0
    } else {
        least
    };
    Axis::rounded(from, most, 6)
}

fn ends(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

pub(super) fn draw(
    figure: &LearningCurves,
    curves: &[Curve],
    frame: &Frame,
    caption: &str,
) -> Result<String> {
    let named = figure
        .series
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.label.trim().is_empty() && !s.traces.is_empty());
    let page = Page {
        title: figure.title.clone(),
        caption: caption.to_owned(),
        legend: named
            .map(|(i, s)| (Mark::Line(ink(i), 2.4), s.label.clone()))
            .collect(),
        vertical: "loss (nats per scored token)",
        right: 18.0,
        below: 14.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE * LINE_HEIGHT,
    };
    let layout = page.layout();
    paint(layout.height, |canvas| {
        page.draw(canvas, &layout, &frame.losses, 1.0)?;
        draw_steps(canvas, &layout, &frame.steps, &figure.stage)?;
        let crowd = crowd(figure);
        for curve in curves {
            if crowd <= CROWD {
                draw_band(canvas, &layout, frame, curve)?;
            }
        }
        let mut order: Vec<&Curve> = curves.iter().collect();
        order.sort_by_key(|curve| curve.weight);
        order.into_iter().try_for_each(|curve| {
            let seeds = figure.series[curve.series].traces.len();
            draw_curve(canvas, &layout, frame, curve, (seeds, crowd))
        })
    })
}

fn ink(series: usize) -> Ink {
    // From the eighth on the colours come again, paler.
    let opacity = if series < SERIES.len() { 1.0 } else { 0.5 };
    SERIES[series % SERIES.len()].fade(opacity)
}

fn draw_steps(canvas: &mut Canvas<'_>, layout: &Layout, axis: &Axis, stage: &str) -> Result<()> {
    let numbers = Type::new(SMALL_SIZE, GREY).anchored(Anchor::Middle);
    for number in axis.numbers() {
        let x = axis.pixel(number, layout.left, layout.right);
        canvas.polyline(&[(x, layout.bottom), (x, layout.top)], 1.0, MESH)?;
        let baseline = layout.bottom + 6.0 + SMALL_SIZE;
        canvas.text(&axis.label(number, 1.0), (x, baseline), numbers)?;
    }
    canvas.polyline(
        &[(layout.left, layout.bottom), (layout.right, layout.bottom)],
        1.2,
        BLACK,
    )?;
    let quantity = match stage {
        "" => "optimiser step".to_owned(),
        _ => format!("optimiser step ({stage})"),
    };
    let middle = (layout.left + layout.right) / 2.0;
    let baseline = layout.bottom + 8.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE;
    canvas.text(
        &quantity,
        (middle, baseline),
        Type::new(TEXT_SIZE, BLACK).anchored(Anchor::Middle),
    )
}

fn draw_curve(
    canvas: &mut Canvas<'_>,
    layout: &Layout,
    frame: &Frame,
    curve: &Curve,
    (seeds, crowd): (usize, usize),
) -> Result<()> {
    let ink = ink(curve.series);
    let (width, opacity) = match curve.weight {
        // Seeds lie on one another and darken.
        Weight::Faint => (0.7, 0.22 / seeds.max(1) as f64),
        Weight::Thin => (0.9, if crowd > CROWD { 0.35 } else { 0.6 }),
        Weight::Thick => (2.4, 1.0),
    };
    let ink = ink.fade(ink.opacity * opacity);
    let place = |&(step, loss): &(f64, f64)| {
        let x = frame.steps.pixel(step, layout.left, layout.right);
        (x, layout.y(&frame.losses, loss))
    };
    let points: Vec<Point> = curve.samples.iter().map(place).collect();
    if let [only] = points.as_slice() {
        return canvas.dot(*only, 1.5 + width, ink);
    }
    let parts = cut_above(&points, layout.top);
    parts
        .iter()
        .try_for_each(|part| canvas.polyline(part, width, ink))
}

/// The interval of a mean; what is outside the frame is cut.
fn draw_band(canvas: &mut Canvas<'_>, layout: &Layout, frame: &Frame, curve: &Curve) -> Result<()> {
    if curve.band.len() < 2 {
        return Ok(());
    }
    let y = |loss: f64| {
        layout
            .y(&frame.losses, loss)
            .clamp(layout.top, layout.bottom)
    };
    let x = |step: f64| frame.steps.pixel(step, layout.left, layout.right);
    let both = || curve.samples.iter().zip(&curve.band);
    let upper: Vec<Point> = both().map(|(s, band)| (x(s.0), y(band.1))).collect();
    let lower: Vec<Point> = both().map(|(s, band)| (x(s.0), y(band.0))).collect();
    let ink = ink(curve.series);
    canvas.band(&upper, &lower, ink.fade(ink.opacity * 0.16))
}

/// The parts of a line that are not above `top`, cut where it crosses.
fn cut_above(points: &[Point], top: f64) -> Vec<Vec<Point>> {
    let mut parts = vec![];
    let mut part: Vec<Point> = vec![];
    for (i, &(x, y)) in points.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| points[b]);
        if let Some((from_x, from_y)) = before.filter(|b| (b.1 < top) != (y < top)) {
            part.push((from_x + (top - from_y) / (y - from_y) * (x - from_x), top));
        }
        if y >= top {
            part.push((x, y));
        } else if !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts.retain(|part| part.len() > 1);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_leaves_the_frame() {
        let line = [
            (0.0, -10.0),
            (1.0, 10.0),
            (2.0, 10.0),
            (3.0, -10.0),
            (4.0, -10.0),
            (5.0, 10.0),
        ];
        let parts = cut_above(&line, 0.0);
        let first = vec![(0.5, 0.0), (1.0, 10.0), (2.0, 10.0), (2.5, 0.0)];
        assert_eq!(parts, [first, vec![(4.5, 0.0), (5.0, 10.0)]]);
        assert_eq!(cut_above(&line[1..3], 0.0), [line[1..3].to_vec()]);
        assert!(cut_above(&[], 0.0).is_empty());
    }
}
