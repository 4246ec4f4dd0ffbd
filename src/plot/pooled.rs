//! The points of a sweep, with the answers of all seeds of a point pooled.

use super::caption::Caption;
use super::point_labels::PointLabels;
use crate::error::Result;
use crate::metrics::answers::{self, RunAnswers};
use crate::metrics::measured::{Measured, PointRows};

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PooledPoint<A> {
    /// Heading of its chart.
    pub label: String,
    /// Seeds of its runs, all asked the same questions.
    pub seeds: Vec<u64>,
    /// The pooled answers of these runs.
    pub answers: A,
}

/// The points with at least one run for which `counts` holds, and the pooled `answers` of those runs.
pub(super) fn gather<A>(
    measured: &Measured,
    counts: impl Fn(&RunAnswers) -> bool,
    answers: impl Fn(&[RunAnswers]) -> A,
) -> Result<Vec<PooledPoint<A>>> {
    let mut points = answers::of_points(measured)?;
    for point in &mut points {
        point.rows.retain(&counts);
    }
    points.retain(|point| !point.rows.is_empty());
    let pooled = |point: &PointRows<RunAnswers>| PooledPoint {
        label: point.label.clone(),
        seeds: point.seeds(),
        answers: answers(&point.rows),
    };
    Ok(points.iter().map(pooled).collect())
}

pub(super) fn names<A>(points: &[PooledPoint<A>]) -> PointLabels {
    PointLabels::of(points.iter().map(|point| point.label.as_str()))
}

/// Says in a caption that seeds are pooled, and what follows from that, if any point has several.
pub(super) fn explain<A>(caption: &mut Caption, points: &[PooledPoint<A>], hence: &str) {
    if points.iter().any(|point| point.seeds.len() > 1) {
        caption.say(format!("Answers of several seeds are pooled{hence}."));
    }
}
