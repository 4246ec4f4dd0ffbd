//! Vertical bars with their labels below: for few points with short names.

use super::marks::{BODY, DIAMOND, highest, legend};
use super::{AccuracyBars, Bar};
use crate::error::Result;
use crate::metrics::statistics::Estimate;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::fonts::{self, Face};
use crate::plot::page::{Layout, Page, draw_lines};
use crate::plot::point_labels::PointLabels;
use crate::plot::seed_values::tally;
use crate::plot::text::wrap;
use crate::plot::theme::{
    BASELINE, BLACK, GREY, LINE_HEIGHT, MARGIN, OURS, PLOT_HEIGHT, REPORTED, SMALL_SIZE, TEXT_SIZE,
    WHITE, WIDTH,
};

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
    let width = |size: f64, words: &str| fonts::width(Face::Text, size, words);
    let is_whole = |name: &String| {
        let mut parts = name
            .split_whitespace()
            .flat_map(|word| word.split_inclusive('-'));
        parts.all(|part| width(size, part) <= slot - 8.0)
            && wrap(Face::Text, size, name, slot - 8.0, usize::MAX).len() <= LABEL_LINES
    };
    let is_apart = |bar: &Bar| {
        let words = numbers_over(figure, bar, slot);
        words
            .iter()
            .all(|line| width(SMALL_SIZE, line) + 4.0 <= slot)
    };
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

