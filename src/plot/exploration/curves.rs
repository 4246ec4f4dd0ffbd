//! The measured quantities of an exploration against the varied one, one chart per quantity.

use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::styles::{Style, styles, told_apart};
use crate::error::Result;
use crate::plot::Figure;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::caption::Caption;
use crate::plot::crowd::PointSubset;
use crate::plot::page::{Mark, Page};
use crate::plot::point_labels::PointLabels;
use crate::plot::text::{plural, significant};
use crate::plot::theme::{
    BLACK, GREY, GRID, LINE_HEIGHT, MARGIN, PLOT_HEIGHT, SMALL_SIZE, Stroke, TEXT_SIZE, WIDTH,
};

/// Curves of an exploration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplorationCurves {
    /// The heading.
    pub title: String,
    /// How the caption begins: sizes, samples and seeds. What is drawn is added.
    pub caption: String,
    /// What was varied.
    pub horizontal: String,
    /// One chart each.
    pub panels: Vec<CurvePanel>,
}

/// One measured quantity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CurvePanel {
    /// What was measured.
    pub vertical: String,
    /// Whether its axis is logarithmic; values of 0 are not drawn then.
    pub is_logarithmic: bool,
    /// The curves, in their order.
    pub curves: Vec<ExploredCurve>,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExploredCurve {
    /// What it is called; the same name has the same colour in all charts.
    pub label: String,
    /// Whether somebody else reported what it measures.
    pub is_reported: bool,
    /// What was varied and what was measured, in order.
    pub points: Vec<Point>,
    /// The middle 90 % of the samples at each of them; empty where there are no samples.
    pub ranges: Vec<(f64, f64)>,
}

/// One line of the figure's CSV.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    label: &'a str,
    is_reported: bool,
    x_quantity: &'a str,
    x: f64,
    y_quantity: &'a str,
    y: f64,
    low_90: Option<f64>,
    high_90: Option<f64>,
}

/// Left of a chart for its numbers and its quantity, in px.
const AXIS: f64 = 82.0;
/// Between two charts, in px.
const GAP: f64 = 26.0;
/// Under a chart for numbers and quantity, in px.
const BELOW: f64 = (TEXT_SIZE + SMALL_SIZE) * LINE_HEIGHT + 14.0;
/// Below this only the rounding error of 64-bit floats, for numbers near 1, is left.
const ROUNDING: f64 = 1e-14;

impl ExplorationCurves {
    fn curves(&self) -> impl Iterator<Item = (&CurvePanel, &ExploredCurve)> {
        let panels = self.panels.iter();
        panels.flat_map(|panel| panel.curves.iter().map(move |curve| (panel, curve)))
    }

    /// Each name once, and whether it was reported.
    fn names(&self) -> Vec<(&str, bool)> {
        let mut names = vec![];
        for (_, curve) in self.curves() {
            let name = (curve.label.as_str(), curve.is_reported);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let mut rows = vec![];
        for (panel, curve) in self.curves() {
            let shown = curve.points.iter().enumerate();
            let shown = shown.filter(|(_, (_, y))| panel.shows(*y));
            rows.extend(shown.map(|(i, &(x, y))| PlottedRow {
                label: &curve.label,
                is_reported: curve.is_reported,
                x_quantity: &self.horizontal,
                x,
                y_quantity: &panel.vertical,
                y,
                low_90: curve.ranges.get(i).map(|range| range.0),
                high_90: curve.ranges.get(i).map(|range| range.1),
            }));
        }
        rows
    }

    fn full_caption(&self, names: &PointLabels, shown: &PointSubset) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        if shown.points.len() < names.iter().count() {
            let (own_look, all) = (shown.points.len(), names.iter().count());
            caption.say(format!("Coloured: {own_look} of {all} curves, evenly spread over the sweep; grey: the others."));
        }
        if self.curves().any(|(_, curve)| !curve.ranges.is_empty()) {
            caption
                .say("Marks are medians over the samples, whiskers span the middle 90 % of them.");
        }
        let to_nothing = |(panel, curve): (&CurvePanel, &ExploredCurve)| {
            let mut lows = curve.ranges.iter().map(|range| range.0);
            lows.any(|low| !panel.shows(low))
        };
        if self.curves().any(to_nothing) {
            caption.say("Whiskers that would reach 0 are left out.".to_owned());
        }
        let hidden: usize = self
            .curves()
            .map(|(panel, curve)| {
                curve
                    .points
                    .iter()
                    .filter(|(_, y)| !panel.shows(*y))
                    .count()
            })
            .sum();
        if hidden > 0 {
            let values = plural(hidden, "value", "values");
            caption.say(format!("{values} of 0 cannot stand on a logarithmic axis."));
        }
        let least = |(panel, curve): (&CurvePanel, &ExploredCurve)| {
            let mut shown = curve.points.iter().filter(|(_, y)| panel.shows(*y));
            panel.is_logarithmic && shown.any(|(_, y)| *y < ROUNDING)
        };
        if self.curves().any(least) {
            caption.say("Below about 1e-14 only the rounding error of 64-bit floats is left.");
        }
        if self.curves().any(|(_, curve)| curve.is_reported) {
            caption.say("Diamonds: a construction that was reported elsewhere, measured here.");
        }
        let axes = self.panels.iter().map(|panel| &panel.vertical);
        let axes = axes.chain([&self.horizontal]).map(String::as_str);
        caption.draws(axes).labels(names).finish()
    }
}

