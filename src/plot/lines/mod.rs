//! A measure against a number, a line for each value of what else is swept, in one chart or several: the figure of
//! papers that compare kinds of attention over widths, lengths or distances.

mod by_key;
mod by_length;
mod by_step;
#[cfg(test)]
mod tests;

pub use by_key::ByKey;
pub use by_length::ByLength;
pub use by_step::ByStep;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::axis::{Axis, Ticks, ends};
use super::chart::Grid;
use super::seed_values::{self, SeedValue};
use super::styles::{self, Style};
use super::text::shorten;
use super::theme::{BLACK, LINE_HEIGHT, REPORTED, SMALL_SIZE, TEXT_SIZE, WHITE};
use super::{
    Canvas, Caption, Chart, Figure, Mark, Page, Point, PointLabels, PointSubset, Points, Type,
    fonts, quantity,
};
use crate::error::{Error, Result};
use crate::eval::measures::{Better, Measure};
use crate::kinds::{BrokenRule, Listed as _, Named, joined};
use crate::metrics::measured::MeasuredPoint;
use crate::metrics::statistics::{Estimate, Interval, IntervalKind};

/// Lines in charts with the same axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lines {
    /// What the vertical axis shows.
    pub(super) measure: Named<Measure>,
    /// What the horizontal axis shows.
    pub(super) horizontal: String,
    /// Whether few values that span a factor of 4 or more get a logarithmic axis, as widths of models do.
    pub(super) by_ratio: bool,
    /// Whether the horizontal axis shows a quantity that is measured from 0, and not chosen numbers that could be its ticks.
    pub(super) is_measured: bool,
    /// One chart each.
    pub(super) panels: Vec<Panel>,
    /// What the `n` of the caption is counted per, besides a run: ` and length`, or nothing.
    pub(super) counted: &'static str,
    /// Further sentences of the caption.
    pub(super) notes: Vec<String>,
}

/// A chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Panel {
    /// What its points share; empty in a figure of one chart.
    pub(super) heading: String,
    pub(super) lines: Vec<Line>,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Line {
    /// What it is called; the same name looks the same in all charts.
    pub(super) label: String,
    /// From left to right.
    pub(super) spots: Vec<Spot>,
}

/// A place on a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spot {
    /// Position on the horizontal axis; finite.
    pub(super) x: f64,
    /// One per seed; at least one.
    pub(super) runs: Vec<SeedValue>,
    /// The value that somebody else reported, and where.
    pub(super) reported: Option<(f64, String)>,
    /// Ends of the bin whose middle `x` is.
    pub(super) bin: Option<(f64, f64)>,
}

/// One row of the figure's CSV; accuracies are fractions, other values are in the unit of the measure.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `mean`, `seed` or `reported`.
    kind: &'static str,
    panel: &'a str,
    label: &'a str,
    x_quantity: &'a str,
    x: f64,
    /// Ends of the bin whose middle `x` is; empty without bins.
    x_low: Option<f64>,
    x_high: Option<f64>,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    low_95: Option<f64>,
    high_95: Option<f64>,
    interval: Option<IntervalKind>,
    source: Option<&'a str>,
    measure: &'static str,
    value: f64,
}

/// Space above a chart for its heading, in px.
const HEADING: f64 = TEXT_SIZE * LINE_HEIGHT + 8.0;
/// With more places than this on a line, a band shows the intervals, otherwise whiskers do.
const MOST_WHISKERS: usize = 12;
/// With more lines than this in a chart, bands are only in the CSV.
const MOST_BANDS: usize = 4;
/// Up to this many different numbers, the horizontal axis has ticks at these and nowhere else.
const MOST_TICKS: usize = 8;
/// Charts that are drawn; the CSV has all.
const MOST_PANELS: usize = 12;

impl Lines {
    /// Adds a place to a line of a chart, either of which may be new.
    fn add(&mut self, heading: String, label: String, spot: Spot) {
        let panels = &mut self.panels;
        let at = panels.iter().position(|panel| panel.heading == heading);
        let at = at.unwrap_or_else(|| {
            let lines = vec![];
            panels.push(Panel { heading, lines });
            panels.len() - 1
        });
        let lines = &mut panels[at].lines;
        let at = lines.iter().position(|line| line.label == label);
        let at = at.unwrap_or_else(|| {
            let spots = vec![];
            lines.push(Line { label, spots });
            lines.len() - 1
        });
        lines[at].spots.push(spot);
    }

