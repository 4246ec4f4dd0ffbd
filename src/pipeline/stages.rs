//! The stages of one run: pretraining, finetuning, evaluation.

use std::collections::BTreeMap;
use std::path::Path;

use super::directory::RunDirectory;
use super::preflight;
use crate::config::schema::{Settings, StageKind, Training};
use crate::data::corruption::SpanCorruption;
use crate::data::questions::BirthPlaces;
use crate::data::{self, Corpus, Task};
use crate::error::{Error, Result};
use crate::eval;
use crate::metrics::rows::{PredictionRow, StepRow};
use crate::metrics::table;
use crate::model::{Start, Trainable, registry, weights};
use crate::progress::{self, Progress, thousands};
use crate::train::{Outcome, Recorder, Stage, fit};

/// Documents in `corruption_examples.csv`, as many as a figure can ask for.
const CORRUPTION_EXAMPLES: usize = 12;

/// The key in a weights file's header that holds the vocabulary's characters.
pub const VOCABULARY_NOTE: &str = "vocabulary";

/// Everything a run works with.
pub(super) struct Bench<'a> {
    settings: &'a Settings,
    seed: u64,
    directory: &'a RunDirectory,
    progress: &'a Progress,
    corpus: Corpus,
    model: Option<Box<dyn Trainable>>,
    log: Log,
}

impl<'a> Bench<'a> {
    /// Opens the data and builds the model, if the run has any use for one. Writes nothing.
    pub(super) fn open(
        settings: &'a Settings,
        seed: u64,
        data: Option<&Path>,
        directory: &'a RunDirectory,
        progress: &'a Progress,
    ) -> Result<Self> {
        let corpus = data::open(&settings.data, data)?;
        preflight::check(settings, &corpus)?;
        let shape = settings.model.shape();
        let deviation = settings.model.initial_deviation as f32;
        let build = || registry::instantiate(&shape, settings.device, Start { seed, deviation });
        let model = preflight::uses_model(settings).then(build).transpose()?;
        let log = Log::default();
        let mut bench = Self {
            settings,
            seed,
            directory,
            progress,
            corpus,
            model,
            log,
        };
        // Never several with training between: the configuration refuses that.
        settings
            .init_files()
            .try_for_each(|file| bench.start_from(file))?;
        Ok(bench)
    }

    /// Starts `metrics.csv`, in place of an earlier run's.
    pub(super) fn begin(&mut self) -> Result<()> {
        let path = self.directory.metrics_csv();
        self.log.table = Some(table::Appender::create::<StepRow>(&path)?);
        Ok(())
    }

    /// Learns from the corpus, if the settings say so.
    pub(super) fn pretrain(&mut self) -> Result<()> {
        let stage = self.settings.pretrain.as_ref();
        let Some(spec) = stage.filter(|stage| stage.epochs > 0) else {
            return Ok(());
        };
        let longest = spec.longest_excerpt(self.settings.model.context);
        let task = SpanCorruption::new(&self.corpus, longest, spec.terminated, self.seed)?;
        let examples: Vec<_> = (0..task.len().min(CORRUPTION_EXAMPLES))
            .map(|i| task.row(1, i))
            .collect();
        table::write(&self.directory.corruption_csv(), &examples)?;
        self.fit(StageKind::Pretrain, spec.training(), &task)
    }

    /// Learns to answer, if the settings say so.
    pub(super) fn finetune(&mut self) -> Result<()> {
        let stage = self.settings.finetune.as_ref();
        let Some(spec) = stage.filter(|stage| stage.epochs > 0) else {
            return Ok(());
        };
        let task = BirthPlaces::new(&self.corpus.train, &self.corpus.vocabulary)?;
        self.fit(StageKind::Finetune, spec.training(), &task)
    }

    /// Answers the split's questions by the model and by the constant answer.
    pub(super) fn evaluate(&mut self) -> Result<()> {
        let Some(spec) = &self.settings.evaluate else {
            return Ok(());
        };
        let asked = preflight::questions_of(&self.corpus, spec.split);
        let split = spec.split.name();
        if let Some(answer) = &spec.constant_answer {
            let path = self.directory.predictions_tsv(split, "constant");
            table::write(&path, &eval::answer_always(asked, answer))?;
        }
        if !spec.ask_model {
            return Ok(());
        }
        let model = self
            .model
            .as_deref()
            .expect("a model that is asked is there");
        let mut task = self.progress.begin("evaluate", asked.len());
        let rows: Vec<PredictionRow> = eval::ask_model(
            model,
            &self.corpus.vocabulary,
            asked,
            spec.answer_characters,
            &mut |answered| task.at(answered, split),
        )?;
        table::write(&self.directory.predictions_tsv(split, "model"), &rows)
    }

