//! Provenance of runs: facts about repository, program and machine, collected once per command.

use std::collections::BTreeMap;
use std::path::Path;

use super::repository;
use crate::config::{Experiment, PointSettings};
use crate::pipeline::provenance::{Computed, Git, Machine, Program, Provenance};
use crate::pipeline::stage::{Source, Stage};

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

    /// The provenance of one run with its stages, computed by the calling thread.
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
            directory: shown(&std::env::current_dir().unwrap_or_default()),
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
        features.push("cuda".to_owned());
    }
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rustc: include_str!(concat!(env!("OUT_DIR"), "/rustc.txt")).to_owned(),
        dfdx: "0.13.0".to_owned(),
        profile: match cfg!(debug_assertions) {
            true => "debug".to_owned(),
            false => "release".to_owned(),
        },
        features,
        blake3: own
            .ok()
            .map(|bytes| blake3::hash(&bytes).to_hex().to_string()),
    }
}

fn machine() -> Machine {
    use sysinfo::System;
    // Values that the system does not report stay empty.
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
        architecture: std::env::consts::ARCH.to_owned(),
        processor: first.map(|processor| processor.brand().trim().to_owned()),
        logical_cores: std::thread::available_parallelism().map(usize::from).ok(),
        threads: rayon::current_num_threads(),
        memory_bytes: system.as_ref().map(System::total_memory),
    }
}

/// Checksums of the corpus, as the stages read it, and of the files.
fn data(settings: &PointSettings, stages: &[&Stage]) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::new();
    for (name, sum) in stages.iter().flat_map(|stage| &stage.ingredients) {
        if let (Some(part), Some(sum)) = (name.strip_prefix("data."), sum.as_str()) {
            sums.insert(part.to_owned(), sum.to_owned());
        }
    }
    let kind = settings.training().map(|settings| settings.data.kind);
    let files = kind.iter().flat_map(|kind| kind.files);
    sums.extend(files.map(|file| (file.name.to_owned(), format!("sha256 {}", file.sha256))));
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
