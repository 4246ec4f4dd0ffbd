//! The measured quantities of an exploration against the varied one, one chart per quantity.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::metrics::artefacts::CURVES;
use crate::metrics::explored::{Construction, constructions, distinct, over_seeds, read};
use crate::metrics::measured::{Measured, PointRows};
use crate::metrics::rows::CurveRow;
use crate::plot::axis::ends;
use crate::plot::chart::Grid;
use crate::plot::styles::{self, Style};
use crate::plot::text::{plural, significant};
use crate::plot::theme::{BLACK, Pen, SMALL_SIZE, TEXT_SIZE};
use crate::plot::{
    Axis, Canvas, Caption, Chart, Figure, Gathered, Need, NoKeys, Page, Plot, Point, PointLabels,
    PointSubset, Type,
};

/// Curves of an exploration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplorationCurves {
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

impl Plot for ExplorationCurves {
    type Keys = NoKeys;

    const NAME: &'static str = "exploration-curves";
    const SHOWS: &'static str = "explorations only: the measured quantity against the varied one";
    const NEEDS: Need = Need::Curves;
    const IS_OF_EXPLORATION: bool = true;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[tests::made_up];

    fn gather(_: &NoKeys, measured: &Measured) -> Result<Gathered<Self>> {
        let points = read::<CurveRow>(measured, &CURVES)?;
        let all = || points.iter().flat_map(|point| &point.rows);
        let Some(first) = all().next() else {
            return Ok(Gathered::Nothing("no run has measured curves".into()));
        };
        let quantities = distinct(all().map(|row| &row.y_quantity));
        let panels = quantities.iter().map(|quantity| panel(quantity, &points));
        Ok(Gathered::Figure(Self {
            horizontal: first.x_quantity.clone(),
            panels: panels.collect(),
        }))
    }

    /// Curves over linear or logarithmic axes.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let names = self.names();
        let called = PointLabels::of(names.iter().map(|(name, _)| *name));
        let shown = styles::told_apart(names.len());
        let styles = styles::styles(&names, &shown);
        let caption = self.explained(caption, &called, &shown);
        let page = Page::new(caption, styles::legend(&called, &styles));
        let grid = Grid::of(self.panels.len(), 0.0);
        let xs = self.curves().flat_map(|(_, curve)| &curve.points);
        let (low, high) = ends(xs.map(|point| point.0));
        let space = SPACE * (high - low);
        let across = Axis::new(low - space, high + space, NUMBERS);
        page.figure(grid.height(), &self.rows(), |canvas, area| {
            for (i, panel) in self.panels.iter().enumerate() {
                let (start, chart) = grid.place(i, area.top);
                let plot = CurvePlot {
                    chart,
                    panel,
                    across: &across,
                    up: around(panel.extent(), panel.is_logarithmic),
                };
                plot.chart.draw_across(canvas, &across.ticks(1.0))?;
                plot.chart.draw_up(canvas, &plot.up.ticks(1.0))?;
                plot.chart.draw_ground(canvas)?;
                plot.chart.quantity_below(canvas, &self.horizontal)?;
                let vertical = (panel.vertical.as_str(), TEXT_SIZE);
                plot.chart.quantity_before(canvas, start, vertical)?;
                let styled = panel.curves.iter().filter_map(|curve| {
                    let name = (curve.label.as_str(), curve.is_reported);
                    let place = names.iter().position(|own| *own == name)?;
                    Some((curve, styles[place]))
                });
                let (own, crowd): (Vec<_>, Vec<_>) = styled.partition(|(_, style)| style.is_own);
                for (curve, style) in crowd.into_iter().chain(own) {
                    plot.draw(canvas, curve, style)?;
                }
            }
            Ok(())
        })
    }
}

/// The chart of one measured quantity.
fn panel(quantity: &str, points: &[PointRows<CurveRow>]) -> CurvePanel {
    let is_own = |row: &&CurveRow| row.y_quantity == quantity;
    let curve = |own: Construction<'_, CurveRow>| {
        let [points, ranges] = over_seeds(&own.rows);
        ExploredCurve {
            label: own.label,
            is_reported: own.is_reported,
            points,
            ranges,
        }
    };
    let all = constructions(points, |row| {
        is_own(&row).then_some((&*row.curve, row.is_reported))
    });
    let mut rows = points.iter().flat_map(|point| &point.rows);
    CurvePanel {
        vertical: quantity.to_owned(),
        is_logarithmic: rows.find(is_own).is_some_and(|row| row.y_is_logarithmic),
        curves: all.into_iter().map(curve).collect(),
    }
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

