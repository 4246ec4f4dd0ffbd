//! The rows of every table the program writes; the field names are the headers.

use serde::{Deserialize, Serialize};

use super::finite;
use super::statistics::{Estimate, Interval, IntervalKind};

/// One optimiser step, in `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// `pretrain` or `finetune`.
    pub stage: String,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Optimiser step of the stage, from 1.
    pub step: usize,
    /// Documents in the step's batch.
    pub documents: usize,
    /// Tokens in the step's batch; there is no padding.
    pub tokens: usize,
    /// Mean negative log-likelihood of the scored tokens, before the update.
    #[serde(with = "finite")]
    pub loss_nats: f64,
    /// Learning rate of this update, after warmup and decay.
    #[serde(with = "finite")]
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    #[serde(with = "finite")]
    pub gradient_norm: f64,
}

/// One validation during training, in `validation.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRow {
    /// `pretrain` or `finetune`.
    pub stage: String,
    /// The epoch, from 1, that the step before it belongs to.
    pub epoch: usize,
    /// Optimiser steps of the stage before it.
    pub step: usize,
    /// Name of the measure.
    pub measure: String,
    /// Its value.
    #[serde(with = "finite")]
    pub value: f64,
    /// Lower end of the 95 % interval over what is held out.
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
    /// `wilson` for a share of tokens predicted right, otherwise `bootstrap`; empty without an interval.
    pub interval: Option<IntervalKind>,
    /// Number of what the measure counts.
    pub count: usize,
}

/// A candidate of a choice, in `choice.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChoiceRow {
    /// What its group of candidates is called: the values of the sweep that they share.
    pub group: String,
    /// Folder name of the candidate.
    pub point: String,
    /// Label of the candidate.
    pub label: String,
    /// Its values of the tuned keys: `pretrain.learning_rate = 0.002`.
    pub values: String,
    /// Name of the measure that it was validated by.
    pub measure: String,
    /// Number of seeds with results.
    pub seeds: usize,
    /// `finished` with the results of all seeds, `failed` if the run of a seed failed, otherwise `unfinished`.
    pub state: String,
    /// The measure on the dev split: mean over the seeds with results of the validation that the weights come from.
    #[serde(with = "finite", default)]
    pub validation: Option<f64>,
    /// Whether it is the chosen one; empty as long as any candidate of the group is unfinished.
    pub is_chosen: Option<bool>,
}

/// Duration of a step, in `timings.csv`; separate from `metrics.csv`, whose bytes are reproducible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    /// `pretrain` or `finetune`.
    pub stage: String,
    /// Optimiser step of the stage, from 1.
    pub step: usize,
    /// Wall-clock time of the step, in milliseconds.
    pub step_ms: f64,
    /// Tokens of the batch divided by the step's time.
    pub tokens_per_second: f64,
}

/// One measure of a run, a constant answer or a reported number, in `summary.csv`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasureRow {
    /// Folder name of the point.
    pub point: String,
    /// Label of the point in figures and tables.
    pub label: String,
    /// Seed of the run; empty if no seed matters (a constant answer, a reported number).
    pub seed: Option<u64>,
    /// Split of the questions.
    pub split: String,
    /// `model`, `constant` or `reported`.
    pub subject: String,
    /// The constant answer, or the source of a reported number.
    pub detail: Option<String>,
    /// Questions answered right, or tokens predicted right; empty for a reported fraction, and for measures that do not count
    /// them.
    pub correct: Option<usize>,
    /// Number of what the measure counts: answers, scored tokens or held-out items; empty for a reported number.
    pub questions: Option<usize>,
    /// Fraction answered right; empty for other measures.
    #[serde(with = "finite", default)]
    pub accuracy: Option<f64>,
    /// Lower end of the 95 % interval of the value, over the questions.
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
    /// Name of the measure in `evaluate.measures`.
    #[serde(default)]
    pub measure: String,
    /// Unit of its values: `fraction`, `score` (from 0 to 1, without a unit), `nats`, `bits` or `tokens`.
    #[serde(default)]
    pub unit: String,
    /// Which values are better: `higher` or `lower`.
    #[serde(default)]
    pub better: String,
    /// Value of the measure.
    #[serde(with = "finite", default)]
    pub value: f64,
    /// Kind of interval: `wilson` for a share of right answers, `bootstrap` for other measures, both over the
    /// questions; empty without one.
    pub interval: Option<IntervalKind>,
}

