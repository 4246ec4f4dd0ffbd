//! The experiment file as types: this file is the manual of the TOML.
//!
//! Units are in the names. Every table refuses unknown keys. A key without a default must be
//! given by the file or its base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use attention::{AttentionKind, AttentionSpec};
pub use attention_maps::{AttentionMapsSpec, MOST_MAPPED};
pub use exploration::{Exploration, ExplorationSettings, ExploredQuestion};
pub use invented::InventedSpec;
pub use labels::Labels;
pub(super) use training::EXCERPT_MARGIN;
pub use training::{
    FinetuneSpec, Objective, OptimiserSpec, PretrainSpec, ScheduleForm, ScheduleSpec, Training,
    default_excerpt,
};

mod attention;
mod attention_maps;
mod exploration;
mod invented;
mod labels;
mod training;

use super::shape::ModelShape;

/// One experiment after all layers are merged, at one point of its sweep.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the corpus and the questions come from.
    pub data: DataSpec,
    /// Shape and kind of the model.
    pub model: ModelSpec,
    /// First stage: learning from the corpus. Absent or `epochs = 0`: no pretraining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<PretrainSpec>,
    /// Second stage: learning to answer. Absent or `epochs = 0`: no finetuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetune: Option<FinetuneSpec>,
    /// Third stage: answering questions never trained on. Absent: no evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<EvaluateSpec>,
    /// `"cpu"` (default), `"cuda"`, or `"auto"`: CUDA where there is one.
    #[serde(default)]
    pub device: DeviceKind,
    /// How CUDA takes the inputs of matrix products: `"f32"` (default), `"tf32"` or `"tf32x3"`.
    #[serde(default, skip_serializing_if = "Precision::is_whole")]
    pub precision: Precision,
}

impl Settings {
    /// Where the model runs.
    pub fn placement(&self) -> Placement {
        Placement {
            device: self.device,
            precision: self.precision,
        }
    }

    /// The weights files that stages start from, with their keys; the last counts.
    pub fn init_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let pretrain = self.pretrain.as_ref();
        let pretrain = pretrain.and_then(|stage| Some(("pretrain.init", stage.init.as_deref()?)));
        let finetune = self.finetune.as_ref();
        let finetune = finetune.and_then(|stage| Some(("finetune.init", stage.init.as_deref()?)));
        pretrain.into_iter().chain(finetune)
    }

    /// Whether any stage changes weights.
    pub fn trains(&self) -> bool {
        let pretrains = self.pretrain.as_ref().is_some_and(|p| p.epochs > 0);
        let finetunes = self.finetune.as_ref().is_some_and(|f| f.epochs > 0);
        pretrains || finetunes
    }
}

/// Keys of the file that are not part of a point's [`Settings`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExperimentHeader {
    /// Another file whose keys this one overrides, relative to this file.
    pub base: Option<PathBuf>,
    /// Every point is run once with each seed. Default `[0]`.
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// What the points are called: a table from values such as `"pretrain.epochs = 0"` to words, or
    /// a list in the order of the sweep. Default: their sweep values.
    #[serde(default)]
    pub labels: Labels,
    /// What to draw, by file name.
    #[serde(default)]
    pub figures: BTreeMap<String, FigureSpec>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}

/// Where the documents and questions come from.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// `"synthetic"` (made by the program) or `"cs224n"` (Wikipedia sentences, fetched by the user).
    pub kind: DataKind,
    /// Synthetic only: number of people with a biography, 8 to 1500. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<usize>,
    /// Synthetic only: number of different birth places, 2 to 40; their frequencies fall as 1/rank.
    /// Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<usize>,
    /// Synthetic only: differently worded biographies of each person, 1 to 8. Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biographies_per_person: Option<usize>,
    /// Synthetic only: seed of the people, apart from the seed of training. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// See [`DataSpec::kind`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// Biographies made by the program.
    Synthetic,
    /// The corpus of Stanford's CS224N assignment 5.
    Cs224n,
}

/// Shape and kind of the model. The shape is compiled in: see `attnlab shapes`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub embed: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Width of a head; `heads * head_dim = embed`.
    pub head_dim: usize,
    /// Width of the hidden layer of a block's MLP.
    pub hidden: usize,
    /// Number of token ids; at least what the data's vocabulary needs.
    pub vocabulary: usize,
    /// Longest document, in tokens.
    pub context: usize,
    /// `{ kind = "vanilla" }`.
    pub attention: AttentionSpec,
    /// Probability of dropping an activation while training. Default 0.1.
    #[serde(default = "default_dropout")]
    pub dropout: f64,
    /// Standard deviation of the first weights of linears and embeddings. Default 0.02, which suits
    /// a width of some hundreds; a narrow model learns faster from 0.1.
    #[serde(default = "default_initial_deviation")]
    pub initial_deviation: f64,
}

