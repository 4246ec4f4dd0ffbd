//! The `attnlab` program: the shapes that are compiled in. Everything else is the library's.

use std::process::ExitCode;

use attnlab::commands::{self, Build};
use attnlab::model::registry::Compiled;

/// The build script lists them.
static SHAPES: &[Compiled] = include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

fn main() -> ExitCode {
    let build = Build {
        out: env!("OUT_DIR"),
        platform: env!("PLATFORM"),
    };
    commands::main(SHAPES, build)
}
