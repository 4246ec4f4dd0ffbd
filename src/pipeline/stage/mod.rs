//! What the stages of a run depend on: the settings they read, their inputs, their code.
//!
//! A stage is identified by its key, the BLAKE3 hash of all that. Stages with the same key have the same
//! result: that is how one pretraining serves every finetuning that starts from it, and why comments,
//! formatting and keys that a stage does not read make nothing stale.

pub(crate) mod job;
mod journal;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod validation;
pub(crate) mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::job::{Asked, Inputs, Job};
use crate::config::schema::{
    DeviceKind, EvaluateSpec, ModelSpec, ScheduleSpec, Settings, ValidateSpec, reads,
};
use crate::data::checksum::of_texts;
use crate::data::objectives::{Entities, Reads, TitlePlace};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Question, Split};
use crate::error::{Kind, Result};
use crate::explore::QuestionKind;
use crate::files;
use crate::kinds::Kinded;
use crate::metrics::artefacts::{Artefact, HELD_OUT, METRICS, PREDICTIONS, WEIGHTS};
use crate::model::registry;
use crate::ops::attention::MOST_KEPT;
use crate::train::schedule::forms::KEYS;

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// Training on the corpus.
    Pretrain,
    /// Training on questions and answers.
    Finetune,
    /// Answering questions.
    Evaluate,
    /// Measuring what an attention head can do; no data, no model.
    Explore,
}

impl StageKind {
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

    /// What every such stage makes, at least one of each list; it may make more.
    fn needs(self) -> Vec<Vec<&'static Artefact>> {
        match self {
            Self::Pretrain | Self::Finetune => vec![vec![&METRICS], vec![&WEIGHTS]],
            Self::Evaluate => vec![vec![&PREDICTIONS, &HELD_OUT]],
            Self::Explore => vec![],
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
    /// A file that the user provides, and the BLAKE3 sum of its content.
    File(PathBuf, String),
    /// The stage before this one, and its key.
    Stage(StageKind, String),
    /// No model is used.
    Nothing,
}

/// One stage of a run and all that its result depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub kind: StageKind,
    /// BLAKE3 sum of kind and ingredients, 64 hexadecimal digits.
    pub key: String,
    /// Everything that the key is made of.
    pub ingredients: Ingredients,
    /// Where its weights come from.
    pub start: Source,
}

impl Stage {
    fn new(kind: StageKind, start: Source, mut ingredients: Ingredients) -> Self {
        put(&mut ingredients, "code version", kind.code());
        let text = serde_json::to_string(&(kind, &ingredients));
        let text = text.expect("ingredients are plain JSON with sorted keys");
        Self {
            kind,
            key: files::checksum(text.as_bytes()),
            ingredients,
            start,
        }
    }
}

/// The stages of one run, in order; a stage with 0 epochs is left out.
pub fn of_run<'a>(inputs: &Inputs<'a>, seed: u64) -> Result<Vec<(Job<'a>, Stage)>> {
    let (settings, corpus) = (inputs.settings, inputs.corpus.as_ref());
    let mut stages: Vec<(Job<'a>, Stage)> = vec![];
    let mut add = |job: Job<'a>, start: Source, all: Ingredients| {
        let stage = Stage::new(job.kind(), start, all);
        let source = Source::Stage(stage.kind, stage.key.clone());
        stages.push((job, stage));
        source
    };
    let mut start = Source::Fresh;
    if let Some(spec) = &settings.pretrain {
        start = given(spec.init.as_deref(), start)?;
        if spec.epochs > 0 {
            let mut all = training(settings, seed, &start, "pretrain", spec, &spec.schedule);
            let longest = spec.longest_excerpt(settings.model.context);
            put(&mut all, "pretrain.longest_excerpt", longest);
            if spec.reads(Reads::Documents) {
                let documents = corpus.documents.identity(&corpus.vocabulary)?;
                put(&mut all, "data.documents", documents);
            }
            if spec.reads(Reads::Answers) || spec.entities == Entities::Answers {
                answers(&mut all, corpus, Split::Train);
            }
            if let Some(spec) = &spec.validate {
                validation(&mut all, inputs, spec)?;
            }
            start = add(Job::Pretrain(spec, inputs.clone()), start, all);
        }
    }
    if let Some(spec) = &settings.finetune {
        start = given(spec.init.as_deref(), start)?;
        if spec.epochs > 0 {
            let mut all = training(settings, seed, &start, "finetune", spec, &spec.schedule);
            answers(&mut all, corpus, Split::Train);
            if reads(&spec.mix, Reads::Documents) {
                documents(&mut all, inputs)?;
            }
            if let Some(spec) = &spec.validate {
                validation(&mut all, inputs, spec)?;
            }
            start = add(Job::Finetune(spec, inputs.clone()), start, all);
        }
    }
    if let Some(spec) = &settings.evaluate {
        if !spec.ask_model {
            start = Source::Nothing;
        }
        let mut all = Ingredients::new();
        from(&mut all, settings, seed, &start);
        evaluation(&mut all, spec, inputs)?;
        add(Job::Evaluate(spec, inputs.clone()), start, all);
    }
    Ok(stages)
}

