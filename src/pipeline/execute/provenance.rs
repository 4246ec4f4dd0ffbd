//! What made a run: code, machine, command and data, written before its first step.
//!
//! `provenance.json` is a list: a run that was stopped and gone on with, perhaps by another program or
//! on another machine, has an entry for each time.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::repository::{self, Git};
use crate::config::schema::DataKind;
use crate::config::{Experiment, PointSettings};
use crate::data::cs224n;
use crate::error::Result;
use crate::files;
use crate::pipeline::computed::Computed;
use crate::pipeline::stage::{Source, Stage};

/// An entry of `provenance.json`. The settings are in `resolved.toml` beside it.
#[derive(Debug, Serialize)]
pub struct Provenance {
    /// When the run began, RFC 3339.
    started: String,
    /// The command line, word by word.
    command: Vec<String>,
    /// The directory in which it was typed.
    directory: String,
    /// Variables of the environment that change what a run does.
    environment: BTreeMap<String, String>,
    /// The experiment file.
    experiment: String,
    /// The profile of the suite that it was run in; empty outside a suite.
    profile: Option<String>,
    /// The run's seed.
    seed: u64,
    /// The repository that holds the experiment file; empty outside of one, and where it is unknown.
    git: Option<Git>,
    /// Why the state of the repository is unknown.
    commit_unknown: Option<String>,
    program: Program,
    machine: Machine,
    /// Device, precision and concurrency.
    computed: Computed,
    /// The GPU that the model ran on, and in what precision; empty where it was the processor.
    gpu: Option<String>,
    /// What the run reads, with sums.
    data: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
struct Program {
    version: &'static str,
    rustc: &'static str,
    dfdx: &'static str,
    profile: &'static str,
    features: Vec<&'static str>,
    /// BLAKE3 sum of the program itself.
    blake3: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Machine {
    host: Option<String>,
    system: Option<String>,
    kernel: Option<String>,
    architecture: &'static str,
    processor: Option<String>,
    logical_cores: Option<usize>,
    threads: usize,
    memory_bytes: Option<u64>,
}

impl Provenance {
    /// Adds itself to the list in a file; one that cannot be read is begun anew.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn add_to(&self, path: &Path) -> Result<()> {
        let mut entries: Vec<serde_json::Value> = files::read_json(path).unwrap_or_default();
        let entry = serde_json::to_value(self);
        entries.push(entry.expect("a provenance is plain text and numbers"));
        files::write_json(path, &entries)
    }
}

/// What is the same for all runs of one command.
#[derive(Debug)]
pub struct Origin {
    /// The repository, or why its state is unknown.
    git: std::result::Result<Option<Git>, String>,
    program: Program,
    machine: Machine,
    stages_at_once: usize,
}

impl Origin {
    /// Collects the facts about repository and machine once; `stages_at_once` stages will run in parallel.
    pub fn here(experiment: &Experiment, stages_at_once: usize) -> Self {
        Self {
            stages_at_once,
            git: repository::state(experiment.path.parent().unwrap_or(Path::new("."))),
            program: program(),
            machine: machine(),
        }
    }

    /// Why the commit is unknown, although there is a repository.
    pub(super) fn commit_unknown(&self) -> Option<&str> {
        self.git.as_ref().err().map(String::as_str)
    }

    /// The provenance of one run with its stages, computed by the thread that asks.
    pub fn of(
        &self,
        experiment: &Experiment,
        (settings, seed): (&PointSettings, u64),
        stages: &[&Stage],
    ) -> Provenance {
        let shown = |path: &Path| path.display().to_string();
        let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let counts = |name: &str| {
            name.starts_with("ATTNLAB_")
                || name == "RAYON_NUM_THREADS"
                || name.starts_with("CUDA_VISIBLE")
        };
        let variables = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| counts(name));
        let training = settings.training();
        let processor = self.machine.processor.clone();
        let computed = Computed::here(training, processor, self.stages_at_once);
        Provenance {
            started: jiff::Timestamp::now().to_string(),
            command: words.collect(),
            directory: std::env::current_dir().map_or_else(|_| String::new(), |path| shown(&path)),
            environment: variables.collect(),
            experiment: shown(&experiment.path),
            profile: experiment.suite.as_ref().map(|suite| suite.profile.clone()),
            seed,
            git: self.git.clone().ok().flatten(),
            commit_unknown: self.git.clone().err(),
            program: self.program.clone(),
            machine: Machine {
                threads: computed.threads,
                ..self.machine.clone()
            },
            gpu: computed.gpu.clone(),
            computed,
            data: data(settings, stages),
        }
    }
}

fn program() -> Program {
    let own = std::env::current_exe().and_then(std::fs::read);
    let mut features = vec![];
    if cfg!(feature = "cuda") {
        features.push("cuda");
    }
    Program {
        version: env!("CARGO_PKG_VERSION"),
        rustc: include_str!(concat!(env!("OUT_DIR"), "/rustc.txt")),
        dfdx: "0.13.0",
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        features,
        blake3: own
            .ok()
            .map(|bytes| blake3::hash(&bytes).to_hex().to_string()),
    }
}

fn machine() -> Machine {
    use sysinfo::System;
    // What the system does not tell stays empty.
    let system = System::new().ok().map(|mut system| {
        system.refresh_memory();
        system.refresh_cpu_all();
        system
    });
    let first = system.as_ref().and_then(|system| system.cpus().first());
    Machine {
        host: System::host_name().ok(),
        system: System::long_os_version().ok(),
        kernel: System::kernel_version().ok(),
        architecture: std::env::consts::ARCH,
        processor: first.map(|processor| processor.brand().trim().to_owned()),
        logical_cores: std::thread::available_parallelism().map(usize::from).ok(),
        threads: rayon::current_num_threads(),
        memory_bytes: system.as_ref().map(System::total_memory),
    }
}

/// The sums by which the corpus, as the stages read it, and the files are known.
fn data(settings: &PointSettings, stages: &[&Stage]) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::new();
    for (name, sum) in stages.iter().flat_map(|stage| &stage.ingredients) {
        if let (Some(part), Some(sum)) = (name.strip_prefix("data."), sum.as_str()) {
            sums.insert(part.to_owned(), sum.to_owned());
        }
    }
    let kind = settings.training().map(|settings| settings.data.kind);
    if kind == Some(DataKind::Cs224n) {
        let files = cs224n::FILES.iter();
        sums.extend(files.map(|file| (file.name.to_owned(), format!("sha256 {}", file.sha256))));
    }
    for stage in stages {
        if let Source::File { path, blake3 } = &stage.start {
            sums.insert(path.display().to_string(), format!("blake3 {blake3}"));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_dfdx_is_the_one_that_is_built_with() {
        let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
        let entry = format!("name = \"dfdx\"\nversion = \"{}\"\n", program().dfdx);
        assert!(lock.contains(&entry));
    }
}
