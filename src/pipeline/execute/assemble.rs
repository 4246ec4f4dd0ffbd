//! A run's folder, put together from the results of its stages.

use std::path::{Path, PathBuf};

use crate::error::{Kind, Result};
use crate::files;
use crate::metrics::artefacts::{self, PROVENANCE};
use crate::pipeline::directory::RunDirectory;
use crate::pipeline::finished::place;
use crate::pipeline::stage::StageKind;
use crate::pipeline::stage::store::StageFolder;

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
pub fn assemble(run: &RunDirectory, stages: &[&StageFolder]) -> Result<()> {
    let contents = contents(run, stages)?;
    for (to, content) in &contents {
        match content {
            Content::Rows(bytes) => files::write(to, bytes)?,
            Content::Shared(from) => files::share(from, to)?,
        }
    }
    let is_ours = |path: &Path| contents.iter().any(|(to, _)| to == path);
    for artefact in artefacts::ALL
        .into_iter()
        .filter(|one| !one.is_always_there)
    {
        let path = run.file(artefact);
        let beside = match path.parent() {
            Some(folder) if folder != run.path() => files::entries(folder),
            _ => vec![path],
        };
        let mut others = beside.iter().filter(|path| !is_ours(path));
        others.try_for_each(|path| files::remove(path))?;
    }
    Ok(())
}

/// The first file of a run's folder that is missing or differs from what the stages wrote, as when a
/// spreadsheet has saved it again.
pub fn first_changed(run: &RunDirectory, stages: &[&StageFolder]) -> Option<PathBuf> {
    let is_changed = |(path, content): &(PathBuf, Content)| match content {
        Content::Rows(bytes) => std::fs::read(path).ok().as_ref() != Some(bytes),
        // The provenance of a stage is not one of its results.
        Content::Shared(from) if files::name_of(from) == PROVENANCE.in_stage("") => false,
        Content::Shared(from) => !files::are_alike(from, path),
    };
    // A stage that cannot be read is found to be damaged elsewhere.
    let mut contents = contents(run, stages).ok()?.into_iter();
    contents.find(is_changed).map(|(path, _)| path)
}

/// The files of a run's folder that its stages produce.
fn contents(run: &RunDirectory, stages: &[&StageFolder]) -> Result<Vec<(PathBuf, Content)>> {
    let mut all = vec![];
    if stages
        .iter()
        .all(|folder| folder.kind != StageKind::Explore)
    {
        let trained: Vec<_> = stages.iter().filter(|one| one.kind.trains()).collect();
        for artefact in artefacts::ALL {
            if let Some(header) = artefact.header {
                let parts: Vec<PathBuf> = trained.iter().map(|one| one.file(artefact)).collect();
                if artefact.is_always_there || parts.iter().any(|part| part.is_file()) {
                    all.push((run.file(artefact), Content::Rows(join(header()?, &parts)?)));
                }
            }
        }
    }
    for folder in stages {
        for name in folder.names()? {
            let to = place(run, folder.kind, &name);
            all.extend(to.map(|to| (to, Content::Shared(folder.path().join(&name)))));
        }
    }
    Ok(all)
}

/// Tables of the same columns as one: the header, then the rows of all of them. A row that a killed
/// process did not finish is left out.
fn join(header: Vec<u8>, parts: &[PathBuf]) -> Result<Vec<u8>> {
    let mut bytes = header;
    for part in parts.iter().filter(|part| part.is_file()) {
        let text = files::read(Kind::Run, part)?;
        let lines = text.split_inclusive(|&byte| byte == b'\n').skip(1);
        bytes.extend(lines.filter(|line| line.ends_with(b"\n")).flatten());
    }
    Ok(bytes)
}
