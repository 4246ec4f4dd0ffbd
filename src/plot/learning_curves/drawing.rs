//! The lines in their frame.

use super::frame::Frame;
use super::styles::{CROWDED, SeriesStyles, emphasised};
use super::{Curve, Kind, LearningCurves};
use crate::error::Result;
use crate::plot::theme::Ink;
use crate::plot::{Canvas, Chart, Point};

/// With more series than this, seeds are paler and bands are only in the CSV: overlapping bands would
/// hide the curves.
pub(super) const CROWD: usize = 4;

/// Radius of the dot of a validation.
const VALIDATION_RADIUS: f64 = 3.2;

pub(super) fn draw_curves(
    canvas: &mut Canvas<'_>,
    chart: &Chart,
    figure: &LearningCurves,
    curves: &[Curve],
    (frame, styles): (&Frame, &SeriesStyles),
) -> Result<()> {
    let is_crowded = figure.crowd() > CROWD;
    if !is_crowded {
        for curve in curves {
            let ink = styles.of_series[curve.series].ink;
            draw_band(canvas, chart, frame, curve, ink)?;
        }
    }
    let mut order: Vec<&Curve> = curves.iter().filter(|curve| styles.draws(curve)).collect();
    let is_own = |curve: &Curve| styles.of_series[curve.series] != CROWDED;
    order.sort_by_key(|curve| (is_own(curve), curve.weight));
    order.into_iter().try_for_each(|curve| {
        let seeds = figure.series[curve.series].traces.len();
        let pen = styles.of_series[curve.series];
        let pen = emphasised(pen, curve.weight, seeds, is_crowded);
        let place = |&(step, loss): &(f64, f64)| frame.place(chart, step, loss);
        let points: Vec<Point> = curve.samples.iter().map(place).collect();
        if curve.kind == Kind::Validation {
            let ink = styles.of_series[curve.series].ink;
            let mut within = points.iter().filter(|point| point.1 >= chart.top);
            within.try_for_each(|&point| canvas.dot(point, VALIDATION_RADIUS, ink))?;
        }
        if let [only] = points.as_slice() {
            return canvas.dot(*only, 1.5 + pen.width, pen.ink);
        }
        let parts = cut_above(&points, chart.top);
        let mut parts = parts.iter();
        parts.try_for_each(|part| canvas.curve(part, pen))
    })
}

/// The interval of a mean; what is outside the frame is cut.
fn draw_band(
    canvas: &mut Canvas<'_>,
    chart: &Chart,
    frame: &Frame,
    curve: &Curve,
    ink: Ink,
) -> Result<()> {
    if curve.band.len() < 2 {
        return Ok(());
    }
    let place = |step: f64, loss: f64| {
        let (x, y) = frame.place(chart, step, loss);
        (x, y.clamp(chart.top, chart.bottom))
    };
    let both = || curve.samples.iter().zip(&curve.band);
    let upper: Vec<Point> = both().map(|(s, band)| place(s.0, band.1)).collect();
    let lower: Vec<Point> = both().map(|(s, band)| place(s.0, band.0)).collect();
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
