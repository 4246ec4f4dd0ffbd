//! The tables of the stages that train.

use std::borrow::Cow;
use std::path::PathBuf;

use glob::Pattern;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::{default_true, is_default};
use crate::config::home;
use crate::data::objectives::mix::Span;
use crate::data::objectives::{
    Entities, Objective, Reads, Rewording, SHORTEST_EXCERPT, TitlePlace,
};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::Named;
use crate::ops::optimiser::Optimiser;
use crate::train::schedule::forms::Form;

/// Positions of a span-corrupted document that are not text: three masks and the shift by one.
pub const EXCERPT_MARGIN: usize = 4;

/// A stage that trains: its own keys, and those that both stages have. One macro declares both tables, because serde
/// cannot flatten a struct and refuse unknown keys at once.
macro_rules! training_stage {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// Passes over the corpus or the training questions; 0 skips the stage.
            pub epochs: usize,
            /// Batch size: documents or questions per step.
            #[schemars(range(min = 1))]
            pub batch_documents: usize,
            /// Gradient accumulation: number of micro-batches, of `batch_documents` each, whose gradients are added up for each
            /// update, for batches that do not fit into memory. Default: 1.
            #[schemars(range(min = 1))]
            #[serde(default = "default_one", skip_serializing_if = "is_one")]
            pub accumulate: usize,
            /// Peak learning rate.
            #[schemars(extend("exclusiveMinimum" = 0))]
            pub learning_rate: f64,
            /// A safetensors file to start from, relative to the working directory; prefixes that PyTorch wrappers
            /// add to parameter names (`module.`, `_orig_mod.`, `model.`) are removed. Default: fresh weights, or the
            /// pretrained ones.
            #[serde(
                default,
                deserialize_with = "user_path",
                skip_serializing_if = "Option::is_none"
            )]
            pub init: Option<PathBuf>,
            /// How weights are updated.
            #[serde(default)]
            pub optimiser: OptimiserSpec,
            /// Decay per update of an exponential moving average of the weights, which is validated and kept in their place
            /// (Polyak and Juditsky 1992). Default: no average.
            #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ema: Option<f64>,
            /// The learning rate over time.
            #[serde(default)]
            pub schedule: ScheduleSpec,
            /// Further objectives to train on at the same time, each with its share of the scored tokens; the rest is left to
            /// `objective` or, in finetuning, to the answers. Default: none.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub mix: Vec<MixedSpec>,
            /// Validation during training: on the dev split of held-out documents or made examples or, with a measure of
            /// answers, on the training questions that are kept out of training (`evaluate.split = "validate"`). Default: none.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub validate: Option<ValidateSpec>,
            /// Whether to reshuffle the documents every epoch; the assignment does not.
            #[serde(default)]
            pub shuffle: bool,
            /// Number of training sequences in an epoch, taken from the start of the shuffled order: for corpora so large
            /// that a full pass is too long for one epoch. Default: all.
            #[schemars(range(min = 1))]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub epoch_documents: Option<usize>,
            /// Steps between checkpoints, from which an interrupted run resumes; results do not depend on it. Default:
            /// a fiftieth of the stage, at least 10.
            #[schemars(range(min = 1))]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub checkpoint_steps: Option<usize>,
        }
    };
}

training_stage! {
    /// Learning from the corpus.
    PretrainSpec {
        /// Pretraining objective: what a sequence is made of, and which of its tokens are scored.
        pub objective: Named<Objective>,
        /// What `"masked-entities"` and `"cued-recall"` ask for: runs of capitalised words, or the answers to training questions
        /// and, in a document that mentions none, the former. Default: `"capitalised"`.
        #[serde(default, skip_serializing_if = "is_default")]
        pub entities: Entities,
        /// Most words of the document that `"cued-recall"` shows before the name; their number is drawn from 0 to this.
        /// Default: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cue_words: Option<usize>,
        /// Where `"cued-recall"` puts the title of a document: before these words, or anywhere among them. Default: `"first"`.
        #[serde(default, skip_serializing_if = "is_default")]
        pub title_place: TitlePlace,
        /// Other wordings of documents, drawn anew each epoch. Default: documents as they are.
        #[serde(default, skip_serializing_if = "is_default")]
        pub rewording: Rewording,
        /// Whether a third mask token ends the sequence, so that the model learns when to stop; `false` follows the
        /// assignment's handout.
        #[serde(default = "default_true")]
        pub terminated: bool,
        /// Shortest prefix of a document that span corruption shows, in characters; its length is drawn from here to
        /// `longest_excerpt`. Default: 4.
        #[schemars(range(min = 4))]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub shortest_excerpt: Option<usize>,
        /// Longest prefix of a document that is used, in characters; at most `context` - 4, except by `"cued-recall"`, which shows
        /// parts of it. Default: seven eighths of the context.
        #[schemars(range(min = 4))]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub longest_excerpt: Option<usize>,
    }
}

