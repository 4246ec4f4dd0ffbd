//! The experiment file as types: this file is the manual of the TOML.
//!
//! Units are in the names. Every table refuses unknown keys. A key without a default must be
//! given by the file or its base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use attention::{
    ATTENTION_KINDS, ATTENTION_PARTS, AttentionSpec, AttentionTable, BiasSpec, GateSpec,
    KindOfAttention, Mechanism, QkNormSpec, RotarySpec, SinkSpec,
};
pub use blocks::{MlpSpec, NormSpec, PositionsSpec};
pub use labels::Labels;
pub(super) use training::EXCERPT_MARGIN;
pub use training::{
    GroupSpec, KeptWeights, MixedSpec, OptimiserSpec, PretrainSpec, ScheduleSpec, Training,
    ValidateSpec, reads,
};

mod attention;
mod blocks;
mod labels;
mod tasks;
#[cfg(test)]
mod tests;
mod training;

use super::shape::ModelShape;
use super::sweep::SEED_LIMIT;
use crate::data::{Corpus, DataKind, KeptOut, Split};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::explore::QuestionKind;
use crate::kinds::{Kinded, Listed as _, Named};
use crate::plot::FigureKind;

/// The shortest context: a question, two masks and an answer need that much.
pub(super) const LEAST_CONTEXT: usize = 8;

/// One experiment after all layers are merged, at one point of its sweep.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the documents and questions come from.
    pub data: Kinded<DataKind>,
    /// Shape and kind of the model.
    pub model: ModelSpec,
    /// First stage: learning from the corpus. Default: no pretraining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<PretrainSpec>,
    /// Second stage: learning to answer. Default: no finetuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetune: Option<Training>,
    /// Third stage: answering questions never trained on. Default: no evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<EvaluateSpec>,
    /// Where the model runs; `"auto"` is CUDA where there is one.
    #[serde(default)]
    pub device: DeviceKind,
    /// How linear layers round their inputs; accumulation, weights, norms and attention stay in f32. `"bf16"` keeps 8
    /// of 24 significant bits and needs AVX512_BF16 (AMD Zen 4, Intel Sapphire Rapids and later) or tensor cores;
    /// on the assignment's vanilla model the loss of steps 101 to 200 was 0.013 to 0.020 nats higher than in f32.
    /// `"tf32"` (11 bits) and `"tf32x3"` (22 bits, three times the work) need CUDA: with `device = "auto"` and no GPU
    /// they fall back to f32. Default: `"f32"`.
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

    /// Reads the data, for training and evaluation. `directory` is the folder of fetched files (`--data`).
    ///
    /// # Errors
    /// Data is missing, damaged or invalid.
    pub fn open(&self, directory: Option<&Path>) -> Result<Corpus> {
        let mut corpus = self.data.open(directory)?;
        corpus.keep_out(self.kept_out());
        Ok(corpus)
    }

    /// How many training questions are kept out of training.
    pub fn kept_out(&self) -> KeptOut {
        let evaluate = self.evaluate.as_ref();
        if let Some(count) = evaluate.and_then(|spec| spec.kept_out_questions) {
            return KeptOut::Count(count);
        }
        let is_asked = evaluate.is_some_and(|spec| spec.split == Split::Validate);
        // Whether or not a stage trains at this point of a sweep, so that all points train on the same questions.
        let tables = self.validation_tables().filter_map(|(_, spec)| spec);
        let mut splits = tables.map(|spec| self.validation_split(spec));
        match is_asked || splits.any(|split| split == Split::Validate) {
            true => KeptOut::Share(0.15),
            false => KeptOut::Count(0),
        }
    }

    /// The validations of stages that train, in the order of the stages.
    pub fn validations(&self) -> impl Iterator<Item = &ValidateSpec> {
        let tables = self.validation_tables();
        tables.filter_map(|(epochs, spec)| spec.filter(|_| epochs > 0))
    }

    /// The tables of validations, with the epochs of their stages.
    fn validation_tables(&self) -> impl Iterator<Item = (usize, Option<&ValidateSpec>)> {
        let pretrain = self
            .pretrain
            .iter()
            .map(|one| (one.epochs, one.validate.as_ref()));
        let finetune = self
            .finetune
            .iter()
            .map(|one| (one.epochs, one.validate.as_ref()));
        pretrain.chain(finetune)
    }

    /// The split on which a validation scores.
    pub fn validation_split(&self, spec: &ValidateSpec) -> Split {
        self.validated_by(spec).validation_split()
    }

    /// Longest answer, in tokens, of an evaluation or a validation.
    pub fn answer_characters(&self) -> usize {
        let evaluate = self.evaluate.as_ref();
        evaluate.map_or_else(default_answer_characters, |spec| spec.answer_characters)
    }

    /// The measures of the evaluation, if there is one: those of its settings, or those that suit the data.
    pub fn measures(&self) -> Vec<Named<Measure>> {
        let Some(spec) = &self.evaluate else {
            return vec![];
        };
        if !spec.measures.is_empty() {
            return spec.measures.clone();
        }
        let offers = self.data.offers();
        match offers.questions {
            true => vec![Named::default()],
            false => vec![Named(self.validated_by(&ValidateSpec::default()))],
        }
    }

    /// The measure of a validation: that of its settings, or the one that suits the data.
    pub fn validated_by(&self, spec: &ValidateSpec) -> &'static Measure {
        let default = match self.data.offers().examples {
            true => "token-accuracy",
            false => "loss",
        };
        let default = || Measure::named(default).expect("it is listed");
        spec.measure.map_or_else(default, |one| one.0)
    }

    /// Whether the evaluation asks questions; it does not if it only measures how well the model predicts what is held out.
    pub fn asks_questions(&self) -> bool {
        let spec = self.evaluate.as_ref();
        let asks_more = |spec: &EvaluateSpec| {
            spec.invented.is_some()
                || spec.attention_maps.is_some()
                || spec.constant_answer.is_some()
        };
        spec.is_some_and(asks_more) || self.measures().iter().any(|one| one.0.is_of_answers())
    }

    /// Whether the evaluation scores what is held out.
    pub fn scores_held_out(&self) -> bool {
        let is_asked = self.evaluate.as_ref().is_some_and(|spec| spec.ask_model);
        is_asked && self.measures().iter().any(|one| !one.0.is_of_answers())
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

/// What a file says that explores, in place of data, model and stages.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExplorationSettings {
    /// A question about attention itself, in place of `device` and all tables from `data` to `evaluate`.
    /// Default: the file trains.
    pub explore: Kinded<QuestionKind>,
}

