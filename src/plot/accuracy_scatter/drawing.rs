//! Positions and drawing of discs, whiskers, dots and names.

use super::key::Naming;
use super::names;
use super::{AccuracyScatter, Spot};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::metrics::statistics::Estimate;
use crate::plot::axis::{Axis, ends};
use crate::plot::fonts::{self, Face};
use crate::plot::quantity;
use crate::plot::text::shorten;
use crate::plot::theme::{
    BLACK, GRID, Ink, LINE_HEIGHT, MARGIN, PLOT_HEIGHT, SERIES, SMALL_SIZE, TEXT_SIZE, WHITE, WIDTH,
};
use crate::plot::{Area, Canvas, Caption, Chart, Figure, LEFT, Page, Type};

/// Markers nearer than this would hide one another, in px.
const APART: f64 = 16.0;
/// Radius of the disc at the mean, in px.
const DISC: f64 = 5.5;
/// Room for the numbers of the horizontal axis and its quantity, in px.
const QUANTITY: f64 = 14.0 + SMALL_SIZE * LINE_HEIGHT + TEXT_SIZE * LINE_HEIGHT;
/// Space right of the plot area, in px.
const RIGHT: f64 = 18.0;

/// Horizontal positions of the spots that have a value, in px.
pub(super) struct Places<'a> {
    spots: Vec<Placed<'a>>,
    /// The horizontal axis.
    quantity: Axis,
}

/// A spot and its place.
struct Placed<'a> {
    /// Index among the spots that have a value.
    number: usize,
    spot: &'a Spot,
    height: Estimate,
    ink: Ink,
    /// Where its value is, in px.
    true_x: f64,
    /// Where it is drawn, in px.
    x: f64,
}

