//! The layout of a run's folder.
//!
//! `results/<experiment>/<point>-<hash8>/seed-<n>/` holds one run; `results/<experiment>/` also
//! holds `summary.csv`, `groups.csv`, `calibration.csv`, `choice.csv` (or `findings.csv`) and `figures/`.

use std::collections::{BTreeMap, BTreeSet};
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
    Failed,
    /// Stopped by the user, or because another run failed; it can be resumed.
    Interrupted,
}

/// `status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    /// Why a run failed or was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

    /// The only run at or below `path`, for `ask`, `score` and `export`; if there are several, the error lists them.
    pub fn find(path: &Path) -> Result<Self> {
        let runs = at_least_one_below(path)?;
        if let [run] = &runs[..] {
            return Ok(run.clone());
        }
        let line = |run: &Self| format!("\n  {}", run.path.display());
        let list: String = runs.iter().map(line).collect();
        let error = Error::usage(format!("{} holds several runs{list}", path.display()));
        Err(error.help("name one of them"))
    }

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

    /// The weights of the last finished training stage, or the weights file that a run without training evaluates; that
    /// file must not have changed since.
    pub fn last_weights(&self) -> Result<PathBuf> {
        let stages = ["finetune", "pretrain"].map(|stage| self.of_stage(&WEIGHTS, stage, ""));
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
        let file = settings.and_then(|settings| settings.init_files().last());
        let made = Provenance::read(&self.provenance_json()).pop();
        let (Some((key, file)), Some(made)) = (file, made) else {
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
        let bytes = files::read(Kind::Data, &path).map_err(|error| {
            error.help(format!(
                "the run evaluates the weights of `{key}`: put the file back"
            ))
        })?;
        if format!("blake3 {}", files::checksum(&bytes)) != *sum {
            let message = format!("{} has changed since the run evaluated it", path.display());
            return Err(Error::data(message).help("put the file back as it was, or run again"));
        }
        Ok(Some(path))
    }

    fn status_json(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// Writes `status.json`.
    pub fn set_status(&self, status: &Status) -> Result<()> {
        files::write_json(&self.status_json(), status)
    }

    /// Reads `status.json`; `None` if it is missing or damaged.
    pub fn status(&self) -> Option<Status> {
        let text = files::read_text(Kind::Data, &self.status_json()).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Whether every stage is done.
    pub fn is_done(&self) -> bool {
        let status = self.status();
        status.is_some_and(|status| status.state == State::Done)
    }

    /// Whether the run has ever been started.
    pub fn has_begun(&self) -> bool {
        let begun = |status: Status| status.state != State::Queued || status.has_results();
        self.status().is_some_and(begun)
    }

    /// Whether the folder contains the results of a finished run: a rerun keeps the earlier ones until it has
    /// finished.
    pub fn has_results(&self) -> bool {
        self.status().is_some_and(|status| status.has_results())
    }
}

/// The runs of a point with their seeds, in order, whether they exist or not.
pub fn of_point<'a>(
    experiment: &'a Experiment,
    point: &'a Point,
    results: &'a Path,
) -> impl Iterator<Item = (u64, RunDirectory)> + 'a {
    let run = move |&seed: &u64| (seed, RunDirectory::new(experiment, point, seed, results));
    experiment.seeds.iter().map(run)
}

/// The runs of a point that have results, with their seeds.
pub fn finished(
    experiment: &Experiment,
    point: &Point,
    results: &Path,
) -> Vec<(u64, RunDirectory)> {
    let runs = of_point(experiment, point, results);
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

/// The runs in an experiment's folder whose point or seed the experiment does not have.
pub fn of_other_settings(experiment: &Experiment, results: &Path) -> Vec<RunDirectory> {
    let points = experiment.points.iter();
    let own = points.flat_map(|point| of_point(experiment, point, results));
    let own: BTreeSet<PathBuf> = own.map(|(_, run)| run.path).collect();
    let mut runs = of_experiment(&experiment_folder(experiment, results));
    runs.retain(|run| !own.contains(&run.path));
    runs
}

/// Every run at or below `path`, in order.
pub fn all_below(path: &Path) -> Vec<RunDirectory> {
    if is_run(path) {
        let path = path.to_owned();
        return vec![RunDirectory { path }];
    }
    // Symbolic links are not followed: they may form cycles.
    let folders = files::entries(path)
        .into_iter()
        .filter(|one| files::is_folder(one));
    folders.flat_map(|folder| all_below(&folder)).collect()
}

/// The same for a folder that should hold a run.
pub fn at_least_one_below(path: &Path) -> Result<Vec<RunDirectory>> {
    let runs = all_below(path);
    match runs.is_empty() {
        true => Err(Error::usage(format!("{} holds no run", path.display()))
            .help("name a folder that `attnlab run` wrote, such as results/birthplace/vanilla")),
        false => Ok(runs),
    }
}

/// Whether this is the folder of a run. Results kept without their run, such as the reference results, have
/// settings but no status.
fn is_run(folder: &Path) -> bool {
    let mut files = ["resolved.toml", "status.json"].iter();
    files.all(|file| folder.join(file).is_file())
}