/// Keys of the file that are not part of a point's [`Settings`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExperimentHeader {
    /// Another file whose keys this one overrides, relative to this file; `~` is your home directory, here and
    /// in every path. Default: none.
    pub base: Option<PathBuf>,
    /// Each point is run once per seed; no seed twice.
    #[schemars(
        length(min = 1),
        extend(
            "items" = json!({"type": "integer", "minimum": 0, "exclusiveMaximum": SEED_LIMIT}),
            "uniqueItems" = true
        )
    )]
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// What the points are called in figures and tables: a table from values such as `"pretrain.epochs = 0"` to
    /// names, or a list in the order of the sweep. Default: the values of their axes and the number of their
    /// draw.
    #[serde(default)]
    pub labels: Labels,
    /// What to draw, by file name. Default: nothing.
    #[serde(default)]
    pub figures: BTreeMap<String, Kinded<FigureKind>>,
    /// Which points to keep, by validation during pretraining: `"best of KEY by dev"`, with one or more keys of the sweep, keeps the best of the
    /// points that differ only in these keys; `"by validate"`, if validations ask questions. Default: all points.
    #[schemars(
        with = "Option<String>",
        regex(pattern = r"^\s*best of \S.* by (dev|validate)\s*$")
    )]
    pub choose: Option<String>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}

