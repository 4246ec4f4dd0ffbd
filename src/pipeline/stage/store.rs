//! The results of stages, kept by their keys: `results/.cache/<stage>/<key>/`.
//!
//! | file | what it is |
//! |---|---|
//! | `stage.json` | what the stage depends on, written before its first step |
//! | `metrics.csv`, `timings.csv` | a row a step, growing |
//! | `checkpoints/step-<n>.safetensors` | while it trains: the last two |
//! | `checkpoints/best.safetensors` | while it trains: the weights after the best pass over the data |
//! | `weights.safetensors`, `best.safetensors` | how it ended; the best, if that was an earlier pass |
//! | `provenance.json` | who did it, one entry each time that it was begun or gone on with |
//! | `corruption_examples.csv`, `predictions/*.tsv`, `training_answers.csv`, `attention_maps.csv` | what else it makes |
//! | `curves.csv` or `samples.csv` | what an exploration makes |
//! | `done.json` | written last: the BLAKE3 sum of each of these results |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::files;
use crate::pipeline::lock;
use crate::pipeline::stage::{Ingredients, Kind, Stage};
use crate::train::checkpoint::{BestWeights, Checkpoint, Prefix};

/// The folder below the results that keeps them.
pub const CACHE: &str = ".cache";

/// The file that is written last.
const DONE_FILE: &str = "done.json";

/// The folder of one stage's results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageFolder {
    path: PathBuf,
}

/// `stage.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub stage: Kind,
    pub depends_on: Ingredients,
}

/// `done.json`: file names, relative to the folder, and their BLAKE3 sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub results: BTreeMap<String, String>,
}

/// How far a stage is.
#[derive(Debug)]
pub enum Found {
    /// All its results are there, to the byte.
    Done,
    /// It can go on from a checkpoint.
    Started(Box<Checkpoint>),
    /// It was done, and its results are no longer what they were: which one, and why.
    Damaged(String),
    /// It has to begin; why, if it is not simply new.
    Nothing(Option<String>),
}

impl StageFolder {
    /// Where a stage's results go. Nothing is created.
    pub fn new(results: &Path, kind: Kind, key: &str) -> Self {
        Self {
            path: results.join(CACHE).join(kind.name()).join(key),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metrics_csv(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    pub fn timings_csv(&self) -> PathBuf {
        self.path.join("timings.csv")
    }

    pub fn corruption_csv(&self) -> PathBuf {
        self.path.join("corruption_examples.csv")
    }

    pub fn weights(&self) -> PathBuf {
        self.path.join("weights.safetensors")
    }

    pub fn best_weights(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// Weights before the step at which training diverged.
    pub fn weights_before(&self, step: usize) -> PathBuf {
        self.path.join(format!("before-step-{step}.safetensors"))
    }

    pub fn predictions_tsv(&self, split: &str, subject: &str) -> PathBuf {
        self.predictions().join(format!("{split}-{subject}.tsv"))
    }

    pub fn predictions(&self) -> PathBuf {
        self.path.join("predictions")
    }

    pub fn invented_tsv(&self) -> PathBuf {
        self.predictions().join("invented.tsv")
    }

    pub fn training_answers_csv(&self) -> PathBuf {
        self.path.join("training_answers.csv")
    }

    pub fn attention_maps_csv(&self) -> PathBuf {
        self.path.join("attention_maps.csv")
    }

    pub fn curves_csv(&self) -> PathBuf {
        self.path.join("curves.csv")
    }

    pub fn samples_csv(&self) -> PathBuf {
        self.path.join("samples.csv")
    }

    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.checkpoints()
            .join(format!("step-{step:08}.safetensors"))
    }

    /// The best weights of a stage that is in the middle.
    pub fn best_so_far(&self) -> PathBuf {
        self.checkpoints().join("best.safetensors")
    }

    pub fn provenance_json(&self) -> PathBuf {
        self.path.join("provenance.json")
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Removes everything but the lock.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        // First what says that there is something.
        files::remove(&self.path.join(DONE_FILE))?;
        for entry in files::entries(&self.path) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if !lock::is_lock_file(&name) {
                files::remove(&entry)?;
            }
        }
        Ok(())
    }

    /// Empties the folder and writes what the stage depends on: it begins.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin(&self, stage: &Stage) -> Result<()> {
        self.clear()?;
        let record = Record {
            stage: stage.kind,
            depends_on: stage.ingredients.clone(),
        };
        files::write_json(&self.path.join("stage.json"), &record)
    }

    /// What the stage depended on, if its folder still says so.
    pub fn record(&self) -> Option<Record> {
        files::read_json(&self.path.join("stage.json"))
    }

    /// Describes a stage whose results have been put back here: it is done.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn describe_restored(&self, stage: &Record, done: &Done) -> Result<()> {
        files::write_json(&self.path.join("stage.json"), stage)?;
        files::write_json(&self.path.join(DONE_FILE), done)
    }

