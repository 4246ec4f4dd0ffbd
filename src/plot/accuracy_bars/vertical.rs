//! Vertical bars with their labels below: for few points with short names.

use super::marks::{DIAMOND, Ground, Place, highest, legend};
use super::{AccuracyBars, Bar, Baseline};
use crate::error::Result;
use crate::plot::fonts::{self, Face};
use crate::plot::seed_values::tally;
use crate::plot::text::wrap;
use crate::plot::theme::{
    BLACK, LINE_HEIGHT, MARGIN, PLOT_HEIGHT, REPORTED, SMALL_SIZE, TEXT_SIZE, WHITE, WIDTH,
};
use crate::plot::{Area, Canvas, Caption, Figure, Page, Point, PointLabels, Type, draw_lines};

/// Space right of the plot for the baseline's words, in px.
const BASELINE_SPACE: f64 = 150.0;
/// Lines under a bar.
const LABEL_LINES: usize = 4;
/// Widest bar, in px.
const WIDEST: f64 = 90.0;
/// Slots wider than this have the numbers of a bar on one line, in px.
const ONE_LINE: f64 = 200.0;
/// Type size of labels in narrow slots, in px.
const SMALLEST: f64 = 13.0;

/// Whether names and numbers have room: no word is broken, nothing cut, and no number touches the next one.
pub(super) fn have_room(figure: &AccuracyBars, names: &PointLabels) -> bool {
    let slot = slot(figure);
    let size = label_size(names, slot - 8.0);
    let is_whole = |name: &String| {
        let mut parts = name
            .split_whitespace()
            .flat_map(|word| word.split_inclusive('-'));
        parts.all(|part| fonts::width(Face::Text, size, part) <= slot - 8.0)
            && wrap(Face::Text, size, name, slot - 8.0, usize::MAX).len() <= LABEL_LINES
    };
    let is_apart = |bar| fonts::widest(SMALL_SIZE, &numbers_over(figure, bar, slot)) + 4.0 <= slot;
    names.iter().all(is_whole) && figure.bars.iter().all(is_apart)
}

/// Width available to each bar, in px.
fn slot(figure: &AccuracyBars) -> f64 {
    let right = baseline_space(figure);
    (WIDTH - 2.0 * MARGIN - 64.0 - right) / figure.bars.len().max(1) as f64
}

fn baseline_space(figure: &AccuracyBars) -> f64 {
    figure.baseline.as_ref().map_or(0.0, |_| BASELINE_SPACE)
}

pub(super) fn draw(figure: &AccuracyBars, names: &PointLabels, caption: Caption) -> Result<Figure> {
    let slot = slot(figure);
    let label_size = label_size(names, slot - 8.0);
    let labels = names.wrapped(label_size, slot - 8.0, LABEL_LINES);
    let deepest = labels.iter().map(Vec::len).max().unwrap_or(0);
    let measure = figure.measure.0;
    let legend = legend(figure, "constant answer");
    let page = Page {
        right: baseline_space(figure),
        below: 10.0 + deepest as f64 * label_size * LINE_HEIGHT,
        ..Page::new(caption, legend)
    };
    // All bars fit, and the text above them.
    let lines = if slot > ONE_LINE { 1.0 } else { 2.0 };
    let words = lines * SMALL_SIZE * LINE_HEIGHT + 14.0;
    let high = highest(figure) * PLOT_HEIGHT / (PLOT_HEIGHT - words);
    page.figure(PLOT_HEIGHT, &figure.rows(), |canvas, chart| {
        let ground = Ground::new(figure, *chart, high, true);
        chart.draw_up(canvas, &ground.axis.ticks(measure.unit.scale()))?;
        chart.quantity_before(canvas, MARGIN, (&measure.axis(), TEXT_SIZE))?;
        ground.draw_band(canvas)?;
        let slots = figure.bars.iter().enumerate();
        let slots = slots.map(|(i, bar)| Slot::new(chart.left + i as f64 * slot, slot, bar));
        let slots: Vec<Slot> = slots.collect();
        for (bar, slot) in figure.bars.iter().zip(&slots) {
            ground.draw_body(canvas, bar, &slot.place)?;
        }
        if let Some(baseline) = &figure.baseline {
            draw_baseline(canvas, &ground, baseline)?;
        }
        for ((bar, slot), label) in figure.bars.iter().zip(&slots).zip(&labels) {
            draw_marks(canvas, &ground, bar, slot)?;
            let style = Type::new(label_size, BLACK).middle();
            draw_lines(canvas, label, (slot.middle, chart.bottom + 6.0), style)?;
        }
        chart.draw_ground(canvas)
    })
}

/// A little smaller where a word would not fit its slot.
fn label_size(names: &PointLabels, width: f64) -> f64 {
    let mut words = names.iter().flat_map(|name| name.split_whitespace());
    let fit = words.all(|word| fonts::width(Face::Text, TEXT_SIZE, word) <= width);
    if fit { TEXT_SIZE } else { SMALLEST }
}