/// Shape and kind of the model. `embed`, `hidden`, `vocabulary` and `context` are compiled in: see `attnlab shapes`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Number of blocks.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Width of the residual stream.
    #[schemars(range(min = 1))]
    pub embed: usize,
    /// Attention heads per block.
    #[schemars(range(min = 1))]
    pub heads: usize,
    /// Width of a head; `heads * head_dim = embed`.
    #[schemars(range(min = 1))]
    pub head_dim: usize,
    /// Width of the hidden layer of a block's MLP.
    #[schemars(range(min = 1))]
    pub hidden: usize,
    /// Number of token ids; at least what the data needs.
    #[schemars(range(min = 1))]
    pub vocabulary: usize,
    /// Context length: the longest sequence, in tokens. Longer documents are cut; a question with its answer must fit.
    #[schemars(range(min = LEAST_CONTEXT))]
    pub context: usize,
    /// Attention of all layers, which the tables of a `pattern` override.
    pub attention: AttentionTable,
    /// Attention of each layer, from the first on: names of tables such as `[model.attention.local]`, repeated over the
    /// layers. Default: every layer has `[model.attention]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pattern: Vec<String>,
    /// Position embedding, added to the token embedding: `"learned"`, or `"none"`, which leaves positions to attention
    /// alone. Default: `"learned"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub positions: PositionsSpec,
    /// Every norm of the model: `"layer"` norm (Ba et al. 2016), or `"rms"` norm (Zhang and Sennrich 2019), which
    /// subtracts no mean and has no bias. Default: `"layer"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm: NormSpec,
    /// The MLP of a block: two linear layers around `"gelu"` (Hendrycks and Gimpel 2016) or `"relu2"`, a squared ReLU
    /// (So et al. 2021); `"swiglu"` (Shazeer 2020), which has a third layer as its gate, and as many parameters as
    /// the others if `hidden` is two thirds of theirs; or `"none"`: blocks are attention alone, and `hidden` is not
    /// used. Default: `"gelu"`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mlp: MlpSpec,
    /// Whether the output head shares its weights with the token embedding (Press and Wolf 2017). Default: `false`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tied_head: bool,
    /// Probability of dropping an activation while training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    #[serde(default = "default_dropout")]
    pub dropout: f64,
    /// Standard deviation of the initial weights of linear layers and embeddings. The default suits widths of a few
    /// hundred; a narrower model learns faster from 0.1.
    #[schemars(range(min = 0, max = 1))]
    #[serde(default = "default_initial_deviation")]
    pub initial_deviation: f64,
}

/// Whether a value is the default, which is left out of what is hashed.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            embed: self.embed,
            hidden: self.hidden,
            vocabulary: self.vocabulary,
            context: self.context,
        }
    }

    /// The attention of a layer, counted from 0.
    pub fn attention_of(&self, layer: usize) -> AttentionSpec {
        let count = self.pattern.len();
        match layer.checked_rem(count) {
            None => self.attention.all.clone(),
            Some(at) => {
                let spec = self.attention.of_layer(&self.pattern[at]);
                spec.expect("the layers of a pattern were checked")
            }
        }
    }

    /// The attention of each layer, or of the first of them that the others repeat.
    pub fn attentions(&self) -> impl Iterator<Item = AttentionSpec> {
        let count = self.pattern.len().clamp(1, self.layers.max(1));
        (0..count).map(|layer| self.attention_of(layer))
    }

    /// The longest document, in tokens: the context length, or less if a kind of attention needs it.
    pub fn longest_document(&self) -> usize {
        let longest = self
            .attentions()
            .map(|spec| (spec.kind.0.longest)(self.context));
        longest.min().unwrap_or(self.context)
    }
}

/// Answering questions.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSpec {
    /// Which questions, or which held-out data: `"dev"` for choices, `"test"` at the end; or `"validate"`, training questions
    /// that are kept out of training, for choices where `"dev"` is what is reported. The test questions of `"synthetic"` and
    /// `"cs224n"` data have no answers.
    #[serde(default)]
    pub split: Split,
    /// Number of training questions that are kept out of training, which `split = "validate"` and validations by a measure of
    /// answers ask. Default: 15 % of them if anything asks them, otherwise none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_out_questions: Option<usize>,
    /// Whether the model answers; `false` scores the constant answer alone.
    #[serde(default = "default_true")]
    pub ask_model: bool,
    /// A baseline that gives this answer to every question. Default: no baseline.
    #[schemars(regex(pattern = r"\S"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant_answer: Option<String>,
    /// Longest answer, in tokens, which are characters unless the data says otherwise; less than `context`.
    #[schemars(range(min = 1))]
    #[serde(default = "default_answer_characters")]
    pub answer_characters: usize,
    /// Measures of the answers, or of the model's predictions on held-out data, each with rows in `summary.csv` and
    /// `groups.csv` and tables in reports. They are computed from what an evaluation writes, so adding one of the same kind
    /// reruns nothing. Default: `["exact-match"]` of questions, `["token-accuracy"]` of a made task, `["loss"]` of text
    /// without questions.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Named<Measure>>,
    /// Made-up people, absent from the data, whom the model is also asked about. Default: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invented: Option<InventedSpec>,
    /// Questions for which the attention weights of every head are recorded, over the question and the model's own
    /// answer.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_maps: Option<AttentionMapsSpec>,
    /// What somebody else reported for this experiment; shown beside ours and never as ours. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
}

