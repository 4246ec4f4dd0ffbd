//! Names, dots and intervals, row by row, and the line at 0.

use super::{EffectsFigure, Shown};
use crate::error::Result;
use crate::eval::measures::{Better, Unit};
use crate::metrics::statistics::factorial::{Change, Contrast, Effect, Precision};
use crate::plot::axis::{Axis, ends};
use crate::plot::canvas::Point;
use crate::plot::page::Mark;
use crate::plot::text::{self, count};
use crate::plot::theme::{
    BLACK, GREY, GRID, Ink, LINE_HEIGHT, MARGIN, OURS, Pen, SMALL_SIZE, TEXT_SIZE, WHITE, WIDTH,
    WORSE,
};
use crate::plot::{Canvas, Caption, Chart, Figure, Page, PointLabels, Type, draw_lines, fonts};

/// Longest line of a name, in px.
const NAME: f64 = 380.0;
/// Lines of a name.
const NAME_LINES: usize = 2;
/// Above and below a row together, in px.
const BETWEEN: f64 = 6.0;
/// Above a heading, in px.
const ABOVE_HEADING: f64 = 10.0;
/// Between two columns of numbers, in px.
const GUTTER: f64 = 14.0;
/// A plot area taller than this has its numbers at the top as well, in px.
const TALL: f64 = 600.0;
/// Radius of a dot, in px.
const DOT: f64 = 4.0;
/// Widths of the interval of one effect and of that of all together, in px.
const OWN: f64 = 4.0;
const JOINT: f64 = 1.4;
/// Length of the arrow at the border where an interval goes on, in px.
const ARROW: f64 = 7.0;

/// A row of the figure.
enum Row<'a> {
    /// What the rows below it are.
    Section(String),
    /// Sets the rows of a key of several values apart.
    Space,
    /// A key of several values, of which each has a row below.
    Key(String),
    Main(String, &'a Effect),
    /// With a name for each of its two changes.
    Interaction([String; 2], &'a Effect),
}

/// A row and its place.
struct PlacedRow<'a> {
    row: Row<'a>,
    name: Vec<String>,
    /// Its middle, in px below the top of the plot area.
    middle: f64,
}

/// Widths of the columns of numbers right of the plot area, in px.
struct Columns {
    effects: f64,
    /// `None` without intervals.
    intervals: Option<f64>,
}

pub(super) fn draw(figure: &EffectsFigure, shown: &Shown<'_>, caption: Caption) -> Result<Figure> {
    let (rows, height) = placed(rows(figure, shown));
    let columns = Columns::of(figure, &rows);
    let head = if height > TALL {
        8.0 + SMALL_SIZE * LINE_HEIGHT
    } else {
        0.0
    };
    let page = Page {
        below: Chart::BELOW,
        ..Page::new(caption, legend(figure, shown))
    };
    let names = fonts::widest(TEXT_SIZE, rows.iter().flat_map(|placed| &placed.name));
    let axis = axis(figure, shown);
    page.figure(head + height, &figure.rows(shown), |canvas, area| {
        let chart = Chart {
            left: MARGIN + names + 14.0,
            right: WIDTH - MARGIN - columns.width(),
            top: area.top + head,
            bottom: area.bottom,
        };
        draw_grid(canvas, &chart, (&axis, figure), head > 0.0)?;
        if let Some(first) = rows.first() {
            let y = chart.top + first.middle;
            columns.draw(canvas, (chart.right, y), [EFFECT, INTERVAL], GREY)?;
        }
        for placed in &rows {
            placed.draw_name(canvas, &chart)?;
            if let Some(effect) = placed.row.effect() {
                let y = chart.top + placed.middle;
                draw_effect(canvas, &chart, y, (&axis, figure), effect)?;
                let [effect, interval] = &numbers(figure, effect);
                columns.draw(canvas, (chart.right, y), [effect, interval], BLACK)?;
            }
        }
        Ok(())
    })
}

