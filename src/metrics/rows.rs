//! The rows of every table the program writes; the field names are the headers.

use serde::{Deserialize, Serialize};

use super::finite;

/// One optimiser step, in `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// `pretrain` or `finetune`.
    pub stage: String,
    /// Pass over the data, from 1.
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
    /// Learning rate of the update.
    #[serde(with = "finite")]
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    #[serde(with = "finite")]
    pub gradient_norm: f64,
}

/// How long a step took, in `timings.csv`: apart from `metrics.csv`, because the same run never
/// takes the same time twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    /// `pretrain` or `finetune`.
    pub stage: String,
    /// Optimiser step of the stage, from 1.
    pub step: usize,
    /// Wall-clock time of the step.
    pub step_ms: f64,
    /// Tokens of the batch over the step's time.
    pub tokens_per_second: f64,
}

/// How many questions were answered right, in `summary.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccuracyRow {
    /// Folder name of the sweep's point.
    pub point: String,
    /// What the point is called in a figure.
    pub label: String,
    /// Seed of the run; empty for what no seed changes (a constant answer, a reported number).
    pub seed: Option<u64>,
    /// Which questions.
    pub split: String,
    /// `model`, `constant` or `reported`.
    pub subject: String,
    /// The constant answer, or where the number was reported.
    pub detail: Option<String>,
    /// Questions answered right; empty for a reported fraction.
    pub correct: Option<usize>,
    /// Questions asked; empty for a reported fraction.
    pub questions: Option<usize>,
    /// Fraction answered right.
    #[serde(with = "finite")]
    pub accuracy: f64,
    /// Lower end of the Wilson 95 % interval.
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    /// Upper end of the Wilson 95 % interval.
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
}

/// How often one point was right over all its seeds, in `groups.csv`: a group is everything of
/// `summary.csv` that differs in nothing but the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Folder name of the sweep's point.
    pub point: String,
    /// What the point is called in a figure.
    pub label: String,
    /// Which questions.
    pub split: String,
    /// `model`, `constant` or `reported`.
    pub subject: String,
    /// The constant answer, or where the number was reported.
    pub detail: Option<String>,
    /// How many seeds; empty for what no seed changes (a constant answer, a reported number).
    pub seeds: Option<usize>,
    /// Questions asked with each seed; empty for a reported fraction, and where seeds were asked
    /// different numbers of them.
    pub questions: Option<usize>,
    /// Mean over the seeds of the fraction answered right.
    #[serde(with = "finite")]
    pub mean_accuracy: f64,
    /// Sample standard deviation of that fraction over the seeds; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub standard_deviation: Option<f64>,
    /// Lower end of the 95 % interval.
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    /// Upper end of the 95 % interval.
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
    /// Which interval: `student-t` of the mean over the seeds, within 0 to 1; `wilson` over the
    /// questions with one seed, and of one seed's where all agree; empty for a reported number.
    pub interval: Option<String>,
    /// Trained numbers of the model; empty where no model was asked, or its weights are gone.
    #[serde(default)]
    pub parameters: Option<usize>,
}

/// One answered question, in `predictions/*.tsv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionRow {
    /// The question as asked.
    pub question: String,
    /// The right answer; empty where the split has none.
    pub gold: Option<String>,
    /// The answer given.
    pub predicted: String,
    /// Whether they are the same string.
    pub correct: Option<bool>,
    /// Natural logarithm of the answer's probability, its closing mask included; empty for a constant answer.
    #[serde(with = "finite", default)]
    pub log_probability: Option<f64>,
}

impl PredictionRow {
    /// The answer's probability, 0 to 1; `None` for a constant answer.
    pub fn confidence(&self) -> Option<f64> {
        let probability = self.log_probability?.exp();
        // A sum of rounded logarithms may end a trace above 0.
        probability.is_finite().then_some(probability.min(1.0))
    }
}

/// How much one head looks at one place from another, in `attention_maps.csv`; everything is counted from 1.
///
/// A row for each place at or before the one that looks: none after it is seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionRow {
    /// Which of the questions of `evaluate.attention_maps`.
    pub question: usize,
    /// Layer, from the input.
    pub layer: usize,
    /// Head of the layer.
    pub head: usize,
    /// Where it looks from.
    pub query_position: usize,
    /// The character there, `\u{2047}` for a mask; empty for a latent of a Perceiver.
    pub query_character: Option<String>,
    /// Where it looks.
    pub key_position: usize,
    /// The character there.
    pub key_character: Option<String>,
    /// Its weight. Those of a place that looks add up to 1, in all but a head that subtracts.
    #[serde(with = "finite")]
    pub weight: f32,
}

