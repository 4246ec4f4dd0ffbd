//! An experiment's files as one figment: base <- file.
//!
//! The environment and `--set` come on top in `overrides.rs`.

use std::path::{Component, Path, PathBuf};

use figment::Figment;
use figment::providers::{Format as _, Toml};

use super::{home, tree};

/// What a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// The file is not valid TOML; `syntax` parses it again for a better message.
    Syntax,
    /// There is no such key, whatever its value.
    Key,
    /// A table lacks keys: those that [`Fault::reads`] lists.
    Absence,
    /// Everything else.
    Value,
}

/// An error in a configuration, at a key; `place` turns it into a problem with the place where the key was set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// The file, where only this file can be meant.
    pub(crate) file: Option<Box<Path>>,
    /// The key concerned, in parts; empty: the file as a whole.
    pub(crate) key: Vec<String>,
    /// Other keys that have part in it.
    pub(crate) reads: Box<[Vec<String>]>,
    /// What is wrong.
    pub(crate) about: About,
    /// The same in words.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// A suggested replacement.
    pub(crate) instead: Option<Box<Suggestion>>,
}

/// What a user probably meant; how to write it depends on where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Suggestion {
    /// Another value of the key, as TOML.
    Value(String),
    /// Another key, in parts.
    Key(Vec<String>),
    /// A file with a name like this one, which does not exist.
    FileLike(PathBuf),
}

impl Fault {
    /// A fault of the configuration as a whole.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            file: None,
            key: vec![],
            reads: Box::default(),
            about: About::Value,
            message: message.into(),
            help: None,
            instead: None,
        }
    }

    /// A fault at a key of the merged configuration.
    pub(crate) fn at_key(key: &[impl AsRef<str>], message: impl Into<String>) -> Self {
        let mut fault = Self::new(message);
        fault.key = tree::path(key);
        fault
    }

    /// A fault in one file.
    pub(crate) fn in_file(file: &Path, message: impl Into<String>) -> Self {
        let mut fault = Self::new(message);
        fault.file = Some(file.into());
        fault
    }

    /// A file that a parser refuses, with its error.
    pub(crate) fn not_toml(file: &Path, refusal: &str) -> Self {
        let about = About::Syntax;
        Self {
            about,
            ..Self::in_file(file, one_line(refusal))
        }
    }

    /// Adds the line that says what to do.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        let help = Some(help.into());
        Self { help, ..self }
    }

    /// Adds other keys that have part in it.
    pub(crate) fn reads(self, reads: impl Into<Box<[Vec<String>]>>) -> Self {
        let reads = reads.into();
        Self { reads, ..self }
    }

    /// Adds a suggested replacement.
    pub(crate) fn instead(self, suggestion: Suggestion) -> Self {
        let instead = Some(Box::new(suggestion));
        Self { instead, ..self }
    }
}

/// The files of one experiment, merged.
pub(crate) struct Layers {
    /// The merged files; every value knows its file.
    pub(crate) figment: Figment,
    /// The files, the experiment's own last.
    pub(crate) files: Vec<PathBuf>,
}

/// Why an experiment's own file cannot be read.
fn absent(file: &Path) -> Fault {
    if file.is_dir() {
        let list = "name a file in it: `attnlab list experiments FOLDER` says what there is";
        return Fault::in_file(file, "this is a folder").help(list);
    }
    let like = Suggestion::FileLike(file.to_owned());
    Fault::in_file(file, "the file does not exist").instead(like)
}

/// A fault at the `base` key of a file.
fn wrong_base(file: &Path, message: String) -> Fault {
    let mut fault = Fault::in_file(file, message);
    fault.key = tree::path(&["base"]);
    fault
}

/// Why the `base` of a file cannot be read.
fn absent_base(base: &Path, by: &Path) -> Fault {
    let shown = base.display();
    let fault = |what: &str| {
        let fault = wrong_base(by, format!("the base file {shown} {what}"));
        fault.help("`base` is relative to the file that names it")
    };
    match base.is_dir() {
        true => fault("is a folder"),
        false => fault("does not exist").instead(Suggestion::FileLike(base.to_owned())),
    }
}

/// Resolves a path named in a file, relative to that file; see [`home::expand`].
pub(crate) fn beside(file: &Path, named: &Path) -> Result<PathBuf, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    Ok(tidy(&folder.join(home::expand(named)?)))
}

/// Reads a file and the chain of files that its `base` starts.
///
/// # Errors
/// A file of the chain is missing, not TOML, or its own ancestor.
pub(crate) fn read(path: &Path) -> Result<Layers, Fault> {
    let (mut file, mut files, mut figment) = (tidy(path), Vec::<PathBuf>::new(), Figment::new());
    loop {
        if !file.is_file() {
            return Err(match files.last() {
                None => absent(&file),
                Some(by) => absent_base(&file, by),
            });
        }
        let provider = Figment::from(Toml::file_exact(&file));
        let root = provider.find_value("");
        let root = root.map_err(|cause| Fault::not_toml(&file, &cause.to_string()))?;
        files.push(file.clone());
        figment = provider.merge(figment);
        let Some(base) = tree::get(&root, &["base"]) else {
            break;
        };
        let Some(base) = base.as_str() else {
            let found = tree::text(base);
            let message = format!("`base` must be the path of a file, but is {found}");
            return Err(wrong_base(&file, message));
        };
        let base = beside(&file, Path::new(base))
            .map_err(|cause| wrong_base(&file, format!("`base`: {cause}")))?;
        if files.iter().any(|seen| same_file(seen, &base)) {
            files.push(base);
            let names = files.iter().map(|file| file.display().to_string());
            let names: Vec<String> = names.collect();
            let message = format!("`base` goes in a circle: {}", names.join(" -> "));
            return Err(wrong_base(&file, message));
        }
        file = base;
    }
    files.reverse();
    Ok(Layers { figment, files })
}

/// The parts of a path below the last folder named `experiments`; without such a folder, the last part alone.
pub(crate) fn below_experiments(path: &Path) -> Vec<String> {
    let parts = path.components().map(Component::as_os_str);
    let parts: Vec<String> = parts
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let experiments = parts.iter().rposition(|part| part == "experiments");
    let last = parts.len().saturating_sub(1);
    parts[experiments.map_or(last, |at| at + 1)..].to_vec()
}

/// Whether a file is in a folder named `base`, for other files to build on. Folders above
/// `experiments` do not count; without an `experiments` folder only the nearest folder does.
pub(crate) fn is_base(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new(""));
    below_experiments(folder).iter().any(|part| part == "base")
}

/// Every `*.toml` file below a folder, or the file itself, sorted.
pub(crate) fn toml_files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_dir() {
            found.extend(toml_files(&entry)?);
        } else if entry
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

/// `a/../b` as `b`, so that messages name a file as a user would.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match (part, out.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

pub(crate) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
