//! How to compile a missing shape into the binary.

use std::path::Path;

use super::advice::shell_word;
use super::compiled;
use super::shape::{ModelShape, nearest};
use super::wording;

/// The source folder this binary was built from; it may not exist on another machine.
const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// The variable that makes the build script read one file or folder instead of `experiments/`.
const ONLY: &str = "ATTNLAB_SHAPES";

/// How to run `shape`, which is not compiled in. The experiment in `file` has it, perhaps only through
/// `--set` or a variable: the build script reads files alone.
pub fn how_to_compile(file: &Path, shape: &ModelShape) -> String {
    let own = compiled::shapes(file).unwrap_or_default();
    let cuda = if cfg!(feature = "cuda") {
        " --features cuda"
    } else {
        ""
    };
    let run = format!("cargo run --release{cuda}{} -- run", manifest());
    if !own.contains(shape) {
        let changes = changes(shape, &own);
        return format!(
            "no experiment file has this shape: write {changes} into a copy of {} under experiments/, and \
             `{run} COPY` builds it in",
            file.display()
        );
    }
    let shown = shell_word(&file.display().to_string());
    let variable = match std::path::absolute(file) {
        Ok(whole) if !is_an_experiment(file) => {
            format!("{ONLY}={} ", shell_word(&whole.display().to_string()))
        }
        _ if std::env::var_os(ONLY).is_some_and(|only| !only.is_empty()) => {
            format!("env -u {ONLY} ")
        }
        _ => String::new(),
    };
    format!("`{variable}{run} {shown}` builds it in")
}

/// Whether the build script reads the file by default.
fn is_an_experiment(file: &Path) -> bool {
    let folder = Path::new(SOURCE).join("experiments").canonicalize();
    let file = file.canonicalize();
    matches!((folder, file), (Ok(folder), Ok(file)) if file.starts_with(&folder))
}

/// Where cargo finds the source, if that is not where the command is typed.
fn manifest() -> String {
    let source = Path::new(SOURCE);
    let is_inside = std::env::current_dir().is_ok_and(|here| here.starts_with(source));
    let manifest = source.join("Cargo.toml");
    match !is_inside && manifest.is_file() {
        true => {
            let manifest = shell_word(&manifest.display().to_string());
            format!(" --manifest-path {manifest}")
        }
        false => String::new(),
    }
}

/// The keys of a shape in which it differs from the file, with their values: `` `model.embed = 37` ``.
fn changes(shape: &ModelShape, own: &[ModelShape]) -> String {
    let like = nearest(shape, own, 1).first().map(|like| like.counts());
    let mut changed = shape.counts().to_vec();
    changed.retain(|count| like.is_none_or(|like| !like.contains(count)));
    let changed: Vec<String> = changed
        .iter()
        .map(|(name, n)| format!("model.{name} = {n}"))
        .collect();
    wording::list(&changed, "and")
}
