//! What can be freed: results that no run refers to, and runs that no experiment has any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::directory::{RunDirectory, all_below, experiment_folder};
use super::execute::lock;
use super::stage::Kind;
use super::stage::store::{CACHE, entries, remove};
use crate::config::Experiment;
use crate::error::Result;
use crate::files;

/// A folder that can go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Litter {
    /// The folder or file.
    pub path: PathBuf,
    /// Why nobody needs it.
    pub why: &'static str,
    /// What removing it frees; files that are also elsewhere free nothing.
    pub bytes: u64,
}

/// Everything below `results` that can go: stages that no run refers to, what killed processes were
/// writing, and of the given experiments the runs whose point or seed they no longer have. What a
/// process is working on is left alone. Nothing is removed.
pub fn find(results: &Path, experiments: &[Experiment]) -> Vec<Litter> {
    let mut litter = vec![];
    let mut gone = BTreeSet::new();
    for experiment in experiments {
        let runs = experiment.points.iter().flat_map(|point| {
            let run = |&seed| RunDirectory::new(experiment, point, seed, results);
            experiment.seeds.iter().map(run)
        });
        let wanted: BTreeSet<PathBuf> = runs.map(|run| run.path().to_owned()).collect();
        for run in all_below(&experiment_folder(experiment, results)) {
            let path = run.path();
            if !wanted.contains(path) && !lock::is_held(path) {
                gone.insert(path.to_owned());
                litter.push(one(
                    path,
                    "a point or seed that the experiment no longer has",
                ));
            }
        }
    }
    let referred: BTreeSet<String> = all_below(results)
        .iter()
        .filter(|run| !gone.contains(run.path()))
        .filter_map(|run| run.status().ok())
        .flat_map(|status| status.stages.into_values())
        .collect();
    for kind in [Kind::Pretrain, Kind::Finetune, Kind::Evaluate] {
        for stage in entries(&results.join(CACHE).join(kind.name())) {
            let name = stage.file_name().unwrap_or_default().to_string_lossy();
            if !referred.contains(name.as_ref()) && !lock::is_held(&stage) {
                litter.push(one(&stage, "a stage that no run refers to"));
            }
        }
    }
    let unfinished = files::unfinished(results, &|folder| !lock::is_held(folder));
    let within = |path: &PathBuf| litter.iter().any(|one| path.starts_with(&one.path));
    let unfinished: Vec<PathBuf> = unfinished
        .into_iter()
        .filter(|path| !within(path))
        .collect();
    let left = |path: &PathBuf| one(path, "left by a process that was killed while writing");
    litter.extend(unfinished.iter().map(left));
    litter
}

/// Removes what was found, and folders that are empty then.
///
/// # Errors
/// Something cannot be removed.
pub fn free(litter: &[Litter], results: &Path) -> Result<()> {
    for one in litter {
        remove(&one.path)?;
        // A point without a seed left, an experiment without a point.
        let above = one.path.ancestors().skip(1);
        for folder in above.take_while(|folder| *folder != results && folder.starts_with(results)) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    Ok(())
}

fn one(path: &Path, why: &'static str) -> Litter {
    Litter {
        path: path.to_owned(),
        why,
        bytes: size(path),
    }
}

/// Bytes of all files that have no other name.
fn size(path: &Path) -> u64 {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if found.is_dir() {
        return entries(path).iter().map(|entry| size(entry)).sum();
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&found) > 1 {
        return 0;
    }
    found.len()
}
