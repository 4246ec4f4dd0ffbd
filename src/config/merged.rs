//! All layers of one experiment as one tree, in which every value knows where it came from.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::Value;

use super::layers::{self, About, Fault, Layers};
use super::locate::Position;
use super::overrides::{self, Override};
use super::place::{self, Placed, find, in_file};
use super::sweep::PointValues;
use super::{Environment, tree};
use crate::error::{Error, Problem, Result};

/// The chain of files, the environment and `--set`, merged; types are not checked yet.
pub(super) struct Merged {
    figment: Figment,
    /// The tree.
    pub(super) root: Value,
    /// The files, the experiment's own last.
    pub(super) files: Vec<PathBuf>,
    /// Settings applied on top of the files.
    pub(super) overrides: Vec<Override>,
    /// Problems with variables and `--set`s that could not be read.
    pub(super) problems: Vec<Problem>,
}

/// Where a value was written.
enum Source {
    File(PathBuf, Option<Position>),
    /// `--set KEY`, `--device` or `environment ATTNLAB_KEY`.
    Outside(String),
}

impl Merged {
    /// Reads a file and its bases, and merges the variables and `--set`s into them.
    pub(super) fn read(path: &Path, set: &[String], environment: &Environment) -> Result<Self> {
        let (overrides, problems) = overrides::read(set, environment);
        let mut merged = Self::with(path, overrides)?;
        merged.problems.extend(problems);
        Ok(merged)
    }

    /// Reads a file and its bases, and merges settings from elsewhere into them.
    pub(super) fn with(path: &Path, mut overrides: Vec<Override>) -> Result<Self> {
        let Layers { figment, files } = layers::read(path).map_err(place::refused)?;
        // An exploration has no model, so a suite's device and precision do not apply to it.
        let explores = figment.find_value(super::EXPLORE).is_ok();
        let placement = overrides.extract_if(.., |one| explores && one.sets_placement());
        let problems = placement.flat_map(|one| one.wrong()).collect();
        let merge = |figment: Figment, one: &Override| figment.merge(one.clone());
        let figment = overrides.iter().fold(figment, merge);
        let root = figment
            .find_value("")
            .map_err(|cause| Error::config(cause.to_string()))?;
        Ok(Self {
            figment,
            root,
            files,
            overrides,
            problems,
        })
    }

    /// Turns a fault at a point into a problem; `point` is empty for keys that all points share.
    pub(super) fn problem(&self, fault: Fault, point: &PointValues) -> Placed {
        let path = self.written(&fault, point);
        if let Some(place) = self.cause(&path, &fault) {
            return (None, place::outside(place, &path, fault));
        }
        // The longest prefix of the key that is set anywhere determines the source.
        let depth = (0..=path.len())
            .rev()
            .find(|n| tree::get(&self.root, &path[..*n]).is_some());
        let path = &path[..depth.unwrap_or(0)];
        if path.is_empty() {
            return in_file(self.own(), None, fault);
        }
        match self.source(path) {
            Source::File(file, position) => {
                let key = path.to_vec();
                in_file(&file, position, Fault { key, ..fault })
            }
            Source::Outside(name) => (None, place::outside(name, path, fault)),
        }
    }

    /// Whether a figure must have something to show: nothing is set from outside the files, or the figure is.
    pub(super) fn must_show(&self, figure: &str) -> bool {
        let key = tree::path(&["figures", figure]);
        let mut set = self.overrides.iter();
        self.overrides.is_empty() || set.any(|one| one.key.starts_with(&key))
    }

    /// Whether an axis of the sweep is set from outside the files, so that what they say of its values may not apply.
    pub(super) fn is_swept_from_outside(&self) -> bool {
        self.overrides.iter().any(Override::is_axis)
    }

    /// The `--set`, option or variable that the fault is due to, if any; a key that is missing is due to none.
    fn cause(&self, written: &[String], fault: &Fault) -> Option<String> {
        if self.overrides.is_empty() || fault.about == About::Absence {
            return None;
        }
        let mut keys = [written]
            .into_iter()
            .chain(fault.reads.iter().map(Vec::as_slice));
        keys.find_map(|key| {
            // What is wrong with the file as a whole is nobody's setting.
            tree::get(&self.root, key).filter(|_| !key.is_empty())?;
            let mut overrides = self.overrides.iter();
            match self.source(key) {
                Source::Outside(place) => Some(place),
                Source::File(..) => {
                    let within = overrides.rfind(|one| one.key.starts_with(key))?;
                    Some(within.place.clone())
                }
            }
        })
    }

    /// Where a key was set, as shown to the user: `experiments/x.toml:12`, `--set KEY`, `--device` or `environment
    /// ATTNLAB_KEY`. Absent if it was not set.
    pub(super) fn origin(&self, path: &[String]) -> Option<String> {
        tree::get(&self.root, path)?;
        Some(match self.source(path) {
            Source::File(file, Some((line, _))) => format!("{}:{line}", file.display()),
            Source::File(file, None) => file.display().to_string(),
            Source::Outside(name) => name,
        })
    }

    /// The file that set a key last; absent if none did.
    pub(super) fn file(&self, path: &[String]) -> Option<PathBuf> {
        match tree::get(&self.root, path).map(|_| self.source(path))? {
            Source::File(file, _) => Some(file),
            Source::Outside(_) => None,
        }
    }

    fn own(&self) -> &Path {
        self.files.last().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Where a key was set last; it must be set.
    fn source(&self, path: &[String]) -> Source {
        let value = tree::get(&self.root, path);
        // Dates are parsed as tables too.
        if (value.and_then(Value::as_dict)).is_some_and(|table| !tree::is_date(table)) {
            // Several layers may contribute to a table: name the last file that contains it.
            let whole = |file| find(file, path).filter(|(_, whole)| *whole);
            let mut files = self.files.iter().rev();
            let found = files.find_map(|file| Some((file, whole(file)?.0)));
            if let Some((file, position)) = found {
                return Source::File(file.clone(), Some(position));
            }
        }
        let Some(metadata) = value.and_then(|value| self.figment.get_metadata(value.tag())) else {
            return Source::File(self.own().to_owned(), None);
        };
        match metadata
            .source
            .as_ref()
            .and_then(figment::Source::file_path)
        {
            Some(file) => {
                let position = find(file, path).map(|(position, _)| position);
                Source::File(file.to_owned(), position)
            }
            None => Source::Outside(metadata.name.to_string()),
        }
    }

    /// The path under which a key was written: below `sweep` if an axis sets it.
    fn written(&self, fault: &Fault, point: &PointValues) -> Vec<String> {
        let key = &fault.key;
        let sweep = ["sweep".to_owned()];
        for assignment in &point.values {
            let axis = tree::split(&assignment.key);
            if let Some(rest) = key.strip_prefix(&axis[..]) {
                // An axis under a wrong key is one mistake, not one for each of its values.
                let is_key = fault.about == About::Key && rest.is_empty();
                let written = match is_key {
                    true => assignment.key_written(),
                    false => &assignment.written,
                };
                return [&sweep, written, rest].concat();
            }
            if axis.starts_with(key) && tree::get(&self.root, key).is_none() {
                return [&sweep, assignment.axis_written()].concat();
            }
        }
        key.clone()
    }
}