    /// Says that the stage is done and which results it has; checkpoints then have served.
    ///
    /// # Errors
    /// A result that cannot be read, or the folder not be written.
    pub fn finish(&self, results: &[PathBuf]) -> Result<()> {
        let mut done = Done::default();
        for path in results {
            let sum = sum(path).map_err(|e| Error::io(ErrorKind::Run, "read", path, e))?;
            let name = path
                .strip_prefix(&self.path)
                .expect("results lie in the folder");
            done.results
                .insert(name.display().to_string().replace('\\', "/"), sum);
        }
        files::write_json(&self.path.join(DONE_FILE), &done)?;
        self.settle()
    }

    /// Removes the checkpoints of a stage that is done.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn settle(&self) -> Result<()> {
        files::remove(&self.checkpoints())
    }

    /// Whether `done.json` is there; the results are not looked at.
    pub fn is_marked_done(&self) -> bool {
        self.path.join(DONE_FILE).is_file()
    }

    /// Whether the stage is done and all its results are as they were written.
    pub fn is_whole(&self) -> bool {
        self.damage() == Some(None)
    }

    /// The results of a stage that is done; `None` if it is not.
    pub fn done(&self) -> Option<Done> {
        files::read_json(&self.path.join(DONE_FILE))
    }

    /// How far the stage is; `refused` hears of every checkpoint that cannot be used, by name.
    pub fn find(&self, key: &str, refused: &mut dyn FnMut(String)) -> Found {
        match self.damage() {
            Some(None) => return Found::Done,
            Some(Some(damage)) => return Found::Damaged(damage),
            None => {}
        }
        let mut some = false;
        for step in self.steps().into_iter().rev() {
            some = true;
            let path = self.checkpoint(step);
            let bytes = std::fs::read(&path).map_err(|e| Error::data(e.to_string()));
            let read = bytes.and_then(|bytes| Checkpoint::from_bytes(&bytes));
            match read.and_then(|one| self.check(&one, key, step).map(|()| one)) {
                Ok(checkpoint) => return Found::Started(Box::new(checkpoint)),
                Err(error) => refused(format!(
                    "the checkpoint {} is refused: {}",
                    path.display(),
                    error.message()
                )),
            }
        }
        Found::Nothing(match (some, self.record()) {
            (true, _) => Some("none of its checkpoints can be used".to_owned()),
            (false, Some(_)) => Some("it was begun and not finished".to_owned()),
            (false, None) => None,
        })
    }

    /// `None` if the stage is not done, `Some(None)` if it is, else what is wrong with its results.
    fn damage(&self) -> Option<Option<String>> {
        if !self.is_marked_done() {
            return None;
        }
        let Some(done) = self.done() else {
            return Some(Some("its done.json is damaged".to_owned()));
        };
        let wrong =
            done.results
                .iter()
                .find_map(|(name, expected)| match sum(&self.path.join(name)) {
                    Ok(found) if found == *expected => None,
                    Ok(_) => Some(format!("its {name} has changed since it was written")),
                    Err(_) => Some(format!("its {name} is gone")),
                });
        Some(wrong)
    }

    /// Whether a checkpoint that is whole belongs here.
    fn check(&self, checkpoint: &Checkpoint, key: &str, step: usize) -> Result<()> {
        let standing = &checkpoint.standing;
        if standing.stage_key != key {
            return Err(Error::data("it belongs to another stage"));
        }
        let found = standing.position.step;
        if found != step {
            return Err(Error::data(format!(
                "it is that of step {found}, not of step {step}"
            )));
        }
        let metrics = prefix(&self.metrics_csv(), Some(standing.metrics.bytes));
        if metrics.ok() != Some(standing.metrics.clone()) {
            return Err(Error::data("metrics.csv is not what it was then"));
        }
        let timings = std::fs::metadata(self.timings_csv()).map_or(0, |file| file.len());
        if timings < standing.timings_bytes {
            return Err(Error::data("timings.csv is shorter than it was then"));
        }
        if let Some(best) = &standing.best {
            // Later ones than the checkpoint knows are made again on the way.
            let kept = BestWeights::read(&self.best_so_far());
            let usable = |kept: BestWeights| kept.stage_key == key && kept.best.epoch >= best.epoch;
            if !kept.is_ok_and(usable) {
                return Err(Error::data(
                    "the best weights that belong to it are damaged",
                ));
            }
        }
        Ok(())
    }

    /// The steps that have a checkpoint, ascending.
    pub fn steps(&self) -> Vec<usize> {
        let step = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("step-")?
                .strip_suffix(".safetensors")?
                .parse()
                .ok()
        };
        let mut steps: Vec<usize> = files::entries(&self.checkpoints())
            .into_iter()
            .filter_map(step)
            .collect();
        steps.sort_unstable();
        steps
    }
}

/// The first `bytes` of a file, or all of it, as a length and a sum.
///
/// # Errors
/// The file is shorter, or cannot be read.
pub fn prefix(path: &Path, bytes: Option<u64>) -> std::io::Result<Prefix> {
    let mut content = std::fs::read(path)?;
    if let Some(bytes) = bytes {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if content.len() < bytes {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        content.truncate(bytes);
    }
    Ok(Prefix {
        bytes: content.len() as u64,
        blake3: blake3::hash(&content).to_hex().to_string(),
    })
}

fn sum(path: &Path) -> std::io::Result<String> {
    Ok(sum_of(&std::fs::read(path)?))
}

/// The sum by which a result is known.
pub fn sum_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
