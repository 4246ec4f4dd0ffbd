//! What the stages of a run depend on: the settings they read, their inputs, their code.
//!
//! A stage is identified by its key, the BLAKE3 hash of all that. Stages with the same key have the same
//! result: that is how one pretraining serves every finetuning that starts from it, and why comments,
//! formatting and keys that a stage does not read make nothing stale.

pub(crate) mod exploring;
pub(crate) mod job;
mod journal;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub(crate) mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::job::{Inputs, Job};
use crate::config::schema::{
    DeviceKind, EvaluateSpec, ModelSpec, PretrainSpec, ScheduleForm, Settings, Training,
};
use crate::data::{Corpus, Question};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::explore::QuestionKind;
use crate::kinds::Kinded;
use crate::model::registry;
use crate::pipeline::asked;

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Training on the corpus.
    Pretrain,
    /// Training on questions and answers.
    Finetune,
    /// Answering questions.
    Evaluate,
    /// Measuring what an attention head can do; no data, no model.
    Explore,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Pretrain,
        Self::Finetune,
        Self::Evaluate,
        Self::Explore,
    ];

    /// Whether it changes weights.
    pub fn trains(self) -> bool {
        matches!(self, Self::Pretrain | Self::Finetune)
    }

    /// The word in file names and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
            Self::Evaluate => "evaluate",
            Self::Explore => "explore",
        }
    }

    /// Version of the code behind the stage. Raise it with every change after which the same
    /// settings give another result; a test of the model's first losses notices such changes.
    fn code(self) -> u32 {
        match self {
            Self::Pretrain | Self::Finetune | Self::Evaluate | Self::Explore => 1,
        }
    }
}

/// Everything that a result depends on, by name: settings under their keys, inputs by their sums.
pub type Ingredients = BTreeMap<String, Value>;

/// Where a stage's first weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Drawn from the seed.
    Fresh,
    /// A file that the user provides.
    File {
        /// Where it is.
        path: PathBuf,
        /// BLAKE3 sum of its content.
        blake3: String,
    },
    /// The stage before this one.
    Stage {
        /// Which one.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// No model is used.
    Nothing,
}

/// One stage of a run and all that its result depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What it does.
    pub kind: Kind,
    /// BLAKE3 sum of kind and ingredients, 64 hexadecimal digits.
    pub key: String,
    /// What its result depends on.
    pub ingredients: Ingredients,
    /// Where its weights come from.
    pub start: Source,
}

impl Stage {
    fn new(kind: Kind, start: Source, mut ingredients: Ingredients) -> Self {
        ingredients.insert("code version".to_owned(), kind.code().into());
        let text = serde_json::to_string(&(kind, &ingredients));
        let text = text.expect("ingredients are plain JSON with sorted keys");
        let key = blake3::hash(text.as_bytes()).to_hex().to_string();
        Self {
            kind,
            key,
            ingredients,
            start,
        }
    }

    fn as_source(&self) -> Source {
        Source::Stage {
            kind: self.kind,
            key: self.key.clone(),
        }
    }
}

/// The stages of one run, in order; a stage with 0 epochs is left out.
///
/// # Errors
/// A weights file that cannot be read.
pub fn of_run<'a>(inputs: &Inputs<'a>, seed: u64) -> Result<Vec<(Job<'a>, Stage)>> {
    let (settings, corpus) = (inputs.settings, inputs.corpus.as_ref());
    let mut stages: Vec<(Job<'a>, Stage)> = vec![];
    let mut add = |job: Job<'a>, start: Source, all: Ingredients| {
        let stage = Stage::new(job.kind(), start, all);
        let source = stage.as_source();
        stages.push((job, stage));
        source
    };
    let mut start = Source::Fresh;
    if let Some(spec) = &settings.pretrain {
        start = given(spec.init.as_deref(), start)?;
        if spec.epochs > 0 {
            let mut all = training(settings, seed, &start);
            all.insert("data.documents".to_owned(), documents(corpus).into());
            pretraining(&mut all, spec, settings.model.context);
            start = add(Job::Pretrain(spec, inputs.clone()), start, all);
        }
    }
    if let Some(spec) = &settings.finetune {
        start = given(spec.init.as_deref(), start)?;
        if spec.epochs > 0 {
            let mut all = training(settings, seed, &start);
            all.insert("data.characters".to_owned(), characters(corpus).into());
            all.insert("data.train".to_owned(), questions(&corpus.train).into());
            finetuning(&mut all, spec);
            start = add(Job::Finetune(spec, inputs.clone()), start, all);
        }
    }
    if let Some(spec) = &settings.evaluate {
        let start = if spec.ask_model {
            start
        } else {
            Source::Nothing
        };
        let mut all = Ingredients::new();
        from(&mut all, settings, seed, &start);
        evaluation(&mut all, spec, corpus);
        if spec.invented.is_some() {
            let nobody = asked::invented(spec, settings, corpus)?;
            all.insert("data.invented".to_owned(), questions(&nobody).into());
            // Their answers are counted.
            all.insert("data.train".to_owned(), questions(&corpus.train).into());
        }
        add(Job::Evaluate(spec, inputs.clone()), start, all);
    }
    Ok(stages)
}