impl CurvePanel {
    fn shows(&self, y: f64) -> bool {
        y.is_finite() && (y > 0.0 || !self.is_logarithmic)
    }
}

/// Draws curves over linear or logarithmic axes.
///
/// # Errors
/// None that the caller can cause; the renderer's own pass through.
pub fn draw_exploration_curves(figure: &ExplorationCurves) -> Result<Figure> {
    let names = figure.names();
    let called = PointLabels::of(names.iter().map(|(name, _)| *name));
    let shown = told_apart(names.len());
    let caption = figure.full_caption(&called, &shown);
    let styles = styles(&names, &shown);
    let entry = |(name, style): (&String, &Style)| {
        let width = style.width.max(2.0);
        let mark = match (style.is_reported, style.stroke) {
            (true, _) => Mark::Diamond(style.ink),
            (_, Stroke::Whole) => Mark::Line(style.ink, width),
            (_, Stroke::Dashed) => Mark::Dashed(style.ink, width),
        };
        (style.is_own || style.is_reported).then(|| (mark, name.clone()))
    };
    let page = Page {
        title: figure.title.clone(),
        caption: caption.clone(),
        legend: called.iter().zip(&styles).filter_map(entry).collect(),
        vertical: "",
        right: 0.0,
        below: 0.0,
    };
    let columns = figure.panels.len().clamp(1, 2);
    let rows = figure.panels.len().div_ceil(columns).max(1);
    let row = PLOT_HEIGHT + BELOW + GAP;
    let layout = page.layout_of(rows as f64 * row - GAP);
    let column = (WIDTH - 2.0 * MARGIN - GAP * (columns - 1) as f64) / columns as f64;
    let xs: Vec<f64> = figure
        .curves()
        .flat_map(|(_, c)| &c.points)
        .map(|p| p.0)
        .collect();
    let drawing = paint(layout.height, |canvas| {
        page.draw_words(canvas, &layout)?;
        for (i, panel) in figure.panels.iter().enumerate() {
            let start = MARGIN + (i % columns) as f64 * (column + GAP);
            let top = layout.top + (i / columns) as f64 * row;
            let ends = |(low, high): &(f64, f64)| [*low, *high];
            let points = panel.curves.iter().flat_map(|c| &c.points).map(|p| p.1);
            let ranges = panel.curves.iter().flat_map(|c| &c.ranges).flat_map(ends);
            let ys: Vec<f64> = points.chain(ranges).collect();
            let chart = Chart {
                start,
                left: start + AXIS,
                right: start + column - 12.0,
                top,
                bottom: top + PLOT_HEIGHT,
                across: Scale::across(&xs),
                up: Scale::around(&ys, panel.is_logarithmic),
            };
            chart.draw_axes(canvas, &figure.horizontal, &panel.vertical)?;
            let styled = panel.curves.iter().filter_map(|curve| {
                let name = (curve.label.as_str(), curve.is_reported);
                let place = names.iter().position(|own| *own == name)?;
                Some((curve, styles[place]))
            });
            let (own, crowd): (Vec<_>, Vec<_>) = styled.partition(|(_, style)| style.is_own);
            for (curve, style) in crowd.into_iter().chain(own) {
                chart.draw_curve(canvas, curve, style)?;
            }
        }
        Ok(())
    })?;
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows())
}

/// The plot area of one chart, in px, and its scales.
struct Chart {
    /// Left end of the room for the vertical axis.
    start: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    across: Scale,
    up: Scale,
}

impl Chart {
    fn at(&self, x: f64, y: f64) -> Point {
        (
            self.left + x * (self.right - self.left),
            self.bottom - y * (self.bottom - self.top),
        )
    }

    fn draw_axes(&self, canvas: &mut Canvas<'_>, horizontal: &str, vertical: &str) -> Result<()> {
        let numbers = Type::new(SMALL_SIZE, GREY);
        for (place, label) in self.across.numbers() {
            let foot = self.at(place, 0.0);
            canvas.polyline(&[foot, self.at(place, 1.0)], 1.0, GRID)?;
            let under = (foot.0, foot.1 + 6.0 + SMALL_SIZE);
            canvas.text(&label, under, numbers.anchored(Anchor::Middle))?;
        }
        for (place, label) in self.up.numbers() {
            let foot = self.at(0.0, place);
            canvas.polyline(&[foot, self.at(1.0, place)], 1.0, GRID)?;
            let before = (foot.0 - 8.0, foot.1 + SMALL_SIZE * 0.34);
            canvas.text(&label, before, numbers.anchored(Anchor::End))?;
        }
        canvas.polyline(&[self.at(0.0, 0.0), self.at(1.0, 0.0)], 1.2, BLACK)?;
        let quantity = Type::new(TEXT_SIZE, BLACK).anchored(Anchor::Middle);
        let baseline = self.bottom + 8.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE;
        canvas.text(
            horizontal,
            ((self.left + self.right) / 2.0, baseline),
            quantity,
        )?;
        let middle = (self.top + self.bottom) / 2.0;
        canvas.upward_text(vertical, (self.start + TEXT_SIZE * 0.7, middle), quantity)
    }

