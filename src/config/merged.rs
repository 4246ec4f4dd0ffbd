//! All layers of one experiment as one tree, in which every value knows where it came from.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::Value;

use super::overrides::{self, Override};
use super::place::{self, Places};
use super::{Environment, layers};
use crate::error::{Error, Problem, Result};

/// The chain of files, the environment and `--set`, merged; types are not checked yet.
pub(super) struct Merged {
    figment: Figment,
    /// The tree.
    pub(super) root: Value,
    /// The files, the experiment's own last.
    pub(super) files: Vec<PathBuf>,
    /// What came on top of the files.
    pub(super) overrides: Vec<Override>,
    /// What is wrong with other variables and `--set`s.
    pub(super) problems: Vec<Problem>,
}

impl Merged {
    /// Reads a file and its bases, and merges the variables and `--set`s into them.
    ///
    /// # Errors
    /// [`Error::Problems`] if a file of the chain cannot be read.
    pub(super) fn read(path: &Path, set: &[String], environment: &Environment) -> Result<Self> {
        let (mut overrides, mut problems) = overrides::from_environment(environment);
        let (from_set, wrong) = overrides::from_set(set);
        overrides.extend(from_set);
        problems.extend(wrong);
        let merged = Self::with(path, overrides)?;
        Ok(Self { problems, ..merged })
    }

    /// Reads a file and its bases, and merges settings from elsewhere into them.
    ///
    /// # Errors
    /// [`Error::Problems`] if a file of the chain cannot be read.
    pub(super) fn with(path: &Path, overrides: Vec<Override>) -> Result<Self> {
        let layers = layers::read(path)
            .map_err(|fault| Error::Problems(place::sorted(place::file_problems(fault))))?;
        // An exploration has no model, so a suite's device and precision do not apply to it.
        let explores = layers.figment.find_value(super::EXPLORE).is_ok();
        let overrides: Vec<Override> = (overrides.into_iter())
            .filter(|one| !(explores && one.sets_placement()))
            .collect();
        let merge = |figment: Figment, one: &Override| figment.merge(one.clone());
        let figment = overrides.iter().fold(layers.figment, merge);
        let root = figment
            .find_value("")
            .map_err(|cause| Error::config(cause.to_string()))?;
        let files = layers.files;
        Ok(Self {
            figment,
            root,
            files,
            overrides,
            problems: vec![],
        })
    }

    /// Knows where each value was written.
    pub(super) fn places(&self) -> Places<'_> {
        Places::new(&self.figment, &self.root, &self.files)
    }
}
