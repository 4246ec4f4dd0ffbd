//! The points of a sweep, each with the answers of all its seeds together.

use super::point_labels::PointLabels;
use crate::metrics::answers::PointAnswers;

/// One point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PooledPoint<A> {
    /// What stands over its chart.
    pub label: String,
    /// Seeds of its runs, all asked the same questions.
    pub seeds: Vec<u64>,
    /// What they answered.
    pub answers: A,
}

impl<A> PooledPoint<A> {
    pub(super) fn of(point: &PointAnswers, answers: A) -> Self {
        Self {
            label: point.label.clone(),
            seeds: point.seeds(),
            answers,
        }
    }
}

pub(super) fn names<A>(points: &[PooledPoint<A>]) -> PointLabels {
    PointLabels::of(points.iter().map(|point| point.label.as_str()))
}

/// Whether the answers of several seeds are together anywhere.
pub(super) fn any_pooled<A>(points: &[PooledPoint<A>]) -> bool {
    points.iter().any(|point| point.seeds.len() > 1)
}