pub(super) fn draw(figure: &AccuracyBars, names: &PointLabels, caption: &str) -> Result<String> {
    let right = baseline_space(figure);
    let slot = slot(figure);
    let label_size = label_size(names, slot - 8.0);
    let labels = names.wrapped(label_size, slot - 8.0, LABEL_LINES);
    let deepest = labels.iter().map(Vec::len).max().unwrap_or(0);

    let measure = figure.measure.0;
    let page = Page {
        title: figure.title.clone(),
        caption: caption.to_owned(),
        legend: legend(figure, "constant answer"),
        vertical: measure.axis,
        right,
        below: 10.0 + deepest as f64 * label_size * LINE_HEIGHT,
    };
    let layout = page.layout();
    let axis = axis(figure, slot);
    paint(layout.height, |canvas| {
        page.draw(canvas, &layout, &axis, measure.unit.scale())?;
        let baseline = figure.baseline.as_ref();
        if let Some(interval) = baseline.and_then(|one| one.run.estimate.interval) {
            let band = [
                layout.y(&axis, interval.high),
                layout.y(&axis, interval.low),
            ];
            let ink = BASELINE.fade(0.16);
            canvas.rectangle((layout.left, band[0]), (layout.right, band[1]), ink)?;
        }
        let slots: Vec<Slot> = (0..figure.bars.len())
            .map(|i| Slot::new(layout.left + i as f64 * slot, slot, &figure.bars[i]))
            .collect();
        for (bar, slot) in figure.bars.iter().zip(&slots) {
            if let Some(height) = figure.height(bar) {
                draw_body(canvas, &layout, layout.y(&axis, height.mean), slot)?;
            }
        }
        if let Some(baseline) = baseline {
            let Estimate { value, .. } = baseline.run.estimate;
            let words = format!("{}  {}", figure.show(value), tally(&[baseline.run]));
            draw_baseline(
                canvas,
                &layout,
                layout.y(&axis, value),
                (&baseline.label, words),
            )?;
        }
        for ((bar, slot), label) in figure.bars.iter().zip(&slots).zip(&labels) {
            draw_marks(canvas, &layout, &axis, (figure, bar), slot)?;
            let style = Type::new(label_size, BLACK).anchored(Anchor::Middle);
            draw_lines(canvas, label, (slot.middle, layout.bottom + 6.0), style)?;
        }
        let ground = [(layout.left, layout.bottom), (layout.right, layout.bottom)];
        canvas.polyline(&ground, 1.2, BLACK)
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
    bar: f64,
    half: f64,
    reported: f64,
    width: f64,
}

impl Slot {
    fn new(left: f64, width: f64, bar: &Bar) -> Self {
        let half = (width * 0.5).min(WIDEST) / 2.0;
        let middle = left + width / 2.0;
        let aside = if bar.reported().is_some() {
            width.min(2.0 * WIDEST) * 0.12
        } else {
            0.0
        };
        let bar = middle - aside;
        let reported = bar + half + (width.min(2.0 * WIDEST) * 0.16).max(DIAMOND + 4.0);
        Self {
            middle,
            bar,
            half,
            reported,
            width,
        }
    }
}

/// From 0 to a height at which all bars and the text above them fit.
fn axis(figure: &AccuracyBars, slot: f64) -> Axis {
    let lines = if slot > ONE_LINE { 1.0 } else { 2.0 };
    let words = lines * SMALL_SIZE * LINE_HEIGHT + 14.0;
    let top = highest(figure);
    let high = top * PLOT_HEIGHT / (PLOT_HEIGHT - words);
    let mut axis = Axis::new(0.0, high, 6);
    axis.last_number = *figure.measure.0.unit.range().end();
    axis
}

fn draw_body(canvas: &mut Canvas<'_>, layout: &Layout, y: f64, slot: &Slot) -> Result<()> {
    let (left, right) = (slot.bar - slot.half, slot.bar + slot.half);
    canvas.rectangle((left, y), (right, layout.bottom), WHITE)?;
    canvas.rectangle((left, y), (right, layout.bottom), OURS.fade(BODY))?;
    canvas.polyline(&[(left, y), (right, y)], 2.0, OURS)
}

/// Whisker, dots, the words above, and the reported number.
fn draw_marks(
    canvas: &mut Canvas<'_>,
    layout: &Layout,
    axis: &Axis,
    (figure, bar): (&AccuracyBars, &Bar),
    slot: &Slot,
) -> Result<()> {
    let mut top = layout.bottom;
    if let Some(height) = figure.height(bar) {
        top = layout.y(axis, height.mean);
        if let Some(interval) = height.interval {
            let (low, high) = (layout.y(axis, interval.low), layout.y(axis, interval.high));
            draw_whisker(canvas, slot.bar, low, high)?;
            top = high;
        }
    }
    let runs = &bar.runs;
    if runs.len() > 1 {
        for (i, run) in runs.iter().enumerate() {
            // Side by side, so that equal seeds stay visible.
            let aside = (i as f64 + 0.5) / runs.len() as f64 - 0.5;
            let x = slot.bar + aside * 1.5 * slot.half;
            let y = layout.y(axis, run.estimate.value);
            canvas.dot((x, y), 4.5, WHITE)?;
            canvas.dot((x, y), 3.5, OURS)?;
            top = top.min(y - 5.0);
        }
    }
    let size = Type::new(SMALL_SIZE, BLACK).anchored(Anchor::Middle);
    let over = Label::above(
        &numbers_over(figure, bar, slot.width),
        (slot.bar, top - 5.0),
    );
    over.draw(canvas, size)?;

    let Some((accuracy, _)) = bar.reported() else {
        return Ok(());
    };
    let place = (slot.reported, layout.y(axis, accuracy));
    canvas.hollow_diamond(place, DIAMOND, REPORTED)?;
    let unit = figure.measure.0.unit;
    let words = [match slot.width > ONE_LINE / 2.0 {
        true => unit.show(accuracy),
        false => unit.digits(accuracy),
    }];
    let candidates = [
        Label::above(&words, (place.0, place.1 - DIAMOND - 4.0)),
        Label::above(
            &words,
            (place.0, place.1 + DIAMOND + 4.0 + SMALL_SIZE * LINE_HEIGHT),
        ),
    ];
    let free = |label: &&Label| !label.touches(&over) && label.bottom < layout.bottom;
    let label = candidates.iter().find(free).unwrap_or(&candidates[0]);
    label.draw(
        canvas,
        Type {
            ink: REPORTED,
            ..size
        },
    )
}

fn draw_whisker(canvas: &mut Canvas<'_>, x: f64, low: f64, high: f64) -> Result<()> {
    canvas.polyline(&[(x, low), (x, high)], 1.6, BLACK)?;
    for y in [low, high] {
        canvas.polyline(&[(x - 6.0, y), (x + 6.0, y)], 1.6, BLACK)?;
    }
    Ok(())
}

fn draw_baseline(
    canvas: &mut Canvas<'_>,
    layout: &Layout,
    y: f64,
    (name, numbers): (&str, String),
) -> Result<()> {
    canvas.dashes((layout.left, y), (layout.right, y), 1.5, BASELINE)?;
    let mut lines = wrap(Face::Text, SMALL_SIZE, name, BASELINE_SPACE - 10.0, 3);
    lines.push(numbers);
    let deep = lines.len() as f64 * SMALL_SIZE * LINE_HEIGHT;
    let top = (y - deep / 2.0).clamp(layout.top, layout.bottom - deep);
    draw_lines(
        canvas,
        &lines,
        (layout.right + 10.0, top),
        Type::new(SMALL_SIZE, GREY),
    )
}

/// A few short lines with white behind them.
struct Label {
    lines: Vec<String>,
    middle: f64,
    half: f64,
    top: f64,
    bottom: f64,
}

impl Label {
    /// Lines that end at the height of `place`, around it.
    fn above(lines: &[String], place: Point) -> Self {
        let widths = lines
            .iter()
            .map(|l| fonts::width(Face::Text, SMALL_SIZE, l));
        let half = widths.fold(0.0, f64::max) / 2.0 + 2.0;
        let top = place.1 - lines.len() as f64 * SMALL_SIZE * LINE_HEIGHT;
        Self {
            lines: lines.to_vec(),
            middle: place.0,
            half,
            top,
            bottom: place.1,
        }
    }

    fn touches(&self, other: &Self) -> bool {
        (self.middle - other.middle).abs() < self.half + other.half
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn draw(&self, canvas: &mut Canvas<'_>, style: Type) -> Result<()> {
        let (left, right) = (self.middle - self.half, self.middle + self.half);
        canvas.rectangle((left, self.top), (right, self.bottom), WHITE.fade(0.8))?;
        draw_lines(canvas, &self.lines, (self.middle, self.top), style)
    }
}
