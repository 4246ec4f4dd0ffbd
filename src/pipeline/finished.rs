//! `done.json` of a run: the stages whose results its folder holds. With it they can be restored to the
//! cache from the folder alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::stage::store::{Done, Record, StageFolder, sum_of};
use super::stage::{Ingredients, Kind};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::files;

/// The stages of a finished run, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub stages: BTreeMap<String, FinishedStage>,
}

/// What the folder of a stage says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedStage {
    pub key: String,
    pub depends_on: Ingredients,
    /// Names of files in the stage's folder, and their BLAKE3 sums.
    pub results: BTreeMap<String, String>,
}

/// Files of a stage that differ at every repetition, and so have no checksum.
const UNSUMMED: [&str; 2] = ["timings.csv", "provenance.json"];

/// Where a run's folder has a file of a stage; `None` for what it does not have, and for the tables of
/// steps, which are one for all stages there.
pub fn place(run: &RunDirectory, kind: Kind, name: &str) -> Option<PathBuf> {
    let stage = kind.name();
    match name {
        "weights.safetensors" => Some(run.weights(stage)),
        "best.safetensors" => Some(run.best_weights(stage)),
        "provenance.json" => Some(run.stage_provenance_json(stage)),
        "corruption_examples.csv"
        | "training_answers.csv"
        | "attention_maps.csv"
        | "curves.csv"
        | "samples.csv" => Some(run.path().join(name)),
        _ if name.starts_with("predictions/") => Some(run.path().join(name)),
        _ => {
            let step = name.strip_prefix("before-step-")?;
            let step = step.strip_suffix(".safetensors")?.parse().ok()?;
            Some(run.weights_before(stage, step))
        }
    }
}

impl Finished {
    fn path(run: &RunDirectory) -> PathBuf {
        run.path().join("done.json")
    }

    /// What a run's folder says of itself; `None` if it is not finished, or was by an older program.
    pub fn read(run: &RunDirectory) -> Option<Self> {
        files::read_json(&Self::path(run))
    }

    /// Notes that a run's folder holds the results of these stages, which are done.
    ///
    /// # Errors
    /// The file cannot be written, or a stage is not done.
    pub fn write<'a>(
        run: &RunDirectory,
        stages: impl Iterator<Item = (Kind, &'a str, &'a StageFolder)>,
    ) -> Result<()> {
        let finished = stages.map(|(kind, key, folder)| {
            let (record, done) = folder.record().zip(folder.done()).ok_or_else(|| {
                Error::run(format!("{} has lost its results", folder.path().display()))
                    .help("run again")
            })?;
            let stage = FinishedStage {
                key: key.to_owned(),
                depends_on: record.depends_on,
                results: done.results,
            };
            Ok((kind.name().to_owned(), stage))
        });
        let stages = finished.collect::<Result<_>>()?;
        files::write_json(&Self::path(run), &Self { stages })
    }

    /// Removes `done.json`, since the run's folder is about to change.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(run: &RunDirectory) -> Result<()> {
        files::remove(&Self::path(run))
    }
}

impl FinishedStage {
    /// The stage of this key in a run's folder.
    pub fn find(run: &RunDirectory, kind: Kind, key: &str) -> Option<Self> {
        let stage = Finished::read(run)?.stages.remove(kind.name());
        stage.filter(|stage| stage.key == key)
    }

    /// Whether the folder still holds all results as they were written.
    ///
    /// # Errors
    /// The path of the first one that does not, and what is wrong with it.
    pub fn check(&self, run: &RunDirectory, kind: Kind) -> Result<(), String> {
        self.results.iter().try_for_each(|(name, expected)| {
            let path = place(run, kind, name).unwrap_or_else(|| run.path().join(name));
            match bytes(run, kind, name) {
                Ok(bytes) if sum_of(&bytes) == *expected => Ok(()),
                Ok(_) => Err(format!(
                    "{} has changed since it was written",
                    path.display()
                )),
                Err(_) => Err(format!("{} is missing", path.display())),
            }
        })
    }

    /// Puts the stage back into the cache, from a run's folder that has been checked, in place of what
    /// is left of it there.
    ///
    /// # Errors
    /// The folder of the stage cannot be written.
    pub fn restore(self, run: &RunDirectory, kind: Kind, folder: &StageFolder) -> Result<()> {
        folder.clear()?;
        let unsummed = UNSUMMED.into_iter().filter(|name| {
            let path = place(run, kind, name).unwrap_or_else(|| run.path().join(name));
            path.is_file() && (place(run, kind, name).is_some() || kind.trains())
        });
        for name in self.results.keys().map(String::as_str).chain(unsummed) {
            let to = folder.path().join(name);
            match place(run, kind, name) {
                Some(from) => files::share(&from, &to)?,
                None => {
                    let from = run.path().join(name);
                    let part = bytes(run, kind, name);
                    let part = part.map_err(|e| Error::io(ErrorKind::Run, "read", &from, e))?;
                    files::write(&to, &part)?;
                }
            }
        }
        let (stage, depends_on) = (kind, self.depends_on);
        let results = self.results;
        folder.describe_restored(&Record { stage, depends_on }, &Done { results })
    }
}

/// A file of a stage, as the run's folder has it.
fn bytes(run: &RunDirectory, kind: Kind, name: &str) -> std::io::Result<Vec<u8>> {
    match place(run, kind, name) {
        Some(path) => std::fs::read(path),
        None => Ok(part(&std::fs::read(run.path().join(name))?, kind)),
    }
}

/// The rows of a stage in a table of all stages, below its header.
fn part(table: &[u8], kind: Kind) -> Vec<u8> {
    let start = format!("{},", kind.name()).into_bytes();
    let lines = table.split_inclusive(|&byte| byte == b'\n').enumerate();
    let own = lines.filter(|(number, line)| *number == 0 || line.starts_with(&start));
    own.flat_map(|(_, line)| line).copied().collect()
}
