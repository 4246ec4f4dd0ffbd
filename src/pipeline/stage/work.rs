//! Runs one stage, pretraining, finetuning or evaluation, from its input to its results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::schema::{EvaluateSpec, PretrainSpec, Training};
use crate::data::{Corpus, Question, Task};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::eval;
use crate::metrics::artefacts::{
    ATTENTION_MAPS, BEST_WEIGHTS, CORRUPTION_EXAMPLES, METRICS, PREDICTIONS, TRAINING_ANSWERS,
    WEIGHTS, WEIGHTS_BEFORE_STEP, predictions_of,
};
use crate::metrics::steps::TrainingStage;
use crate::metrics::table;
use crate::model::weights::{self, Weight};
use crate::model::{Start, Trainable, registry};
use crate::pipeline::asked;
use crate::pipeline::directory::RunDirectory;
use crate::pipeline::stage::exploring::Exploring;
use crate::pipeline::stage::job::{self, Inputs, Job};
use crate::pipeline::stage::journal::{Journal, default_checkpoint_steps};
use crate::pipeline::stage::store::StageFolder;
use crate::pipeline::stage::{Source, Stage};
use crate::progress;
use crate::stop::Stop;
use crate::train::checkpoint::Checkpoint;
use crate::train::{self, Outcome, Position, fit};

/// Documents in `corruption_examples.csv`, as many as a figure can ask for.
const EXAMPLES: usize = 12;

/// The key in a weights file's header that holds the vocabulary's characters.
pub const VOCABULARY_NOTE: &str = "vocabulary";

/// Everything that a stage needs to run.
pub struct Work<'a> {
    pub stage: &'a Stage,
    pub job: &'a Job<'a>,
    pub seed: u64,
    /// Where it writes; locked by this process.
    pub folder: &'a StageFolder,
    /// The folder with the weights of the stage before.
    pub input: Option<&'a StageFolder>,
    /// The run that it is done for, to be named in messages.
    pub run: &'a RunDirectory,
    /// Where it shows its progress.
    pub shown: &'a progress::Run,
    pub stop: &'a Stop,
}

