//! Figures of explorations: curves of what was measured, and distributions of it.

mod curves;
mod distribution;
mod styles;

pub use curves::ExplorationCurves;
pub use distribution::ExplorationDistribution;

use crate::metrics::measured::{ExplorationTexts, Measured};

fn texts(measured: &Measured) -> ExplorationTexts {
    measured.exploration.clone().unwrap_or_default()
}
