//! Finds and deletes unused results: stages that no run refers to, runs that no experiment has any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::directory::{all_below, of_other_settings};
use super::lock;
use super::stage::StageKind;
use super::stage::store::CACHE;
use crate::config::Experiment;
use crate::error::Result;
use crate::files;
use crate::stop::Stop;

/// A file or folder that can be deleted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removable {
    pub path: PathBuf,
    pub why: &'static str,
    /// Bytes freed if everything listed before it is deleted too: a file with several hard links
    /// takes up space until the last of them is deleted.
    pub bytes: u64,
}

/// Everything below `results` that can be deleted: stages that no run refers to, temporary files of killed
/// processes, and runs of the given experiments whose point or seed no longer exists. Whatever a process
/// is using is skipped. Nothing is deleted.
pub fn find(results: &Path, experiments: &[Experiment]) -> Vec<Removable> {
    let mut found: Vec<(PathBuf, &'static str)> = vec![];
    for experiment in experiments {
        for run in of_other_settings(experiment, results) {
            if !lock::is_surely_held(run.path()) {
                let why = "a point or seed that the experiment no longer has";
                found.push((run.path().to_owned(), why));
            }
        }
    }
    let gone: BTreeSet<PathBuf> = found.iter().map(|(path, _)| path.clone()).collect();
    let referred = referred(results, &gone);
    for stage in stages(results) {
        if !referred.contains(&*files::name_of(&stage)) && !lock::is_surely_held(&stage) {
            found.push((stage, "a stage that no run refers to"));
        }
    }
    for path in files::unfinished(results, &|folder| !lock::is_held(folder)) {
        if !found.iter().any(|(above, _)| path.starts_with(above)) {
            found.push((path, "left by a process that was killed while writing"));
        }
    }
    let mut names = Names::default();
    let removable = |(path, why): (PathBuf, _)| Removable {
        bytes: names.freed(&path),
        path,
        why,
    };
    found.into_iter().map(removable).collect()
}

/// Deletes what was found, and folders left empty; returns what was deleted. Anything that a process has
/// since started to use or to refer to is kept; a folder claimed from another machine is watched for a
/// minute first, and `waiting` is called.
pub fn free(
    removable: &[Removable],
    results: &Path,
    stop: &Stop,
    waiting: &dyn Fn(&Removable, &str),
) -> Result<Vec<Removable>> {
    let mut freed: Vec<Removable> = vec![];
    for one in removable {
        let is_folder = one.path.is_dir();
        // Held until the folder is gone, so that nobody begins in it.
        let take = || lock::take_soon(&one.path, stop, |holder| waiting(one, holder));
        let lock = is_folder.then(take).transpose()?;
        let gone: BTreeSet<PathBuf> = freed.iter().map(|one| one.path.clone()).collect();
        let is_referred = || referred(results, &gone).contains(&*files::name_of(&one.path));
        let is_stage = is_folder && one.path.starts_with(results.join(CACHE));
        if matches!(lock, Some(Err(_))) || (is_stage && is_referred()) {
            continue;
        }
        files::remove(&one.path)?;
        freed.push(one.clone());
        // Also removes the folder of a point without seeds, or of an experiment without points.
        let above = one.path.ancestors().skip(1);
        let mut above = above.take_while(|one| *one != results && one.starts_with(results));
        let _ = above.try_for_each(std::fs::remove_dir);
    }
    Ok(freed)
}

/// The folders of all stages.
fn stages(results: &Path) -> Vec<PathBuf> {
    let folders = StageKind::ALL.map(|kind| results.join(CACHE).join(kind.name()));
    let stages = folders.iter().flat_map(|folder| files::entries(folder));
    stages.collect()
}

/// The keys of all stages that runs refer to, except the runs to be deleted.
fn referred(results: &Path, gone: &BTreeSet<PathBuf>) -> BTreeSet<String> {
    let runs = all_below(results).into_iter();
    let staying = runs.filter(|run| !gone.contains(run.path()));
    let stages = staying.filter_map(|run| Some(run.status()?.stages));
    stages.flat_map(BTreeMap::into_values).collect()
}

/// Number of hard links of each file that are already counted as deleted.
#[derive(Default)]
struct Names(BTreeMap<(u64, u64), u64>);

impl Names {
    /// Bytes of the files at or below `path` whose last hard link is deleted with it.
    fn freed(&mut self, path: &Path) -> u64 {
        let Ok(found) = std::fs::symlink_metadata(path) else {
            return 0;
        };
        if found.is_dir() {
            let entries = files::entries(path);
            return entries.iter().map(|entry| self.freed(entry)).sum();
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let names = self.0.entry((found.dev(), found.ino())).or_default();
            *names += 1;
            if *names < found.nlink() {
                return 0;
            }
        }
        found.len()
    }
}