/// Approximate number of ticks on an axis.
const NUMBERS: usize = 9;
/// Empty space beside the outermost values of a horizontal axis, as a share of their range.
const SPACE: f64 = 0.02;
/// Below this only the rounding error of 64-bit floats, for numbers near 1, is left.
const ROUNDING: f64 = 1e-14;

impl ExplorationCurves {
    fn curves(&self) -> impl Iterator<Item = (&CurvePanel, &ExploredCurve)> {
        let panels = self.panels.iter();
        panels.flat_map(|panel| panel.curves.iter().map(move |curve| (panel, curve)))
    }

    fn values(&self) -> impl Iterator<Item = (&CurvePanel, f64)> {
        let curves = self.curves();
        curves.flat_map(|(panel, curve)| curve.points.iter().map(move |(_, y)| (panel, *y)))
    }

    /// Each name once, and whether it was reported.
    fn names(&self) -> Vec<(&str, bool)> {
        let curves = self.curves();
        distinct(curves.map(|(_, curve)| (curve.label.as_str(), curve.is_reported)))
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

    fn explained(&self, mut caption: Caption, names: &PointLabels, shown: &PointSubset) -> Caption {
        let coloured = styles::coloured(shown, names.iter().count());
        coloured.into_iter().for_each(|words| caption.say(words));
        if self.curves().any(|(_, curve)| !curve.ranges.is_empty()) {
            caption
                .say("Marks are medians over the samples, whiskers span the middle 90 % of them.");
        }
        let to_nothing = |(panel, curve): (&CurvePanel, &ExploredCurve)| {
            let mut lows = curve.ranges.iter().map(|range| range.0);
            lows.any(|low| !panel.shows(low))
        };
        if self.curves().any(to_nothing) {
            caption.say("Whiskers that would reach 0 are left out.");
        }
        let hidden = self.values().filter(|(panel, y)| !panel.shows(*y)).count();
        if hidden > 0 {
            let values = plural(hidden, "value", "values");
            caption.say(format!("{values} of 0 cannot stand on a logarithmic axis."));
        }
        let is_rounding =
            |(panel, y): (&CurvePanel, f64)| panel.is_logarithmic && panel.shows(y) && y < ROUNDING;
        if self.values().any(is_rounding) {
            caption.say("Below about 1e-14 only the rounding error of 64-bit floats is left.");
        }
        if self.curves().any(|(_, curve)| curve.is_reported) {
            caption.say("Diamonds: a construction that was reported elsewhere, measured here.");
        }
        let axes = self.panels.iter().map(|panel| &panel.vertical);
        let axes = axes.chain([&self.horizontal]).map(String::as_str);
        caption.draws(axes).labels(names)
    }
}

impl CurvePanel {
    /// All values, and the ends of their ranges.
    fn extent(&self) -> impl Iterator<Item = f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let ranges = self.curves.iter().flat_map(|curve| &curve.ranges);
        let ends = ranges.flat_map(|(low, high)| [*low, *high]);
        points.map(|point| point.1).chain(ends)
    }

    fn shows(&self, y: f64) -> bool {
        shows(y, self.is_logarithmic)
    }
}

/// Whether an axis can show a value; a logarithmic one shows only positive values.
fn shows(value: f64, is_logarithmic: bool) -> bool {
    value.is_finite() && (value > 0.0 || !is_logarithmic)
}

/// An axis that spans the values it can show.
fn around(values: impl Iterator<Item = f64>, is_logarithmic: bool) -> Axis {
    let shown = values.filter(|value| shows(*value, is_logarithmic));
    if is_logarithmic {
        return Axis::decades(ends(shown.map(f64::log10)), NUMBERS);
    }
    let (low, high) = ends(shown);
    Axis::rounded(low, high, NUMBERS)
}

/// A chart with its axes.
struct CurvePlot<'a> {
    chart: Chart,
    panel: &'a CurvePanel,
    across: &'a Axis,
    up: Axis,
}