    /// With every line from left to right.
    fn sorted(mut self) -> Self {
        for line in self.panels.iter_mut().flat_map(|panel| &mut panel.lines) {
            line.spots.sort_by(|a, b| a.x.total_cmp(&b.x));
        }
        self
    }

    /// Draws the charts with a caption.
    ///
    /// # Errors
    /// A number that is not finite, or outside the range of the measure.
    pub(super) fn draw(&self, caption: Caption) -> Result<Figure> {
        self.check()?;
        let names = self.names();
        let called = PointLabels::of(names.iter().map(|(name, _)| *name));
        let coloured = styles::told_apart(names.len());
        let styles = styles::styles(&names, &coloured);
        let shown = PointSubset::of(self.panels.len(), MOST_PANELS);
        let caption = self.explained(caption, (&called, &coloured), &shown);
        let mut legend = styles::legend(&called, &styles);
        legend.extend(Mark::reported(self.sources()));
        let page = Page::new(caption, legend);
        let is_single = self.panels.len() < 2;
        let grid = Grid::of(shown.points.len(), if is_single { 0.0 } else { HEADING });
        let (across, ticks) = self.across(grid.width() - 100.0);
        let up = self.up();
        page.figure(grid.height(), &self.rows(), |canvas, area| {
            for (i, &panel) in shown.points.iter().enumerate() {
                let panel = &self.panels[panel];
                let (start, chart) = grid.place(i, area.top);
                let heading = shorten(fonts::Face::Text, TEXT_SIZE, &panel.heading, grid.width());
                let place = (start, chart.top - 14.0);
                canvas.text(&heading, place, Type::new(TEXT_SIZE, BLACK))?;
                chart.draw_across(canvas, &ticks)?;
                chart.draw_up(canvas, &up.ticks(self.measure.0.unit.scale()))?;
                let vertical = self.measure.0.axis();
                chart.quantity_before(canvas, start, (&vertical, TEXT_SIZE))?;
                let width = chart.right - chart.left;
                let words = shorten(fonts::Face::Text, TEXT_SIZE, &self.horizontal, width);
                chart.quantity_below(canvas, &words)?;
                let drawn = Drawn {
                    chart,
                    across: &across,
                    up: &up,
                    measure: self.measure.0,
                };
                drawn.panel(canvas, panel, &names, &styles)?;
                chart.draw_ground(canvas)?;
            }
            Ok(())
        })
    }

    fn check(&self) -> Result<()> {
        for (_, line, spot) in self.spots() {
            if !spot.x.is_finite() {
                let message = format!("`{}` has x = {}, which is not finite", line.label, spot.x);
                return Err(Error::data(message));
            }
            seed_values::check(&line.label, &spot.runs, self.measure.0)?;
        }
        Ok(())
    }

    fn spots(&self) -> impl Iterator<Item = (&Panel, &Line, &Spot)> + Clone {
        let lines = self.panels.iter();
        let lines = lines.flat_map(|panel| panel.lines.iter().map(move |line| (panel, line)));
        lines.flat_map(|(panel, line)| line.spots.iter().map(move |spot| (panel, line, spot)))
    }

    fn means(&self) -> impl Iterator<Item = Estimate> {
        let mean =
            |(_, _, spot): (&Panel, &Line, &Spot)| seed_values::mean(&spot.runs, self.measure.0);
        self.spots().filter_map(mean)
    }

    /// Each name once, as styles want it: none of the lines is reported.
    fn names(&self) -> Vec<(&str, bool)> {
        let mut names: Vec<(&str, bool)> = vec![];
        for line in self.panels.iter().flat_map(|panel| &panel.lines) {
            if !names.iter().any(|(name, _)| *name == line.label) {
                names.push((&line.label, false));
            }
        }
        names
    }

    /// Where numbers were reported.
    fn sources(&self) -> BTreeSet<&str> {
        let reported = self
            .spots()
            .filter_map(|(_, _, spot)| spot.reported.as_ref());
        reported.map(|(_, source)| source.as_str()).collect()
    }

