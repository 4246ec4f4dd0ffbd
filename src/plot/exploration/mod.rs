//! Figures of explorations: curves of what was measured, and distributions of it.

mod curves;
mod distribution;
mod kind;
mod scale;
mod styles;

pub use curves::{CurvePanel, ExplorationCurves, ExploredCurve, draw_exploration_curves};
pub use distribution::{ExplorationDistribution, SampledSeries, draw_exploration_distribution};