/// The rows from top to bottom.
fn rows<'a>(figure: &EffectsFigure, shown: &Shown<'a>) -> Vec<Row<'a>> {
    let mut rows = vec![Row::Section("Main effects".to_owned())];
    for group in &shown.main {
        let key = &figure.factors.all[factor_of(group[0])];
        if key.levels.len() == 2 {
            rows.extend(group.iter().map(|effect| {
                let [change, _] = changes(figure, effect);
                Row::Main(change, effect)
            }));
            continue;
        }
        rows.push(Row::Key(format!("{}: {} to", key.name, key.levels[0])));
        rows.extend(group.iter().map(|effect| {
            let level = match effect.contrast {
                Contrast::Main(change) => &key.levels[change.level],
                Contrast::Interaction(..) => "",
            };
            Row::Main(level.to_owned(), effect)
        }));
        rows.push(Row::Space);
    }
    if !shown.interactions.is_empty() {
        let (drawn, all) = (shown.interactions.len(), shown.all_interactions);
        let which = match drawn < all {
            true => format!(", the {} largest of {}", count(drawn), count(all)),
            false => String::new(),
        };
        rows.push(Row::Section(format!("Two-way interactions{which}")));
        let named = |effect: &&'a Effect| Row::Interaction(changes(figure, effect), effect);
        rows.extend(shown.interactions.iter().map(named));
    }
    rows
}

fn factor_of(effect: &Effect) -> usize {
    match effect.contrast {
        Contrast::Main(change) | Contrast::Interaction(change, _) => change.factor,
    }
}

/// The changes of an effect, `key: 1 to 2`; the second is empty for a main effect.
fn changes(figure: &EffectsFigure, effect: &Effect) -> [String; 2] {
    let change = |change: Change| {
        let (from, to) = figure.factors.values(change);
        format!("{}: {from} to {to}", figure.factors.all[change.factor].name)
    };
    match effect.contrast {
        Contrast::Main(one) => [change(one), String::new()],
        Contrast::Interaction(one, other) => [one, other].map(change),
    }
}

/// What stands between the two changes of an interaction.
const TIMES: &str = " ×";

/// The rows with their places and shortened names, and the height of all. The changes of an interaction have a line each
/// unless both fit into one.
fn placed<'a>(rows: Vec<Row<'a>>) -> (Vec<PlacedRow<'a>>, f64) {
    let (mut whole, mut halves) = (vec![], vec![]);
    for row in &rows {
        match row {
            Row::Section(_) | Row::Space => {}
            Row::Key(name) | Row::Main(name, _) => whole.push(name.as_str()),
            Row::Interaction(names, _) => halves.extend(names.iter().map(String::as_str)),
        }
    }
    let fits = |name: &str| fonts::fits(fonts::Face::Text, TEXT_SIZE, name, NAME);
    let half = NAME - fonts::width(fonts::Face::Text, TEXT_SIZE, TIMES);
    let mut whole = PointLabels::whole(whole)
        .wrapped(TEXT_SIZE, NAME, NAME_LINES)
        .into_iter();
    let mut halves = PointLabels::whole(halves)
        .fitted(TEXT_SIZE, half)
        .into_iter();
    let mut top = 0.0;
    let place = |row: Row<'a>| {
        let name = match &row {
            Row::Section(name) => vec![name.clone()],
            Row::Space => vec![],
            Row::Key(_) | Row::Main(..) => whole.next().unwrap_or_default(),
            Row::Interaction(..) => {
                let mut half = || halves.next().unwrap_or_default();
                let (one, other) = (half() + TIMES, half());
                let joined = format!("{one} {other}");
                if fits(&joined) {
                    vec![joined]
                } else {
                    vec![one, other]
                }
            }
        };
        if matches!(row, Row::Section(_)) && top > 0.0 {
            top += ABOVE_HEADING;
        }
        let height = name.len() as f64 * TEXT_SIZE * LINE_HEIGHT + BETWEEN;
        let middle = top + height / 2.0;
        top += height;
        PlacedRow { row, name, middle }
    };
    let rows = rows.into_iter().map(place).collect();
    (rows, top)
}

impl<'a> Row<'a> {
    fn effect(&self) -> Option<&'a Effect> {
        match *self {
            Self::Main(_, effect) | Self::Interaction(_, effect) => Some(effect),
            Self::Section(_) | Self::Space | Self::Key(_) => None,
        }
    }
}

