//! The layout of a run's folder.
//!
//! `results/<experiment>/<point>-<hash8>/seed-<n>/` holds one run; `results/<experiment>/` also
//! holds `summary.csv`, `groups.csv`, `calibration.csv` (or `findings.csv`) and `figures/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::provenance::{Computed, Provenance};
use crate::config::{self, Experiment, Point};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::artefacts::{Artefact, PREDICTIONS, PROVENANCE, WEIGHTS, predictions_of};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Planned when its experiment was run, and not begun yet.
    Queued,
    /// Started and not ended; or the program was killed.
    Running,
    /// Every stage is done.
    Done,
    /// Stopped by an error.
    Failed,
    /// Stopped by the user, or because another run failed; it can be resumed.
    Interrupted,
}

/// `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Why a run failed or was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The stage that failed, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_stage: Option<String>,
    /// What its point is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether the folder holds the results of an earlier run that was done: they stay until this one
    /// is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_earlier_results: bool,
    /// The stages of the run and their keys, which name their folders in the cache.
    #[serde(default)]
    pub stages: BTreeMap<String, String>,
    /// When it was started, RFC 3339. For information only: no decision depends on the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Status {
    /// Whether the folder holds the results of a run that was done.
    pub fn has_results(&self) -> bool {
        self.state == State::Done || self.holds_earlier_results
    }
}

impl State {
    /// The word in `status.json` and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

/// The folder of an experiment: `results/birthplace/vanilla`.
pub fn experiment_folder(experiment: &Experiment, results: &Path) -> PathBuf {
    results.join(&experiment.name)
}

impl RunDirectory {
    /// The folder for a point and a seed. Nothing is created.
    pub fn new(experiment: &Experiment, point: &Point, seed: u64, results: &Path) -> Self {
        let folder = experiment_folder(experiment, results).join(point.folder());
        Self {
            path: folder.join(format!("seed-{seed}")),
        }
    }

