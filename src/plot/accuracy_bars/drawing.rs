//! Where bars, whiskers, dots, diamonds and the baseline stand.

use super::{AccuracyBars, Bar, Height};
use crate::error::Result;
use crate::plot::axis::Axis;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::fonts::{self, Face};
use crate::plot::page::{Layout, Mark, Page, draw_lines};
use crate::plot::text::{count, number, percent, wrap};
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
/// Room for a bar from which on its numbers stand side by side, in px.
const ONE_LINE: f64 = 200.0;
/// Type size of labels in narrow slots, in px.
const SMALLEST: f64 = 13.0;
/// Radius of a reported number's diamond, in px.
const DIAMOND: f64 = 6.5;
/// Opacity of a bar's body: its whisker and its dots stand on it.
const BODY: f64 = 0.45;

pub(super) fn draw(figure: &AccuracyBars, caption: &str) -> Result<String> {
    let baseline = figure.baseline_height();
    let right = if baseline.is_some() {
        BASELINE_SPACE
    } else {
        0.0
    };
    let slot = (WIDTH - 2.0 * MARGIN - 64.0 - right) / figure.bars.len().max(1) as f64;
    let label_size = label_size(figure, slot - 8.0);
    let label_lines = |bar: &Bar| wrap(Face::Text, label_size, &bar.label, slot - 8.0, LABEL_LINES);
    let labels: Vec<Vec<String>> = figure.bars.iter().map(label_lines).collect();
    let deepest = labels.iter().map(Vec::len).max().unwrap_or(0);

    let page = Page {
        title: figure.title.clone(),
        caption: caption.to_owned(),
        legend: legend(figure),
        vertical: "questions answered right (%)",
        right,
        below: 10.0 + deepest as f64 * label_size * LINE_HEIGHT,
    };
    let layout = page.layout();
    let axis = axis(figure, slot);
    paint(layout.height, |canvas| {
        page.draw(canvas, &layout, &axis, 100.0)?;
        if let Some((_, height)) = &baseline {
            let band = [layout.y(&axis, height.high), layout.y(&axis, height.low)];
            let ink = BASELINE.fade(0.16);
            canvas.rectangle((layout.left, band[0]), (layout.right, band[1]), ink)?;
        }
        let slots: Vec<Slot> = (0..figure.bars.len())
            .map(|i| Slot::new(layout.left + i as f64 * slot, slot, &figure.bars[i]))
            .collect();
        for (bar, slot) in figure.bars.iter().zip(&slots) {
            draw_body(canvas, &layout, &axis, bar, slot)?;
        }
        if let Some((words, height)) = &baseline {
            let words = format!("{}/{}", count(words.correct), count(words.questions));
            draw_baseline(canvas, &layout, &axis, figure, height, &words)?;
        }
        for ((bar, slot), label) in figure.bars.iter().zip(&slots).zip(&labels) {
            draw_marks(canvas, &layout, &axis, bar, slot)?;
            let style = Type::new(label_size, BLACK).anchored(Anchor::Middle);
            draw_lines(canvas, label, (slot.middle, layout.bottom + 6.0), style)?;
        }
        let ground = [(layout.left, layout.bottom), (layout.right, layout.bottom)];
        canvas.polyline(&ground, 1.2, BLACK)
    })
}

/// A little smaller where a word would not fit its slot.
fn label_size(figure: &AccuracyBars, width: f64) -> f64 {
    let mut words = figure
        .bars
        .iter()
        .flat_map(|bar| bar.label.split_whitespace());
    let fit = words.all(|word| fonts::width(Face::Text, TEXT_SIZE, word) <= width);
    if fit { TEXT_SIZE } else { SMALLEST }
}

/// Where one bar and its neighbour, the reported number, stand, in px.
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