    /// Trains a stage and keeps its weights; those before a step that diverged as well.
    fn fit(&mut self, kind: StageKind, training: Training<'_>, task: &dyn Task) -> Result<()> {
        let name = kind.name();
        let stage = Stage {
            kind,
            training,
            dropout: self.settings.model.dropout,
            context: self.settings.model.context,
            seed: self.seed,
        };
        let model = self
            .model
            .as_deref_mut()
            .expect("a stage with epochs has a model");
        self.log
            .begin(self.progress.begin(name, stage.steps(task.len())));
        let outcome = fit(model, task, &stage, &mut self.log);
        self.log.end();
        match outcome? {
            Outcome::Finished => self.keep_weights(&self.directory.weights(name)),
            Outcome::Diverged {
                step,
                loss_nats,
                gradient_norm,
            } => {
                let path = self
                    .directory
                    .weights(&format!("{name}-before-step-{step}"));
                self.keep_weights(&path)?;
                let before = self.log.last_loss_nats.map_or(String::new(), |loss| {
                    format!(" (loss_nats was {loss:.4} the step before)")
                });
                let rows = self.log.rows;
                let error = Error::run(format!(
                    "{name} stopped at step {step}: loss_nats is {loss_nats}, gradient norm \
                     {gradient_norm}{before}\n  kept: {} ({rows} row{}), {} (weights before the step)",
                    self.directory.metrics_csv().display(),
                    if rows == 1 { "" } else { "s" },
                    path.display()
                ));
                let clips = training.optimiser.clip_norm > 0.0;
                let clip = format!(", or clip with `{name}.optimiser.clip_norm = 1.0`");
                let clip = if clips { "" } else { &clip };
                Err(error.help(format!("lower `{name}.learning_rate`{clip}")))
            }
        }
    }

    /// Takes weights from a file in place of those at hand.
    fn start_from(&mut self, file: &Path) -> Result<()> {
        let model = self
            .model
            .as_deref_mut()
            .expect("a stage with `init` has a model");
        let (loaded, notes) = weights::read(file)?;
        let own = self.corpus.vocabulary.characters();
        if notes
            .get(VOCABULARY_NOTE)
            .is_some_and(|characters| *characters != own)
        {
            return Err(Error::data(format!(
                "{} was trained with other characters than the data has",
                file.display()
            ))
            .help("use weights that were trained on the same corpus"));
        }
        model.load_weights(&loaded).map_err(|e| e.in_file(file))
    }

    fn keep_weights(&self, path: &Path) -> Result<()> {
        let model = self
            .model
            .as_deref()
            .expect("a stage with epochs has a model");
        let notes = [(
            VOCABULARY_NOTE.to_owned(),
            self.corpus.vocabulary.characters(),
        )];
        weights::write(path, &model.weights(), &BTreeMap::from(notes))?;
        self.progress
            .detail(&format!("weights kept: {}", path.display()));
        Ok(())
    }
}

/// Every step goes to `metrics.csv` and to the progress bar.
#[derive(Default)]
struct Log {
    table: Option<table::Appender>,
    task: Option<progress::Task>,
    last_loss_nats: Option<f64>,
    /// Of all stages so far.
    rows: usize,
}

impl Log {
    fn begin(&mut self, task: progress::Task) {
        self.task = Some(task);
        self.last_loss_nats = None;
    }

    fn end(&mut self) {
        self.task = None;
    }
}

impl Recorder for Log {
    fn record(&mut self, row: &StepRow) -> Result<()> {
        let table = self.table.as_mut().expect("a run begins before it trains");
        table.add(row)?;
        self.last_loss_nats = Some(row.loss_nats);
        self.rows += 1;
        if let Some(task) = &mut self.task {
            let message = format!(
                "epoch {}  loss {:.3} nats  {} tokens/s",
                row.epoch,
                row.loss_nats,
                thousands(row.tokens_per_second as usize)
            );
            task.at(row.step, &message);
        }
        Ok(())
    }
}
