//! How a stage was computed, for its provenance: device, precision, and what else ran at the same time.

use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use crate::config::schema::{DeviceKind, Settings};
use crate::files;
use crate::model::registry;

/// An entry of `provenance.json` has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Computed {
    /// `cpu` or `cuda`; absent where no model was used.
    pub device: Option<String>,
    /// The GPU, if it was one.
    pub gpu: Option<String>,
    /// The processor's brand name.
    pub processor: Option<String>,
    /// The precision of the inputs of matrix products, such as `f32`.
    pub precision: Option<String>,
    /// The matrix-product kernel on the processor: `avx512`, `avx2` or `gemm`.
    pub matmul_kernel: Option<String>,
    /// Threads that the stage had.
    pub threads: usize,
    /// The number of stages that ran at once. With more than one, times are not those of a stage running alone.
    pub stages_at_once: usize,
}

/// An entry of `provenance.json`, as far as it matters here.
#[derive(Deserialize)]
struct Entry {
    computed: Option<Computed>,
}

impl Computed {
    /// How a model with these settings is computed by the thread that asks.
    pub(crate) fn here(
        settings: Option<&Settings>,
        processor: Option<String>,
        stages_at_once: usize,
    ) -> Self {
        let device = settings.map(|settings| registry::device(settings.device));
        let is_gpu = device == Some(DeviceKind::Cuda);
        let kernel = registry::matmul_kernel().to_owned();
        let on_device = |settings: &Settings| match is_gpu {
            true => ("cuda", settings.precision.name()),
            false => ("cpu", "f32"),
        };
        let (device, precision) = settings.map(on_device).unzip();
        Self {
            device: device.map(str::to_owned),
            gpu: settings.and_then(|settings| registry::gpu_name(settings.placement())),
            processor,
            precision: precision.map(str::to_owned),
            matmul_kernel: settings.filter(|_| !is_gpu).map(|_| kernel),
            threads: rayon::current_num_threads(),
            stages_at_once,
        }
    }

    /// How a stage of a finished run was computed: one entry for each time it was started or resumed.
    /// Nothing where the run was made by an older program.
    pub fn of_stage(run: &RunDirectory, stage: &str) -> Vec<Self> {
        let entries: Option<Vec<Entry>> = files::read_json(&run.stage_provenance_json(stage));
        let entries = entries.into_iter().flatten();
        entries.filter_map(|entry| entry.computed).collect()
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
