//! Places names beside markers with as little overlap as possible, by a small deterministic search.

use crate::plot::{Area, Point};

/// Space between a marker and its name, in px.
const BESIDE: f64 = 9.0;
/// How far away a name is tried, ring by ring, in px.
const RINGS: [f64; 8] = [0.0, 14.0, 28.0, 44.0, 62.0, 82.0, 106.0, 134.0];

/// A place for each name: of the directions around its marker, nearest ring first, the one that
/// overlaps least with what is already placed. `sizes` are width and height of the names, `taken` what no
/// name should cover, `frame` what none should leave.
pub(super) fn place(
    markers: &[Point],
    sizes: &[(f64, f64)],
    taken: &[Area],
    frame: Area,
) -> Vec<Area> {
    let mut taken = taken.to_vec();
    let mut placed = vec![];
    for (&marker, &size) in markers.iter().zip(sizes) {
        let cost = |area: &Area| {
            let covered: f64 = taken.iter().map(|other| area.shared(other)).sum();
            let leader: f64 = leader(marker, area)
                .flat_map(|step| taken.iter().map(move |other| step.shared(other)))
                .sum();
            covered + leader + 4.0 * (area.size() - area.shared(&frame))
        };
        let mut best: Option<(f64, Area)> = None;
        for area in candidates(marker, size) {
            let cost = cost(&area);
            if best.is_none_or(|(least, _)| cost < least - 1e-6) {
                best = Some((cost, area));
            }
            if cost <= 1e-6 {
                break;
            }
        }
        let (_, area) = best.expect("there are candidates");
        taken.extend(leader(marker, &area));
        taken.push(area);
        placed.push(area);
    }
    placed
}

/// Whether a name is so far from its marker that it needs a leader line.
pub(super) fn is_led(marker: Point, area: &Area) -> bool {
    let near = area.nearest(marker);
    (near.0 - marker.0).hypot(near.1 - marker.1) > 13.0
}

/// The line from a marker to its name as small boxes, clear of the marker.
fn leader(marker: Point, area: &Area) -> impl Iterator<Item = Area> + use<> {
    /// Length of a step, and from the marker to the first, in px.
    const STEP: f64 = 5.0;
    const CLEAR: f64 = 12.0;
    let near = area.nearest(marker);
    let (across, down) = (near.0 - marker.0, near.1 - marker.1);
    let length = across.hypot(down);
    let steps = match is_led(marker, area) {
        true => ((length - CLEAR) / STEP).ceil() as usize,
        false => 0,
    };
    (0..steps).map(move |step| {
        let along = (CLEAR + step as f64 * STEP) / length;
        let place = (marker.0 + along * across, marker.1 + along * down);
        Area::around(place, (4.0, 4.0))
    })
}

/// Right, left, above, below and the corners, ring by ring.
fn candidates((x, y): Point, (width, height): (f64, f64)) -> impl Iterator<Item = Area> {
    let sides = [
        (1.0, 0.0),
        (-1.0, 0.0),
        (1.0, -1.0),
        (1.0, 1.0),
        (-1.0, -1.0),
        (-1.0, 1.0),
        (0.0, -1.0),
        (0.0, 1.0),
    ];
    RINGS.into_iter().flat_map(move |ring| {
        sides.into_iter().map(move |(across, down)| {
            let (away_x, away_y) = (BESIDE + ring, (BESIDE + ring) * 0.8);
            let middle_x = x + across * (away_x + width / 2.0);
            let middle_y = y + down * (away_y + height / 2.0);
            Area::around((middle_x, middle_y), (width, height))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Area = Area {
        left: 0.0,
        top: 0.0,
        right: 800.0,
        bottom: 340.0,
    };

    #[test]
    fn names_keep_apart_and_inside_even_where_markers_crowd() {
        for seed in 0..50u64 {
            let at = |i: u64| {
                let spread = |k: u64| ((i * 7 + seed) * k % 101) as f64 / 101.0;
                (300.0 + 120.0 * spread(37), 100.0 + 120.0 * spread(53))
            };
            let markers: Vec<Point> = (0..10).map(at).collect();
            let sizes = vec![(80.0, 18.0); 10];
            let places = place(&markers, &sizes, &[], FRAME);
            for (i, a) in places.iter().enumerate() {
                assert!((a.shared(&FRAME) - a.size()).abs() < 1e-6, "seed {seed}");
                for b in &places[i + 1..] {
                    assert!(a.shared(b) < 1e-6, "seed {seed}: {a:?} {b:?}");
                }
            }
            assert_eq!(places, place(&markers, &sizes, &[], FRAME));
        }
    }

    #[test]
    fn alone_a_name_stands_right_of_its_marker_and_at_the_edge_left() {
        let one = |x| place(&[(x, 100.0)], &[(60.0, 18.0)], &[], FRAME)[0];
        assert!(one(100.0).left > 100.0);
        assert!(one(780.0).right < 780.0);
    }
}