/// How often a model is validated while it trains, and what follows from it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ValidateSpec {
    /// Epochs between two validations. Default: 1, unless `every_steps` is given.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_epochs: Option<usize>,
    /// Steps between two validations. Default: no validation within an epoch.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<usize>,
    /// What is measured: a measure of held-out documents or made examples, or of answers to training questions that are kept
    /// out. Default: `"token-accuracy"` of a made task, `"loss"` of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<Named<Measure>>,
    /// Number of held-out sequences or questions to score, taken from the start of the split. Default: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
    /// Target value of the measure: training stops once it is reached. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<f64>,
    /// Early stopping: training stops after this many validations in a row without improvement. Default: no early stopping.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Which weights later stages start from: those of the `"best"` validation, or those of the `"last"` step.
    pub keep: KeptWeights,
}

impl ValidateSpec {
    /// Epochs between two validations; `None` if they are counted in steps alone.
    pub fn epochs_between(&self) -> Option<usize> {
        let every_epoch = self.every_steps.is_none().then_some(1);
        self.every_epochs.or(every_epoch)
    }
}

/// See [`ValidateSpec::keep`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum KeptWeights {
    /// Those of the best validation.
    #[default]
    Best,
    /// Those after the last step.
    Last,
}

/// An objective that is mixed in.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MixedSpec {
    /// Another pretraining objective.
    pub objective: Named<Objective>,
    /// Its share of the scored tokens; all of them add up to less than 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub share: f64,
    /// The first epoch of the stage in which it is mixed in; before, its place is left to `objective`. Default: 1.
    #[schemars(range(min = 1))]
    #[serde(default = "default_one", skip_serializing_if = "is_one")]
    pub first_epoch: usize,
    /// The last epoch in which it is mixed in. Default: the stage's last.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_epoch: Option<usize>,
    /// How often each of its sequences is shown at most; then its place is left to `objective`. Default: no limit.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetitions: Option<usize>,
}

impl MixedSpec {
    /// An objective that is mixed in from the first epoch to the last.
    #[cfg(test)]
    pub fn of(objective: &str, share: f64) -> Self {
        Self {
            objective: Named::of(objective),
            share,
            first_epoch: 1,
            last_epoch: None,
            repetitions: None,
        }
    }

    /// When it is mixed in.
    pub fn span(&self) -> Span {
        let or_all = |number: Option<usize>| number.map_or(u64::MAX, |number| number as u64);
        Span {
            epochs: [self.first_epoch as u64, or_all(self.last_epoch)],
            repetitions: or_all(self.repetitions),
        }
    }
}

training_stage! {
    /// A stage that trains, without keys of its own: learning to answer questions.
    Training {}
}

impl PretrainSpec {
    /// The keys that both stages have.
    pub fn training(&self) -> Training {
        Training {
            epochs: self.epochs,
            batch_documents: self.batch_documents,
            accumulate: self.accumulate,
            learning_rate: self.learning_rate,
            init: self.init.clone(),
            optimiser: self.optimiser.clone(),
            ema: self.ema,
            schedule: self.schedule.clone(),
            mix: self.mix.clone(),
            validate: self.validate.clone(),
            shuffle: self.shuffle,
            epoch_documents: self.epoch_documents,
            checkpoint_steps: self.checkpoint_steps,
        }
    }

    /// Whether any of its objectives reads this part of the data.
    pub fn reads(&self, part: Reads) -> bool {
        self.objective.0.reads == part || reads(&self.mix, part)
    }

    /// Whether any of its objectives corrupts documents.
    pub fn corrupts(&self) -> bool {
        let mixed = self.mix.iter().map(|one| one.objective);
        mixed.chain([self.objective]).any(|one| one.0.corrupts)
    }

    /// The shortest excerpt, in characters.
    pub fn shortest_excerpt(&self) -> usize {
        self.shortest_excerpt.unwrap_or(SHORTEST_EXCERPT)
    }

    /// The longest excerpt in characters: as given, or seven eighths of the context, but short
    /// enough for the masks where the context is below 32.
    pub fn longest_excerpt(&self, context: usize) -> usize {
        self.longest_excerpt
            .unwrap_or_else(|| default_excerpt(context))
    }
}

/// Whether any of the objectives that are mixed in reads this part of the data.
pub fn reads(mix: &[MixedSpec], part: Reads) -> bool {
    mix.iter().any(|one| one.objective.0.reads == part)
}

