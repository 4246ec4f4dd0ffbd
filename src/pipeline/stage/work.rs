//! Runs one stage, from its input to its results.

use std::path::Path;
use std::sync::Arc;

use crate::config::schema::{EvaluateSpec, Training};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Question, Task};
use crate::error::{Error, Kind, Result};
use crate::eval;
use crate::explore::{Measurements, QuestionKind};
use crate::files;
use crate::kinds::{Kinded, Listed as _};
use crate::metrics::artefacts::{
    ATTENTION_MAPS, Artefact, BEST_WEIGHTS, CORRUPTION_EXAMPLES, CURVES, HELD_OUT, METRICS,
    PREDICTIONS, SAMPLES, TRAINING_ANSWERS, WEIGHTS, WEIGHTS_BEFORE_STEP, predictions_of,
};
use crate::metrics::rows::{CorruptionRow, PredictionRow};
use crate::metrics::steps::TrainingStage;
use crate::metrics::table;
use crate::model::weights::{self, Weight, WeightsFile};
use crate::model::{StepMetrics, Trainable};
use crate::pipeline::directory::RunDirectory;
use crate::pipeline::stage::Source;
use crate::pipeline::stage::job::{Asked, Inputs, Job};
use crate::pipeline::stage::journal::Journal;
use crate::pipeline::stage::store::StageFolder;
use crate::pipeline::stage::validation::Validation;
use crate::progress::RunProgress;
use crate::stop::Stop;
use crate::train::checkpoint::Checkpoint;
use crate::train::{CompletedStep, Position, StageSettings, TrainingOutcome, fit};

/// Documents in `corruption_examples.csv`, as many as a figure can ask for.
const EXAMPLES: usize = 12;

/// Where and for which run a stage does its work.
pub struct Work<'a> {
    pub start: &'a Source,
    pub seed: u64,
    /// Where it writes; locked by this process.
    pub folder: &'a StageFolder,
    /// The folder with the weights of the stage before.
    pub input: Option<&'a StageFolder>,
    /// The run that it is done for, to be named in messages.
    pub run: &'a RunDirectory,
    pub shown: &'a Arc<RunProgress>,
    pub stop: &'a Stop,
}