impl Work<'_> {
    /// Runs the stage in its prepared folder, from a checkpoint if there is one.
    ///
    /// # Errors
    /// Training diverges, the user stops it, the device fails, or a file cannot be written.
    pub fn run(&self, from: Option<Checkpoint>) -> Result<()> {
        let results = match self.job {
            Job::Pretrain(spec, inputs) => self.pretrain(spec, inputs, from),
            Job::Finetune(spec, inputs) => {
                let task = job::finetuning(inputs)?;
                self.fit(
                    TrainingStage::Finetune,
                    (*spec).clone(),
                    inputs,
                    &task,
                    from,
                )
            }
            Job::Evaluate(spec, inputs) => self.evaluate(spec, inputs),
            Job::Explore(spec) => {
                let exploring = Exploring {
                    spec,
                    seed: self.seed,
                    folder: self.folder,
                    shown: self.shown,
                    stop: self.stop,
                };
                exploring.run()
            }
        };
        let results = results?;
        self.stop.check_folder()?;
        self.folder.finish(&results)
    }

    fn pretrain(
        &self,
        spec: &PretrainSpec,
        inputs: &Inputs<'_>,
        from: Option<Checkpoint>,
    ) -> Result<Vec<PathBuf>> {
        let context = inputs.settings.model.context;
        let task = spec.task(&inputs.corpus, context, self.seed)?;
        let examples = 0..task.len().min(EXAMPLES);
        let examples: Vec<_> = examples.filter_map(|i| task.example(1, i)).collect();
        let path = self.folder.file(&CORRUPTION_EXAMPLES);
        table::write(&path, &examples)?;
        let mut results = self.fit(
            TrainingStage::Pretrain,
            spec.training(),
            inputs,
            task.as_ref(),
            from,
        )?;
        results.push(path);
        Ok(results)
    }

    /// Answers the split's questions with the model and with the constant answer.
    fn evaluate(&self, spec: &EvaluateSpec, inputs: &Inputs<'_>) -> Result<Vec<PathBuf>> {
        let (settings, corpus) = (inputs.settings, inputs.corpus.as_ref());
        let asked = corpus.questions(spec.split);
        let split = spec.split.name();
        let mut results = vec![];
        if let Some(answer) = &spec.constant_answer {
            let path = self
                .folder
                .part(&PREDICTIONS, &predictions_of(split, "constant"));
            table::write(&path, &eval::answer_always(asked, answer))?;
            results.push(path);
        }
        if spec.ask_model {
            let model = self.model(inputs)?;
            let nobody = asked::invented(spec, settings, corpus)?;
            let mapped = asked::mapped(spec, corpus)?;
            let all = asked.len() + nobody.len() + mapped.len();
            let task = self.shown.begin("evaluate", all, 0);
            let mut task = task.counting("questions asked");
            let mut at = |what: &str, answered: usize| {
                task.at(answered, what);
                if answered == all {
                    return Ok(());
                }
                let done = || format!("in evaluate after question {answered}");
                self.stop.check(done)
            };
            let (model, vocabulary) = (model.as_ref(), &corpus.vocabulary);
            let longest = spec.answer_characters;
            let mut ask = |what: &str, questions: &[Question], before: usize| {
                let mut heard = |answered| at(what, before + answered);
                eval::ask_model(model, vocabulary, questions, longest, &mut heard)
            };
            // Asked separately, so that invented names change no bit of the split's answers.
            let path = self
                .folder
                .part(&PREDICTIONS, &predictions_of(split, "model"));
            table::write(&path, &ask(split, asked, 0)?)?;
            results.push(path);
            if spec.invented.is_some() {
                let path = self.folder.part(&PREDICTIONS, "invented");
                table::write(&path, &ask("invented", &nobody, asked.len())?)?;
                results.push(path);
                let path = self.folder.file(&TRAINING_ANSWERS);
                table::write(&path, &eval::count_answers(&corpus.train))?;
                results.push(path);
            }
            if spec.attention_maps.is_some() {
                let before = asked.len() + nobody.len();
                let mut heard = |looked_into| at("attention maps", before + looked_into);
                let rows = eval::attention::attention_maps(
                    model, vocabulary, &mapped, longest, &mut heard,
                )?;
                let path = self.folder.file(&ATTENTION_MAPS);
                table::write(&path, &rows)?;
                results.push(path);
            }
        }
        Ok(results)
    }

    /// Trains the stage and writes its weights or, if a step diverges, the weights before that step.
    fn fit(
        &self,
        kind: TrainingStage,
        training: Training,
        inputs: &Inputs<'_>,
        task: &dyn Task,
        from: Option<Checkpoint>,
    ) -> Result<Vec<PathBuf>> {
        let mut model = match &from {
            None => self.model(inputs)?,
            Some(checkpoint) => {
                let mut model = self.fresh(inputs)?;
                model.load_state(&checkpoint.state)?;
                model
            }
        };
        let stage = train::Stage {
            kind,
            training,
            dropout: inputs.settings.model.dropout,
            context: inputs.settings.model.context,
            seed: self.seed,
        };
        let from = from.map(|checkpoint| checkpoint.metadata);
        let steps = stage.steps(task.len());
        let every = stage.training.checkpoint_steps;
        let every = every.unwrap_or_else(|| default_checkpoint_steps(steps));
        let already = from.as_ref().map_or(0, |from| from.position.step);
        let bar = self.shown.begin(kind.name(), steps, already);
        let (folder, stop) = (self.folder, self.stop);
        let mut journal =
            Journal::open(folder, self.stage, [steps, every], from.as_ref(), stop, bar)?;
        let start = from.map_or_else(Position::default, |from| from.position);
        match fit(model.as_mut(), task, &stage, &start, &mut journal)? {
            Outcome::Finished => {
                let best = journal.close(stage.training.epochs)?;
                self.keep(model.as_ref(), best, &inputs.corpus)
            }
            Outcome::Diverged {
                step,
                loss_nats,
                gradient_norm,
            } => {
                let path = folder.part(&WEIGHTS_BEFORE_STEP, &step.to_string());
                write_weights(&path, model.as_ref(), &inputs.corpus)?;
                let before = journal.last_loss_nats;
                Err(self.diverged(&stage, step, [loss_nats, gradient_norm], before))
            }
            Outcome::Overflowed { step, what } => {
                let name = kind.name();
                let metrics = self.run.file(&METRICS);
                let error = Error::run(format!(
                    "{name} overflowed in its last step, {step}: {what}\n  kept: {}",
                    metrics.display()
                ));
                Err(error.help(divergence_help(&stage)))
            }
        }
    }

    /// Writes the weights at the end, and the best if those were earlier.
    fn keep(
        &self,
        model: &dyn Trainable,
        best: Option<Vec<Weight>>,
        corpus: &Corpus,
    ) -> Result<Vec<PathBuf>> {
        let folder = self.folder;
        write_weights(&folder.file(&WEIGHTS), model, corpus)?;
        let mut results = vec![folder.file(&METRICS), folder.file(&WEIGHTS)];
        if let Some(best) = best {
            weights::write(&folder.file(&BEST_WEIGHTS), &best, &notes(corpus))?;
            results.push(folder.file(&BEST_WEIGHTS));
        }
        Ok(results)
    }

    fn diverged(
        &self,
        stage: &train::Stage,
        step: usize,
        [loss_nats, gradient_norm]: [f64; 2],
        before: Option<f64>,
    ) -> Error {
        let name = stage.kind.name();
        let before = before.map_or(String::new(), |loss| {
            format!(" (loss_nats was {loss:.4} the step before)")
        });
        let rows = step - 1;
        let error = Error::run(format!(
            "{name} stopped at step {step}: loss_nats is {loss_nats}, gradient norm \
             {gradient_norm}{before}\n  kept: {} ({rows} row{} of {name}), {} (weights before the step)",
            self.run.file(&METRICS).display(),
            if rows == 1 { "" } else { "s" },
            self.run
                .of_stage(&WEIGHTS_BEFORE_STEP, name, &step.to_string())
                .display()
        ));
        error.help(divergence_help(stage))
    }

    /// The model that the stage starts with.
    fn model(&self, inputs: &Inputs<'_>) -> Result<Box<dyn Trainable>> {
        let mut model = self.fresh(inputs)?;
        let corpus = &inputs.corpus;
        match &self.stage.start {
            Source::Fresh | Source::Nothing => {}
            Source::File { path, blake3 } => {
                start_from(model.as_mut(), path, Some(blake3), corpus)?;
            }
            Source::Stage { .. } => {
                let input = self.input.expect("the stage before has a folder");
                start_from(model.as_mut(), &input.file(&WEIGHTS), None, corpus)?;
            }
        }
        Ok(model)
    }

    /// A model with initial weights drawn from the seed.
    fn fresh(&self, inputs: &Inputs<'_>) -> Result<Box<dyn Trainable>> {
        let settings = inputs.settings;
        let model = &settings.model;
        let start = Start {
            seed: self.seed,
            deviation: model.initial_deviation as f32,
        };
        registry::instantiate(&model.shape(), settings.placement(), start)
    }
}

