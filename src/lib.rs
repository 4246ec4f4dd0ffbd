//! attnlab
pub mod cli;
mod commands;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
pub mod files;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod pipeline;
pub mod plot;
pub mod progress;
pub mod train;