impl Work<'_> {
    /// Does the work of a stage in its prepared folder, from a checkpoint if there is one.
    ///
    /// # Errors
    /// Training diverges, the user stops it, the device fails, or a file cannot be written.
    pub fn run(&self, job: &Job<'_>, from: Option<Checkpoint>) -> Result<()> {
        match job {
            Job::Pretrain(spec, inputs) => {
                let task = inputs.pretraining(spec, self.seed)?;
                let examples = (0..task.len().min(EXAMPLES)).map(|i| task.example(1, i));
                let examples = examples.filter_map(Result::transpose);
                let examples: Vec<CorruptionRow> = examples.collect::<Result<_>>()?;
                if spec.corrupts() {
                    table::write(&self.folder.file(&CORRUPTION_EXAMPLES), &examples)?;
                }
                let kind = TrainingStage::Pretrain;
                self.fit(kind, spec.training(), inputs, task.as_ref(), from)?;
            }
            Job::Finetune(spec, inputs) => {
                let kind = TrainingStage::Finetune;
                let task = inputs.finetuning(spec, self.seed)?;
                self.fit(kind, (*spec).clone(), inputs, task.as_ref(), from)?;
            }
            Job::Evaluate(spec, inputs) => self.evaluate(spec, inputs)?,
            Job::Explore(spec) => self.explore(spec)?,
        }
        self.stop.check_folder()?;
        self.folder.finish()
    }

    fn explore(&self, spec: &Kinded<QuestionKind>) -> Result<()> {
        let samples = spec.sizes().samples;
        let (all, what) = samples.map_or((1, "measured"), |samples| (samples, "samples"));
        let mut task = self.shown.begin("explore", all, 0);
        let mut report = |drawn: usize| {
            task.at(drawn, what);
            match drawn < all {
                true => (self.stop).check(|| format!("in explore after sample {drawn}")),
                false => Ok(()),
            }
        };
        match spec.measure(self.seed, &mut report)? {
            Measurements::Curves(rows) => table::write(&self.folder.file(&CURVES), &rows),
            Measurements::Samples(rows) => table::write(&self.folder.file(&SAMPLES), &rows),
        }
    }

    /// Answers the split's questions with the model and with the constant answer.
    fn evaluate(&self, spec: &EvaluateSpec, inputs: &Inputs<'_>) -> Result<()> {
        let Asked {
            split: asked,
            invented,
            mapped,
        } = Asked::of(spec, inputs)?;
        let split = spec.split.name();
        let keep = |part: &str, rows: &[PredictionRow]| {
            table::write(&self.folder.part(&PREDICTIONS, part), rows)
        };
        let (asks, scores) = (
            inputs.settings.asks_questions(),
            inputs.settings.scores_held_out(),
        );
        if let Some(answer) = &spec.constant_answer {
            let rows = eval::answer_always(asked, answer);
            keep(&predictions_of(split, "constant"), &rows)?;
        }
        if !spec.ask_model {
            return Ok(());
        }
        let model = self.model(inputs, None)?;
        let held_out = scores.then(|| inputs.held_out(spec.split)).transpose()?;
        let sequences = held_out.as_ref().map_or(0, |task| task.len());
        let questions = asked.len() + invented.len() + mapped.len();
        let all = questions + sequences;
        let task = self.shown.begin("evaluate", all, 0);
        let mut task = task.counting(if scores {
            "sequences"
        } else {
            "questions asked"
        });
        let mut at = |what: &str, answered: usize| {
            task.at(answered, what);
            match answered < all {
                true => (self.stop).check(|| format!("in evaluate after question {answered}")),
                false => Ok(()),
            }
        };
        let (model, vocabulary) = (model.as_ref(), &inputs.corpus.vocabulary);
        let longest = spec.answer_characters;
        let mut ask = |what: &str, questions: &[Question], before: usize| {
            let mut heard = |answered| at(what, before + answered);
            eval::ask_model(model, vocabulary, questions, longest, &mut heard)
        };
        // Asked separately, so that invented names change no bit of the split's answers.
        if asks {
            keep(&predictions_of(split, "model"), &ask(split, asked, 0)?)?;
        }
        if spec.invented.is_some() {
            keep("invented", &ask("invented", &invented, asked.len())?)?;
            let rows = eval::count_answers(&inputs.corpus.train);
            table::write(&self.folder.file(&TRAINING_ANSWERS), &rows)?;
        }
        if spec.attention_maps.is_some() {
            let before = asked.len() + invented.len();
            let mut heard = |looked_into| at("attention maps", before + looked_into);
            let rows =
                eval::attention::attention_maps(model, vocabulary, &mapped, longest, &mut heard)?;
            table::write(&self.folder.file(&ATTENTION_MAPS), &rows)?;
        }
        if let Some(held_out) = held_out {
            let mut heard = |scored| at("held out", questions + scored);
            let rows = eval::held_out::rows(
                model,
                (held_out.as_ref(), usize::MAX),
                vocabulary,
                &mut heard,
            )?;
            table::write(&self.folder.part(&HELD_OUT, split), &rows)?;
        }
        Ok(())
    }

    /// Trains the stage and writes its weights or, if a step diverges, the weights before that step.
    fn fit(
        &self,
        kind: TrainingStage,
        training: Training,
        inputs: &Inputs<'_>,
        task: &dyn Task,
        from: Option<Checkpoint>,
    ) -> Result<()> {
        let mut model = self.model(inputs, from.as_ref())?;
        let stage = StageSettings {
            kind,
            training,
            dropout: inputs.settings.model.dropout,
            context: inputs.settings.model.context,
            seed: self.seed,
        };
        let from = from.map(|checkpoint| checkpoint.metadata);
        let start = from
            .as_ref()
            .map_or_else(Position::default, |from| from.position.clone());
        let steps = stage.training.steps(task.len());
        let every = stage.training.checkpoint_steps;
        let bar = self.shown.begin(kind.name(), steps, start.step);
        let (folder, stop) = (self.folder, self.stop);
        let before = from.as_ref().and_then(|from| from.validation.as_ref());
        let validate = stage.training.validate.as_ref();
        let validation = validate.map(|spec| Validation::open(folder, spec, inputs, before));
        let validation = validation.transpose()?;
        let mut journal =
            Journal::open(folder, steps, every, from.as_ref(), stop, bar, validation)?;
        let mut ended = (start.epoch, start.step);
        let mut record = |mut completed: CompletedStep<'_>| {
            ended = (completed.row.epoch, completed.row.step);
            journal.record(&mut completed)
        };
        match fit(model.as_mut(), task, &stage, &start, &mut record)? {
            TrainingOutcome::Finished => {
                let keeps_best = journal
                    .validation
                    .as_ref()
                    .is_some_and(Validation::keeps_best);
                self.show_validation(journal.validation.as_ref());
                let best = journal.close(ended)?;
                if let (true, Some(best)) = (keeps_best, &best) {
                    return self.keep(&WEIGHTS, "", best, inputs);
                }
                self.keep(&WEIGHTS, "", &model.weights(), inputs)?;
                match best {
                    Some(best) => self.keep(&BEST_WEIGHTS, "", &best, inputs),
                    // An attempt that was killed may have left some.
                    None => files::remove(&folder.file(&BEST_WEIGHTS)),
                }
            }
            TrainingOutcome::Overflowed { step, what } => {
                let kept = self.run.file(&METRICS);
                let what = format!("overflowed in its last step, {step}: {what}");
                let message = format!("{} {what}\n  kept: {}", kind.name(), kept.display());
                Err(failed(&stage, message))
            }
            TrainingOutcome::Diverged { step, metrics } => {
                let weights = model.weights();
                self.keep(&WEIGHTS_BEFORE_STEP, &step.to_string(), &weights, inputs)?;
                let before = journal.last_loss_nats;
                let message = self.diverged(kind, step, metrics, before);
                Err(failed(&stage, message))
            }
        }
    }

    /// Says what the best validation was, and why training ended if it ended early.
    fn show_validation(&self, validation: Option<&Validation<'_>>) {
        let Some(validation) = validation else { return };
        let Some(best) = validation.best() else {
            return;
        };
        let (measure, count) = (validation.measure, validation.rows.len());
        let value = measure.unit.show(best.value);
        let plural = if count == 1 { "" } else { "s" };
        let ended = match validation.verdict() {
            Some(why) => format!("; stopped early by `{why}`"),
            None => String::new(),
        };
        let detail = format!(
            "{}, best of {count} validation{plural}, after step {} (epoch {}){ended}",
            measure.name(),
            best.step,
            best.epoch
        );
        self.shown.result("validation", value, detail);
    }

    /// The message for training that diverged, with the files that are kept; `before` is the loss of the previous step.
    fn diverged(
        &self,
        kind: TrainingStage,
        step: usize,
        metrics: StepMetrics,
        before: Option<f64>,
    ) -> String {
        let (name, rows) = (kind.name(), step - 1);
        let before = before.map_or(String::new(), |loss| {
            format!(" (loss_nats was {loss:.4} the step before)")
        });
        let plural = if rows == 1 { "" } else { "s" };
        let table = self.run.file(&METRICS);
        let weights = (self.run).of_stage(&WEIGHTS_BEFORE_STEP, name, &step.to_string());
        format!(
            "{name} stopped at step {step}: loss_nats is {}, gradient norm {}{before}\n  kept: {} ({rows} row{plural} of {name}), {} (weights before the step)",
            metrics.loss_nats,
            metrics.gradient_norm,
            table.display(),
            weights.display()
        )
    }

    /// Writes weights together with the vocabulary that they were trained with.
    fn keep(
        &self,
        artefact: &Artefact,
        part: &str,
        weights: &[Weight],
        inputs: &Inputs<'_>,
    ) -> Result<()> {
        let notes = inputs.corpus.vocabulary.notes();
        weights::write(&self.folder.part(artefact, part), weights, &notes)
    }

    /// The model that the stage starts with, or resumes with.
    fn model(&self, inputs: &Inputs<'_>, from: Option<&Checkpoint>) -> Result<Box<dyn Trainable>> {
        let mut model = inputs.model(self.seed)?;
        if let Some(checkpoint) = from {
            model.load_state(&checkpoint.state)?;
            return Ok(model);
        }
        match (self.start, self.input) {
            (Source::File(path, blake3), _) => {
                start_from(model.as_mut(), path, Some(blake3), &inputs.corpus)?;
            }
            (Source::Stage(..), before) => {
                let weights = before
                    .expect("the stage before has a folder")
                    .file(&WEIGHTS);
                start_from(model.as_mut(), &weights, None, &inputs.corpus)?;
            }
            (Source::Fresh | Source::Nothing, _) => {}
        }
        Ok(model)
    }
}

