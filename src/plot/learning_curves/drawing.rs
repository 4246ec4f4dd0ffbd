//! The lines in their frame.

use super::frame::Frame;
use super::styles::{SeriesStyle, SeriesStyles};
use super::{Curve, LearningCurves};
use crate::error::Result;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::page::{Layout, Page};
use crate::plot::point_labels::PointLabels;
use crate::plot::theme::{BLACK, GREY, GRID, Ink, LINE_HEIGHT, SMALL_SIZE, Stroke, TEXT_SIZE};

/// With more series than this, seeds are paler and bands are only in the CSV: overlapping bands would
/// hide the curves.
pub(super) const CROWD: usize = 4;

/// Number of series that have a run.
pub(super) fn crowd(figure: &LearningCurves) -> usize {
    let shown = figure.series.iter().filter(|s| !s.traces.is_empty());
    shown.count()
}

pub(super) fn draw(
    figure: &LearningCurves,
    curves: &[Curve],
    frame: &Frame,
    (styles, names): (&SeriesStyles, &PointLabels),
    caption: &str,
) -> Result<String> {
    let page = Page {
        title: figure.title.clone(),
        caption: caption.to_owned(),
        legend: styles.legend(names),
        vertical: "loss (nats per scored token)",
        right: 18.0,
        below: 14.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE * LINE_HEIGHT,
    };
    let layout = page.layout();
    paint(layout.height, |canvas| {
        page.draw(canvas, &layout, &frame.losses, 1.0)?;
        draw_steps(canvas, &layout, &frame.steps, &figure.stage)?;
        let is_crowded = crowd(figure) > CROWD;
        for curve in curves {
            if !is_crowded {
                let ink = styles.of_series[curve.series].ink();
                draw_band(canvas, &layout, frame, curve, ink)?;
            }
        }
        let mut order: Vec<&Curve> = curves.iter().filter(|curve| styles.draws(curve)).collect();
        let is_own = |curve: &Curve| styles.of_series[curve.series] != SeriesStyle::Grey;
        order.sort_by_key(|curve| (is_own(curve), curve.weight));
        order.into_iter().try_for_each(|curve| {
            let seeds = figure.series[curve.series].traces.len();
            let style = styles.of_series[curve.series];
            let (width, opacity, stroke) = style.pen(curve.weight, seeds, is_crowded);
            let ink = style.ink().fade(style.ink().opacity * opacity);
            draw_curve(canvas, &layout, frame, curve, (width, ink, stroke))
        })
    })
}

fn draw_steps(canvas: &mut Canvas<'_>, layout: &Layout, axis: &Axis, stage: &str) -> Result<()> {
    let numbers = Type::new(SMALL_SIZE, GREY).anchored(Anchor::Middle);
    for number in axis.numbers() {
        let x = axis.pixel(number, layout.left, layout.right);
        canvas.polyline(&[(x, layout.bottom), (x, layout.top)], 1.0, GRID)?;
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
    (width, ink, stroke): (f64, Ink, Stroke),
) -> Result<()> {
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
        .try_for_each(|part| canvas.curve(part, stroke, width, ink))
}

/// The interval of a mean; what is outside the frame is cut.
fn draw_band(
    canvas: &mut Canvas<'_>,
    layout: &Layout,
    frame: &Frame,
    curve: &Curve,
    ink: Ink,
) -> Result<()> {
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
