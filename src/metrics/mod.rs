//! The CSV border: typed rows, their writer and reader, and the statistics of recall.
//!
//! Everything right of here (`plot`) reads these files alone. Absent is empty, never 0.

mod finite;
pub mod rows;
pub mod statistics;
pub mod steps;
pub mod table;
#[cfg(test)]
mod table_properties;
