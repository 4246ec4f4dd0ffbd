//! A run's folder, put together from the results of its stages.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::files;
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::table;
use crate::pipeline::directory::RunDirectory;
use crate::pipeline::stage::store::StageFolder;
use crate::pipeline::stage::{Kind, Stage};

/// A stage and where its results are.
pub(in crate::pipeline) type Made<'a> = (&'a Stage, &'a StageFolder);

/// Fills a run's folder with the results of its stages as far as they are there, and takes out of
/// it what they have not made: the leavings of an earlier run, or of an earlier failure.
///
/// Weights and predictions are shared with the cache by hard links, so they take no space twice.
///
/// # Errors
/// A result cannot be read, or the folder not be written.
pub(in crate::pipeline) fn assemble(run: &RunDirectory, stages: &[Made<'_>]) -> Result<()> {
    let trained: Vec<&StageFolder> = stages
        .iter()
        .filter(|(stage, _)| matches!(stage.kind, Kind::Pretrain | Kind::Finetune))
        .map(|(_, folder)| *folder)
        .collect();
    let of = |name: fn(&StageFolder) -> PathBuf| -> Vec<PathBuf> {
        trained.iter().map(|folder| name(folder)).collect()
    };
    if let [(stage, folder)] = stages
        && stage.kind == Kind::Explore
    {
        return share_exploration(run, folder);
    }
    let header = table::to_bytes::<StepRow>(&[], b',')?;
    join(&run.metrics_csv(), &of(StageFolder::metrics_csv), &header)?;
    let header = table::to_bytes::<TimingRow>(&[], b',')?;
    join(&run.timings_csv(), &of(StageFolder::timings_csv), &header)?;

    let mut shared: Vec<(PathBuf, PathBuf)> = vec![];
    for (stage, folder) in stages {
        let name = stage.kind.name();
        if stage.kind == Kind::Evaluate {
            let made = files::entries(&folder.predictions()).into_iter();
            let named = |from: PathBuf| {
                let to = run.predictions().join(from.file_name()?);
                Some((from, to))
            };
            shared.extend(made.filter_map(named));
            shared.push((folder.training_answers_csv(), run.training_answers_csv()));
            shared.push((folder.attention_maps_csv(), run.attention_maps_csv()));
        } else {
            shared.push((folder.weights(), run.weights(name)));
            shared.push((folder.best_weights(), run.best_weights(name)));
            shared.extend(before_divergence(run, name, folder));
        }
        if stage.kind == Kind::Pretrain {
            shared.push((folder.corruption_csv(), run.corruption_csv()));
        }
    }
    shared.retain(|(from, _)| from.is_file());
    for (from, to) in &shared {
        files::share(from, to)?;
    }
    let ours = |path: &Path| shared.iter().any(|(_, to)| to == path);
    let mut there = files::entries(&run.predictions());
    there.extend(files::entries(&run.checkpoints()));
    there.extend([run.corruption_csv(), run.training_answers_csv()]);
    there.push(run.attention_maps_csv());
    there
        .iter()
        .filter(|path| !ours(path))
        .try_for_each(|path| files::remove(path))
}

/// An exploration makes one table.
fn share_exploration(run: &RunDirectory, folder: &StageFolder) -> Result<()> {
    let tables = [
        (folder.curves_csv(), run.curves_csv()),
        (folder.samples_csv(), run.samples_csv()),
    ];
    let mut made = tables.iter().filter(|(from, _)| from.is_file());
    made.try_for_each(|(from, to)| files::share(from, to))
}

/// Weights that a stage kept before the step at which it diverged.
fn before_divergence(
    run: &RunDirectory,
    stage: &str,
    folder: &StageFolder,
) -> Option<(PathBuf, PathBuf)> {
    let step = |path: &PathBuf| -> Option<usize> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("before-step-")?
            .strip_suffix(".safetensors")?
            .parse()
            .ok()
    };
    let step = files::entries(folder.path()).iter().find_map(step)?;
    Some((folder.weights_before(step), run.weights_before(stage, step)))
}

/// Tables of the same columns as one: the header, then the rows of all of them. A row that a killed
/// process did not finish is left out.
fn join(to: &Path, parts: &[PathBuf], header: &[u8]) -> Result<()> {
    let mut bytes = header.to_vec();
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
    files::write(to, &bytes)
}
