//! `done.json` of a run: the stages whose results are in its folder, so that they can be restored to
//! the cache from the folder alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::stage::store::{StageFolder, Sums};
use super::stage::{Ingredients, StageKind};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::artefacts::{self, Artefact};

/// The stages of a finished run, by name.
#[derive(Serialize, Deserialize)]
pub struct Finished {
    stages: BTreeMap<String, FinishedStage>,
}

/// The entry of a stage in `done.json`.
#[derive(Serialize, Deserialize)]
pub struct FinishedStage {
    key: String,
    depends_on: Ingredients,
    results: Sums,
}

/// The path of a stage's file in a run's folder; `None` if the folder does not keep it, or keeps its rows in a
/// table of all stages.
pub fn place(run: &RunDirectory, kind: StageKind, name: &str) -> Option<PathBuf> {
    let (artefact, part) = Artefact::of(name)?;
    let is_shared = artefact.header.is_none();
    is_shared.then(|| run.of_stage(artefact, kind.name(), part))
}

fn done_json(run: &RunDirectory) -> PathBuf {
    run.path().join("done.json")
}

/// Writes `done.json`: the run's folder holds the results of these finished stages.
pub fn write(run: &RunDirectory, stages: &[&StageFolder]) -> Result<()> {
    let finished = stages.iter().map(|folder| {
        let (record, results) = folder.record().zip(folder.done()).ok_or_else(|| {
            let message = format!("{} has lost its results", folder.path().display());
            Error::run(message).help("run again")
        })?;
        let stage = FinishedStage {
            key: folder.key.clone(),
            depends_on: record.depends_on,
            results,
        };
        Ok((folder.kind.name().to_owned(), stage))
    });
    let stages = finished.collect::<Result<_>>()?;
    files::write_json(&done_json(run), &Finished { stages })
}

/// Removes `done.json`, since the run's folder is about to change.
pub fn remove(run: &RunDirectory) -> Result<()> {
    files::remove(&done_json(run))
}

impl FinishedStage {
    /// A stage in a run's folder; `None` if the run is not finished, or was made by an older version.
    pub fn find(run: &RunDirectory, stage: &StageFolder) -> Option<Self> {
        let mut finished: Finished = files::read_json(&done_json(run))?;
        let found = finished.stages.remove(stage.kind.name());
        found.filter(|found| found.key == stage.key)
    }

    /// Whether a run's folder still holds all results of a stage as they were written; the error names the first file
    /// that is missing or has changed. `None` as in [`Self::find`].
    pub fn check(run: &RunDirectory, stage: &StageFolder) -> Option<Result<(), String>> {
        let mut results = Self::find(run, stage)?.results.into_iter();
        Some(results.try_for_each(|(name, expected)| {
            let wrong = match read(run, stage.kind, &name) {
                Ok(bytes) if files::checksum(&bytes) == expected => return Ok(()),
                Ok(_) => "has changed since it was written",
                Err(_) => "is missing",
            };
            let path = place(run, stage.kind, &name).unwrap_or_else(|| run.path().join(&name));
            Err(format!("{} {wrong}", path.display()))
        }))
    }

    /// Restores the stage to the cache from a run's folder that has been checked, replacing whatever is
    /// left of it there.
    pub fn restore(self, run: &RunDirectory, folder: &StageFolder) -> Result<()> {
        folder.clear()?;
        let kind = folder.kind;
        let others = artefacts::ALL.into_iter().filter(|one| !one.is_result);
        let others = others.filter(|one| one.header.is_none() || kind.trains());
        let others = others.filter(|one| run.of_stage(one, kind.name(), "").is_file());
        let others: Vec<String> = others.map(|one| one.in_stage("")).collect();
        for name in self.results.keys().chain(&others) {
            let to = folder.path().join(name);
            match place(run, kind, name) {
                Some(from) => files::share(&from, &to)?,
                None => files::write(&to, &read(run, kind, name)?)?,
            }
        }
        folder.describe(self.depends_on)?;
        folder.mark_done(self.results)
    }
}

/// Reads a stage's file from the run's folder; from a table of all stages, only the header and the stage's own rows.
fn read(run: &RunDirectory, kind: StageKind, name: &str) -> Result<Vec<u8>> {
    if let Some(path) = place(run, kind, name) {
        return files::read(Kind::Run, &path);
    }
    let table = files::read(Kind::Run, &run.path().join(name))?;
    let start = format!("{},", kind.name()).into_bytes();
    let lines = table.split_inclusive(|&byte| byte == b'\n').enumerate();
    let own = lines.filter(|(number, line)| *number == 0 || line.starts_with(&start));
    Ok(own.flat_map(|(_, line)| line).copied().collect())
}
