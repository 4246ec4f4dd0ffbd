//! What can be known before the first step, so that no run of hours ends on it.

use std::path::Path;

use super::stage::work::start_from;
use crate::config::Experiment;
use crate::config::schema::{DeviceKind, Settings};
use crate::data::corruption::SpanCorruption;
use crate::data::questions::{self, BirthPlaces};
use crate::data::{Corpus, invented, mapped};
use crate::error::{Error, Result};
use crate::model::{Start, registry};

/// Whether vocabulary and every text that will be read fit the model.
///
/// # Errors
/// One does not: which, how long it is, and the key to change.
pub(super) fn check(settings: &Settings, corpus: &Corpus) -> Result<()> {
    let model = &settings.model;
    let needed = corpus.vocabulary.size();
    if needed > model.vocabulary {
        return Err(Error::config(format!(
            "`model.vocabulary` = {} is too small: the data has {needed} token ids",
            model.vocabulary
        ))
        .help(format!("set `model.vocabulary = {needed}`")));
    }
    let fits = |what: &str, tokens: usize, help: &str| {
        let longest = model.shape().longest_document();
        if tokens <= longest {
            return Ok(());
        }
        let (context, kind) = (model.context, model.attention.kind.0.name);
        let read = match longest < context {
            true => format!(", of which {kind} reads {longest}"),
            false => String::new(),
        };
        Err(Error::config(format!(
            "{what} has {tokens} tokens, `model.context` is {context}{read}"
        ))
        .help(help))
    };
    const RAISE: &str = "raise `model.context`";
    if let Some(spec) = settings.pretrain.as_ref().filter(|stage| stage.epochs > 0) {
        let longest = spec.longest_excerpt(model.context);
        let task = SpanCorruption::new(corpus, longest, spec.terminated, 0)?;
        fits("a corrupted document", task.longest_sequence(), RAISE)?;
    }
    if settings
        .finetune
        .as_ref()
        .is_some_and(|stage| stage.epochs > 0)
    {
        let task = BirthPlaces::new(&corpus.train, &corpus.vocabulary)?;
        fits(
            "a training question with its answer",
            task.longest_sequence(),
            RAISE,
        )?;
    }
    if let Some(spec) = settings
        .evaluate
        .as_ref()
        .filter(|evaluate| evaluate.ask_model)
    {
        let nobody = invented::of_settings(settings, corpus)?;
        let mapped = mapped::of_settings(settings, corpus)?;
        let split = corpus.questions(spec.split).iter();
        for question in split.chain(&nobody).chain(&mapped) {
            let prompt = questions::prompt(question, &corpus.vocabulary)?;
            // The last character of an answer is never read.
            fits(
                "a question with its longest answer",
                prompt.len() + spec.answer_characters - 1,
                "raise `model.context`, or lower `evaluate.answer_characters`",
            )?;
        }
    }
    Ok(())
}

/// Whether a file of weights is of the model of `settings` and of the corpus' characters; see
/// [`start_from`] for the note.
///
/// # Errors
/// It is not, or cannot be read.
pub(super) fn check_weights(
    settings: &Settings,
    (file, blake3): (&Path, &str),
    corpus: &Corpus,
) -> Result<Option<String>> {
    // Drawn only to be replaced.
    let start = Start {
        seed: 0,
        deviation: 0.0,
    };
    let mut model = registry::instantiate(&settings.model.shape(), settings.placement(), start)?;
    start_from(model.as_mut(), file, Some(blake3), corpus)
}

/// What `auto` comes to here, of an experiment that leaves it to the machine, as a note for people.
pub fn what_auto_is(experiment: &Experiment) -> Option<String> {
    let points = experiment.points.iter();
    let mut settings = points.filter_map(|point| point.settings.training());
    let is_auto = settings.any(|one| one.device == DeviceKind::Auto && uses_model(one));
    is_auto.then(registry::what_auto_is)
}

/// Whether any stage trains or asks a model; the constant answer needs none.
pub(super) fn uses_model(settings: &Settings) -> bool {
    let pretrains = settings.pretrain.as_ref().is_some_and(|p| p.epochs > 0);
    let finetunes = settings.finetune.as_ref().is_some_and(|f| f.epochs > 0);
    let asks = settings.evaluate.as_ref().is_some_and(|e| e.ask_model);
    pretrains || finetunes || asks || settings.init_files().next().is_some()
}