/// What to change so that a training does not diverge again.
fn divergence_help(stage: &train::Stage) -> String {
    let name = stage.kind.name();
    let clip = match stage.training.optimiser.clip_norm > 0.0 {
        true => String::new(),
        false => format!(", or clip with `{name}.optimiser.clip_norm = 1.0`"),
    };
    format!("lower `{name}.learning_rate`{clip}")
}

/// Replaces the weights with those of a file; returns a note if wrapper prefixes were removed from names.
///
/// # Errors
/// The file does not have the BLAKE3 checksum it had when the run was planned, does not fit the model, has
/// a value that is not finite, or was trained on other characters.
pub fn start_from(
    model: &mut dyn Trainable,
    file: &Path,
    planned: Option<&str>,
    corpus: &Corpus,
) -> Result<Option<String>> {
    let fail = |cause: String| Error::io(ErrorKind::Data, "read", file, cause);
    let bytes = std::fs::read(file).map_err(|e| fail(e.to_string()))?;
    if planned.is_some_and(|sum| blake3::hash(&bytes).to_hex().as_str() != sum) {
        let error = fail("it has changed since the run was planned".to_owned());
        return Err(error.help("run again; results from the old file are kept apart"));
    }
    let (mut loaded, notes) = weights::from_bytes(&bytes).map_err(|e| e.reading(file))?;
    let wrappers = weights::unwrap(&mut loaded).map_err(|e| e.in_file(file))?;
    let own = corpus.vocabulary.characters();
    let other = |characters: &String| *characters != own;
    if notes.get(VOCABULARY_NOTE).is_some_and(other) {
        return Err(Error::data(format!(
            "{} was trained with other characters than the data has",
            file.display()
        ))
        .help("use weights that were trained on the same corpus"));
    }
    model.load_weights(&loaded).map_err(|e| e.in_file(file))?;
    Ok((!wrappers.is_empty()).then(|| {
        let prefixes: Vec<String> = wrappers.iter().map(|one| format!("`{one}.`")).collect();
        let (file, prefixes) = (file.display(), prefixes.join(" and "));
        format!(
            "{file}: removed {prefixes}, added by PyTorch wrappers, from the names of the weights"
        )
    }))
}

fn write_weights(path: &Path, model: &dyn Trainable, corpus: &Corpus) -> Result<()> {
    weights::write(path, &model.weights(), &notes(corpus))
}

fn notes(corpus: &Corpus) -> BTreeMap<String, String> {
    BTreeMap::from([(VOCABULARY_NOTE.to_owned(), corpus.vocabulary.characters())])
}
