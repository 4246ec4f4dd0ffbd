//! Results as CSV: typed rows, reading and writing them, and statistics.
//!
//! Everything downstream (`plot`, `report`) reads only these files. A missing value is an empty cell, never 0.

// What a name says needs no comment.
#![allow(missing_docs)]

pub mod answers;
pub mod artefacts;
pub mod explored;
mod finite;
pub mod foreign;
pub mod measured;
pub mod rows;
pub mod statistics;
pub mod steps;
pub mod table;
#[cfg(test)]
mod table_properties;
