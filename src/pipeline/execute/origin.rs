//! Provenance of runs: facts about repository, program and machine, collected once per command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::repository;
use crate::config::{Experiment, PointSettings};
use crate::files;
use crate::pipeline::plan::PlannedStage;
use crate::pipeline::provenance::{Computed, Machine, Program, Provenance};
use crate::pipeline::stage::Source;

/// The provenance that all runs of one command share; `stages_at_once` stages will run in parallel.
pub(super) fn of_command(experiment: &Experiment, stages_at_once: usize) -> Provenance {
    let shown = |path: &Path| path.display().to_string();
    let text = |word: OsString| word.to_string_lossy().into_owned();
    let counts = |name: &str| {
        name.starts_with("ATTNLAB_")
            || name == "RAYON_NUM_THREADS"
            || name.starts_with("CUDA_VISIBLE")
    };
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    let git = repository::state(files::folder_of(&experiment.path));
    let machine = machine();
    Provenance {
        command: std::env::args_os().map(text).collect(),
        directory: shown(&std::env::current_dir().unwrap_or_default()),
        environment: variables.filter(|(name, _)| counts(name)).collect(),
        experiment: shown(&experiment.path),
        profile: experiment.suite.as_ref().map(|suite| suite.profile.clone()),
        commit_unknown: git.as_ref().err().cloned(),
        git: git.ok().flatten(),
        program: program(),
        computed: Computed {
            processor: machine.processor.clone(),
            stages_at_once,
            ..Computed::default()
        },
        machine,
        ..Provenance::default()
    }
}

impl Provenance {
    /// The provenance of one run and its stages, which the calling thread computes from now on.
    pub(super) fn of_run(
        &self,
        (settings, seed): (&PointSettings, u64),
        stages: &[&PlannedStage<'_>],
    ) -> Self {
        let computed = self.computed.of_this_thread(settings.training());
        Self {
            started: jiff::Timestamp::now().to_string(),
            seed,
            machine: Machine {
                threads: computed.threads,
                ..self.machine.clone()
            },
            gpu: computed.gpu.clone(),
            computed,
            data: data(settings, stages),
            ..self.clone()
        }
    }
}

fn program() -> Program {
    let own = std::env::current_exe().and_then(std::fs::read);
    let features = cfg!(feature = "cuda").then(|| "cuda".to_owned());
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rustc: env!("RUSTC_VERSION").to_owned(),
        dfdx: "0.13.0".to_owned(),
        profile: profile.to_owned(),
        features: features.into_iter().collect(),
        blake3: own.ok().map(|bytes| files::checksum(&bytes)),
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
fn data(settings: &PointSettings, stages: &[&PlannedStage<'_>]) -> BTreeMap<String, String> {
    let ingredients = stages.iter().flat_map(|one| &one.stage.ingredients);
    let read =
        ingredients.filter_map(|(name, sum)| Some((name.strip_prefix("data.")?, sum.as_str()?)));
    let mut sums: BTreeMap<String, String> = read
        .map(|(name, sum)| (name.to_owned(), sum.to_owned()))
        .collect();
    let kind = settings.training().map(|settings| settings.data.kind);
    let files = kind.iter().flat_map(|kind| kind.files);
    sums.extend(files.map(|file| (file.name.to_owned(), format!("sha256 {}", file.sha256))));
    let inputs = stages.iter().filter_map(|one| one.job.inputs());
    let files = inputs.flat_map(|inputs| &inputs.corpus.files);
    sums.extend(files.map(|one| (one.file.clone(), format!("sha256 {}", one.sha256))));
    for one in stages {
        if let Source::File(path, blake3) = &one.stage.start {
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
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"dfdx\"\nversion = \"{}\"\n", program().dfdx);
        assert!(lock.contains(&entry));
    }
}