    /// The one run at or below `path`, as `ask`, `score` and `export` take it.
    ///
    /// # Errors
    /// There is none, or there are several: then the message lists them.
    pub fn find(path: &Path) -> Result<Self> {
        match &all_below(path)[..] {
            [one] => Ok(one.clone()),
            [] => Err(
                Error::usage(format!("{} holds no run", path.display())).help(
                    "name a folder that `attnlab run` wrote, such as results/birthplace/vanilla",
                ),
            ),
            several => {
                let list: Vec<String> = several
                    .iter()
                    .map(|run| format!("  {}", run.path.display()))
                    .collect();
                Err(Error::usage(format!(
                    "{} holds several runs\n{}",
                    path.display(),
                    list.join("\n")
                ))
                .help("name one of them"))
            }
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings of this run and its seed, complete with defaults.
    pub fn resolved_toml(&self) -> PathBuf {
        self.path.join("resolved.toml")
    }

    /// Provenance of the run: code, machine, command, data.
    pub fn provenance_json(&self) -> PathBuf {
        self.path.join("provenance.json")
    }

    /// The same list plus the attempts to rerun a finished run. It replaces `provenance.json` when their
    /// results replace the earlier ones.
    pub fn attempt_json(&self) -> PathBuf {
        self.path.join("attempt.json")
    }

    /// How a stage was computed: one entry each time it was started or resumed. Empty if the run was made
    /// by an older version.
    pub fn computed(&self, stage: &str) -> Vec<Computed> {
        let entries = Provenance::read(&self.of_stage(&PROVENANCE, stage, "")).into_iter();
        let computed = entries.map(|entry| entry.computed);
        computed.filter(|one| *one != Computed::default()).collect()
    }

    /// An artefact of a stage that the run has one of.
    pub fn file(&self, artefact: &Artefact) -> PathBuf {
        self.of_stage(artefact, "", "")
    }

    /// An artefact of this stage; `part` tells several of a kind apart.
    pub fn of_stage(&self, artefact: &Artefact, stage: &str, part: &str) -> PathBuf {
        self.path.join(artefact.in_run(stage, part))
    }

    /// Answers to a split's questions, by the `model` or by a `constant`.
    pub fn predictions_tsv(&self, split: &str, subject: &str) -> PathBuf {
        self.of_stage(&PREDICTIONS, "", &predictions_of(split, subject))
    }

    /// Answers to questions about invented people.
    pub fn invented_tsv(&self) -> PathBuf {
        self.of_stage(&PREDICTIONS, "", "invented")
    }

    /// Weights after a stage.
    pub fn weights(&self, stage: &str) -> PathBuf {
        self.of_stage(&WEIGHTS, stage, "")
    }

    /// The weights of the last stage that ended, or those that a run without training evaluates.
    ///
    /// # Errors
    /// The run has no model, or the file that it evaluates has changed.
    pub fn last_weights(&self) -> Result<PathBuf> {
        let stages = ["finetune", "pretrain"].map(|stage| self.weights(stage));
        if let Some(own) = stages.into_iter().find(|path| path.is_file()) {
            return Ok(own);
        }
        self.given_weights()?.ok_or_else(|| {
            let error = Error::usage(format!("{} holds no weights", self.path.display()));
            error.help(match self.is_done() {
                true => "the run is done and trains no model",
                false => "the run has not finished a training stage: `attnlab run` resumes it",
            })
        })
    }

    /// The weights file that a run without training evaluates; `None` for any other run.
    fn given_weights(&self) -> Result<Option<PathBuf>> {
        let experiment = config::load_alone(&self.resolved_toml()).ok();
        let settings = experiment
            .as_ref()
            .and_then(|one| one.points[0].settings.training());
        let settings = settings.filter(|settings| !settings.trains());
        let Some((key, file)) = settings.and_then(|settings| settings.init_files().last()) else {
            return Ok(None);
        };
        let Some(made) = Provenance::read(&self.provenance_json()).pop() else {
            return Ok(None);
        };
        // The constant answer alone needs no weights.
        let Some(sum) = made.data.get(&file.display().to_string()) else {
            return Ok(None);
        };
        let there = Path::new(&made.directory).join(file);
        let path = if there.is_file() {
            there
        } else {
            file.to_owned()
        };
        let bytes = std::fs::read(&path).map_err(|cause| {
            let error = Error::io(Kind::Data, "read", &path, cause);
            error.help(format!(
                "the run evaluates the weights of `{key}`: put the file back"
            ))
        })?;
        if format!("blake3 {}", blake3::hash(&bytes).to_hex()) != *sum {
            let message = format!("{} has changed since the run evaluated it", path.display());
            return Err(Error::data(message).help("put the file back as it was, or run again"));
        }
        Ok(Some(path))
    }

    /// Writes `status.json`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn set_status(&self, status: &Status) -> Result<()> {
        files::write_json(&self.path.join("status.json"), status)
    }

    /// Reads `status.json`.
    ///
    /// # Errors
    /// There is no readable `status.json`.
    pub fn status(&self) -> Result<Status> {
        let path = self.path.join("status.json");
        let text = files::read_text(Kind::Data, &path)?;
        serde_json::from_str(&text).map_err(|e| Error::io(Kind::Data, "read", &path, e))
    }

    /// Whether every stage is done.
    pub fn is_done(&self) -> bool {
        self.status()
            .is_ok_and(|status| status.state == State::Done)
    }

    /// Whether the folder contains the results of a finished run: a rerun keeps the earlier ones until it has
    /// finished.
    pub fn has_results(&self) -> bool {
        self.status().is_ok_and(|status| status.has_results())
    }
}

/// The runs of a point that have results, with their seeds, in order.
pub fn finished(
    experiment: &Experiment,
    point: &Point,
    results: &Path,
) -> Vec<(u64, RunDirectory)> {
    let run = |&seed: &u64| (seed, RunDirectory::new(experiment, point, seed, results));
    let runs = experiment.seeds.iter().map(run);
    runs.filter(|(_, run)| run.has_results()).collect()
}

/// The runs of one experiment, whose folder this is, in order; not those of experiments whose
/// folders lie below it.
pub fn of_experiment(folder: &Path) -> Vec<RunDirectory> {
    let points = files::entries(folder).into_iter();
    let seeds = points.flat_map(|point| files::entries(&point));
    let runs = seeds.filter(|path| is_run(path));
    runs.map(|path| RunDirectory { path }).collect()
}

/// Every run at or below `path`, in order.
pub fn all_below(path: &Path) -> Vec<RunDirectory> {
    let mut found = vec![];
    collect(path, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| RunDirectory { path })
        .collect()
}

/// Whether this is the folder of a run. Results kept without their run, such as the reference results, have
/// settings but no status.
fn is_run(folder: &Path) -> bool {
    ["resolved.toml", "status.json"]
        .iter()
        .all(|file| folder.join(file).is_file())
}

/// Folders of runs, depth first.
fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if is_run(path) {
        found.push(path.to_owned());
    } else if let Ok(entries) = std::fs::read_dir(path) {
        // Symbolic links are not followed: they may form cycles.
        let folder = |e: &std::fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir());
        for entry in entries.flatten().filter(folder) {
            collect(&entry.path(), found);
        }
    }
}