    /// The horizontal axis and its ticks: at the values themselves if they are few, as widths of models are.
    fn across(&self, width: f64) -> (Axis, Ticks) {
        let mut xs: Vec<f64> = self.spots().map(|(_, _, spot)| spot.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let is_few = xs.len() <= MOST_TICKS && !self.is_measured;
        if self.is_measured {
            xs.insert(0, 0.0);
        }
        let (low, high) = ends(xs.iter().copied());
        let axis = match self.by_ratio && is_few && low > 0.0 && high >= 4.0 * low {
            true => quantity::logarithmic(&xs),
            false => quantity::around(&xs),
        };
        if !is_few {
            let ticks = quantity::ticks(&axis);
            return (axis, ticks);
        }
        let mut free_from = f64::NEG_INFINITY;
        let mut ticks = vec![];
        for x in xs {
            let (share, label) = (axis.share(x), quantity::text(x));
            let half = fonts::width(fonts::Face::Text, SMALL_SIZE, &label) / 2.0;
            if share * width - half >= free_from {
                free_from = share * width + half + 8.0;
                ticks.push((share, label));
            }
        }
        (axis, ticks)
    }

    /// The vertical axis: the whole range of a measure that has one, otherwise what the marks span.
    fn up(&self) -> Axis {
        let range = self.measure.0.unit.range();
        if range.end().is_finite() {
            let (low, high) = (*range.start(), *range.end());
            // Room for a line along either end.
            let space = 0.02 * (high - low);
            let mut axis = Axis::new(low - space, high + space, 6);
            axis.last_number = high;
            return axis;
        }
        let reported = self
            .spots()
            .filter_map(|(_, _, spot)| Some(spot.reported.as_ref()?.0));
        let ours = self.means().flat_map(|mean| [mean.ends().0, mean.ends().1]);
        let (low, high) = ends(ours.chain(reported));
        Axis::rounded(low, high, 6)
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let measure = self.measure.0;
        let mut rows = vec![];
        for (panel, line, spot) in self.spots() {
            let row = |kind, of: Estimate| {
                let (low_95, high_95, interval) = Interval::columns(of.interval);
                PlottedRow {
                    kind,
                    panel: &panel.heading,
                    label: &line.label,
                    x_quantity: &self.horizontal,
                    x: spot.x,
                    x_low: spot.bin.map(|bin| bin.0),
                    x_high: spot.bin.map(|bin| bin.1),
                    low_95,
                    high_95,
                    interval,
                    measure: measure.name(),
                    value: of.value,
                    ..PlottedRow::default()
                }
            };
            let mean = seed_values::mean(&spot.runs, measure);
            rows.extend(mean.map(|mean| row("mean", mean)));
            rows.extend(spot.runs.iter().map(|run| PlottedRow {
                seed: Some(run.seed),
                correct: run.correct,
                questions: Some(run.questions),
                ..row("seed", Estimate::exact(run.estimate.value))
            }));
            rows.extend(spot.reported.iter().map(|(value, source)| PlottedRow {
                source: Some(source),
                ..row("reported", Estimate::exact(*value))
            }));
        }
        rows
    }

    fn explained(
        &self,
        mut caption: Caption,
        (names, coloured): (&PointLabels, &PointSubset),
        shown: &PointSubset,
    ) -> Caption {
        let measure = self.measure.0;
        let runs = self.spots().flat_map(|(_, _, spot)| &spot.runs);
        let runs = seed_values::in_words(measure, self.counted, runs);
        caption.say(runs.unwrap_or_else(|| "No run has been scored.".to_owned()));
        if measure.better == Better::Lower {
            caption.say("Lower is better.");
        }
        self.intervals()
            .into_iter()
            .for_each(|words| caption.say(words));
        let coloured = styles::coloured(coloured, names.iter().count());
        coloured.into_iter().for_each(|words| caption.say(words));
        if !self.sources().is_empty() {
            caption.say("Diamond: reported elsewhere, not measured here; the dot at its centre has the colour of its line.");
        }
        self.notes.iter().for_each(|note| caption.say(note));
        let headings = self.panels.iter().map(|panel| panel.heading.as_str());
        let caption = caption.draws(headings).draws([self.horizontal.as_str()]);
        caption.shown(shown, "charts").labels(names)
    }

    /// What whiskers and bands are; absent without intervals.
    fn intervals(&self) -> Option<String> {
        let kinds: Vec<IntervalKind> = self
            .means()
            .filter_map(|one| Some(one.interval?.kind))
            .collect();
        let has = |kind| kinds.contains(&kind);
        let counts = self.measure.0.counts;
        let of_run = [
            (IntervalKind::Wilson, "Wilson's"),
            (IntervalKind::Bootstrap, "the bootstrap's"),
        ];
        let of_run = of_run.into_iter().filter(|(kind, _)| has(*kind));
        let of_run =
            of_run.map(|(_, whose)| format!("{whose} 95 % interval of a run, over its {counts}"));
        let over_seeds = "the 95 % t-interval of the mean, over seeds".to_owned();
        let over_seeds = has(IntervalKind::StudentT).then_some(over_seeds);
        let words: Vec<String> = over_seeds.into_iter().chain(of_run).collect();
        if words.is_empty() {
            return None;
        }
        let lines = self.panels.iter().flat_map(|panel| &panel.lines);
        let has_whiskers = lines.clone().any(|line| line.spots.len() <= MOST_WHISKERS);
        let has_bands = lines.clone().any(|line| line.spots.len() > MOST_WHISKERS);
        let crowded = |panel: &Panel| has_bands && panel.lines.len() > MOST_BANDS;
        let mark = match (has_whiskers, has_bands) {
            (true, true) => "Whisker or band",
            (true, false) => "Whisker",
            (false, _) => "Band",
        };
        let only_in_csv = match self.panels.iter().any(crowded) {
            true => {
                format!(" In a chart of more than {MOST_BANDS} lines, bands are only in the CSV.")
            }
            false => String::new(),
        };
        Some(format!("{mark}: {}.{only_in_csv}", words.join(", or ")))
    }
}

/// A chart with its axes.
struct Drawn<'a> {
    chart: Chart,
    across: &'a Axis,
    up: &'a Axis,
    measure: &'a Measure,
}

