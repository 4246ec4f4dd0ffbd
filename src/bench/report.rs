//! What was measured, with units in the names.

use serde::Serialize;

use super::spread::Spread;

/// What was measured. Times are of this machine at this moment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The experiment's name.
    pub experiment: String,
    /// Folder name of the point whose settings were taken: the first.
    pub point: String,
    /// Trained parameters.
    pub parameters: usize,
    /// The GPU that the model ran on, and the precision of its matrix products; `None` on the CPU.
    pub gpu: Option<String>,
    /// Threads that worked.
    pub threads: usize,
    /// `release`, or `debug`, whose times say nothing.
    pub profile: &'static str,
    /// The pretraining step.
    pub step: Step,
    /// Its parts, each alone, on the batch of median length.
    pub parts: Vec<Part>,
    /// The step's median less all parts, in milliseconds: making the batch, activations given back,
    /// and how much a part alone differs from the same part in the step. May be negative: on a GPU a
    /// part alone is waited for, and in the step the next one is asked for meanwhile.
    pub left_over_ms: f64,
    /// Answering; `None` without questions.
    pub decode: Option<Decode>,
    /// Largest memory of the process after the last step, in bytes, without that of a GPU; `None`
    /// where the system does not tell (Linux does).
    pub peak_bytes: Option<u64>,
}

/// A pretraining step as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Steps that count.
    pub steps: usize,
    /// Documents of the median step.
    pub documents: f64,
    /// Tokens of the median step.
    pub tokens: f64,
    /// From making the batch to the update, in milliseconds.
    pub step_ms: Spread,
    /// Tokens a second, the median over the steps.
    pub tokens_per_second: f64,
    /// Useful arithmetic of the median step, see [`super::work`], in 10⁹ floating-point operations.
    pub gflop: f64,
    /// The same a second, the median over the steps.
    pub gflop_per_second: f64,
    /// The most that matrix products reach on the device, see [`super::peak`].
    pub peak_gflop_per_second: f64,
    /// `gflop_per_second / peak_gflop_per_second`.
    pub share_of_peak: f64,
}

/// A part of the step. Times are medians over the repetitions, of all times that a step does it.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// As in [`PartTimes`](crate::model::parts::PartTimes).
    pub part: &'static str,
    /// How often a step does it.
    pub times_a_step: usize,
    /// Forward, in milliseconds; `None` for the optimiser.
    pub forward_ms: Option<f64>,
    /// Backward, in milliseconds; `None` for the optimiser.
    pub backward_ms: Option<f64>,
    /// Both, or the whole optimiser, in milliseconds.
    pub total_ms: f64,
}

/// Answering the dev questions by a model of fresh weights, which rarely ends an answer before the
/// limit: the most work there can be.
#[derive(Clone, Debug, Serialize)]
pub struct Decode {
    /// Questions answered.
    pub questions: usize,
    /// Mean length of the answers, in characters.
    pub answer_characters: f64,
    /// How long all took: the median of several rounds.
    pub seconds: f64,
    /// Questions answered a second: each asks for one name of a place.
    pub names_per_second: f64,
}
