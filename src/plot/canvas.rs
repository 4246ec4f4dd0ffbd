//! Lines, boxes, dots and text in logical pixels. The only file that uses `plotters`.
//!
//! plotters' backends count in whole pixels, so the drawing is made ten times larger and its root
//! scales it back: a curve then has a tenth of a pixel of resolution.

use plotters::backend::{DrawingBackend, SVGBackend};
pub(super) use plotters::style::text_anchor::HPos as Anchor;
use plotters::style::text_anchor::{Pos, VPos};
use plotters::style::{
    Color as _, FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, ShapeStyle, TextStyle,
};

use super::fonts::{self, Face};
use super::theme::{BLACK, GREY, Ink, Pen, SMALL_SIZE, Stroke, TEXT_SIZE, WHITE, WIDTH};
use crate::error::{Error, Result};

/// A place, in px from the upper left corner.
pub(super) type Point = (f64, f64);

/// Units of the backend per px.
const UNITS: f64 = 10.0;

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub(super) face: Face,
    /// Type size in px.
    pub(super) size: f64,
    pub(super) ink: Ink,
    /// Which end its position names.
    pub(super) anchor: Anchor,
}

impl Type {
    /// For names and axis titles.
    pub(super) const LABEL: Self = Self::new(TEXT_SIZE, BLACK);
    /// For tick labels and captions.
    pub(super) const SMALL: Self = Self::new(SMALL_SIZE, GREY);

    /// Text in the proportional font, from its left end.
    pub(super) const fn new(size: f64, ink: Ink) -> Self {
        Self {
            face: Face::Text,
            size,
            ink,
            anchor: Anchor::Left,
        }
    }

    /// The same in the monospaced font.
    pub(super) const fn mono(size: f64, ink: Ink) -> Self {
        Self {
            face: Face::Mono,
            ..Self::new(size, ink)
        }
    }

    /// The same, placed by its middle.
    pub(super) const fn middle(self) -> Self {
        Self {
            anchor: Anchor::Center,
            ..self
        }
    }

    /// The same, placed by its right end.
    pub(super) const fn end(self) -> Self {
        Self {
            anchor: Anchor::Right,
            ..self
        }
    }
}

/// A sheet to draw on.
pub(super) struct Canvas<'a> {
    backend: SVGBackend<'a>,
}