impl Drawn<'_> {
    fn at(&self, x: f64, y: f64) -> Point {
        self.chart.at(self.across.share(x), self.up.share(y))
    }

    /// Grey lines first, bands below all lines.
    fn panel(
        &self,
        canvas: &mut Canvas<'_>,
        panel: &Panel,
        names: &[(&str, bool)],
        styles: &[Style],
    ) -> Result<()> {
        let styled = panel.lines.iter().filter_map(|line| {
            let place = names.iter().position(|(name, _)| *name == line.label)?;
            Some((line, styles[place]))
        });
        let (own, crowd): (Vec<_>, Vec<_>) = styled.partition(|(_, style)| style.is_own);
        if panel.lines.len() <= MOST_BANDS {
            for (line, style) in &own {
                self.band(canvas, line, *style)?;
            }
        }
        for (line, style) in crowd.into_iter().chain(own) {
            self.line(canvas, line, style)?;
        }
        Ok(())
    }

    fn band(&self, canvas: &mut Canvas<'_>, line: &Line, style: Style) -> Result<()> {
        if line.spots.len() <= MOST_WHISKERS {
            return Ok(());
        }
        let ends = line.spots.iter().filter_map(|spot| {
            let (low, high) = seed_values::mean(&spot.runs, self.measure)?.ends();
            Some((self.at(spot.x, high), self.at(spot.x, low)))
        });
        let (upper, lower): (Vec<Point>, Vec<Point>) = ends.unzip();
        canvas.band(&upper, &lower, style.pen.ink.fade(0.15))
    }

    fn line(&self, canvas: &mut Canvas<'_>, line: &Line, style: Style) -> Result<()> {
        let ink = style.pen.ink;
        let means = line.spots.iter().filter_map(|spot| {
            let mean = seed_values::mean(&spot.runs, self.measure)?;
            Some((spot, mean, self.at(spot.x, mean.value)))
        });
        let means: Vec<(&Spot, Estimate, Point)> = means.collect();
        let places: Vec<Point> = means.iter().map(|(_, _, place)| *place).collect();
        canvas.curve(&places, style.pen)?;
        let has_whiskers = style.is_own && line.spots.len() <= MOST_WHISKERS;
        for (spot, mean, place) in means {
            if has_whiskers && mean.interval.is_some() {
                let (low, high) = mean.ends();
                let (low, high) = (self.at(spot.x, low), self.at(spot.x, high));
                canvas.polyline(&[low, high], 1.4, ink)?;
                for (x, y) in [low, high] {
                    canvas.polyline(&[(x - 4.0, y), (x + 4.0, y)], 1.4, ink)?;
                }
            }
            if line.spots.len() <= MOST_WHISKERS {
                canvas.dot(place, 4.6, WHITE)?;
                canvas.dot(place, 3.6, ink)?;
            }
            if let Some((reported, _)) = spot.reported {
                let place = self.at(spot.x, reported);
                canvas.hollow_diamond(place, 6.5, REPORTED)?;
                canvas.dot(place, 2.0, ink)?;
            }
        }
        Ok(())
    }
}

