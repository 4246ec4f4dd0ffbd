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

use crate::error::{Error, Kind, Result};
use crate::files;
use crate::metrics::artefacts::{Artefact, METRICS, TIMINGS, VALIDATION};
use crate::pipeline::lock;
use crate::pipeline::stage::{Ingredients, StageKind};
use crate::train::checkpoint::{Best, BestWeights, Checkpoint, Prefix};

/// Name of the cache folder, below the results folder.
pub const CACHE: &str = ".cache";

/// The file that is written last.
const DONE_FILE: &str = "done.json";

/// The folder of one stage's results.
#[derive(Clone, Debug)]
pub struct StageFolder {
    pub kind: StageKind,
    pub key: String,
    path: PathBuf,
}

/// `stage.json`.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub stage: StageKind,
    pub depends_on: Ingredients,
}

/// File names, relative to a stage's folder, and their BLAKE3 sums.
pub type Sums = BTreeMap<String, String>;

/// `done.json`.
#[derive(Serialize, Deserialize)]
struct Done {
    results: Sums,
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
    pub fn new(results: &Path, kind: StageKind, key: &str) -> Self {
        Self {
            kind,
            key: key.to_owned(),
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

    /// Everything in the folder and its direct subfolders, as relative paths.
    pub fn names(&self) -> Result<Vec<String>> {
        // A stage that has not begun has nothing.
        if !self.path.is_dir() {
            return Ok(vec![]);
        }
        let mut paths = files::listed(&self.path)?;
        let folders = paths.iter().filter(|path| path.is_dir());
        let below: Vec<_> = folders
            .map(|path| files::listed(path))
            .collect::<Result<_>>()?;
        paths.extend(below.into_iter().flatten());
        let name = |path: &PathBuf| {
            let name = path.strip_prefix(&self.path).ok()?.to_str()?;
            Some(name.replace('\\', "/"))
        };
        Ok(paths.iter().filter_map(name).collect())
    }

    /// Removes everything but the lock.
    pub fn clear(&self) -> Result<()> {
        // `done.json` first, so that a partly cleared folder does not count as done.
        files::remove(&self.path.join(DONE_FILE))?;
        let entries = files::entries(&self.path).into_iter();
        let mut others = entries.filter(|entry| !lock::is_lock_file(&files::name_of(entry)));
        others.try_for_each(|entry| files::remove(&entry))
    }

    /// Writes what the stage depends on.
    pub fn describe(&self, depends_on: Ingredients) -> Result<()> {
        let stage = self.kind;
        files::write_json(&self.path.join("stage.json"), &Record { stage, depends_on })
    }

    /// What the stage depended on, if its folder still says so.
    pub fn record(&self) -> Option<Record> {
        files::read_json(&self.path.join("stage.json"))
    }

    /// Marks the stage as done, with the results that are in its folder, and removes its checkpoints.
    ///
    /// # Errors
    /// A result cannot be read, or one is missing that every stage of the kind has.
    pub fn finish(&self) -> Result<()> {
        let is_result = |name: &String| Artefact::of(name).is_some_and(|(one, _)| one.is_result);
        let sum = |name: String| {
            let bytes = files::read(Kind::Run, &self.path.join(&name))?;
            Ok((name, files::checksum(&bytes)))
        };
        let results = self.names()?.into_iter().filter(is_result).map(sum);
        let results: Sums = results.collect::<Result<_>>()?;
        let is_there = |artefact: &&Artefact| {
            let mut names = results.keys().filter_map(|name| Artefact::of(name));
            names.any(|(one, _)| std::ptr::eq(one, *artefact))
        };
        let is_made = |any: &Vec<&Artefact>| any.iter().any(is_there);
        if results.is_empty() || !self.kind.needs().iter().all(is_made) {
            let (folder, kind) = (self.path.display(), self.kind.name());
            let message =
                format!("results of {kind} have disappeared from {folder} before it was done");
            return Err(Error::run(message).help("run it again"));
        }
        self.mark_done(results)?;
        self.settle()
    }

    /// Marks the stage as done, with these results and their checksums.
    pub fn mark_done(&self, results: Sums) -> Result<()> {
        files::write_json(&self.path.join(DONE_FILE), &Done { results })
    }

    /// Removes the checkpoints of a stage that is done.
    pub fn settle(&self) -> Result<()> {
        files::remove(&self.checkpoints())
    }

    /// Whether `done.json` is there; the results are not checked.
    pub fn is_marked_done(&self) -> bool {
        self.path.join(DONE_FILE).is_file()
    }

    /// The results of a stage that is done; `None` if it is not.
    pub fn done(&self) -> Option<Sums> {
        let done: Done = files::read_json(&self.path.join(DONE_FILE))?;
        Some(done.results)
    }

    /// How far the stage is; `refused` is called with a message for every checkpoint that cannot be used.
    pub fn find(&self, refused: &mut dyn FnMut(String)) -> CacheState {
        match self.integrity() {
            Some(Ok(())) => return CacheState::Done,
            Some(Err(how)) => return CacheState::Damaged(how),
            None => {}
        }
        let steps = self.steps();
        for &step in steps.iter().rev() {
            let path = self.checkpoint(step);
            match self.read_checkpoint(&path, step) {
                Ok(checkpoint) => return CacheState::Started(Box::new(checkpoint)),
                Err(error) => {
                    let (path, why) = (path.display(), error.message());
                    refused(format!("the checkpoint {path} is refused: {why}"));
                }
            }
        }
        let why = match steps.is_empty() {
            true => "it was started but not finished",
            false => "none of its checkpoints can be used",
        };
        let is_new = steps.is_empty() && self.record().is_none();
        CacheState::Nothing((!is_new).then(|| why.to_owned()))
    }

    /// Whether all results are intact, to the byte; the error says which one is not, and why. `None` if the stage
    /// is not marked as done.
    pub fn integrity(&self) -> Option<Result<(), String>> {
        if !self.is_marked_done() {
            return None;
        }
        let Some(results) = self.done() else {
            return Some(Err("its done.json is damaged".to_owned()));
        };
        let mut results = results.iter();
        Some(results.try_for_each(
            |(name, expected)| match std::fs::read(self.path.join(name)) {
                Ok(bytes) if files::checksum(&bytes) == *expected => Ok(()),
                Ok(_) => Err(format!("its {name} has changed since it was written")),
                Err(_) => Err(format!("its {name} is gone")),
            },
        ))
    }

    /// Reads a checkpoint, which must be undamaged and belong to this stage.
    fn read_checkpoint(&self, path: &Path, step: usize) -> Result<Checkpoint> {
        let bytes = std::fs::read(path).map_err(|e| Error::data(e.to_string()))?;
        let checkpoint = Checkpoint::from_bytes(&bytes)?;
        let metadata = &checkpoint.metadata;
        if metadata.stage_key != self.key {
            return Err(Error::data("it belongs to another stage"));
        }
        let found = metadata.position.step;
        if found != step {
            let message = format!("it is that of step {found}, not of step {step}");
            return Err(Error::data(message));
        }
        let metrics = prefix(&self.file(&METRICS), Some(metadata.metrics.bytes));
        if metrics.ok().as_ref() != Some(&metadata.metrics) {
            return Err(Error::data("metrics.csv has changed since then"));
        }
        if let Some(validation) = &metadata.validation {
            let found = prefix(&self.file(&VALIDATION), Some(validation.bytes));
            if found.ok().as_ref() != Some(validation) {
                return Err(Error::data("validation.csv has changed since then"));
            }
        }
        let timings = std::fs::metadata(self.file(&TIMINGS)).map_or(0, |file| file.len());
        if timings < metadata.timings_bytes {
            return Err(Error::data("timings.csv is shorter than it was then"));
        }
        // Best weights newer than the checkpoint are fine: resuming produces them again.
        let is_usable = |needed: &Best| {
            let kept = BestWeights::read(&self.best_so_far());
            kept.is_ok_and(|kept| {
                kept.stage_key == self.key
                    && kept.best.step >= needed.step
                    && kept.best.epoch >= needed.epoch
            })
        };
        if !metadata.best.as_ref().is_none_or(is_usable) {
            let message = "the best weights that belong to it are damaged";
            return Err(Error::data(message));
        }
        Ok(checkpoint)
    }

    /// The steps that have a checkpoint, ascending.
    pub fn steps(&self) -> Vec<usize> {
        let step = |path: &PathBuf| {
            let name = files::name_of(path);
            let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
            step.parse().ok()
        };
        let entries = files::entries(&self.checkpoints());
        let mut steps: Vec<usize> = entries.iter().filter_map(step).collect();
        steps.sort_unstable();
        steps
    }
}

/// Length and checksum of the first `bytes` of a file, or of all of it. A shorter file is an error.
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
        blake3: files::checksum(&content),
    })
}
