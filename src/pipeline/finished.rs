//! `done.json` of a run: the stages whose results are in its folder, so that they can be restored to
//! the cache from the folder alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::stage::store::{Done, Record, StageFolder, sum_of};
use super::stage::{Ingredients, Kind};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::files;
use crate::metrics::artefacts::{self, Artefact};

/// The stages of a finished run, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub stages: BTreeMap<String, FinishedStage>,
}

/// The entry of a stage in `done.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedStage {
    pub key: String,
    pub depends_on: Ingredients,
    /// Names of files in the stage's folder, and their BLAKE3 sums.
    pub results: BTreeMap<String, String>,
}

/// The path of a stage's file in a run's folder; `None` if the folder does not keep it, or keeps its rows in a
/// table of all stages.
pub fn place(run: &RunDirectory, kind: Kind, name: &str) -> Option<PathBuf> {
    let (artefact, part) = Artefact::of(name)?;
    let is_shared = artefact.header.is_none();
    is_shared.then(|| run.of_stage(artefact, kind.name(), part))
}

impl Finished {
    fn path(run: &RunDirectory) -> PathBuf {
        run.path().join("done.json")
    }

    /// Reads a run's `done.json`; `None` if the run is not finished, or was made by an older version.
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

    /// Restores the stage to the cache from a run's folder that has been checked, replacing whatever is
    /// left of it there.
    ///
    /// # Errors
    /// The folder of the stage cannot be written.
    pub fn restore(self, run: &RunDirectory, kind: Kind, folder: &StageFolder) -> Result<()> {
        folder.clear()?;
        let others = artefacts::ALL.into_iter().filter(|one| !one.is_result);
        let others = others.filter(|one| one.header.is_none() || kind.trains());
        let others = others.filter(|one| run.of_stage(one, kind.name(), "").is_file());
        let others: Vec<String> = others.map(|one| one.in_stage("")).collect();
        for name in self.results.keys().chain(&others) {
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

/// The header and one stage's rows of a table of all stages.
fn part(table: &[u8], kind: Kind) -> Vec<u8> {
    let start = format!("{},", kind.name()).into_bytes();
    let lines = table.split_inclusive(|&byte| byte == b'\n').enumerate();
    let own = lines.filter(|(number, line)| *number == 0 || line.starts_with(&start));
    own.flat_map(|(_, line)| line).copied().collect()
}