/// How often a place is the answer to a training question, in `training_answers.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingAnswerRow {
    /// The place.
    pub answer: String,
    /// Training questions with that answer.
    pub questions: usize,
}

/// What a run's probabilities are worth, in `calibration.csv`: one measure a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRow {
    /// Folder name of the sweep's point.
    pub point: String,
    /// What the point is called in a figure.
    pub label: String,
    /// Seed of the run.
    pub seed: u64,
    /// Which questions, apart from those about invented people.
    pub split: String,
    /// Such as `ece` or `auroc-right-over-wrong`.
    pub measure: String,
    /// Bins of a calibration error; empty for other measures.
    pub bins: Option<usize>,
    /// Answers that the measure is made of.
    pub answers: usize,
    /// The measure, a fraction.
    #[serde(with = "finite")]
    pub value: f64,
    /// Lower end of the 95 % interval.
    #[serde(with = "finite", default)]
    pub low_95: Option<f64>,
    /// Upper end of the 95 % interval.
    #[serde(with = "finite", default)]
    pub high_95: Option<f64>,
    /// `bootstrap` over questions, or `simulation`: the range of the error of a calibrated model;
    /// empty where there is none.
    pub interval: Option<String>,
}

/// One place of a curve of an exploration, in `curves.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveRow {
    /// Which construction it is of.
    pub curve: String,
    /// Whether somebody else reported that construction.
    pub is_reported: bool,
    /// What was varied.
    pub x_quantity: String,
    /// Its value.
    #[serde(with = "finite")]
    pub x: f64,
    /// What was measured.
    pub y_quantity: String,
    /// Whether its order of magnitude is what counts.
    pub y_is_logarithmic: bool,
    /// Its value, the median over the samples.
    #[serde(with = "finite")]
    pub y: f64,
    /// Lower end of the middle 90 % of the samples; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub low_90: Option<f64>,
    /// Upper end of the middle 90 % of the samples; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub high_90: Option<f64>,
    /// How often keys were drawn.
    pub samples: usize,
}

/// What one draw of an exploration gave, in `samples.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// Which construction it is of.
    pub series: String,
    /// Whether somebody else reported that construction.
    pub is_reported: bool,
    /// What was measured, a fraction.
    pub quantity: String,
    /// Which draw, from 0; all series have the same draws.
    pub sample: u64,
    /// Length of `k_a` along its mean in that draw, were alpha 0.
    #[serde(with = "finite")]
    pub epsilon: f64,
    /// What was measured.
    #[serde(with = "finite")]
    pub value: f64,
}

/// What an exploration found, in `findings.csv`: an end of a curve, or a whole distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingRow {
    /// Folder name of the point.
    pub point: String,
    /// Which construction of which point it is of.
    pub label: String,
    /// Whether somebody else reported that construction.
    pub is_reported: bool,
    /// What was measured.
    pub quantity: String,
    /// Of a curve the median over the samples, of a distribution the mean; over seeds, the mean of these.
    #[serde(with = "finite")]
    pub value: f64,
    /// Variance over the samples of a distribution.
    #[serde(with = "finite", default)]
    pub variance: Option<f64>,
    /// Lower end of the middle 90 % of the samples; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub low_90: Option<f64>,
    /// Upper end of the middle 90 % of the samples; empty with fewer than two.
    #[serde(with = "finite", default)]
    pub high_90: Option<f64>,
    /// How often keys were drawn, all seeds together.
    pub samples: usize,
    /// What was varied along a curve.
    pub x_quantity: Option<String>,
    /// Its value at this end.
    #[serde(with = "finite", default)]
    pub x: Option<f64>,
}

/// One document as span corruption shows it, in a figure's CSV.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorruptionRow {
    /// Line of the corpus, from 1.
    pub document: usize,
    /// Pass over the data, from 1.
    pub epoch: usize,
    /// What stays before the masked span.
    pub prefix: String,
    /// The masked span, moved to the end.
    pub masked: String,
    /// What stays after the masked span.
    pub suffix: String,
    /// The sequence the model reads: prefix ⁇ suffix ⁇ masked ⁇.
    pub sequence: String,
}

/// One line of text and how likely the model finds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// Line of the file, from 1.
    pub line: usize,
    /// Tokens scored: all but the first, which nothing precedes.
    pub scored_tokens: usize,
    /// Mean negative log-likelihood of the scored tokens; empty where there are none.
    #[serde(with = "finite", default)]
    pub loss_nats: Option<f64>,
    /// The text.
    pub text: String,
}