/// The numbers above a bar, on one line if its slot is wide enough.
fn numbers_over(figure: &AccuracyBars, bar: &Bar, slot: f64) -> Vec<String> {
    let (value, tally) = figure.numbers(bar);
    let words: Vec<String> = value.into_iter().chain([tally]).collect();
    match slot > ONE_LINE {
        true => vec![words.join("  ")],
        false => words,
    }
}

/// Positions of a bar and of the reported number beside it, in px.
struct Slot {
    middle: f64,
    width: f64,
    place: Place,
    reported: f64,
}

impl Slot {
    fn new(left: f64, width: f64, bar: &Bar) -> Self {
        let half = (width * 0.5).min(WIDEST) / 2.0;
        let middle = left + width / 2.0;
        let aside = bar
            .reported()
            .map_or(0.0, |_| width.min(2.0 * WIDEST) * 0.12);
        let place = Place {
            middle: middle - aside,
            half,
        };
        let reported = place.middle + half + (width.min(2.0 * WIDEST) * 0.16).max(DIAMOND + 4.0);
        Self {
            middle,
            width,
            place,
            reported,
        }
    }
}

/// Whisker, dots, the words above, and the reported number.
fn draw_marks(canvas: &mut Canvas<'_>, ground: &Ground<'_>, bar: &Bar, slot: &Slot) -> Result<()> {
    ground.draw_marks(canvas, bar, &slot.place)?;
    let (figure, bottom) = (ground.figure, ground.chart.bottom);
    let y = |value| ground.at(slot.middle, value).1;
    let height = figure.height(bar);
    let mut top = height.map_or(bottom, |height| y(height.ends().1));
    if bar.runs.len() > 1 {
        let dots = bar.runs.iter().map(|run| y(run.estimate.value) - 5.0);
        top = dots.fold(top, f64::min);
    }
    let numbers = numbers_over(figure, bar, slot.width);
    let over = Label::above(numbers, (slot.place.middle, top - 5.0));
    let style = Type::new(SMALL_SIZE, BLACK).middle();
    over.draw(canvas, style)?;

    let Some((value, _)) = bar.reported() else {
        return Ok(());
    };
    let (x, y) = ground.at(slot.reported, value);
    canvas.hollow_diamond((x, y), DIAMOND, REPORTED)?;
    let unit = figure.measure.0.unit;
    let words = match slot.width > ONE_LINE / 2.0 {
        true => unit.show(value),
        false => unit.digits(value),
    };
    let ends = [
        y - DIAMOND - 4.0,
        y + DIAMOND + 4.0 + SMALL_SIZE * LINE_HEIGHT,
    ];
    let candidates = ends.map(|end| Label::above(vec![words.clone()], (x, end)));
    let free = |label: &&Label| label.area.shared(&over.area) == 0.0 && label.area.bottom < bottom;
    let label = candidates.iter().find(free).unwrap_or(&candidates[0]);
    label.draw(canvas, Type::new(SMALL_SIZE, REPORTED).middle())
}

fn draw_baseline(
    canvas: &mut Canvas<'_>,
    ground: &Ground<'_>,
    Baseline { label, run }: &Baseline,
) -> Result<()> {
    let value = run.estimate.value;
    ground.draw_baseline(canvas, value)?;
    let mut lines = wrap(Face::Text, SMALL_SIZE, label, BASELINE_SPACE - 10.0, 3);
    lines.push(format!("{}  {}", ground.figure.show(value), tally(&[*run])));
    let deep = lines.len() as f64 * SMALL_SIZE * LINE_HEIGHT;
    let chart = &ground.chart;
    let (x, y) = ground.at(chart.right + 10.0, value);
    let top = (y - deep / 2.0).clamp(chart.top, chart.bottom - deep);
    draw_lines(canvas, &lines, (x, top), Type::SMALL)
}

/// A few short lines with white behind them.
struct Label {
    lines: Vec<String>,
    area: Area,
}

impl Label {
    /// Lines that end at the height of `place`, around it.
    fn above(lines: Vec<String>, (middle, bottom): Point) -> Self {
        let half = fonts::widest(SMALL_SIZE, &lines) / 2.0 + 2.0;
        let area = Area {
            left: middle - half,
            right: middle + half,
            top: bottom - lines.len() as f64 * SMALL_SIZE * LINE_HEIGHT,
            bottom,
        };
        Self { lines, area }
    }

    fn draw(&self, canvas: &mut Canvas<'_>, style: Type) -> Result<()> {
        let area = &self.area;
        let (from, to) = ((area.left, area.top), (area.right, area.bottom));
        canvas.rectangle(from, to, WHITE.fade(0.8))?;
        let middle = (area.left + area.right) / 2.0;
        draw_lines(canvas, &self.lines, (middle, area.top), style)
    }
}
