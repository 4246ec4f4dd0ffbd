//! The results of a benchmark, with units in the names.

use serde::Serialize;

use crate::metrics::statistics::quantile;

/// The results of a benchmark, valid for this machine at this moment.
#[derive(Clone, Debug, Serialize)]
pub struct Benchmark {
    pub experiment: String,
    /// Folder name of the measured point: the first.
    pub point: String,
    pub parameters: usize,
    /// The GPU that the model ran on, and the precision of linear layers; `None` on the CPU.
    pub gpu: Option<String>,
    /// The precision of linear layers.
    pub precision: &'static str,
    pub threads: usize,
    /// `release`; or `debug`, whose times mean nothing.
    pub profile: &'static str,
    pub step: Step,
    /// Its parts, each timed alone on the batch of median length.
    pub parts: Vec<Part>,
    /// The step's median minus the sum of all parts, in milliseconds: building the batch, freeing
    /// activations, and the difference between a part timed alone and within the step. May be negative: on
    /// a GPU a part timed alone is waited for, while in a step the next one is queued meanwhile.
    pub left_over_ms: f64,
    /// Decoding; `None` without questions.
    pub decode: Option<Decode>,
    /// Peak memory of the process after the last step, in bytes, without that of a GPU; `None` where the
    /// system does not report it (Linux does).
    pub peak_bytes: Option<u64>,
}

/// A pretraining step as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Number of timed steps.
    pub steps: usize,
    /// Documents per step, median.
    pub documents: f64,
    /// Tokens per step, median.
    pub tokens: f64,
    /// From building the batch to the update, in milliseconds.
    pub step_ms: Percentiles,
    /// Tokens per second, median over the steps.
    pub tokens_per_second: f64,
    /// Useful arithmetic of a step, see [`super::work`], in 10⁹ floating-point operations; median.
    pub gflop: f64,
    /// The same per second, median over the steps.
    pub gflop_per_second: f64,
    /// The highest rate of matrix products on the device, see [`super::peak`].
    pub peak_gflop_per_second: f64,
    /// `gflop_per_second / peak_gflop_per_second`.
    pub share_of_peak: f64,
}

/// Median, and the 10th and 90th percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
}

impl Percentiles {
    /// Summarises at least one value, none of them NaN.
    pub fn of(values: &[f64]) -> Self {
        let [median, p10, p90] = [0.5, 0.1, 0.9].map(|share| quantile(values, share));
        Self { median, p10, p90 }
    }
}

/// A part of the step. Times are medians over the repetitions, summed over the times that a step runs the
/// part.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Name of the part, see [`PartTimes`](crate::model::parts::PartTimes).
    pub part: String,
    /// How often a step runs the part.
    pub times_a_step: usize,
    /// Forward, in milliseconds; `None` for the optimiser.
    pub forward_ms: Option<f64>,
    /// Backward, in milliseconds; `None` for the optimiser.
    pub backward_ms: Option<f64>,
    /// Both, or the whole optimiser step, in milliseconds.
    pub total_ms: f64,
}

/// Decoding of the dev questions by a model with fresh weights. Such a model rarely ends an answer before
/// the limit, so this is the most work that decoding can be.
#[derive(Clone, Debug, Serialize)]
pub struct Decode {
    pub questions: usize,
    /// Mean length of the answers, in characters.
    pub answer_characters: f64,
    /// Seconds for all questions: the median of several rounds.
    pub seconds: f64,
    /// Questions answered per second: each asks for one place name.
    pub names_per_second: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let spread = Percentiles::of(&[40.0, 10.0, 30.0, 20.0]);
        assert_eq!(spread.median, 25.0);
        assert!((spread.p10 - 13.0).abs() < 1e-9, "{spread:?}");
        assert!((spread.p90 - 37.0).abs() < 1e-9, "{spread:?}");
    }

    #[test]
    fn a_single_value_is_all_of_them() {
        let (median, p10, p90) = (7.0, 7.0, 7.0);
        assert_eq!(Percentiles::of(&[7.0]), Percentiles { median, p10, p90 });
    }
}