fn default_true() -> bool {
    true
}

fn default_initial_deviation() -> f64 {
    0.02
}

fn default_dropout() -> f64 {
    0.1
}

impl ModelSpec {
    /// What has to be compiled in for this model.
    pub fn shape(&self) -> ModelShape {
        ModelShape {
            layers: self.layers,
            embed: self.embed,
            heads: self.heads,
            head_dim: self.head_dim,
            hidden: self.hidden,
            vocabulary: self.vocabulary,
            context: self.context,
            attention: self.attention.kind.0.name.into(),
            own: self.attention.own(),
        }
    }
}

/// Answering questions.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSpec {
    /// Which questions: `"dev"` (with answers), `"test"` (without), or `"train"`. Default `"dev"`.
    #[serde(default)]
    pub split: Split,
    /// Whether the model answers; `false` scores the constant answer alone. Default `true`.
    #[serde(default = "default_true")]
    pub ask_model: bool,
    /// A baseline that gives this answer to every question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant_answer: Option<String>,
    /// Longest answer, in characters. Default 32.
    #[serde(default = "default_answer_characters")]
    pub answer_characters: usize,
    /// People in no data, whom the model is asked about as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invented: Option<InventedSpec>,
    /// Questions for which every head tells where it looks while the model reads them and its own answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_maps: Option<AttentionMapsSpec>,
    /// What somebody else reported for this experiment; shown beside ours, never as ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
}

/// Longest answer where the file does not say.
pub fn default_answer_characters() -> usize {
    32
}

/// A number from elsewhere.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Fraction of questions answered right, 0 to 1.
    pub accuracy: f64,
    /// Where it was reported.
    pub source: String,
}

/// See [`EvaluateSpec::split`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The questions that finetuning learns from.
    Train,
    /// Held-out questions with answers.
    #[default]
    Dev,
    /// Held-out questions without answers.
    Test,
}

impl Split {
    /// The word in file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// A GPU where there is one.
    Auto,
}

/// How CUDA takes the inputs of matrix products. Weights, activations and sums are in single precision in
/// any case, and so is all work of the processor.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to TensorFloat-32: 11 bits of 24.
    Tf32,
    /// As sums of two of these: 22 bits, in three products.
    Tf32x3,
}

impl Precision {
    /// As it is written in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Tf32x3 => "tf32x3",
        }
    }

    /// Whether nothing is rounded.
    pub fn is_whole(&self) -> bool {
        *self == Self::F32
    }
}

/// Where a model runs, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The device that is asked for.
    pub device: DeviceKind,
    /// What counts if that is a GPU.
    pub precision: Precision,
}

/// One figure of an experiment, drawn from its CSV files alone.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// Such as `"accuracy-bars"` or `"learning-curves"`.
    pub kind: FigureKind,
    /// Heading. Default: from the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Learning curves only: which stage. Default `"pretrain"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<StageKind>,
    /// Corruption examples only: how many. Default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Accuracy against a quantity only: `"parameters"`, `"step_ms"`, or a key of the sweep that is
    /// a number. Default `"parameters"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Reliability diagram only: how many bins of equal width. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bins: Option<usize>,
    /// Commonest answers only: how many. Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<usize>,
    /// Attention only: which of the questions of `evaluate.attention_maps`, counted from 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<usize>,
}

/// See [`FigureSpec::kind`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum FigureKind {
    /// Accuracy of every point with its interval, the baseline, and what was reported.
    AccuracyBars,
    /// Accuracy of every point against its size, its speed, or a number of the sweep.
    AccuracyScatter,
    /// Which points differ on the same questions, pair by pair.
    PairedMatrix,
    /// Loss against steps.
    LearningCurves,
    /// Documents as the span corruption shows them to the model.
    CorruptionExamples,
    /// How probable answers were: right ones, wrong ones, and those about invented people.
    Confidence,
    /// How often answers of a given probability are right.
    ReliabilityDiagram,
    /// What is said most often about invented people, and how common those answers are elsewhere.
    CommonestAnswers,
    /// How every head of every layer weighs what it sees, place against place.
    AttentionMaps,
    /// What every head looks at when the first character of the answer is asked for.
    AnswerAttention,
    /// Of an exploration: what was measured against what was varied.
    ExplorationCurves,
    /// Of an exploration: how what was measured is distributed over its samples.
    ExplorationDistribution,
}

impl FigureKind {
    /// Whether it is drawn of explorations, and of nothing else.
    pub fn is_of_exploration(self) -> bool {
        matches!(
            self,
            Self::ExplorationCurves | Self::ExplorationDistribution
        )
    }
}

/// The stages that train.
#[derive(
    Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// On the corpus.
    Pretrain,
    /// On the questions.
    Finetune,
}

impl StageKind {
    /// The word in file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
        }
    }
}