impl PlacedRow<'_> {
    fn draw_name(&self, canvas: &mut Canvas<'_>, chart: &Chart) -> Result<()> {
        let y = chart.top + self.middle;
        let top = y - self.name.len() as f64 * TEXT_SIZE * LINE_HEIGHT / 2.0;
        if let Row::Section(name) = &self.row {
            let ground = top + TEXT_SIZE;
            let rule = [(MARGIN, ground + 6.0), (chart.left, ground + 6.0)];
            canvas.polyline(&rule, 1.0, GRID)?;
            return canvas.text(name, (MARGIN, ground), Type::new(TEXT_SIZE, GREY));
        }
        let end = chart.left - 10.0;
        draw_lines(canvas, &self.name, (end, top), Type::LABEL.end())
    }
}

/// The horizontal axis, with 0 and the intervals of single effects on it, and the others where they are not much wider.
fn axis(figure: &EffectsFigure, shown: &Shown<'_>) -> Axis {
    let reach = |interval: fn(&Precision) -> (f64, f64)| {
        let drawn = shown.main.iter().flatten().chain(&shown.interactions);
        let (low, high) = ends(drawn.flat_map(|effect| {
            let interval = effect.precision.as_ref().map(interval);
            let interval = interval.map(|interval| figure.possible(&effect.contrast, interval));
            let (low, high) = interval.unwrap_or((effect.estimate, effect.estimate));
            [low, high, effect.estimate, 0.0]
        }));
        (low, high, high - low)
    };
    let (own, joint) = (reach(|one| one.own_95), reach(|one| one.joint_95));
    let (low, high, width) = if joint.2 < 1.5 * own.2 { joint } else { own };
    // Space to see the outermost dot whole; where all effects are 0, an axis from -1 to 1.
    let space = match width > 1e-9 {
        true => 0.04 * width,
        false => 1.0 / figure.measure.0.unit.scale(),
    };
    Axis::new(low - space, high + space, 6)
}

fn draw_grid(
    canvas: &mut Canvas<'_>,
    chart: &Chart,
    (axis, figure): (&Axis, &EffectsFigure),
    has_numbers_above: bool,
) -> Result<()> {
    let measure = figure.measure.0;
    let ticks = axis.ticks(measure.unit.scale());
    chart.draw_across(canvas, &ticks)?;
    if has_numbers_above {
        chart.numbers_above(canvas, &ticks)?;
    }
    let zero = axis.share(0.0);
    canvas.polyline(&[chart.at(zero, 0.0), chart.at(zero, 1.0)], 1.2, BLACK)?;
    let unit = match measure.unit {
        Unit::Fraction => " (percentage points)".to_owned(),
        unit if unit.symbol().is_empty() => String::new(),
        unit => format!(" ({})", unit.symbol()),
    };
    let words = format!("change in {}{unit}", measure.quantity);
    let middle = (chart.left + chart.right) / 2.0;
    let width = 2.0 * (WIDTH - MARGIN - middle).min(middle - MARGIN);
    let words = text::shorten(fonts::Face::Text, TEXT_SIZE, &words, width);
    chart.quantity_below(canvas, &words)
}

/// Both intervals, and the dot on them.
fn draw_effect(
    canvas: &mut Canvas<'_>,
    chart: &Chart,
    y: f64,
    (axis, figure): (&Axis, &EffectsFigure),
    effect: &Effect,
) -> Result<()> {
    let ink = ink(figure, effect);
    if let Some(precision) = effect.precision {
        for (interval, width) in [(precision.joint_95, JOINT), (precision.own_95, OWN)] {
            let (low, high) = figure.possible(&effect.contrast, interval);
            let [from, to] = [low, high].map(|end| axis.share(end));
            let place = |share: f64| (chart.at(share.clamp(0.0, 1.0), 0.0).0, y);
            canvas.polyline(&[place(from), place(to)], width, ink)?;
            if from < 0.0 {
                draw_arrow(canvas, place(0.0), -ARROW, ink)?;
            }
            if to > 1.0 {
                draw_arrow(canvas, place(1.0), ARROW, ink)?;
            }
        }
    }
    let dot = (chart.at(axis.share(effect.estimate), 0.0).0, y);
    canvas.dot(dot, DOT + 1.0, WHITE)?;
    canvas.dot(dot, DOT, ink)
}

