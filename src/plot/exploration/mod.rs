//! Figures of explorations: curves of what was measured, and distributions of it.

mod curves;
mod distribution;
mod styles;

pub use curves::ExplorationCurves;
pub use distribution::ExplorationDistribution;