impl CurvePlot<'_> {
    fn draw(&self, canvas: &mut Canvas<'_>, curve: &ExploredCurve, style: Style) -> Result<()> {
        let place = |x, y| self.chart.at(self.across.share(x), self.up.share(y));
        let shown = curve.points.iter().filter(|(_, y)| self.panel.shows(*y));
        let places: Vec<Point> = shown.map(|&(x, y)| place(x, y)).collect();
        let Pen { ink, width, .. } = style.pen;
        canvas.curve(&places, style.pen)?;
        for (&(x, _), &(low, high)) in curve.points.iter().zip(&curve.ranges) {
            if self.panel.shows(low) && self.panel.shows(high) {
                canvas.polyline(&[place(x, low), place(x, high)], 1.4, ink)?;
            }
        }
        for &place in &places {
            match style.is_reported {
                true => canvas.hollow_diamond(place, 6.5, ink)?,
                false => canvas.dot(place, width / 2.0 + 1.0, ink)?,
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
mod tests {
    use super::*;
    use crate::plot::tests::drawn;
    use crate::plot::tests::gallery::{Label, chance};

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
            horizontal: "\u{3b2}".to_owned(),
            panels: vec![panel("error"), panel("largest weight")],
        };
        drawn(&curves, "A figure of explorations")
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
        let drawn = figure().draw(Caption::default()).expect("drawn");
        let text = String::from_utf8(drawn.csv.clone()).expect("text");
        let expected = "label,is_reported,x_quantity,x,y_quantity,y,low_90,high_90\n\
                        ours,false,beta,0.0,error,0.5,0.25,1.0\n\
                        ours,false,beta,10.0,error,1e-16,,\n\
                        theirs,true,beta,0.5,error,0.75,0.375,1.5\n";
        assert_eq!(text, expected);
        assert_eq!(drawn, figure().draw(Caption::default()).expect("drawn"));
        assert!(!drawn.svg.contains("<text"));
    }

    #[test]
    fn the_caption_says_what_is_not_seen() {
        let caption = figure()
            .explained(
                Caption::default(),
                &PointLabels::default(),
                &styles::told_apart(0),
            )
            .finish();
        assert!(caption.contains("1 value of 0 cannot stand"), "{caption}");
        assert!(caption.contains("rounding"), "{caption}");
        assert!(caption.contains("reported elsewhere"), "{caption}");
    }

    #[test]
    fn degenerate_figures_are_drawn() {
        ExplorationCurves::default()
            .draw(Caption::default())
            .expect("nothing");
        let mut figure = figure();
        figure.panels.push(CurvePanel::default());
        figure.panels[0].curves[0].points = vec![(f64::MAX, f64::MAX), (1.0, f64::NAN)];
        let drawn = figure.draw(Caption::default()).expect("drawn");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
    }

    fn texts(values: &[f64], is_logarithmic: bool) -> Vec<String> {
        let numbers = around(values.iter().copied(), is_logarithmic)
            .ticks(1.0)
            .into_iter();
        numbers.map(|(_, text)| text).collect()
    }

    #[test]
    fn logarithmic_numbers_are_powers_of_ten() {
        assert_eq!(texts(&[0.02, 0.7], true), ["0.01", "0.1", "1"]);
        assert_eq!(texts(&[2e-5, 0.0, 0.7], true)[0], "1e-5");
        let wide = texts(&[1e-16, 1.0], true);
        assert!((4..=9).contains(&wide.len()), "{wide:?}");
        assert_eq!(texts(&[0.1, 0.9], false)[0], "0.1");
    }

    #[test]
    fn every_value_that_is_shown_stands_inside() {
        for values in [
            &[1e-300, 1e300][..],
            &[0.0],
            &[],
            &[0.5, 0.5],
            &[f64::NAN, 3.0],
        ] {
            for is_logarithmic in [true, false] {
                let axis = around(values.iter().copied(), is_logarithmic);
                for &value in values.iter().filter(|&&value| shows(value, is_logarithmic)) {
                    assert!((0.0..=1.0).contains(&axis.share(value)), "{values:?}");
                }
                assert!(axis.ticks(1.0).len() < 30, "{values:?}");
            }
        }
    }
}
