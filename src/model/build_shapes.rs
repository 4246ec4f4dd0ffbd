//! The build script: finds the model shapes that the experiments need compiled in.
//!
//! It walks `experiments/**/*.toml`, or only the file or folder that `ATTNLAB_SHAPES` names, and writes
//! `$OUT_DIR/shapes.rs`: one expression, a sorted list of `shape!(…)`; a second file has that of the quickstart
//! alone, for unit tests. A file that cannot be read is only a warning here: `attnlab check` reports it properly, and
//! a typo in one experiment must not keep the others from building. Settings from the environment and `--set` are
//! not considered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

// The same code resolves the file at run time; what only run time needs is unused here.
#[path = "../config/compiled.rs"]
mod compiled;
#[path = "../config/home.rs"]
mod home;
#[path = "../config/layers.rs"]
#[allow(dead_code)]
mod layers;
#[path = "../config/shape.rs"]
#[allow(dead_code, unreachable_pub)]
mod shape;
#[path = "../config/sweep/mod.rs"]
#[allow(dead_code)]
mod sweep;
#[path = "../config/tree.rs"]
#[allow(dead_code)]
mod tree;

use shape::ModelShape;

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
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let out = variable("OUT_DIR").ok_or("OUT_DIR is not set: this runs under cargo")?;
    let only = variable("ATTNLAB_SHAPES").filter(|path| !path.as_os_str().is_empty());

    directive("rerun-if-env-changed=ATTNLAB_SHAPES");
    for file in [
        "compiled.rs",
        "home.rs",
        "layers.rs",
        "shape.rs",
        "sweep",
        "tree.rs",
    ] {
        directive(&format!("rerun-if-changed=src/config/{file}"));
    }
    directive("rerun-if-changed=src/model/build_shapes.rs");
    directive("rerun-if-changed=experiments");

    let (folder, named) = match only {
        Some(path) => (home::expand(&path)?, " (from ATTNLAB_SHAPES)"),
        None => (PathBuf::from("experiments"), ""),
    };
    directive(&format!("rerun-if-changed={}", folder.display()));
    let files = layers::toml_files(&folder)
        .map_err(|cause| format!("cannot read {}{named}: {cause}", folder.display()))?;
    // Not an environment variable: cargo would also set it for the program, which would read it as a
    // setting.
    write(&out.join("rustc.txt"), &rustc_version())?;
    write(&out.join("shapes.rs"), &render(&collect(&files)))?;
    let quickstart = PathBuf::from("experiments/quickstart.toml");
    write(
        &out.join("shapes_of_unit_tests.rs"),
        &render(&collect(&[quickstart])),
    )
}

/// Writes a file unless it already has this text, so that nothing that includes it is recompiled needlessly.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let fail = |cause| format!("cannot write {}: {cause}", path.display());
    std::fs::write(path, text).map_err(fail)
}

/// Each shape with the first file that needs it.
fn collect(files: &[PathBuf]) -> BTreeMap<ModelShape, PathBuf> {
    let mut shapes = BTreeMap::new();
    for file in files.iter().filter(|file| !layers::is_base(file)) {
        match compiled::shapes(file) {
            Ok(found) => {
                let distinct: BTreeSet<ModelShape> = found.into_iter().collect();
                distinct
                    .into_iter()
                    .for_each(|shape| add(&mut shapes, shape, file));
            }
            Err(fault) => warn(fault.file.as_deref().unwrap_or(file), &fault.message),
        }
    }
    shapes
}

fn add(shapes: &mut BTreeMap<ModelShape, PathBuf>, shape: ModelShape, file: &Path) {
    if !shape.is_consistent() {
        // No tensor has a dimension of 0.
        warn(file, &format!("no model can have the shape {shape}"));
    } else {
        shapes.entry(shape).or_insert_with(|| file.to_owned());
    }
}

fn render(shapes: &BTreeMap<ModelShape, PathBuf>) -> String {
    let mut list = String::from("&[\n");
    for (shape, file) in shapes {
        let counts = shape
            .counts()
            .map(|(name, count)| format!("{name} {count}"))
            .join(", ");
        let file = file.display().to_string().replace(['\n', '\\'], "/");
        // Writing to a string cannot fail.
        let _ = writeln!(list, "    shape!({counts}), // {file}");
    }
    list + "]\n"
}

/// The compiler that built the program, recorded in the provenance of runs.
fn rustc_version() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = std::process::Command::new(rustc).arg("--version").output();
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    said.unwrap_or_else(|_| "unknown".to_owned())
}

fn warn(file: &Path, message: &str) {
    let message = layers::one_line(message);
    directive(&format!(
        "warning={}: {message} (skipped; see `attnlab check`)",
        file.display()
    ));
}

#[allow(clippy::print_stdout)] // cargo reads directives from a build script's stdout
fn directive(text: &str) {
    println!("cargo::{text}");
}
