//! Provenance of a run or a stage: code, machine, command and data, written before the first step.
//!
//! `provenance.json` is a list with one entry each time the work was started or resumed, perhaps by another
//! version or on another machine.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::schema::{DeviceKind, Settings};
use crate::error::Result;
use crate::files;
use crate::model::registry;

/// An entry of `provenance.json`. The settings are in `resolved.toml` beside it. Fields that an older
/// version did not write are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// When the run began, RFC 3339.
    pub started: String,
    /// The command line, word by word, from the program's name on.
    pub command: Vec<String>,
    pub directory: String,
    /// Environment variables that affect a run.
    pub environment: BTreeMap<String, String>,
    pub experiment: String,
    /// The profile of the suite that it was run in; absent outside a suite.
    pub profile: Option<String>,
    pub seed: u64,
    /// The repository that holds the experiment file; absent outside of one, and where it is unknown.
    pub git: Option<Git>,
    /// Why the state of the repository is unknown; absent if it is known.
    pub commit_unknown: Option<String>,
    pub program: Program,
    pub machine: Machine,
    /// Device, precision and concurrency.
    pub computed: Computed,
    /// The GPU that the model ran on; absent if it ran on the CPU.
    pub gpu: Option<String>,
    /// Inputs of the run, with checksums.
    pub data: BTreeMap<String, String>,
}

/// The state of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Git {
    pub commit: String,
    /// Absent on a detached HEAD.
    pub branch: Option<String>,
    /// Files that differ from the commit, as `git status --porcelain` lists them.
    pub changed: Vec<String>,
}

/// A build of attnlab.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    pub version: String,
    /// The compiler, as `rustc --version` names it.
    pub rustc: String,
    pub dfdx: String,
    /// `debug` or `release`.
    pub profile: String,
    /// Cargo features that change what it computes with.
    pub features: Vec<String>,
    /// BLAKE3 checksum of the program file.
    pub blake3: Option<String>,
}

/// A machine. Values that its system does not report are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub host: Option<String>,
    pub system: Option<String>,
    /// The version of its kernel.
    pub kernel: Option<String>,
    pub architecture: String,
    /// The CPU's brand name.
    pub processor: Option<String>,
    /// Hardware threads that the program may use.
    pub logical_cores: Option<usize>,
    /// Threads that the run had.
    pub threads: usize,
    pub memory_bytes: Option<u64>,
}

/// How a stage was computed: device, precision, and what else ran at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Computed {
    /// `cpu` or `cuda`; absent where no model was used.
    pub device: Option<String>,
    /// The GPU, if it ran on one.
    pub gpu: Option<String>,
    /// The CPU's brand name.
    pub processor: Option<String>,
    /// The precision of linear layers, such as `f32`.
    pub precision: Option<String>,
    /// The CPU matmul kernel: `avx512`, `avx2`, `avx512-bf16` or `gemm`.
    pub matmul_kernel: Option<String>,
    /// Threads that the stage had; 0 in files of older versions.
    pub threads: usize,
    /// The number of stages that ran at once. With more than one, times are not those of a stage running alone.
    pub stages_at_once: usize,
}

/// Letters in git's codes for changed files, and what they mean; the first that a code has counts.
const CHANGES: [(char, &str); 8] = [
    ('?', "untracked"),
    ('U', "in conflict"),
    ('A', "added"),
    ('D', "deleted"),
    ('R', "renamed"),
    ('C', "copied"),
    ('T', "of another type"),
    ('M', "modified"),
];

impl Git {
    /// The changed files, each with how: `src/main.rs (modified)`.
    pub fn changes_in_words(&self) -> Vec<String> {
        let in_words = |line: &String| {
            let (code, file) = line.trim_start().split_once(' ')?;
            let (_, how) = CHANGES.iter().find(|(letter, _)| code.contains(*letter))?;
            Some(format!("{} ({how})", file.trim_start()))
        };
        let changed = self.changed.iter();
        changed
            .map(|line| in_words(line).unwrap_or_else(|| line.clone()))
            .collect()
    }
}

impl Provenance {
    /// The entries of a `provenance.json`; none if it is missing or damaged.
    pub fn read(path: &Path) -> Vec<Self> {
        files::read_json(path).unwrap_or_default()
    }

    /// Appends itself to the list in a file; a list that cannot be read is replaced by a new one.
    pub(crate) fn add_to(&self, path: &Path) -> Result<()> {
        // Entries of other versions keep fields that this one does not know.
        let mut entries: Vec<serde_json::Value> = files::read_json(path).unwrap_or_default();
        let entry = serde_json::to_value(self);
        entries.push(entry.expect("a provenance is plain text and numbers"));
        files::write_json(path, &entries)
    }

    /// Without private details that do not belong in a report, the host name and the working directory, and
    /// without what differs between runs of one command.
    pub fn for_reports(self) -> Self {
        Self {
            started: String::new(),
            directory: String::new(),
            profile: None,
            seed: 0,
            machine: Machine {
                host: None,
                ..self.machine
            },
            ..self
        }
    }
}

impl Computed {
    /// The same with the threads and the GPU of the calling thread; `settings` is `None` if it runs no model.
    pub(crate) fn of_this_thread(&self, settings: Option<&Settings>) -> Self {
        let here = Self {
            threads: rayon::current_num_threads(),
            ..self.clone()
        };
        let Some(settings) = settings else {
            return here;
        };
        let is_gpu = registry::device(settings.device) == DeviceKind::Cuda;
        Self {
            device: Some(if is_gpu { "cuda" } else { "cpu" }.to_owned()),
            gpu: registry::gpu_name(settings.placement()),
            precision: Some(registry::precision(settings.placement()).name().to_owned()),
            matmul_kernel: (!is_gpu)
                .then(|| registry::matmul_kernel(settings.placement()).to_owned()),
            ..here
        }
    }

    /// `2 threads`, or `1 thread, 2 stages at once`.
    pub fn shares(&self) -> String {
        let threads = self.threads;
        let plural = if threads == 1 { "" } else { "s" };
        let beside = match self.stages_at_once {
            0 | 1 => String::new(),
            stages => format!(", {stages} stages at once"),
        };
        format!("{threads} thread{plural}{beside}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_told_in_words() {
        let lines = [
            " M src/main.rs",
            "?? new file.toml",
            "A  a",
            "AM b",
            "R  a -> b",
            "UU c",
            " D d",
        ];
        let git = Git {
            changed: lines.map(str::to_owned).to_vec(),
            ..Git::default()
        };
        let words = [
            "src/main.rs (modified)",
            "new file.toml (untracked)",
            "a (added)",
            "b (added)",
            "a -> b (renamed)",
            "c (in conflict)",
            "d (deleted)",
        ];
        assert_eq!(git.changes_in_words(), words);
    }
}