impl<'a> Places<'a> {
    pub(super) fn of(figure: &'a AccuracyScatter) -> Self {
        let (left, right) = (LEFT, WIDTH - MARGIN - RIGHT);
        let xs: Vec<f64> = figure.spots.iter().map(|spot| spot.x).collect();
        let quantity = quantity::around(&xs);
        let spots = figure.spots.iter().zip(SERIES.into_iter().cycle());
        let spots = spots.filter_map(|(spot, ink)| Some((spot, figure.height(spot)?, ink)));
        let placed = |(number, (spot, height, ink)): (usize, (&'a Spot, Estimate, Ink))| {
            let true_x = left + quantity.share(spot.x) * (right - left);
            Placed {
                number,
                spot,
                height,
                ink,
                true_x,
                x: true_x,
            }
        };
        let mut spots: Vec<Placed<'a>> = spots.enumerate().map(placed).collect();
        spots.sort_by(|a, b| a.true_x.total_cmp(&b.true_x));
        let true_xs: Vec<f64> = spots.iter().map(|spot| spot.true_x).collect();
        let moved = spread(&true_xs, (left + APART, right - APART));
        for (spot, x) in spots.iter_mut().zip(moved) {
            spot.x = x;
        }
        Self { spots, quantity }
    }

    /// Whether any marker was moved.
    pub(super) fn shifted(&self) -> bool {
        let mut spots = self.spots.iter();
        spots.any(|spot| (spot.x - spot.true_x).abs() > 0.5)
    }
}

/// Sorted positions, moved as little as needed to be [`APART`] and, if they all fit, within the ends:
/// neighbours that are too close become one group around the mean of their positions.
fn spread(places: &[f64], (left, right): (f64, f64)) -> Vec<f64> {
    let fit = (right - left) / places.len().max(1) as f64;
    let apart = APART.min(fit);
    // Each group: its members' sum of places, and their number.
    let mut groups: Vec<(f64, usize)> = vec![];
    let half = |members: usize| (members - 1) as f64 * apart / 2.0;
    let middle = |&(sum, members): &(f64, usize)| {
        let half = half(members);
        (sum / members as f64).clamp(left + half, (right - half).max(left + half))
    };
    for &place in places {
        groups.push((place, 1));
        while let [.., before, last] = groups.as_slice() {
            let gap = middle(last) - half(last.1) - middle(before) - half(before.1);
            if gap >= apart - 1e-9 {
                break;
            }
            let joined = (before.0 + last.0, before.1 + last.1);
            groups.truncate(groups.len() - 2);
            groups.push(joined);
        }
    }
    let members = |group: &(f64, usize)| {
        let start = middle(group) - half(group.1);
        (0..group.1).map(move |i| start + i as f64 * apart)
    };
    groups.iter().flat_map(members).collect()
}

pub(super) fn draw(
    figure: &AccuracyScatter,
    places: &Places<'_>,
    naming: &Naming,
    caption: Caption,
) -> Result<Figure> {
    let page = Page {
        right: RIGHT,
        below: QUANTITY + naming.height(),
        ..Page::new(caption, vec![])
    };
    // Numbers need room between the markers.
    let tall = match naming.is_key() {
        true => (places.spots.len() as f64 * 9.0).clamp(PLOT_HEIGHT, 2.0 * PLOT_HEIGHT),
        false => PLOT_HEIGHT,
    };
    let measure = figure.measure.0;
    let axis = values(places, measure);
    page.figure(tall, &figure.rows(), |canvas, chart| {
        chart.draw_up(canvas, &axis.ticks(measure.unit.scale()))?;
        chart.quantity_before(canvas, MARGIN, (&measure.axis(), TEXT_SIZE))?;
        draw_quantity(canvas, chart, &places.quantity, &figure.horizontal)?;
        for spot in &places.spots {
            draw_spot(canvas, chart, &axis, spot)?;
        }
        if figure.named {
            draw_names(canvas, chart, &axis, (&places.spots, naming))?;
        }
        naming.draw(canvas, chart.bottom + QUANTITY)
    })
}

/// The vertical axis: from a round number below the lowest mark to one above the highest, within the measure's range.
fn values(places: &Places<'_>, measure: &Measure) -> Axis {
    let most = *measure.unit.range().end();
    let (low, high) = ends(places.spots.iter().flat_map(|placed| {
        let seeds = placed.spot.runs.iter().map(|run| run.estimate.value);
        let (low, high) = placed.height.ends();
        seeds.chain([low, high])
    }));
    // Space for a name beside the outermost marks.
    let space = 0.06 * (high - low).max(0.05);
    let mut axis = Axis::rounded((low - space).max(0.0), (high + space).min(most), 6);
    if axis.low < 0.02 {
        axis.low = -0.02 * (axis.high - axis.low);
    }
    if axis.high > 0.98 * most {
        axis.high = most + 0.02 * (axis.high - axis.low);
    }
    axis.last_number = most;
    axis
}

fn draw_quantity(canvas: &mut Canvas<'_>, chart: &Chart, across: &Axis, words: &str) -> Result<()> {
    let mut free_from = f64::NEG_INFINITY;
    for (share, label) in quantity::ticks(across) {
        let foot = chart.at(share, 0.0);
        canvas.polyline(&[foot, chart.at(share, 1.0)], 1.0, GRID)?;
        let half = fonts::width(Face::Text, SMALL_SIZE, &label) / 2.0;
        if foot.0 - half >= free_from {
            free_from = foot.0 + half + 8.0;
            chart.number_below(canvas, share, &label)?;
        }
    }
    chart.draw_ground(canvas)?;
    let words = shorten(Face::Text, TEXT_SIZE, words, chart.right - chart.left);
    chart.quantity_below(canvas, &words)
}

/// The tick at its value, whisker, seeds and mean.
fn draw_spot(
    canvas: &mut Canvas<'_>,
    chart: &Chart,
    axis: &Axis,
    placed: &Placed<'_>,
) -> Result<()> {
    let Placed { x, ink, .. } = *placed;
    let tick = [
        (placed.true_x, chart.bottom),
        (placed.true_x, chart.bottom - 7.0),
    ];
    canvas.polyline(&tick, 1.6, ink)?;
    let y = |value| axis.pixel(value, chart.bottom, chart.top);
    let (low, high) = placed.height.ends();
    let (low, high) = (y(low), y(high));
    canvas.polyline(&[(x, low), (x, high)], 1.4, ink)?;
    for end in [low, high] {
        canvas.polyline(&[(x - 4.0, end), (x + 4.0, end)], 1.4, ink)?;
    }
    let mean = (x, y(placed.height.value));
    canvas.dot(mean, DISC + 1.0, WHITE)?;
    canvas.dot(mean, DISC, ink)?;
    let seeds = &placed.spot.runs;
    if seeds.len() > 1 {
        for run in seeds {
            canvas.dot((x, y(run.estimate.value)), 3.0, WHITE)?;
            canvas.dot((x, y(run.estimate.value)), 2.2, ink)?;
        }
    }
    Ok(())
}

/// Names beside the discs, with a line where they had to stand off.
fn draw_names(
    canvas: &mut Canvas<'_>,
    chart: &Chart,
    axis: &Axis,
    (spots, naming): (&[Placed<'_>], &Naming),
) -> Result<()> {
    let y = |value| axis.pixel(value, chart.bottom, chart.top);
    let name = |placed: &Placed<'_>| naming.beside[placed.number].clone();
    let texts: Vec<String> = spots.iter().map(name).collect();
    // Two numbers side by side must not read as one.
    let space = if naming.is_key() { 5.0 } else { 2.0 };
    let size = |text: &String| {
        let width = fonts::width(Face::Text, SMALL_SIZE, text);
        (width + 2.0 * space, SMALL_SIZE * LINE_HEIGHT)
    };
    let sizes: Vec<(f64, f64)> = texts.iter().map(size).collect();
    let markers: Vec<_> = spots.iter().map(|p| (p.x, y(p.height.value))).collect();
    let whisker = |placed: &Placed<'_>| Area {
        left: placed.x - 5.0,
        top: y(placed.height.ends().1) - 2.0,
        right: placed.x + 5.0,
        bottom: y(placed.height.ends().0) + 2.0,
    };
    let discs = markers.iter().map(|&marker| {
        let width = 2.0 * (DISC + 2.0);
        Area::around(marker, (width, width))
    });
    let taken: Vec<Area> = spots.iter().map(whisker).chain(discs).collect();
    let frame = Area {
        left: chart.left + 2.0,
        top: chart.top,
        right: chart.right,
        bottom: chart.bottom - 8.0,
    };
    let places = names::place(&markers, &sizes, &taken, frame);
    for ((area, &marker), placed) in places.iter().zip(&markers).zip(spots) {
        if names::is_led(marker, area) {
            let near = area.nearest(marker);
            canvas.polyline(&[marker, near], 1.0, placed.ink.fade(0.8))?;
        }
    }
    for (area, text) in places.iter().zip(&texts) {
        let (from, to) = ((area.left, area.top), (area.right, area.bottom));
        canvas.rectangle(from, to, WHITE.fade(0.75))?;
        let baseline = (area.top + area.bottom) / 2.0 + SMALL_SIZE * 0.36;
        let style = Type::new(SMALL_SIZE, BLACK);
        canvas.text(text, (area.left + space, baseline), style)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_moved_apart_and_no_further() {
        assert_eq!(spread(&[10.0, 100.0], (0.0, 800.0)), [10.0, 100.0]);
        assert_eq!(spread(&[100.0, 100.0], (0.0, 800.0)), [92.0, 108.0]);
        let crowd = spread(&[400.0; 10], (0.0, 800.0));
        assert!(crowd.windows(2).all(|two| two[1] - two[0] >= APART - 1e-9));
        let edge = spread(&[799.0; 3], (0.0, 800.0));
        assert_eq!(edge, [768.0, 784.0, 800.0]);
        assert!(spread(&[], (0.0, 800.0)).is_empty());
    }
}