/// A triangle that points out of the plot area.
fn draw_arrow(canvas: &mut Canvas<'_>, (x, y): Point, length: f64, ink: Ink) -> Result<()> {
    let base = x - length;
    canvas.polygon(&[(base, y - 4.0), (x, y), (base, y + 4.0)], ink)
}

/// Grey where it may be chance.
fn ink(figure: &EffectsFigure, effect: &Effect) -> Ink {
    let is_better = (effect.estimate > 0.0) == (figure.measure.0.better == Better::Higher);
    match effect.precision {
        None => BLACK,
        Some(one) if one.joint_95.0 <= 0.0 && one.joint_95.1 >= 0.0 => GREY,
        Some(_) if is_better => OURS,
        Some(_) => WORSE,
    }
}

/// What colours and lines mean, of those that are there.
fn legend(figure: &EffectsFigure, shown: &Shown<'_>) -> Vec<(Mark, String)> {
    let effects = &figure.effects.effects;
    if figure.effects.residual_deviation.is_none() {
        return vec![(Mark::Dot(BLACK), "effect, without an interval".to_owned())];
    }
    let drawn = shown.main.iter().flatten().chain(&shown.interactions);
    let inks: Vec<Ink> = drawn.map(|effect| ink(figure, effect)).collect();
    let dots = [(OURS, "better"), (WORSE, "worse"), (GREY, "may be chance")];
    let dots = dots.into_iter().filter(|(ink, _)| inks.contains(ink));
    let mut legend: Vec<(Mark, String)> = dots
        .map(|(ink, words)| (Mark::Dot(ink), words.to_owned()))
        .collect();
    let line = |width, words: String| (Mark::Line(Pen::whole(BLACK, width)), words);
    legend.push(line(OWN, "95 % interval".to_owned()));
    if effects.len() > 1 {
        let words = format!("95 % for all {} effects together", count(effects.len()));
        legend.push(line(JOINT, words));
    }
    legend
}

impl Columns {
    fn of(figure: &EffectsFigure, rows: &[PlacedRow<'_>]) -> Self {
        let effects = rows.iter().filter_map(|placed| placed.row.effect());
        let texts: Vec<[String; 2]> = effects.map(|effect| numbers(figure, effect)).collect();
        let widest = |column: usize| {
            let texts = texts.iter().map(|row| &row[column]);
            fonts::widest(SMALL_SIZE, texts)
        };
        let heading = |words| fonts::width(fonts::Face::Text, SMALL_SIZE, words);
        let intervals = widest(1);
        Self {
            effects: widest(0).max(heading(EFFECT)),
            intervals: (intervals > 0.0).then(|| intervals.max(heading(INTERVAL))),
        }
    }

    fn width(&self) -> f64 {
        let intervals = self.intervals.map_or(0.0, |width| GUTTER + width);
        GUTTER + self.effects + intervals
    }

    /// Writes the cells of a row right of the plot area.
    fn draw(
        &self,
        canvas: &mut Canvas<'_>,
        (left, middle): Point,
        [effect, interval]: [&str; 2],
        ink: Ink,
    ) -> Result<()> {
        let style = Type::new(SMALL_SIZE, ink).end();
        let ground = middle + SMALL_SIZE * 0.36;
        let end = left + GUTTER + self.effects;
        canvas.text(effect, (end, ground), style)?;
        match self.intervals {
            Some(width) => canvas.text(interval, (end + GUTTER + width, ground), style),
            None => Ok(()),
        }
    }
}

/// Headings of the columns.
const EFFECT: &str = "change";
const INTERVAL: &str = "95 % interval";

/// An effect and its own interval: `+5.9`, `+1.2 to +10.6`.
fn numbers(figure: &EffectsFigure, effect: &Effect) -> [String; 2] {
    let unit = figure.measure.0.unit;
    let interval = effect
        .precision
        .map(|one| figure.possible(&effect.contrast, one.own_95));
    let interval =
        interval.map(|(low, high)| format!("{} to {}", unit.signed(low), unit.signed(high)));
    [unit.signed(effect.estimate), interval.unwrap_or_default()]
}