    fn draw_curve(
        &self,
        canvas: &mut Canvas<'_>,
        curve: &ExploredCurve,
        style: Style,
    ) -> Result<()> {
        let place = |x: f64, y: f64| self.at(self.across.place(x), self.up.place(y));
        let shown = curve.points.iter().filter(|(_, y)| self.up.shows(*y));
        let places: Vec<Point> = shown.map(|&(x, y)| place(x, y)).collect();
        canvas.curve(&places, style.stroke, style.width, style.ink)?;
        for (&(x, _), &(low, high)) in curve.points.iter().zip(&curve.ranges) {
            if self.up.shows(low) && self.up.shows(high) {
                canvas.polyline(&[place(x, low), place(x, high)], 1.4, style.ink)?;
            }
        }
        for &place in &places {
            match style.is_reported {
                true => canvas.hollow_diamond(place, 6.5, style.ink)?,
                false => canvas.dot(place, style.width / 2.0 + 1.0, style.ink)?,
            }
        }
        // A mark that stands alone is read, not compared along a curve.
        if let ([(_, y)], [place]) = (curve.points.as_slice(), places.as_slice()) {
            let beside = (place.0 + 10.0, place.1 - 4.0);
            canvas.text(&significant(*y), beside, Type::new(SMALL_SIZE, BLACK))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::plot::gallery::{Label, chance};

    /// A figure of made-up values.
    pub fn made_up(points: usize, label: Label<'_>) -> Figure {
        let curve = |i: usize| ExploredCurve {
            label: label(i),
            is_reported: i == 1,
            points: (0..12)
                .map(|x| {
                    (
                        f64::from(x),
                        10f64.powf(-f64::from(x) * (0.2 + chance(i, 1))),
                    )
                })
                .collect(),
            ranges: vec![],
        };
        let panel = |vertical: &str| CurvePanel {
            vertical: vertical.to_owned(),
            is_logarithmic: true,
            curves: (0..points).map(curve).collect(),
        };
        let curves = ExplorationCurves {
            title: "A figure of explorations".to_owned(),
            caption: "made-up values.".to_owned(),
            horizontal: "\u{3b2}".to_owned(),
            panels: vec![panel("error"), panel("largest weight")],
        };
        draw_exploration_curves(&curves).expect("drawn")
    }

    fn figure() -> ExplorationCurves {
        let curve = |label: &str, is_reported, points: &[Point]| ExploredCurve {
            label: label.to_owned(),
            is_reported,
            points: points.to_vec(),
            ranges: points
                .iter()
                .map(|(_, y)| (y / 2.0, y * 2.0))
                .take(1)
                .collect(),
        };
        ExplorationCurves {
            title: "Averaging".to_owned(),
            caption: "lab".to_owned(),
            horizontal: "beta".to_owned(),
            panels: vec![CurvePanel {
                vertical: "error".to_owned(),
                is_logarithmic: true,
                curves: vec![
                    curve("ours", false, &[(0.0, 0.5), (10.0, 1e-16), (20.0, 0.0)]),
                    curve("theirs", true, &[(0.5, 0.75)]),
                ],
            }],
        }
    }

    #[test]
    fn the_table_holds_what_is_drawn() {
        let drawn = draw_exploration_curves(&figure()).expect("drawn");
        let text = String::from_utf8(drawn.csv.clone()).expect("text");
        let expected = "label,is_reported,x_quantity,x,y_quantity,y,low_90,high_90\n\
                        ours,false,beta,0.0,error,0.5,0.25,1.0\n\
                        ours,false,beta,10.0,error,1e-16,,\n\
                        theirs,true,beta,0.5,error,0.75,0.375,1.5\n";
        assert_eq!(text, expected);
        assert_eq!(drawn, draw_exploration_curves(&figure()).expect("drawn"));
        assert!(!drawn.svg.contains("<text"));
    }

    #[test]
    fn the_caption_says_what_is_not_seen() {
        let caption = figure().full_caption(&PointLabels::default(), &told_apart(0));
        assert!(caption.contains("1 value of 0 cannot stand"), "{caption}");
        assert!(caption.contains("rounding"), "{caption}");
        assert!(caption.contains("reported elsewhere"), "{caption}");
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        draw_exploration_curves(&ExplorationCurves::default()).expect("nothing");
        let mut figure = figure();
        figure.panels.push(CurvePanel::default());
        figure.panels[0].curves[0].points = vec![(f64::MAX, f64::MAX), (1.0, f64::NAN)];
        let drawn = draw_exploration_curves(&figure).expect("drawn");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
    }
}