/// The only stage of an exploration.
pub fn of_exploration(spec: &Kinded<QuestionKind>, seed: u64) -> (Job<'_>, Stage) {
    let mut all = Ingredients::new();
    put(&mut all, "explore", spec);
    put(&mut all, "seed", seed);
    let stage = Stage::new(StageKind::Explore, Source::Nothing, all);
    (Job::Explore(spec), stage)
}

/// The weights file that `init` names, or `at_hand` without one.
fn given(init: Option<&Path>, at_hand: Source) -> Result<Source> {
    let Some(path) = init else { return Ok(at_hand) };
    let blake3 = files::checksum(&files::read(Kind::Data, path)?);
    Ok(Source::File(path.to_owned(), blake3))
}

/// What pretraining and finetuning both depend on.
fn training(
    settings: &Settings,
    seed: u64,
    start: &Source,
    name: &str,
    spec: &impl Serialize,
    schedule: &ScheduleSpec,
) -> Ingredients {
    let mut all = Ingredients::new();
    from(&mut all, settings, seed, start);
    model(&mut all, &settings.model);
    put(&mut all, "model.dropout", settings.model.dropout);
    // For document order, dropout and corruption.
    put(&mut all, "seed", seed);
    table(&mut all, name, spec, &["init", "checkpoint_steps"]);
    if settings.model.context > MOST_KEPT && registry::device(settings.device) == DeviceKind::Cpu {
        // It adds up gradients in another order than it did before there were parts.
        put(&mut all, "attention", "by parts");
    }
    let reads = schedule.form.0.reads;
    for key in KEYS.into_iter().filter(|key| !reads.contains(key)) {
        all.remove(&format!("{name}.schedule.{key}"));
    }
    all
}

/// Adds where the weights come from, and what they depend on.
fn from(all: &mut Ingredients, settings: &Settings, seed: u64, start: &Source) {
    let start = match start {
        Source::Fresh => {
            model(all, &settings.model);
            let deviation = settings.model.initial_deviation;
            put(all, "model.initial_deviation", deviation);
            put(all, "seed", seed);
            "fresh weights".to_owned()
        }
        Source::File(_, blake3) => {
            // The number of heads cannot be inferred from weights.
            model(all, &settings.model);
            format!("weights file {blake3}")
        }
        Source::Stage(kind, key) => format!("{} {key}", kind.name()),
        Source::Nothing => return,
    };
    put(all, START, start);
    // The GPU sums in a different order than the CPU.
    put(all, "device", registry::device(settings.device));
    let precision = registry::precision(settings.placement());
    if !precision.is_whole() {
        put(all, "precision", precision);
    }
}

/// The ingredient that says where weights come from.
pub(crate) const START: &str = "start";

fn model(all: &mut Ingredients, spec: &ModelSpec) {
    table(all, "model", spec, &["dropout", "initial_deviation"]);
}

/// Keys of an evaluation that change nothing it writes, beside the questions, which are hashed themselves.
const UNREAD: [&str; 3] = ["reported", "measures", "kept_out_questions"];

fn evaluation(all: &mut Ingredients, spec: &EvaluateSpec, inputs: &Inputs<'_>) -> Result<()> {
    let corpus = &inputs.corpus;
    if spec.ask_model {
        table(all, "evaluate", spec, &UNREAD);
        tokens(all, corpus);
    } else {
        table(
            all,
            "evaluate",
            spec,
            &[&UNREAD[..], &["answer_characters"]].concat(),
        );
    }
    let asked = Asked::of(spec, inputs)?;
    let split = spec.split.name();
    if inputs.settings.asks_questions() {
        put(all, &format!("data.{split}"), questions(asked.split));
    }
    if inputs.settings.scores_held_out() {
        held_out(all, inputs, spec.split)?;
    }
    if spec.invented.is_some() {
        put(all, "data.invented", questions(&asked.invented));
        // `training_answers.csv` counts their answers.
        put(all, "data.train", questions(&corpus.train));
    }
    Ok(())
}