impl MeasureRow {
    /// What the rows of a group have in common: folder, label, split, subject, detail and measure.
    pub fn group(&self) -> [&str; 6] {
        let detail = self.detail.as_deref().unwrap_or_default();
        let (point, label, measure) = (&self.point, &self.label, &self.measure);
        [point, label, &self.split, &self.subject, detail, measure]
    }

    /// The value with its interval.
    pub fn estimate(&self) -> Estimate {
        Estimate {
            value: self.value,
            interval: Interval::of_columns(self.low_95, self.high_95, self.interval),
        }
    }
}

/// A measure of a point over its seeds, in `groups.csv`: a group is all rows of `summary.csv` that differ only
/// in the seed. The other columns are those of [`MeasureRow`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    pub point: String,
    pub label: String,
    pub split: String,
    /// `model`, `constant` or `reported`.
    pub subject: String,
    /// The constant answer, or the source of a reported number.
    pub detail: Option<String>,
    /// Number of seeds; empty if no seed matters (a constant answer, a reported number).
    pub seeds: Option<usize>,
    /// Number of answers scored with each seed; empty for a reported number, or if the seeds differ in this number.
    pub questions: Option<usize>,
    /// Mean over the seeds of the fraction answered right; empty for other measures.
    #[serde(with = "finite", default)]
    pub mean_accuracy: Option<f64>,
    /// Sample standard deviation of the value over the seeds; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub standard_deviation: Option<f64>,
    /// Lower end of the 95 % interval.
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
    /// Kind of interval: `student-t` of the mean over seeds, clipped to the range of the measure; with one
    /// seed, or if all seeds agree, `wilson` or `bootstrap` over the questions; empty for a reported number.
    pub interval: Option<IntervalKind>,
    /// Number of trained parameters; empty if no model was asked, or its weights are gone.
    pub parameters: Option<usize>,
    #[serde(default)]
    pub measure: String,
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub better: String,
    /// Mean over the seeds of the value.
    #[serde(with = "finite", default)]
    pub mean: f64,
}

impl GroupRow {
    /// See [`MeasureRow::group`].
    pub fn group(&self) -> [&str; 6] {
        let detail = self.detail.as_deref().unwrap_or_default();
        let (point, label, measure) = (&self.point, &self.label, &self.measure);
        [point, label, &self.split, &self.subject, detail, measure]
    }
}

/// One answered question, in `predictions/*.tsv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionRow {
    pub question: String,
    /// The right answer; empty if the split has no answers.
    pub gold: Option<String>,
    pub predicted: String,
    /// Whether they are the same string.
    pub correct: Option<bool>,
    /// Natural logarithm of the answer's probability, including its closing mask; empty for a constant answer.
    #[serde(with = "finite", default)]
    pub log_probability: Option<f64>,
}

/// How well a model predicts one held-out item, in `held_out/*.csv`: a document, a window of a stream, or an example of a
/// made task. An example that asks at several distances has a row for each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutRow {
    /// Number of the item in its split, from 1.
    pub item: usize,
    /// Length of the item: what its task tells apart, or the number of tokens that are read.
    pub length: usize,
    /// Tokens between a question and what it asks for; empty for tasks without distances.
    pub distance: Option<usize>,
    /// Tokens that were predicted.
    pub scored_tokens: usize,
    /// How many of them were the most probable.
    pub right: usize,
    /// Sum of their negative log-likelihoods.
    #[serde(with = "finite")]
    pub loss_nats: f64,
    /// Characters of the predicted tokens; 0 for the symbols of a made task.
    pub characters: usize,
    /// The same in bytes of UTF-8.
    pub bytes: usize,
}

impl PredictionRow {
    /// The answer's probability, 0 to 1; `None` for a constant answer.
    pub fn confidence(&self) -> Option<f64> {
        let probability = self.log_probability?.exp();
        // Rounding may leave a sum of logarithms slightly above 0.
        probability.is_finite().then_some(probability.min(1.0))
    }
}

/// Most questions whose attention maps a run records.
pub const MOST_MAPPED: usize = 12;

