//! The cache of stage results, by key: `results/.cache/<stage>/<key>/`.
//!
//! | file | what it is |
//! |---|---|
//! | `stage.json` | what the stage depends on, written before its first step |
//! | `checkpoints/step-<n>.safetensors` | while it trains: the last two |
//! | `checkpoints/best.safetensors` | while it trains: the weights after the best epoch |
//! | the [`artefacts`](crate::metrics::artefacts) | what it makes; the tables of steps grow while it trains |
//! | `done.json` | written last: the BLAKE3 checksum of each result |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::files;
use crate::metrics::artefacts::Artefact;
use crate::metrics::artefacts::{METRICS, TIMINGS};
use crate::pipeline::lock;
use crate::pipeline::stage::{Ingredients, Kind, Stage};
use crate::train::checkpoint::{BestWeights, Checkpoint, Prefix};

/// Name of the cache folder, below the results folder.
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

/// The state of a stage's results.
#[derive(Debug, PartialEq)]
enum Integrity {
    /// The stage is not done.
    Incomplete,
    /// All results are intact, to the byte.
    Sound,
    /// One is not; which, and why.
    Damaged(String),
}

/// The state of a stage in the cache.
#[derive(Debug)]
pub enum CacheState {
    /// All its results are intact, to the byte.
    Done,
    /// It can resume from a checkpoint.
    Started(Box<Checkpoint>),
    /// It was done, but a result is missing or has changed: which one.
    Damaged(String),
    /// It has to start from the beginning; why, unless it is simply new.
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

    /// An artefact that there is one of.
    pub fn file(&self, artefact: &Artefact) -> PathBuf {
        self.part(artefact, "")
    }

    /// One of several artefacts of a kind, told apart by `part`.
    pub fn part(&self, artefact: &Artefact, part: &str) -> PathBuf {
        self.path.join(artefact.in_stage(part))
    }

    pub fn checkpoint(&self, step: usize) -> PathBuf {
        self.checkpoints()
            .join(format!("step-{step:08}.safetensors"))
    }

    /// The best weights so far of an unfinished stage.
    pub fn best_so_far(&self) -> PathBuf {
        self.checkpoints().join("best.safetensors")
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Removes everything but the lock.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        // `done.json` first, so that a partly cleared folder does not count as done.
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

    /// Marks the stage as done, with its results, and removes its checkpoints.
    ///
    /// # Errors
    /// A result cannot be read, or the folder cannot be written.
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

    /// Whether `done.json` is there; the results are not checked.
    pub fn is_marked_done(&self) -> bool {
        self.path.join(DONE_FILE).is_file()
    }

    /// Whether the stage is done and all its results are as they were written.
    pub fn is_whole(&self) -> bool {
        self.integrity() == Integrity::Sound
    }

    /// The results of a stage that is done; `None` if it is not.
    pub fn done(&self) -> Option<Done> {
        files::read_json(&self.path.join(DONE_FILE))
    }

    /// How far the stage is; `refused` is called with a message for every checkpoint that cannot be used.
    pub fn find(&self, key: &str, refused: &mut dyn FnMut(String)) -> CacheState {
        match self.integrity() {
            Integrity::Sound => return CacheState::Done,
            Integrity::Damaged(how) => return CacheState::Damaged(how),
            Integrity::Incomplete => {}
        }
        let mut some = false;
        for step in self.steps().into_iter().rev() {
            some = true;
            let path = self.checkpoint(step);
            let bytes = std::fs::read(&path).map_err(|e| Error::data(e.to_string()));
            let read = bytes.and_then(|bytes| Checkpoint::from_bytes(&bytes));
            match read.and_then(|one| self.check(&one, key, step).map(|()| one)) {
                Ok(checkpoint) => return CacheState::Started(Box::new(checkpoint)),
                Err(error) => refused(format!(
                    "the checkpoint {} is refused: {}",
                    path.display(),
                    error.message()
                )),
            }
        }
        CacheState::Nothing(match (some, self.record()) {
            (true, _) => Some("none of its checkpoints can be used".to_owned()),
            (false, Some(_)) => Some("it was started but not finished".to_owned()),
            (false, None) => None,
        })
    }

    fn integrity(&self) -> Integrity {
        if !self.is_marked_done() {
            return Integrity::Incomplete;
        }
        let Some(done) = self.done() else {
            return Integrity::Damaged("its done.json is damaged".to_owned());
        };
        let wrong = |(name, expected): (&String, &String)| match sum(&self.path.join(name)) {
            Ok(found) if found == *expected => None,
            Ok(_) => Some(format!("its {name} has changed since it was written")),
            Err(_) => Some(format!("its {name} is gone")),
        };
        match done.results.iter().find_map(wrong) {
            Some(wrong) => Integrity::Damaged(wrong),
            None => Integrity::Sound,
        }
    }

    /// Checks that an undamaged checkpoint belongs to this stage.
    fn check(&self, checkpoint: &Checkpoint, key: &str, step: usize) -> Result<()> {
        let metadata = &checkpoint.metadata;
        if metadata.stage_key != key {
            return Err(Error::data("it belongs to another stage"));
        }
        let found = metadata.position.step;
        if found != step {
            return Err(Error::data(format!(
                "it is that of step {found}, not of step {step}"
            )));
        }
        let metrics = prefix(&self.file(&METRICS), Some(metadata.metrics.bytes));
        if metrics.ok() != Some(metadata.metrics.clone()) {
            return Err(Error::data("metrics.csv has changed since then"));
        }
        let timings = std::fs::metadata(self.file(&TIMINGS)).map_or(0, |file| file.len());
        if timings < metadata.timings_bytes {
            return Err(Error::data("timings.csv is shorter than it was then"));
        }
        if let Some(best) = &metadata.best {
            // Best weights newer than the checkpoint are fine: resuming produces them again.
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

/// The checksum of a result, in hexadecimal.
pub fn sum_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
