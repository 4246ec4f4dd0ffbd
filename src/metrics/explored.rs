//! What explorations measured: `curves.csv` and `samples.csv` of all points and seeds.

use serde::de::DeserializeOwned;

use super::artefacts::Artefact;
use super::measured::{Measured, PointRows};
use super::rows::CurveRow;
use super::statistics::mean;
use crate::error::Result;

/// The points that have rows in this table, in order.
pub fn read<R: DeserializeOwned>(
    measured: &Measured,
    file: &Artefact,
) -> Result<Vec<PointRows<R>>> {
    measured.gather(|_, run| Ok(run.read::<R>(file, "")?.into_iter().flatten()))
}

/// The distinct values, in order of first occurrence.
pub fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = vec![];
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// The rows of one construction at one point.
pub struct Construction<'a, R> {
    /// What distinguishes it from the others.
    pub label: String,
    /// Whether somebody else reported it.
    pub is_reported: bool,
    /// In their order; of all seeds.
    pub rows: Vec<&'a R>,
}

/// Every construction at every point. `name` is that of a row's construction, and whether somebody else reported it;
/// rows without one are left out.
pub fn constructions<'a, R>(
    points: &'a [PointRows<R>],
    name: impl Fn(&'a R) -> Option<(&'a str, bool)>,
) -> Vec<Construction<'a, R>> {
    let all = points.iter().flat_map(|point| &point.rows);
    let names = distinct(all.filter_map(&name));
    let mut found = vec![];
    for point in points {
        for (own, is_reported) in &names {
            let rows = point.rows.iter();
            let rows = rows.filter(|row| name(row).is_some_and(|name| name.0 == *own));
            found.push(Construction {
                label: label(&point.label, own, [points.len(), names.len()]),
                is_reported: *is_reported,
                rows: rows.collect(),
            });
        }
    }
    found
}

/// A label of what distinguishes it: its point, its construction, or both. `points` and `names` are the number
/// of points and of constructions.
pub fn label(point: &str, name: &str, [points, names]: [usize; 2]) -> String {
    match (points, names) {
        (1, _) => name.to_owned(),
        (_, 1) => point.to_owned(),
        _ => format!("{point}: {name}"),
    }
}

/// Means over seeds at every x: the points (x, y), and the ranges of the middle 90 % of the samples.
pub fn over_seeds(rows: &[&CurveRow]) -> [Vec<(f64, f64)>; 2] {
    let (mut points, mut ranges) = (vec![], vec![]);
    for x in distinct(rows.iter().map(|row| row.x)) {
        let of = |value: fn(&CurveRow) -> Option<f64>| {
            let here = rows.iter().filter(|row| row.x == x);
            mean(&here.filter_map(|row| value(row)).collect::<Vec<f64>>())
        };
        points.extend(of(|row| Some(row.y)).map(|y| (x, y)));
        ranges.extend(of(|row| row.low_90).zip(of(|row| row.high_90)));
    }
    [points, ranges]
}
