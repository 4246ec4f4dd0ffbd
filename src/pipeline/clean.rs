//! What can be freed: results that no run refers to, and runs that no experiment has any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::directory::{RunDirectory, all_below, experiment_folder, of_experiment};
use super::lock;
use super::stage::Kind;
use super::stage::store::CACHE;
use crate::config::Experiment;
use crate::error::Result;
use crate::files;
use crate::stop::Stop;

/// A folder that can go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removable {
    /// The folder or file.
    pub path: PathBuf,
    /// Why nobody needs it.
    pub why: &'static str,
    /// What removing it frees, if all that is listed before it goes too: a file with several names
    /// takes its space until the last of them is gone.
    pub bytes: u64,
}

/// Everything below `results` that can go: stages that no run refers to, what killed processes were
/// writing, and of the given experiments the runs whose point or seed they no longer have. What a
/// process is working on is left alone. Nothing is removed.
pub fn find(results: &Path, experiments: &[Experiment]) -> Vec<Removable> {
    let mut found: Vec<(PathBuf, &'static str)> = vec![];
    for experiment in experiments {
        let runs = experiment.points.iter().flat_map(|point| {
            let run = |&seed| RunDirectory::new(experiment, point, seed, results);
            experiment.seeds.iter().map(run)
        });
        let wanted: BTreeSet<PathBuf> = runs.map(|run| run.path().to_owned()).collect();
        for run in of_experiment(&experiment_folder(experiment, results)) {
            if !wanted.contains(run.path()) && !lock::is_surely_held(run.path()) {
                let why = "a point or seed that the experiment no longer has";
                found.push((run.path().to_owned(), why));
            }
        }
    }
    let gone: BTreeSet<PathBuf> = found.iter().map(|(path, _)| path.clone()).collect();
    let referred = referred(results, &gone);
    for stage in stages(results) {
        if !referred.contains(&name(&stage)) && !lock::is_surely_held(&stage) {
            found.push((stage, "a stage that no run refers to"));
        }
    }
    for path in files::unfinished(results, &|folder| !lock::is_held(folder)) {
        if !found
            .iter()
            .any(|(removable, _)| path.starts_with(removable))
        {
            found.push((path, "left by a process that was killed while writing"));
        }
    }
    let mut names = Names::default();
    let removable = |(path, why): (PathBuf, &'static str)| Removable {
        bytes: names.freed(&path),
        path,
        why,
    };
    found.into_iter().map(removable).collect()
}

/// Removes what was found, and folders that are empty then; returns what of it is gone. What a
/// process has begun to work on or to refer to since stays; a folder claimed from another machine is
/// watched for a minute first, and `waiting` hears of it.
///
/// # Errors
/// Something cannot be removed; the wish to stop.
pub fn free(
    removable: &[Removable],
    results: &Path,
    stop: &Stop,
    waiting: &dyn Fn(&Removable, &str),
) -> Result<Vec<Removable>> {
    let mut freed: Vec<Removable> = vec![];
    for one in removable {
        // Held until the folder is gone, so that nobody begins in it.
        let lock = one
            .path
            .is_dir()
            .then(|| lock::take_soon(&one.path, stop, |holder| waiting(one, holder)))
            .transpose()?;
        let gone: BTreeSet<PathBuf> = freed.iter().map(|one| one.path.clone()).collect();
        let is_stage = one.path.starts_with(results.join(CACHE)) && one.path.is_dir();
        if matches!(lock, Some(Err(_)))
            || (is_stage && referred(results, &gone).contains(&name(&one.path)))
        {
            continue;
        }
        files::remove(&one.path)?;
        freed.push(one.clone());
        // A point without a seed left, an experiment without a point.
        let above = one.path.ancestors().skip(1);
        for folder in above.take_while(|folder| *folder != results && folder.starts_with(results)) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    Ok(freed)
}

/// The folders of all stages.
fn stages(results: &Path) -> Vec<PathBuf> {
    let kinds = Kind::ALL.into_iter();
    let folders = kinds.map(|kind| results.join(CACHE).join(kind.name()));
    folders.flat_map(|folder| files::entries(&folder)).collect()
}

/// The keys of all stages that runs refer to, but for the runs that are to go.
fn referred(results: &Path, gone: &BTreeSet<PathBuf>) -> BTreeSet<String> {
    let runs = all_below(results).into_iter();
    let staying = runs.filter(|run| !gone.contains(run.path()));
    let status = staying.filter_map(|run| run.status().ok());
    status
        .flat_map(|status| status.stages.into_values())
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// How many names of each file are to go already.
#[derive(Default)]
struct Names(BTreeMap<(u64, u64), u64>);

impl Names {
    /// Bytes of the files at or below `path` whose last name goes with it.
    fn freed(&mut self, path: &Path) -> u64 {
        let Ok(found) = std::fs::symlink_metadata(path) else {
            return 0;
        };
        if found.is_dir() {
            return files::entries(path)
                .iter()
                .map(|entry| self.freed(entry))
                .sum();
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