fn legend(figure: &AccuracyBars) -> Vec<(Mark, String)> {
    let several = figure.bars.iter().any(|bar| bar.asked().count() > 1);
    let bars = if several {
        "ours, mean over seeds"
    } else {
        "ours, one run"
    };
    let mut legend = vec![(Mark::Square(OURS.fade(BODY)), bars.to_owned())];
    if several {
        legend.push((Mark::Dot(OURS), "one seed".to_owned()));
    }
    let mut sources: Vec<&str> = figure
        .bars
        .iter()
        .filter_map(|b| b.reported())
        .map(|r| r.1)
        .collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        let label = if source.is_empty() {
            "reported".to_owned()
        } else {
            format!("reported ({source})")
        };
        legend.push((Mark::Diamond(REPORTED), label));
    }
    if figure.baseline_height().is_some() {
        legend.push((Mark::Dashes(BASELINE), "constant answer".to_owned()));
    }
    legend
}

/// From 0 to where everything and the words above it fit.
fn axis(figure: &AccuracyBars, slot: f64) -> Axis {
    let lines = if slot > ONE_LINE { 1.0 } else { 2.0 };
    let words = lines * SMALL_SIZE * LINE_HEIGHT + 14.0;
    let reported = figure.bars.iter().filter_map(|b| b.reported()).map(|r| r.0);
    let heights = figure.bars.iter().filter_map(Bar::height).map(|h| h.high);
    let seeds = figure
        .bars
        .iter()
        .flat_map(Bar::asked)
        .map(super::SeedAccuracy::fraction);
    let baseline = figure.baseline_height().map(|(_, h)| h.high);
    let top = heights
        .chain(reported)
        .chain(seeds)
        .chain(baseline)
        .fold(0.01, f64::max);
    let high = top * PLOT_HEIGHT / (PLOT_HEIGHT - words);
    let mut axis = Axis::new(0.0, high, 6);
    axis.last_number = 1.0;
    axis
}

fn draw_body(
    canvas: &mut Canvas<'_>,
    layout: &Layout,
    axis: &Axis,
    bar: &Bar,
    slot: &Slot,
) -> Result<()> {
    let Some(height) = bar.height() else {
        return Ok(());
    };
    let y = layout.y(axis, height.accuracy);
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
    bar: &Bar,
    slot: &Slot,
) -> Result<()> {
    let mut top = layout.bottom;
    let mut words = vec![bar.tally()];
    if let Some(height) = bar.height() {
        let (low, high) = (layout.y(axis, height.low), layout.y(axis, height.high));
        draw_whisker(canvas, slot.bar, low, high)?;
        words.insert(0, percent(height.accuracy));
        top = high;
    }
    if bar.asked().count() > 1 {
        let asked: Vec<_> = bar.asked().collect();
        for (i, run) in asked.iter().enumerate() {
            // Side by side, so that equal seeds stay visible.
            let aside = (i as f64 + 0.5) / asked.len() as f64 - 0.5;
            let x = slot.bar + aside * 1.5 * slot.half;
            let y = layout.y(axis, run.fraction());
            canvas.dot((x, y), 4.5, WHITE)?;
            canvas.dot((x, y), 3.5, OURS)?;
            top = top.min(y - 5.0);
        }
    }
    let size = Type::new(SMALL_SIZE, BLACK).anchored(Anchor::Middle);
    let words = if slot.width > ONE_LINE {
        vec![words.join("  ")]
    } else {
        words
    };
    let over = Label::above(&words, (slot.bar, top - 5.0));
    over.draw(canvas, size)?;

    let Some((accuracy, _)) = bar.reported() else {
        return Ok(());
    };
    let place = (slot.reported, layout.y(axis, accuracy));
    canvas.hollow_diamond(place, DIAMOND, REPORTED)?;
    let unit = if slot.width > ONE_LINE / 2.0 {
        " %"
    } else {
        ""
    };
    let words = [format!("{}{unit}", number(accuracy * 100.0, 1))];
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
    axis: &Axis,
    figure: &AccuracyBars,
    height: &Height,
    tally: &str,
) -> Result<()> {
    let y = layout.y(axis, height.accuracy);
    canvas.dashes((layout.left, y), (layout.right, y), 1.5, BASELINE)?;
    let name = figure.baseline.as_ref().map_or("", |b| b.label.as_str());
    let mut lines = wrap(Face::Text, SMALL_SIZE, name, BASELINE_SPACE - 10.0, 3);
    lines.push(format!("{}  {tally}", percent(height.accuracy)));
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