/// One attention weight of a head, in `attention_maps.csv`; all indices start at 1.
///
/// There is a row for each key at or before the query; later keys are masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionRow {
    /// Number of the question in `evaluate.attention_maps`.
    pub question: usize,
    /// Layer, counted from the input.
    pub layer: usize,
    /// Head of the layer.
    pub head: usize,
    pub query_position: usize,
    /// The character there, `\u{2047}` for a mask; empty for a Perceiver's latent.
    pub query_character: Option<String>,
    pub key_position: usize,
    pub key_character: Option<String>,
    /// The weight. Those of a query add up to 1 in softmax attention without a sink or talking heads; see `ops::attention::maps`.
    #[serde(with = "finite")]
    pub weight: f32,
}

/// How often a place is the answer to a training question, in `training_answers.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingAnswerRow {
    pub answer: String,
    /// Number of training questions with this answer.
    pub questions: usize,
}

/// Calibration of a run's probabilities, in `calibration.csv`: one measure per row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRow {
    pub point: String,
    pub label: String,
    pub seed: u64,
    /// Split of the questions, except those about invented people.
    pub split: String,
    /// Name of the measure, such as `ece` or `auroc-right-over-wrong`.
    pub measure: String,
    /// Bins of a calibration error; empty for other measures.
    pub bins: Option<usize>,
    /// Number of answers that enter the measure.
    pub answers: usize,
    /// Value of the measure, a fraction.
    #[serde(with = "finite")]
    pub value: f64,
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
    /// `bootstrap` over questions, or `simulation`: the range of the error of a calibrated model;
    /// empty without an interval.
    pub interval: Option<IntervalKind>,
}

/// One point on a curve of an exploration, in `curves.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveRow {
    /// The construction measured.
    pub curve: String,
    /// Whether the construction is from the assignment's solution.
    pub is_reported: bool,
    /// The quantity varied.
    pub x_quantity: String,
    /// Its value.
    #[serde(with = "finite")]
    pub x: f64,
    /// What was measured.
    pub y_quantity: String,
    /// Whether to show it on a logarithmic scale.
    pub y_is_logarithmic: bool,
    /// Its value, the median over the samples.
    #[serde(with = "finite")]
    pub y: f64,
    /// Lower end of the middle 90 % of the samples; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub low_90: Option<f64>,
    #[serde(with = "finite", default)]
    pub high_90: Option<f64>,
    /// Number of draws of the keys.
    pub samples: usize,
}

/// One draw of an exploration, in `samples.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    pub series: String,
    pub is_reported: bool,
    /// The measured value, a fraction.
    pub quantity: String,
    /// Index of the draw, from 0; all series share the same draws.
    pub sample: u64,
    /// Length of `k_a` along its mean in this draw if alpha were 0.
    #[serde(with = "finite")]
    pub epsilon: f64,
    /// What was measured.
    #[serde(with = "finite")]
    pub value: f64,
}

/// A finding of an exploration, in `findings.csv`: one end of a curve, or a whole distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingRow {
    pub point: String,
    /// The point and construction.
    pub label: String,
    pub is_reported: bool,
    pub quantity: String,
    /// The median over samples for a curve, the mean for a distribution; averaged over seeds.
    #[serde(with = "finite")]
    pub value: f64,
    /// Variance over the samples of a distribution.
    #[serde(with = "finite", default)]
    pub variance: Option<f64>,
    /// Lower end of the middle 90 % of the samples.
    #[serde(with = "finite", default)]
    pub low_90: Option<f64>,
    #[serde(with = "finite", default)]
    pub high_90: Option<f64>,
    /// Number of draws of the keys over all seeds.
    pub samples: usize,
    /// The quantity varied along a curve.
    pub x_quantity: Option<String>,
    /// Its value at this end.
    #[serde(with = "finite", default)]
    pub x: Option<f64>,
}

/// One corrupted document, in a figure's CSV.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorruptionRow {
    /// Line of the corpus, from 1.
    pub document: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Text before the masked span.
    pub prefix: String,
    /// The masked span, moved to the end.
    pub masked: String,
    /// Text after the masked span.
    pub suffix: String,
    /// The sequence the model reads: prefix ⁇ suffix ⁇ masked ⁇.
    pub sequence: String,
}

/// One line of text and its likelihood under a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// Line of the file, from 1.
    pub line: usize,
    /// Tokens scored: all but the first, which has no context.
    pub scored_tokens: usize,
    /// Mean negative log-likelihood of the scored tokens; empty if there are none.
    #[serde(with = "finite", default)]
    pub loss_nats: Option<f64>,
    pub text: String,
}
