//! Figures of explorations: curves of what was measured, and distributions of it.

mod curves;
mod distribution;

pub use curves::ExplorationCurves;
pub use distribution::ExplorationDistribution;
