//! `attnlab ask`, `score` and `export`: using a trained model.

use std::path::Path;

use serde_json::json;

use super::{print, print_bytes, print_json, thousands};
use crate::config;
use crate::config::schema::{
    DeviceKind, Placement, Precision, Settings, default_answer_characters,
};
use crate::data::Question;
use crate::data::questions::prompt;
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Kind, Result};
use crate::metrics::table;
use crate::model::weights::{self, WeightsFile};
use crate::model::{Start, Trainable, registry};
use crate::pipeline::directory::RunDirectory;
use crate::progress::{Progress, Verbosity};
use crate::{eval, files};

pub fn ask(run: &Path, question: &str, json: bool) -> Result<()> {
    let trained = Trained::load(run)?;
    let asked = [Question::unanswered(question)];
    trained.check_fits(question)?;
    prompt(&asked[0], &trained.vocabulary).map_err(|e| Error::usage(e.message()))?;
    let (model, vocabulary) = (trained.model.as_ref(), &trained.vocabulary);
    let characters = trained.answer_characters;
    let rows = eval::ask_model(model, vocabulary, &asked, characters, &mut |_| Ok(()))?;
    let row = &rows[0];
    let probability = row.confidence();
    let probability = probability.expect("a model's answer has a probability");
    if json {
        return print_json(&json!({ "answer": row.predicted, "probability": probability }));
    }
    let said = match row.predicted.as_str() {
        "" => "(the answer is empty)",
        said => said,
    };
    print(format!("{said}\nprobability {:.1} %", 100.0 * probability))
}

pub fn score(run: &Path, file: &Path) -> Result<()> {
    let trained = Trained::load(run)?;
    let text = files::read_text(Kind::Data, file)?;
    let model = trained.model.as_ref();
    let rows = eval::score::lines(model, &trained.vocabulary, trained.longest, &text)
        .map_err(|e| e.in_file(file))?;
    print_bytes(&table::to_bytes(&rows, b',')?)
}

pub fn export(run: &Path, file: &Path, replace: bool) -> Result<()> {
    check_free(file, replace)?;
    let found = RunDirectory::find(run)?;
    let from = found.last_weights().or_else(|error| {
        settings_of(&found, "weights to export")?;
        Err(error)
    })?;
    let WeightsFile { weights, notes, .. } = read_weights(&from)?;
    weights::write(file, &weights, &notes)?;
    let parameters: usize = weights.iter().map(|w| w.values.len()).sum();
    let (tensors, parameters) = (weights.len(), thousands(parameters));
    let (file, from) = (file.display(), from.display());
    print(format!(
        "{file}: {tensors} tensors, {parameters} parameters, from {from}"
    ))
}

/// Refuses an existing file, and a missing folder, which may be misspelled.
fn check_free(file: &Path, replace: bool) -> Result<()> {
    let (shown, folder) = (file.display(), files::folder_of(file));
    let refuse = |message: String, help: &str| Err(Error::usage(message).help(help));
    if file.is_dir() {
        return refuse(format!("{shown} is a folder"), "name a file in it");
    }
    if file.symlink_metadata().is_ok() && !replace {
        let help = "name another file, or pass --force to overwrite this one";
        return refuse(format!("{shown} already exists"), help);
    }
    if !folder.is_dir() {
        let message = format!(
            "cannot write {shown}: there is no folder {}",
            folder.display()
        );
        return refuse(message, "create it first");
    }
    Ok(())
}

fn note(text: &str) {
    Progress::new(Verbosity::Normal).note(text);
}

/// Reads weights, and says so if their names were adapted.
fn read_weights(path: &Path) -> Result<WeightsFile> {
    let file = weights::read(path)?;
    file.unwrapped.iter().for_each(|text| note(text));
    Ok(file)
}

/// The settings of a run; `lacks` names what an exploration does not have.
fn settings_of(run: &RunDirectory, lacks: &str) -> Result<Settings> {
    let experiment = config::load_alone(&run.resolved_toml())?;
    let settings = &experiment.points[0].settings;
    settings.needed(run.path().display(), lacks).cloned()
}

/// A run's placement, or the CPU in f32 where this machine cannot have that.
fn here(placement: Placement) -> Placement {
    let Err(error) = registry::check(placement) else {
        return placement;
    };
    note(&format!("computing on the CPU in f32: {}", error.message()));
    Placement {
        device: DeviceKind::Cpu,
        precision: Precision::F32,
    }
}

/// A model with a run's final weights.
struct Trained {
    model: Box<dyn Trainable>,
    vocabulary: Vocabulary,
    /// Context length.
    longest: usize,
    answer_characters: usize,
}

impl Trained {
    fn load(run: &Path) -> Result<Self> {
        let run = RunDirectory::find(run)?;
        let settings = settings_of(&run, "model to ask")?;
        let file = run.last_weights()?;
        if !run.has_results() {
            let file = file.display();
            note(&format!(
                "the run did not end well; its last weights are {file}"
            ));
        }
        let WeightsFile { weights, notes, .. } = read_weights(&file)?;
        let longest = settings.model.longest_document();
        let given = settings.evaluate.as_ref().map(|e| e.answer_characters);
        // Initialised only to be overwritten.
        let start = Start {
            seed: 0,
            deviation: 0.0,
        };
        let placement = here(settings.placement());
        let mut model = registry::instantiate(&settings.model, placement, start)?;
        model.load_weights(&weights).map_err(|e| e.in_file(&file))?;
        let vocabulary = Vocabulary::from_notes(&notes).map_err(|e| e.in_file(&file))?;
        let vocabulary = vocabulary.ok_or_else(|| {
            let run = run.path().display();
            Error::data(format!("the weights of {run} do not record a vocabulary"))
        })?;
        Ok(Self {
            model,
            vocabulary,
            longest,
            answer_characters: given
                .unwrap_or_else(default_answer_characters)
                .min(longest - 1),
        })
    }

    /// Refuses a question that leaves no room for an answer.
    fn check_fits(&self, question: &str) -> Result<()> {
        // The question's mask takes one token; the answer's last token is never read back.
        let (asked, answer, longest) = (
            question.chars().count(),
            self.answer_characters,
            self.longest,
        );
        let room = longest - answer;
        if asked <= room {
            return Ok(());
        }
        let message = format!(
            "the question has {asked} characters; with an answer of up to {answer} that is more than the \
             {longest} that the model reads"
        );
        Err(Error::usage(message).help(format!("use at most {room} characters")))
    }
}
