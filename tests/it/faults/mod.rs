//! What goes wrong outside the program: kills, damaged files, full disks, a second process.

mod campaign;
mod checkpoints;
mod disks;
pub(crate) mod processes;
pub(crate) mod tree;