/// Longest answer where the file does not say.
pub fn default_answer_characters() -> usize {
    32
}

/// People that the model has never read of: whatever it answers about them is a guess.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct InventedSpec {
    /// Number of invented names, none of which occurs in a document or question.
    #[schemars(range(min = 1, max = 5000))]
    pub names: usize,
    /// Seed of the names, independent of the seeds of training; all runs are asked about the same names.
    #[schemars(extend("exclusiveMaximum" = SEED_LIMIT))]
    #[serde(default)]
    pub seed: u64,
}

/// Questions that the model is asked to see where its heads look; no accuracy counts them. First those of
/// `questions`, then those of `numbers`; at least one, and at most 12.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AttentionMapsSpec {
    /// Questions in words. Default: none.
    #[schemars(inner(regex(pattern = r"\S")))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<String>,
    /// Questions of the split, counted from 1. Default: none.
    #[schemars(inner(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<usize>,
}

impl AttentionMapsSpec {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.questions.len() + self.numbers.len()
    }
}

/// Numbers from elsewhere, one or more.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reported {
    /// Fraction of questions answered right. Default: none.
    #[schemars(range(min = 0, max = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Fraction of scored tokens predicted correctly. Default: none.
    #[schemars(range(min = 0, max = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_accuracy: Option<f64>,
    /// Held-out loss, in nats per token. Default: none.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Held-out bits per character. Default: none.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_character: Option<f64>,
    /// Held-out bits per byte. Default: none.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Held-out perplexity. Default: none.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Where it was reported.
    #[schemars(regex(pattern = r"\S"))]
    pub source: String,
}

impl Reported {
    /// The value of a measure.
    pub fn of(&self, measure: &Measure) -> Option<f64> {
        match measure.name() {
            "exact-match" => self.accuracy,
            "token-accuracy" => self.token_accuracy,
            "loss" => self.loss,
            "bits-per-character" => self.bits_per_character,
            "bits-per-byte" => self.bits_per_byte,
            "perplexity" => self.perplexity,
            _ => None,
        }
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// The CPU.
    #[schemars(extend("other_names" = ["processor"]))]
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    #[schemars(extend("other_names" = ["gpu", "nvidia"]))]
    Cuda,
    /// A GPU where there is one.
    Auto,
}

/// How linear layers round their inputs. Weights, activations and sums are in single precision in any case.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// As they are.
    #[schemars(extend("other_names" = ["fp32", "float32"]))]
    #[default]
    F32,
    /// Rounded to bfloat16: 8 bits of 24.
    #[schemars(extend("other_names" = ["bfloat16"]))]
    Bf16,
    /// Rounded to TensorFloat-32: 11 bits of 24.
    Tf32,
    /// Split into the sum of two such numbers: 22 bits, in three products.
    Tf32x3,
}

impl Precision {
    /// As it is written in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Tf32 => "tf32",
            Self::Tf32x3 => "tf32x3",
        }
    }

    /// Whether nothing is rounded.
    pub fn is_whole(&self) -> bool {
        *self == Self::F32
    }

    /// Whether it needs a GPU.
    pub fn is_gpu_only(self) -> bool {
        matches!(self, Self::Tf32 | Self::Tf32x3)
    }
}

/// Where a model runs, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The device that is asked for.
    pub device: DeviceKind,
    /// Of matrix products; a [GPU-only](Precision::is_gpu_only) one means f32 on the CPU.
    pub precision: Precision,
}
