//! The build script of the program: which shapes of models are compiled in.
//!
//! The quickstart's, and those in `shapes.txt` beside the program, one a line; the program keeps that file
//! (`commands/compile.rs`). It writes `$OUT_DIR/shapes.rs`: one expression, a sorted list of `Compiled::of::<…>()`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "config/shape.rs"]
#[allow(dead_code, unreachable_pub)]
mod shape;

use shape::{ModelShape, QUICKSTART};

fn main() -> ExitCode {
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("build_shapes: {message}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), String> {
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: this runs under cargo")?;
    let out = PathBuf::from(out);
    let list = ModelShape::list_of_build(&out).ok_or("OUT_DIR is not in a target folder")?;
    let platform = std::env::var("TARGET").map_err(|cause| format!("TARGET: {cause}"))?;
    directive(&format!("rustc-env=PLATFORM={platform}"));
    if !list.exists() {
        // A file that is missing would count as changed at every build.
        write(&list, "")?;
    }
    directive("rerun-if-changed=src/build_shapes.rs");
    directive("rerun-if-changed=src/config/shape.rs");
    directive(&format!("rerun-if-changed={}", list.display()));
    let text = std::fs::read_to_string(&list)
        .map_err(|cause| format!("cannot read {}: {cause}", list.display()))?;
    let mut shapes = BTreeSet::from([QUICKSTART]);
    for line in text.lines() {
        match line.parse::<ModelShape>() {
            Ok(shape) => drop(shapes.insert(shape)),
            Err(message) => directive(&format!("warning={}: {message}", list.display())),
        }
    }
    write(&out.join("shapes.rs"), &render(&shapes))
}

fn render(shapes: &BTreeSet<ModelShape>) -> String {
    let mut list = String::from("&[\n");
    for shape in shapes {
        let counts = shape.counts().map(|(_, count)| count.to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(list, "    Compiled::of::<{}>(),", counts.join(", "));
    }
    list + "]\n"
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|cause| format!("cannot write {}: {cause}", path.display()))
}

#[allow(clippy::print_stdout)] // cargo reads directives from a build script's stdout
fn directive(text: &str) {
    println!("cargo::{text}");
}