/// The SVG of a white sheet of `height` px with `drawing` on it; its text is still text.
pub(super) fn paint(
    height: f64,
    drawing: impl FnOnce(&mut Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    let (width, height) = (WIDTH.ceil(), height.ceil());
    let size = ((width * UNITS) as u32, (height * UNITS) as u32);
    let mut canvas = Canvas {
        backend: SVGBackend::with_string(&mut svg, size),
    };
    canvas.rectangle((0.0, 0.0), (width, height), WHITE)?;
    drawing(&mut canvas)?;
    canvas.backend.present().map_err(failed)?;
    drop(canvas);
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let view = format!("0 0 {} {}", size.0, size.1);
    let frame = format!(r#"width="{width}" height="{height}" viewBox="{view}""#);
    let root =
        format!(r#"<svg xmlns="http://www.w3.org/2000/svg" {frame} stroke-linejoin="round">"#);
    Ok(root + body)
}

impl Canvas<'_> {
    /// A filled box between two corners.
    pub(super) fn rectangle(&mut self, from: Point, to: Point, ink: Ink) -> Result<()> {
        let corners = [from, (to.0, from.1), to, (from.0, to.1)];
        self.polygon(&corners, ink)
    }

    /// The outline of a box.
    pub(super) fn frame(&mut self, from: Point, to: Point, width: f64, ink: Ink) -> Result<()> {
        let corners = [from, (to.0, from.1), to, (from.0, to.1), from];
        self.polyline(&corners, width, ink)
    }

    /// A filled shape.
    pub(super) fn polygon(&mut self, corners: &[Point], ink: Ink) -> Result<()> {
        let corners: Vec<_> = corners.iter().map(|&p| units(p)).collect();
        self.backend
            .fill_polygon(corners, &shape(ink, 0.0))
            .map_err(failed)
    }

    /// What lies between two lines, each as [`Canvas::polyline`] draws it.
    pub(super) fn band(&mut self, upper: &[Point], lower: &[Point], ink: Ink) -> Result<()> {
        let mut outline = thin(upper);
        outline.extend(thin(lower).into_iter().rev());
        self.polygon(&outline, ink)
    }

    /// A line `width` px wide through all points.
    ///
    /// Of points in one half-pixel column only the first, the lowest, the highest and the last are
    /// drawn: the same picture, in a file that does not grow with the length of a run.
    pub(super) fn polyline(&mut self, points: &[Point], width: f64, ink: Ink) -> Result<()> {
        let thinned = thin(points);
        if thinned.len() < 2 {
            return Ok(());
        }
        self.path(thinned.into_iter(), width, ink)
    }

    fn path(&mut self, points: impl Iterator<Item = Point>, width: f64, ink: Ink) -> Result<()> {
        let path: Vec<_> = points.map(units).collect();
        let drawn = self.backend.draw_path(path, &shape(ink, width));
        drawn.map_err(failed)
    }

    /// A curve, whole or in dashes.
    pub(super) fn curve(&mut self, points: &[Point], pen: Pen) -> Result<()> {
        let mut draw = |part: &[Point]| self.polyline(part, pen.width, pen.ink);
        match pen.stroke {
            Stroke::Whole => draw(points),
            Stroke::Dashed => dashes(points).iter().try_for_each(|dash| draw(dash)),
        }
    }

    /// A dashed line between two points.
    pub(super) fn dashes(&mut self, from: Point, to: Point, width: f64, ink: Ink) -> Result<()> {
        const PERIOD: f64 = 9.0;
        const DASH: f64 = 6.0;
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        // A line of length 0 has no dashes.
        let at = |along: f64| {
            let share = (along / length).min(1.0);
            let between = |from: f64, to: f64| from + share * (to - from);
            (between(from.0, to.0), between(from.1, to.1))
        };
        for i in 0..(length / PERIOD).ceil() as usize {
            let start = i as f64 * PERIOD;
            self.polyline(&[at(start), at(start + DASH)], width, ink)?;
        }
        Ok(())
    }

    /// A filled disc.
    pub(super) fn dot(&mut self, centre: Point, radius: f64, ink: Ink) -> Result<()> {
        let radius = (radius * UNITS).round() as u32;
        self.backend
            .draw_circle(units(centre), radius, &shape(ink, 0.0), true)
            .map_err(failed)
    }

    /// A diamond that is empty inside.
    pub(super) fn hollow_diamond(&mut self, centre: Point, radius: f64, ink: Ink) -> Result<()> {
        let (x, y) = centre;
        let ends = [(0.0, -radius), (radius, 0.0), (0.0, radius), (-radius, 0.0)];
        let corners = ends.map(|(right, down)| (x + right, y + down));
        self.polygon(&corners, WHITE)?;
        // Closed beyond its first edge, so that the first corner is joined as well.
        let outline = corners.iter().chain(&corners[..2]);
        self.path(outline.copied(), 2.0, ink)
    }

    /// A text on the base line through `position`.
    pub(super) fn text(&mut self, text: &str, position: Point, style: Type) -> Result<()> {
        self.turned_text(text, position, style, FontTransform::None)
    }

    /// A text that reads upwards, on the base line through `position`.
    pub(super) fn upward_text(&mut self, text: &str, position: Point, style: Type) -> Result<()> {
        self.turned_text(text, position, style, FontTransform::Rotate270)
    }

    fn turned_text(
        &mut self,
        text: &str,
        (x, y): Point,
        style: Type,
        turn: FontTransform,
    ) -> Result<()> {
        let (text, _) = fonts::drawable(style.face, text);
        if text.trim().is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        super::tests::gallery::note(&text, (x, y), style, matches!(turn, FontTransform::None));
        // plotters' SVG backend draws at size / 1.24 and puts the base line 0.76 em below the top.
        let (family, size) = (style.face.family(), style.size * UNITS * 1.24);
        let font = FontDesc::new(FontFamily::Name(family), size, FontStyle::Normal);
        let drop = 0.76 * style.size;
        let place = match turn {
            FontTransform::None => (x, y - drop),
            _ => (x - drop, y),
        };
        let ink = colour(style.ink);
        let text_style = TextStyle::from(font.transform(turn))
            .color(&ink)
            .pos(Pos::new(style.anchor, VPos::Top));
        self.backend
            .draw_text(&text, &text_style, units(place))
            .map_err(failed)
    }
}

fn units((x, y): Point) -> (i32, i32) {
    ((x * UNITS).round() as i32, (y * UNITS).round() as i32)
}

fn colour(ink: Ink) -> RGBAColor {
    let (red, green, blue) = ink.rgb;
    RGBAColor(red, green, blue, ink.opacity)
}

fn shape(ink: Ink, width: f64) -> ShapeStyle {
    colour(ink).stroke_width((width * UNITS).round() as u32)
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::run(format!("cannot draw a figure: {cause}"))
}

/// Per half-pixel column the first, the lowest, the highest and the last point, in their order.
///
/// Source: Jugel et al. 2014, *M4: a visualization-oriented time series data aggregation*.
fn thin(points: &[Point]) -> Vec<Point> {
    let column = |p: &Point| (p.0 * 2.0).floor() as i64;
    let mut thinned = vec![];
    for run in points.chunk_by(|a, b| column(a) == column(b)) {
        let by_height = |&a: &usize, &b: &usize| run[a].1.total_cmp(&run[b].1);
        let mut kept = vec![0, run.len() - 1];
        kept.extend((0..run.len()).min_by(by_height));
        kept.extend((0..run.len()).max_by(by_height));
        kept.sort_unstable();
        kept.dedup();
        thinned.extend(kept.into_iter().map(|i| run[i]));
    }
    thinned
}

/// The dashes of a curve that goes to the right.
///
/// Their length is measured along the horizontal axis, not along the curve: a noisy curve moves up and down
/// far more than forward, and its dashes would be too short to be seen.
fn dashes(points: &[Point]) -> Vec<Vec<Point>> {
    const PERIOD: f64 = 10.0;
    const DASH: f64 = 6.0;
    let begin = |x: f64| (x / PERIOD).floor() * PERIOD;
    // The next place at which a dash or a gap ends.
    let next_end = |x: f64| {
        let (dash, gap) = (begin(x) + DASH, begin(x) + PERIOD);
        if dash > x { dash } else { gap }
    };
    let is_drawn = |x: f64| x < begin(x) + DASH;
    let mut dashes = vec![];
    let mut dash: Vec<Point> = vec![];
    for (i, &(x, y)) in points.iter().enumerate() {
        let (mut from_x, from_y) = i.checked_sub(1).map_or((x, y), |before| points[before]);
        let (start_x, rise) = (from_x, (y - from_y) / (x - from_x));
        while next_end(from_x) <= x {
            let end = next_end(from_x);
            let place = (end, from_y + rise * (end - start_x));
            dash.push(place);
            if is_drawn(from_x) {
                dashes.push(std::mem::take(&mut dash));
            }
            from_x = end;
        }
        if is_drawn(x) && dash.last() != Some(&(x, y)) {
            dash.push((x, y));
        }
    }
    dashes.push(dash);
    dashes.retain(|dash| dash.len() > 1);
    dashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_lie_on_their_curve_and_leave_gaps() {
        let line: Vec<Point> = (0..=10)
            .map(|i| (f64::from(i) * 10.0, f64::from(i) * 5.0))
            .collect();
        let dashes = dashes(&line);
        assert_eq!(dashes.len(), 10);
        for (i, dash) in dashes.iter().enumerate() {
            let [first, .., last] = dash.as_slice() else {
                panic!("{dash:?}");
            };
            assert_eq!([first.0, last.0], [10.0 * i as f64, 10.0 * i as f64 + 6.0]);
            assert!(
                dash.iter().all(|(x, y)| (y - x / 2.0).abs() < 1e-9),
                "{dash:?}"
            );
        }
        assert!(super::dashes(&[(3.0, 1.0)]).is_empty());
        // Up and down within one dash.
        assert_eq!(
            super::dashes(&[(1.0, 1.0), (1.0, 9.0)]),
            [[(1.0, 1.0), (1.0, 9.0)]]
        );
    }

    #[test]
    fn thinning_keeps_every_extreme() {
        let points: Vec<Point> = (0..10_000)
            .map(|i| (f64::from(i) * 0.01, f64::from(i * 7919 % 1000)))
            .collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= 4 * 200, "{}", thinned.len());
        assert!(thinned.iter().any(|p| p.1 == 0.0) && thinned.iter().any(|p| p.1 == 999.0));
        assert_eq!(
            (thinned.first(), thinned.last()),
            (points.first(), points.last())
        );
        assert_eq!(thin(&points[..1]), points[..1]);
        assert!(thin(&[]).is_empty());
    }

    #[test]
    fn a_line_of_one_point_draws_nothing() {
        let empty = paint(10.0, |_| Ok(())).unwrap();
        let line = paint(10.0, |c| c.polyline(&[(1.0, 1.0)], 1.0, WHITE)).unwrap();
        assert_eq!(empty, line);
        assert!(
            empty.starts_with(r#"<svg xmlns="http://www.w3.org/2000/svg" width="900" height="10""#)
        );
    }
}
