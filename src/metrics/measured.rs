//! What an experiment has measured so far: its finished runs by point, with texts for captions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;

use super::artefacts::Artefact;
use super::table;
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::Named;

/// The finished runs of an experiment. Tables and figures are made from this and the CSV files that it names.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The experiment's name, such as `birthplace/vanilla`.
    pub name: String,
    /// Folder of its own tables, such as `summary.csv`.
    pub folder: PathBuf,
    /// The seeds that its file asks for.
    pub seeds: Vec<u64>,
    /// Its name and what all points share: `birthplace/vanilla (pretrain 650 epochs, finetune 10 epochs)`.
    pub origin: String,
    /// Which questions the points were asked: `dev`, or `dev and train`.
    pub splits: String,
    /// The first of `evaluate.measures`, which a figure shows unless it names another.
    pub measure: Named<Measure>,
    /// Hardware on which training steps were timed: `Some CPU, 2 threads`. Read from the provenance of all runs,
    /// which few figures need, when it is first asked for.
    pub timed_on: Arc<LazyLock<String, Box<dyn FnOnce() -> String + Send>>>,
    /// Whether the file names its points.
    pub has_labels: bool,
    /// How its points were chosen among candidates, for captions; `None` if they were not.
    pub choice: Option<String>,
    /// Texts for an exploration's figures; `None` for other experiments.
    pub exploration: Option<ExplorationTexts>,
    /// All points, in order, with or without a finished run; or one for each group of candidates, see `choice`.
    pub points: Vec<MeasuredPoint>,
}

/// Heading and caption of an exploration's figures.
#[derive(Clone, Debug, Default)]
pub struct ExplorationTexts {
    /// The default heading of a figure.
    pub heading: String,
    /// Sizes, samples, seeds, and details of the setup.
    pub caption: String,
}

/// A point of the sweep.
#[derive(Clone, Debug, Default)]
pub struct MeasuredPoint {
    pub folder: String,
    pub label: String,
    /// The swept keys that can change a result, and their values at this point, as text.
    pub values: Vec<(String, String)>,
    /// Keys of these whose values the file names, each with that name.
    pub names: BTreeMap<String, String>,
    /// Which questions it is asked; absent without an evaluation.
    pub split: Option<&'static str>,
    /// Its finished runs, in the order of the seeds.
    pub runs: Vec<MeasuredRun>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct MeasuredRun {
    pub seed: u64,
    pub folder: PathBuf,
}

/// What the finished runs of a point hold, one after another.
pub struct PointRows<R> {
    pub folder: String,
    pub label: String,
    /// At least one.
    pub rows: Vec<R>,
}

impl Measured {
    /// What `read` finds in the finished runs, at the points where it finds anything.
    pub fn gather<R, Rows: IntoIterator<Item = R>>(
        &self,
        read: impl Fn(&MeasuredPoint, &MeasuredRun) -> Result<Rows>,
    ) -> Result<Vec<PointRows<R>>> {
        let mut points = vec![];
        for point in &self.points {
            let mut rows = vec![];
            for run in &point.runs {
                rows.extend(read(point, run)?);
            }
            if !rows.is_empty() {
                points.push(PointRows {
                    folder: point.folder.clone(),
                    label: point.label.clone(),
                    rows,
                });
            }
        }
        Ok(points)
    }

    /// How captions about scores begin: `birthplace/vanilla (…), dev questions.`
    pub fn asked(&self) -> String {
        format!(
            "{}, {} {}.",
            self.origin, self.splits, self.measure.0.counts
        )
    }
}

impl MeasuredPoint {
    /// The value that the sweep gives a key, if it is a finite number.
    pub fn number(&self, key: &str) -> Option<f64> {
        let (_, value) = self.values.iter().find(|(name, _)| name == key)?;
        let number: f64 = value.replace('_', "").parse().ok()?;
        number.is_finite().then_some(number)
    }
}

impl MeasuredRun {
    /// The path of an artefact of the run; `part` replaces the `*` in its name.
    pub fn path(&self, artefact: &Artefact, part: &str) -> PathBuf {
        self.folder.join(artefact.in_run("", part))
    }

    /// The rows of an artefact; absent where the run has none.
    pub fn read<R: DeserializeOwned>(
        &self,
        artefact: &Artefact,
        part: &str,
    ) -> Result<Option<Vec<R>>> {
        let path = self.path(artefact, part);
        path.is_file().then(|| table::read(&path)).transpose()
    }
}
