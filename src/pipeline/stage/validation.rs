//! Validation during training: scores on what is kept out of it, best weights and early stopping.

use crate::config::schema::{KeptWeights, ValidateSpec};
use crate::data::{Question, Task};
use crate::error::{Error, Kind, Result};
use crate::eval;
use crate::eval::measures::{Better, Evaluated, Measure};
use crate::kinds::Listed as _;
use crate::metrics::artefacts::VALIDATION;
use crate::metrics::rows::{StepRow, ValidationRow};
use crate::metrics::statistics::Interval;
use crate::metrics::table::{self, Appender};
use crate::model::Trainable;
use crate::pipeline::stage::job::Inputs;
use crate::pipeline::stage::store::{StageFolder, prefix};
use crate::train::CompletedStep;
use crate::train::checkpoint::Prefix;

/// The validations of a training stage. All that decides anything is in their rows, so that a resumed stage goes on as if it
/// had never stopped.
pub struct Validation<'a> {
    folder: &'a StageFolder,
    spec: &'a ValidateSpec,
    pub measure: &'static Measure,
    inputs: &'a Inputs<'a>,
    scored: Scored<'a>,
    file: Appender,
    /// In order.
    pub rows: Vec<ValidationRow>,
}

/// What a validation scores.
enum Scored<'a> {
    HeldOut(Box<dyn Task>),
    Questions(&'a [Question]),
}

impl<'a> Validation<'a> {
    /// The validations of a new stage, or of one resumed with these bytes of its table.
    ///
    /// # Errors
    /// Nothing is held out, or the table cannot be written.
    pub fn open(
        folder: &'a StageFolder,
        spec: &'a ValidateSpec,
        inputs: &'a Inputs<'a>,
        from: Option<&Prefix>,
    ) -> Result<Self> {
        let path = folder.file(&VALIDATION);
        let file = match from {
            None => Appender::create::<ValidationRow>(&path)?,
            Some(from) => Appender::resume(&path, from.bytes)?,
        };
        let (settings, items) = (inputs.settings, spec.items.unwrap_or(usize::MAX));
        let (split, measure) = (settings.validation_split(spec), settings.validated_by(spec));
        let scored = if measure.is_of_answers() {
            let all = inputs.corpus.questions(split);
            Scored::Questions(&all[..items.min(all.len())])
        } else {
            Scored::HeldOut(inputs.held_out(split)?)
        };
        Ok(Self {
            folder,
            spec,
            measure,
            inputs,
            scored,
            file,
            rows: table::read(&path)?,
        })
    }

    /// Whether the model is validated after a step; it is after the last one in any case.
    pub fn is_due(&self, completed: &CompletedStep<'_>, is_last: bool) -> bool {
        let by_steps = self
            .spec
            .every_steps
            .is_some_and(|every| completed.row.step.is_multiple_of(every));
        let by_epochs = completed.ends_epoch
            && self
                .spec
                .epochs_between()
                .is_some_and(|every| completed.row.epoch.is_multiple_of(every));
        is_last || by_steps || by_epochs
    }

    /// Validates the model after a step, and writes the row. `heard` is called between batches; its error ends it.
    ///
    /// # Errors
    /// The model's output is not finite, or the table cannot be written.
    pub fn run(
        &mut self,
        model: &dyn Trainable,
        step: &StepRow,
        heard: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let vocabulary = &self.inputs.corpus.vocabulary;
        let mut heard = |_| heard();
        let mut evaluated = Evaluated::default();
        match &self.scored {
            Scored::HeldOut(task) => {
                let some = (task.as_ref(), self.spec.items.unwrap_or(usize::MAX));
                evaluated.held_out = eval::held_out::rows(model, some, vocabulary, &mut heard)?;
            }
            Scored::Questions(asked) => {
                let longest = self.inputs.settings.answer_characters();
                let answers = eval::ask_model(model, vocabulary, asked, longest, &mut heard)?;
                evaluated.answers = answers;
            }
        }
        let scored = self.measure.score(&evaluated, 0);
        let scored = scored.ok_or_else(|| {
            let name = self.measure.name();
            Error::run(format!("nothing that is validated has a value of {name:?}"))
                .help("hold out more, or choose another `measure` in `validate`")
        })?;
        let (low_95, high_95, interval) = Interval::columns(scored.estimate.interval);
        let row = ValidationRow {
            stage: step.stage.clone(),
            epoch: step.epoch,
            step: step.step,
            measure: self.measure.name().to_owned(),
            value: scored.estimate.value,
            low_95,
            high_95,
            interval,
            count: scored.count,
        };
        self.file.add(&row)?;
        self.rows.push(row);
        Ok(())
    }

    /// What a validation costs: the lower, the better.
    pub fn cost(&self, row: &ValidationRow) -> f64 {
        self.measure.better.cost(row.value)
    }

    /// The best validation so far, the first of equals.
    pub fn best(&self) -> Option<&ValidationRow> {
        let rows = self.rows.iter();
        rows.min_by(|a, b| self.cost(a).total_cmp(&self.cost(b)))
    }

    /// Why training ends after the last validation; `None` if it goes on.
    pub fn verdict(&self) -> Option<&'static str> {
        let (last, best) = (self.rows.last()?, self.best()?);
        let is_reached = |at: f64| match self.measure.better {
            Better::Lower => last.value <= at,
            Better::Higher => last.value >= at,
        };
        if self.spec.stop_at.is_some_and(is_reached) {
            return Some("stop_at");
        }
        let since_best = self
            .rows
            .iter()
            .rev()
            .take_while(|row| row.step != best.step)
            .count();
        let is_over = self
            .spec
            .patience
            .is_some_and(|patience| since_best >= patience);
        is_over.then_some("patience")
    }

    /// Whether later stages start from the weights of the best validation.
    pub fn keeps_best(&self) -> bool {
        self.spec.keep == KeptWeights::Best
    }

    /// Syncs the rows to disk, and returns what a checkpoint has to know of them.
    ///
    /// # Errors
    /// The table cannot be written.
    pub fn sync(&mut self) -> Result<Prefix> {
        self.file.sync()?;
        let path = self.folder.file(&VALIDATION);
        prefix(&path, None).map_err(|cause| Error::io(Kind::Run, "read", &path, cause))
    }
}