/// Seven eighths of the context, or what leaves room for the masks in a short one.
pub fn default_excerpt(context: usize) -> usize {
    (context * 7 / 8).min(context.saturating_sub(EXCERPT_MARGIN))
}

fn default_one() -> usize {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_one(number: &usize) -> bool {
    *number == 1
}

/// A path in which `~` is the user's home directory.
fn user_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let written = Option::<PathBuf>::deserialize(from)?;
    let expanded = written.map(|path| home::expand(&path)).transpose();
    expanded.map_err(D::Error::custom)
}

/// The highest token count that a reader which parses numbers as 64-bit floats is sure to keep exact.
const MOST_TOKENS: u64 = (1 << 53) - 1;

impl Training {
    /// The most passes over so many documents for which the number of tokens, as the learning-rate
    /// schedule counts them, is exact.
    pub fn most_epochs(documents: usize, context: usize) -> u64 {
        let document = context.saturating_sub(1).max(1) as u64;
        MOST_TOKENS / document.saturating_mul(documents.max(1) as u64)
    }

    /// Number of documents that an epoch takes of so many.
    pub fn epoch_documents(&self, documents: usize) -> usize {
        self.epoch_documents
            .map_or(documents, |some| some.min(documents))
    }

    /// Number of documents that an update learns from, if the epoch has as many left.
    pub fn update_documents(&self) -> usize {
        self.batch_documents.saturating_mul(self.accumulate)
    }

    /// Optimiser steps for a task of so many documents, no more than [`Training::most_epochs`] allows.
    pub fn steps(&self, documents: usize) -> usize {
        let documents = self.epoch_documents(documents);
        self.epochs * documents.div_ceil(self.update_documents())
    }
}

/// How weights are updated; the defaults are the assignment's.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct OptimiserSpec {
    /// Which optimiser updates the matrices of blocks: AdamW (Loshchilov and Hutter 2019), or Muon (Jordan et al. 2024), whose
    /// updates are orthogonalised momentum, scaled so that AdamW's learning rates suit it (Liu et al. 2025). AdamW updates all
    /// other parameters. Default: `"adamw"`.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Named<Optimiser>,
    /// Decay rate of Muon's momentum. Default: 0.95.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    #[serde(skip_serializing_if = "is_default_momentum")]
    pub momentum: f64,
    /// Decay rates of AdamW's two moments.
    #[schemars(extend("items" = json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1})))]
    pub betas: [f64; 2],
    /// Added to the square root of AdamW's second moment.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub epsilon: f64,
    /// Decoupled weight decay of every parameter except biases; norms and embeddings decay as well.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Gradients are scaled down to at most this global norm; 0 is no clipping.
    #[schemars(range(min = 0))]
    pub clip_norm: f64,
    /// Parameters with a learning rate or weight decay of their own; a parameter belongs to the first group that it matches.
    /// Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSpec>,
}

/// Parameters with hyperparameters of their own.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Their names, as `attnlab export` shows them, with `*` for any characters: `"blocks.*.mlp.*"`.
    pub parameters: NamePattern,
    /// Their peak learning rate, to which the schedule applies. Default: that of the stage.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Their weight decay, biases included. Default: that of all parameters, and none of biases.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

/// A pattern of names.
#[derive(Clone, Debug, PartialEq)]
pub struct NamePattern(pub Pattern);

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = String::deserialize(from)?;
        Pattern::new(&written).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

impl JsonSchema for NamePattern {
    fn schema_name() -> Cow<'static, str> {
        "NamePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// See [`OptimiserSpec::momentum`].
const MOMENTUM: f64 = 0.95;

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_default_momentum(momentum: &f64) -> bool {
    *momentum == MOMENTUM
}

impl Default for OptimiserSpec {
    fn default() -> Self {
        Self {
            kind: Named::default(),
            momentum: MOMENTUM,
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip_norm: 1.0,
            groups: vec![],
        }
    }
}

/// The learning rate over time. Time is counted in tokens as the assignment counts them:
/// documents × (context - 1), whatever their length.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSpec {
    /// The curve.
    pub form: Named<Form>,
    /// Tokens of linear warm-up.
    pub warmup_tokens: u64,
    /// Tokens at which the curve ends; above `warmup_tokens`. Without a floor, a cosine stops falling at a tenth of the peak, about
    /// 80 % of the way there. Default: the stage's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_tokens: Option<u64>,
    /// Rate at the end of the curve, as a share of the peak; a cosine is then stretched to reach it there. Default: a cosine
    /// falls towards 0, but not below a tenth of the peak; straight lines end at 0.
    #[schemars(range(min = 0, max = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Part of the time after warm-up in which a `"warmup-stable-decay"` falls. Default: 0.2.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
}