/// The error for training that failed, with a help line that says what to change.
fn failed(stage: &StageSettings, message: String) -> Error {
    let name = stage.kind.name();
    let clip = match stage.training.optimiser.clip_norm > 0.0 {
        true => String::new(),
        false => format!(", or clip with `{name}.optimiser.clip_norm = 1.0`"),
    };
    Error::run(message).help(format!("lower `{name}.learning_rate`{clip}"))
}

/// Replaces the weights with those of a file; returns a note if wrapper prefixes were removed from names.
///
/// # Errors
/// The file does not have the BLAKE3 checksum it had when the run was planned, does not fit the model, has
/// a value that is not finite, or was trained on other tokens.
pub fn start_from(
    model: &mut dyn Trainable,
    file: &Path,
    planned: Option<&str>,
    corpus: &Corpus,
) -> Result<Option<String>> {
    let bytes = files::read(Kind::Data, file)?;
    if planned.is_some_and(|sum| files::checksum(&bytes) != sum) {
        let cause = "it has changed since the run was planned";
        let error = Error::io(Kind::Data, "read", file, cause);
        return Err(error.help("run again; results from the old file are kept apart"));
    }
    let WeightsFile {
        weights,
        notes,
        unwrapped,
    } = weights::parse(&bytes, file)?;
    let trained_on = Vocabulary::from_notes(&notes).map_err(|e| e.in_file(file))?;
    if trained_on.is_some_and(|other| other != corpus.vocabulary) {
        return Err(Error::data(format!(
            "{} was trained with a different vocabulary or tokenizer than the data has",
            file.display()
        ))
        .help("use weights that were trained on the same corpus"));
    }
    model.load_weights(&weights).map_err(|e| e.in_file(file))?;
    Ok(unwrapped)
}
