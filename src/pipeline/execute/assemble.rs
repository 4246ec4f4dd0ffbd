//! A run's folder, put together from the results of its stages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::files;
use crate::metrics::artefacts::{self, PROVENANCE};
use crate::pipeline::directory::RunDirectory;
use crate::pipeline::finished::place;
use crate::pipeline::stage::store::StageFolder;
use crate::pipeline::stage::{Kind, Stage};

/// A stage and where its results are.
pub type StageAndFolder<'a> = (&'a Stage, &'a StageFolder);

/// The content of a file in a run's folder.
enum Content {
    /// The rows of several stages' tables, joined.
    Rows(Vec<u8>),
    /// A result of one stage, unchanged.
    Shared(PathBuf),
}

/// Fills a run's folder with those results of its stages that exist, and removes files that the stages did
/// not produce: leftovers of an earlier run or of a failure.
///
/// Weights and predictions are shared with the cache by hard links, so they take up no extra space.
///
/// # Errors
/// A result cannot be read, or the folder cannot be written.
pub fn assemble(run: &RunDirectory, stages: &[StageAndFolder<'_>]) -> Result<()> {
    let contents = contents(run, stages)?;
    for (to, content) in &contents {
        match content {
            Content::Rows(bytes) => files::write(to, bytes)?,
            Content::Shared(from) => files::share(from, to)?,
        }
    }
    let ours = |path: &Path| contents.iter().any(|(to, _)| to == path);
    let shared = artefacts::ALL
        .into_iter()
        .filter(|one| one.header.is_none());
    let there: BTreeSet<PathBuf> = shared.flat_map(|one| beside(&run.file(one), run)).collect();
    there
        .iter()
        .filter(|path| !ours(path))
        .try_for_each(|path| files::remove(path))
}

/// The files in the folder of an artefact; of one that lies in the run's own folder, the file itself.
fn beside(path: &Path, run: &RunDirectory) -> Vec<PathBuf> {
    match path.parent() {
        Some(folder) if folder != run.path() => files::entries(folder),
        _ => Some(path.to_owned())
            .filter(|path| path.exists())
            .into_iter()
            .collect(),
    }
}

/// The first file of a run's folder that is missing or differs from what the stages wrote, as when a
/// spreadsheet has saved it again.
pub fn first_changed(run: &RunDirectory, stages: &[StageAndFolder<'_>]) -> Option<PathBuf> {
    let is_result = |from: &Path| from.file_name() != Some(PROVENANCE.in_stage("").as_ref());
    let is_changed = |(path, content): &(PathBuf, Content)| match content {
        // The provenance of a stage is not one of its results.
        Content::Shared(from) if !is_result(from) => false,
        Content::Rows(bytes) => std::fs::read(path).ok().as_ref() != Some(bytes),
        Content::Shared(from) => !files::are_alike(from, path),
    };
    // A stage that cannot be read is found to be damaged elsewhere.
    let mut contents = contents(run, stages).ok()?.into_iter();
    contents.find(is_changed).map(|(path, _)| path)
}

/// The files of a run's folder that its stages produce.
fn contents(run: &RunDirectory, stages: &[StageAndFolder<'_>]) -> Result<Vec<(PathBuf, Content)>> {
    let is_exploration = stages.iter().any(|(stage, _)| stage.kind == Kind::Explore);
    let mut all = match is_exploration {
        true => vec![],
        false => tables(run, stages)?,
    };
    let shared = stages.iter().flat_map(|made| shared(run, *made));
    let made = shared.filter(|(from, _)| from.is_file());
    all.extend(made.map(|(from, to)| (to, Content::Shared(from))));
    Ok(all)
}

/// The tables that hold the rows of all stages.
fn tables(run: &RunDirectory, stages: &[StageAndFolder<'_>]) -> Result<Vec<(PathBuf, Content)>> {
    let trained = stages.iter().filter(|(stage, _)| stage.kind.trains());
    let tables = artefacts::ALL.into_iter();
    let tables = tables.filter_map(|one| Some((one, one.header?)));
    let joined = tables.map(|(one, header)| {
        let parts: Vec<PathBuf> = trained
            .clone()
            .map(|(_, folder)| folder.file(one))
            .collect();
        Ok((run.file(one), Content::Rows(join(header()?, &parts)?)))
    });
    joined.collect()
}

/// Where each result of a stage is, and where it goes.
fn shared(run: &RunDirectory, (stage, folder): StageAndFolder<'_>) -> Vec<(PathBuf, PathBuf)> {
    let mut paths = files::entries(folder.path());
    let folders: Vec<PathBuf> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
    paths.extend(folders.iter().flat_map(|folder| files::entries(folder)));
    let placed = |path: PathBuf| {
        let name = path.strip_prefix(folder.path()).ok()?;
        let to = place(run, stage.kind, &name.to_str()?.replace('\\', "/"))?;
        Some((path, to))
    };
    paths.into_iter().filter_map(placed).collect()
}

/// Tables of the same columns as one: the header, then the rows of all of them. A row that a killed
/// process did not finish is left out.
fn join(header: Vec<u8>, parts: &[PathBuf]) -> Result<Vec<u8>> {
    let mut bytes = header;
    for part in parts.iter().filter(|part| part.is_file()) {
        let text = std::fs::read(part).map_err(|e| Error::io(ErrorKind::Run, "read", part, e))?;
        let whole = text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1);
        let first = text
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(0, |first| first + 1);
        bytes.extend_from_slice(&text[first.min(whole)..whole]);
    }
    Ok(bytes)
}