/// The only stage of an exploration.
pub fn of_exploration(spec: &Kinded<QuestionKind>, seed: u64) -> (Job<'_>, Stage) {
    let mut all = Ingredients::new();
    flatten(&mut all, "explore", plain(spec));
    all.insert("seed".to_owned(), seed.into());
    let job = Job::Explore(spec);
    let stage = Stage::new(job.kind(), Source::Nothing, all);
    (job, stage)
}

/// The weights file that `init` names, or `at_hand` without one.
fn given(init: Option<&Path>, at_hand: Source) -> Result<Source> {
    let Some(path) = init else { return Ok(at_hand) };
    let bytes = std::fs::read(path).map_err(|e| Error::io(ErrorKind::Data, "read", path, e))?;
    Ok(Source::File {
        path: path.to_owned(),
        blake3: blake3::hash(&bytes).to_hex().to_string(),
    })
}

/// What pretraining and finetuning both depend on.
fn training(settings: &Settings, seed: u64, start: &Source) -> Ingredients {
    let mut all = Ingredients::new();
    from(&mut all, settings, seed, start);
    model(&mut all, &settings.model);
    all.insert("model.dropout".to_owned(), settings.model.dropout.into());
    // For document order, dropout and corruption.
    all.insert("seed".to_owned(), seed.into());
    all
}

/// Adds where the weights come from, and what they depend on.
fn from(all: &mut Ingredients, settings: &Settings, seed: u64, start: &Source) {
    let start = match start {
        Source::Fresh => {
            model(all, &settings.model);
            let deviation = settings.model.initial_deviation;
            all.insert("model.initial_deviation".to_owned(), deviation.into());
            all.insert("seed".to_owned(), seed.into());
            "fresh weights".to_owned()
        }
        Source::File { blake3, .. } => {
            // The number of heads cannot be inferred from weights.
            model(all, &settings.model);
            format!("weights file {blake3}")
        }
        Source::Stage { kind, key } => format!("{} {key}", kind.name()),
        Source::Nothing => return,
    };
    all.insert(START.to_owned(), start.into());
    // The GPU sums in a different order than the CPU.
    let device = registry::device(settings.device);
    all.insert("device".to_owned(), plain(&device));
    if device == DeviceKind::Cuda && !settings.precision.is_whole() {
        all.insert("precision".to_owned(), plain(&settings.precision));
    }
}

/// The ingredient that says where weights come from.
pub(crate) const START: &str = "start";

fn model(all: &mut Ingredients, spec: &ModelSpec) {
    let mut spec = plain(spec);
    for key in ["dropout", "initial_deviation"] {
        remove(&mut spec, key);
    }
    flatten(all, "model", spec);
}

fn pretraining(all: &mut Ingredients, spec: &PretrainSpec, context: usize) {
    let mut read = PretrainSpec {
        longest_excerpt: Some(spec.longest_excerpt(context)),
        init: None,
        checkpoint_steps: None,
        ..spec.clone()
    };
    unread(&mut read.schedule.final_tokens, read.schedule.form);
    flatten(all, "pretrain", plain(&read));
}

fn finetuning(all: &mut Ingredients, spec: &Training) {
    let mut read = Training {
        init: None,
        checkpoint_steps: None,
        ..spec.clone()
    };
    unread(&mut read.schedule.final_tokens, read.schedule.form);
    flatten(all, "finetune", plain(&read));
}

/// Clears `final_tokens` for a constant schedule, which does not read it.
fn unread(final_tokens: &mut Option<u64>, form: ScheduleForm) {
    if form == ScheduleForm::Constant {
        *final_tokens = None;
    }
}

fn evaluation(all: &mut Ingredients, spec: &EvaluateSpec, corpus: &Corpus) {
    let mut read = plain(&EvaluateSpec {
        reported: None,
        ..spec.clone()
    });
    if spec.ask_model {
        all.insert("data.characters".to_owned(), characters(corpus).into());
    } else {
        remove(&mut read, "answer_characters");
    }
    flatten(all, "evaluate", read);
    let asked = corpus.questions(spec.split);
    all.insert(
        format!("data.{}", spec.split.name()),
        questions(asked).into(),
    );
}

fn documents(corpus: &Corpus) -> String {
    let mut sum = Sum::default();
    sum.add(&corpus.vocabulary.characters());
    corpus.documents.iter().for_each(|text| sum.add(text));
    sum.finish()
}

fn questions(asked: &[Question]) -> String {
    let mut sum = Sum::default();
    for question in asked {
        sum.add(&question.text);
        sum.add(question.answer.as_deref().unwrap_or_default());
    }
    sum.finish()
}

fn characters(corpus: &Corpus) -> String {
    let mut sum = Sum::default();
    sum.add(&corpus.vocabulary.characters());
    sum.finish()
}

/// A BLAKE3 hash of texts, each preceded by its length, so that no two lists are the same bytes.
#[derive(Default)]
struct Sum(blake3::Hasher);

impl Sum {
    fn add(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn finish(&self) -> String {
        format!("blake3 {}", self.0.finalize().to_hex())
    }
}

fn plain<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("settings are plain numbers, text and tables")
}

fn remove(table: &mut Value, key: &str) {
    table.as_object_mut().map(|table| table.remove(key));
}

/// Adds one ingredient for each value of a table, `pretrain.optimiser.betas`.
fn flatten(all: &mut Ingredients, name: &str, value: Value) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                flatten(all, &format!("{name}.{key}"), value);
            }
        }
        Value::Null => {}
        value => {
            all.insert(name.to_owned(), value);
        }
    }
}
