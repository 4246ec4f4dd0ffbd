//! The program as a user meets it: every command is run as a process on the repository's own
//! experiments. And the source as a reader meets it: who may import what.

mod circles;
mod commands;
mod faults;
mod golden;
mod lab;
mod layering;
mod paths;
mod readme;
mod real_text;
mod schema;
