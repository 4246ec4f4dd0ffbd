//! An experiment's files as one figment: base <- file. Shared with the build script.
//!
//! The environment and `--set` come on top in `overrides.rs`, in the program alone: what is
//! compiled in depends on nothing but files.

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
    /// Everything else.
    Value,
}

/// An error in a configuration, at a key; `place` turns it into a problem with the place where the key was set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// The file, where only this file can be meant.
    pub(crate) file: Option<PathBuf>,
    /// The key concerned, in parts; empty: the file as a whole.
    pub(crate) key: Vec<String>,
    /// What of it is wrong.
    pub(crate) about: About,
    /// What is wrong.
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
    /// A fault at a key of the merged configuration.
    pub(crate) fn at_key(key: &[&str], message: String) -> Self {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        Self {
            file: None,
            key,
            about: About::Value,
            message,
            help: None,
            instead: None,
        }
    }

    fn in_file(file: &Path, key: &[&str], message: String) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::at_key(key, message)
        }
    }

    /// Adds the line that says what to do.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Adds a value that would be valid.
    pub(crate) fn instead(self, value: impl Into<String>) -> Self {
        Self {
            instead: Some(Box::new(Suggestion::Value(value.into()))),
            ..self
        }
    }

    fn missing(self, file: &Path) -> Self {
        Self {
            instead: Some(Box::new(Suggestion::FileLike(file.to_owned()))),
            ..self
        }
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
        return Fault::in_file(file, &[], "this is a folder".to_owned()).help(list);
    }
    Fault::in_file(file, &[], "the file does not exist".to_owned()).missing(file)
}

/// Why the `base` of a file cannot be read.
fn absent_base(base: &Path, by: &Path) -> Fault {
    let shown = base.display();
    let fault = |what: &str| {
        Fault::in_file(by, &["base"], format!("the base file {shown} {what}"))
            .help("`base` is relative to the file that names it")
    };
    match base.is_dir() {
        true => fault("is a folder"),
        false => fault("does not exist").missing(base),
    }
}

/// A path that a file names, relative to that file.
///
/// # Errors
/// See [`home::expand`].
pub(crate) fn beside(file: &Path, named: &Path) -> Result<PathBuf, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    Ok(tidy(&folder.join(home::expand(named)?)))
}

/// Reads a file and the chain of files that its `base` starts.
///
/// # Errors
/// A file of the chain is missing, not TOML, or its own ancestor.
pub(crate) fn read(path: &Path) -> Result<Layers, Fault> {
    let mut chain = vec![tidy(path)];
    let mut providers = Vec::new();
    let mut next = (tidy(path), None::<PathBuf>);
    loop {
        let (file, named_by) = next;
        if !file.is_file() {
            return Err(match named_by {
                None => absent(&file),
                Some(by) => absent_base(&file, &by),
            });
        }
        let provider = Figment::from(Toml::file_exact(&file));
        let base = match provider.find_value("") {
            Ok(root) => tree::get(&root, &["base".to_owned()]).cloned(),
            Err(cause) => {
                let fault = Fault::in_file(&file, &[], one_line(&cause.to_string()));
                return Err(Fault {
                    about: About::Syntax,
                    ..fault
                });
            }
        };
        providers.push(provider);
        let Some(base) = base else { break };
        let Some(base) = base.as_str() else {
            let message = format!(
                "`base` must be the path of a file, but is {}",
                tree::text(&base)
            );
            return Err(Fault::in_file(&file, &["base"], message));
        };
        let base = beside(&file, Path::new(base))
            .map_err(|cause| Fault::in_file(&file, &["base"], format!("`base`: {cause}")))?;
        if chain.iter().any(|seen| same_file(seen, &base)) {
            let names: Vec<String> = chain
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            let message = format!(
                "`base` goes in a circle: {} -> {}",
                names.join(" -> "),
                base.display()
            );
            return Err(Fault::in_file(&file, &["base"], message));
        }
        chain.push(base.clone());
        next = (base, Some(file));
    }
    chain.reverse();
    let figment = providers
        .into_iter()
        .rev()
        .fold(Figment::new(), Figment::merge);
    Ok(Layers {
        figment,
        files: chain,
    })
}

/// Whether a file is in a folder named `base`, for other files to build on. Folders above
/// `experiments` do not count; without an `experiments` folder only the nearest folder does.
pub(crate) fn is_base(path: &Path) -> bool {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let folders: Vec<_> = folders.map(Component::as_os_str).collect();
    let from = match folders.iter().rposition(|folder| *folder == "experiments") {
        Some(experiments) => experiments + 1,
        None => folders.len().saturating_sub(1),
    };
    folders[from..].iter().any(|folder| *folder == "base")
}

/// Every `*.toml` file below a folder, or the file itself, sorted.
///
/// # Errors
/// A folder that cannot be read, or nothing at `path`.
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