/// The keys that charts and lines are called by.
struct Names<'a> {
    panels: BTreeSet<&'a str>,
    /// Absent if lines are called by the labels of their points.
    lines: Option<BTreeSet<&'a str>>,
}

impl<'a> Names<'a> {
    /// Of a figure with a chart for each value of `panels`, whose horizontal axis shows the key `by`, if that is swept.
    fn of(points: &'a [MeasuredPoint], by: Option<&str>, panels: Option<&str>) -> Self {
        let mut keys = swept(points);
        if let Some(by) = by {
            let shown = equivalent(points, by);
            keys.retain(|key| !shown.contains(key));
        }
        let of_panels = panels.map_or_else(BTreeSet::new, |key| equivalent(points, key));
        let panels: BTreeSet<&str> = keys.intersection(&of_panels).copied().collect();
        keys.retain(|key| !panels.contains(key));
        let is_labelled = by.is_none() && panels.is_empty();
        Self {
            panels,
            lines: (!is_labelled).then_some(keys),
        }
    }

    fn panel(&self, point: &MeasuredPoint) -> String {
        called(point, &self.panels)
    }

    fn line(&self, point: &MeasuredPoint) -> String {
        match &self.lines {
            Some(keys) => called(point, keys),
            None => point.label.clone(),
        }
    }
}

/// The broken rule if the key of the charts is not swept.
fn check_panels(panels: Option<&str>, points: &Points<'_>) -> Option<BrokenRule> {
    let panels = panels.filter(|_| !points.values.is_empty())?;
    let swept = points.values.iter().flatten().map(|(key, _)| key.as_str());
    let swept: BTreeSet<&str> = swept.collect();
    let known: Vec<String> = swept.iter().map(|key| format!("{key:?}")).collect();
    (!swept.contains(panels)).then(|| BrokenRule {
        help: Some(match known.is_empty() {
            true => "remove it, or add a `[sweep]` with it".to_owned(),
            false => format!("write {}", joined(known, "or")),
        }),
        ..BrokenRule::new("panels", format!("= {panels:?} is not a key of the sweep"))
    })
}

/// What a point is called by these of its values: the names that the file gives them, or `key = value`.
fn called(point: &MeasuredPoint, keys: &BTreeSet<&str>) -> String {
    let own = point
        .values
        .iter()
        .filter(|(key, _)| keys.contains(key.as_str()));
    let word = |(key, value): &(String, String)| {
        let name = point.names.get(key).cloned();
        name.unwrap_or_else(|| format!("{key} = {value}"))
    };
    let words: Vec<String> = own.map(word).collect();
    words.join(", ")
}

/// The swept keys that say the same as another: each value of one goes with one value of the other at all points, as the
/// width of a head does with that of the model.
fn equivalent<'a>(points: &'a [MeasuredPoint], to: &str) -> BTreeSet<&'a str> {
    let value = |point: &'a MeasuredPoint, key: &str| {
        let mut own = point.values.iter().filter(|(name, _)| name == key);
        own.next().map(|(_, value)| value.as_str())
    };
    let determines = |one: &str, other: &str| {
        let mut known = BTreeMap::new();
        points.iter().all(|point| {
            let given = known
                .entry(value(point, one))
                .or_insert_with(|| value(point, other));
            *given == value(point, other)
        })
    };
    let mut keys = swept(points);
    keys.retain(|key| determines(to, key) && determines(key, to));
    keys
}

/// The keys of the sweep with several values.
fn swept(points: &[MeasuredPoint]) -> BTreeSet<&str> {
    let values = points.iter().flat_map(|point| &point.values);
    let values: BTreeSet<&(String, String)> = values.collect();
    let varied = |key: &str| values.iter().filter(|(name, _)| name == key).count() > 1;
    let keys = values.iter().map(|(key, _)| key.as_str());
    keys.filter(|key| varied(key)).collect()
}