/// Adds what is held out, and the objective by which sequences are made of it.
fn held_out(all: &mut Ingredients, inputs: &Inputs<'_>, split: Split) -> Result<()> {
    let Inputs { settings, corpus } = inputs;
    let held_out = match &corpus.examples {
        Some(examples) => examples.identity(),
        None => corpus.documents(split).identity(&corpus.vocabulary)?,
    };
    put(all, &format!("data.held_out.{}", split.name()), held_out);
    let pretrain = settings.pretrain.as_ref();
    if let Some(spec) = pretrain.filter(|_| corpus.examples.is_none()) {
        put(all, "held_out.objective", spec.objective);
        put(all, "held_out.terminated", spec.terminated);
        let longest = spec.longest_excerpt(settings.model.context);
        put(all, "held_out.longest_excerpt", longest);
        put(all, "held_out.shortest_excerpt", spec.shortest_excerpt);
        put(all, "held_out.cue_words", spec.cue_words);
        if spec.title_place != TitlePlace::First {
            put(all, "held_out.title_place", spec.title_place);
        }
        if spec.entities == Entities::Answers {
            put(all, "held_out.entities", spec.entities);
            put(all, "held_out.answers", questions(&corpus.train));
        }
    }
    Ok(())
}

/// Adds the documents, and how the objectives that are mixed into finetuning show them.
fn documents(all: &mut Ingredients, Inputs { settings, corpus }: &Inputs<'_>) -> Result<()> {
    let shown = settings.objective_settings(Split::Train, 0);
    put(
        all,
        "data.documents",
        corpus.documents.identity(&corpus.vocabulary)?,
    );
    put(all, "finetune.shortest_excerpt", shown.shortest_excerpt);
    put(all, "finetune.longest_excerpt", shown.longest_excerpt);
    put(all, "finetune.terminated", shown.terminated);
    put(all, "finetune.entities", shown.entities);
    put(all, "finetune.cue_words", shown.cue_words);
    put(all, "finetune.title_place", shown.title_place);
    put(all, "finetune.rewording", shown.rewording);
    Ok(())
}

/// Adds what a validation scores.
fn validation(all: &mut Ingredients, inputs: &Inputs<'_>, spec: &ValidateSpec) -> Result<()> {
    let split = inputs.settings.validation_split(spec);
    if !inputs.settings.validated_by(spec).is_of_answers() {
        return held_out(all, inputs, split);
    }
    put(
        all,
        "validate.questions",
        questions(inputs.corpus.questions(split)),
    );
    put(
        all,
        "validate.answer_characters",
        inputs.settings.answer_characters(),
    );
    Ok(())
}

fn questions(asked: &[Question]) -> String {
    of_texts(asked.iter().flat_map(|Question { text, answer }| {
        [text.as_str(), answer.as_deref().unwrap_or_default()]
    }))
}

/// Adds the questions of a split with their answers, or the examples of a made task.
fn answers(all: &mut Ingredients, corpus: &Corpus, split: Split) {
    tokens(all, corpus);
    match &corpus.examples {
        Some(examples) => put(all, "data.examples", examples.identity()),
        None => {
            let asked = questions(corpus.questions(split));
            put(all, &format!("data.{}", split.name()), asked);
        }
    }
}

/// Adds what the token ids stand for.
fn tokens(all: &mut Ingredients, corpus: &Corpus) {
    let name = match corpus.vocabulary {
        Vocabulary::Characters(_) => "data.characters",
        _ => "data.tokens",
    };
    put(all, name, of_texts([corpus.vocabulary.identity()]));
}

/// Adds an ingredient or, for a table, one for each of its values: `pretrain.optimiser.betas`.
fn put(all: &mut Ingredients, name: &str, value: impl Serialize) {
    table(all, name, value, &[]);
}

/// The same without the `unread` keys at the top level of a table.
fn table(all: &mut Ingredients, name: &str, value: impl Serialize, unread: &[&str]) {
    let value = serde_json::to_value(value);
    match value.expect("settings are plain numbers, text and tables") {
        Value::Object(table) => {
            for (key, value) in table {
                if !unread.contains(&key.as_str()) {
                    put(all, &format!("{name}.{key}"), value);
                }
            }
        }
        Value::Null => {}
        value => {
            all.insert(name.to_owned(), value);
        }
    }
}
