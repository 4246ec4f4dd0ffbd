//! Checks before the first step, so that no run fails hours later on something that could have been known.

use super::stage::Source;
use super::stage::job::{Inputs, Job};
use super::stage::work::start_from;
use crate::config::schema::{DeviceKind, Settings, Training};
use crate::config::{self, Experiment};
use crate::data::objectives::Answering;
use crate::data::questions;
use crate::data::{Corpus, Task as _};
use crate::error::{Error, Problem, Result};
use crate::model::registry::Compiled;
use crate::model::{Start, registry};
use crate::pipeline::asked;

/// Checks that the weights files that stages start from exist.
///
/// # Errors
/// One does not; the message names it and its key.
pub(super) fn check_ready(experiment: &Experiment) -> Result<()> {
    let Some(Problem {
        place,
        message,
        help,
    }) = experiment.blockers.first()
    else {
        return Ok(());
    };
    let error = Error::data(format!("{place}: {message}"));
    Err(match help {
        Some(help) => error.help(help),
        None => error,
    })
}

/// The compiled shape of a point of an experiment.
///
/// # Errors
/// This binary cannot run it; the help line says what to do.
pub fn compiled(experiment: &Experiment, settings: &Settings) -> Result<&'static Compiled> {
    let shape = settings.model.shape();
    registry::find(&shape, settings.device).map_err(|error| match registry::has(&shape) {
        true => error,
        false => error.help(config::how_to_compile(&experiment.path, &shape)),
    })
}

/// Checks that the vocabulary and every text to be read fit the model.
///
/// # Errors
/// One does not; the message says which, how long it is, and the key to change.
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
    let countable = |stage: &str, epochs: usize, documents: usize| {
        let most = Training::most_epochs(documents, model.context);
        if epochs as u64 <= most {
            return Ok(());
        }
        Err(Error::config(format!(
            "`{stage}.epochs` = {epochs} passes over {documents} documents are more tokens than can be \
             counted exactly"
        ))
        .help(format!("set `{stage}.epochs` to at most {most}")))
    };
    if let Some(spec) = &settings.pretrain {
        countable("pretrain", spec.epochs, corpus.documents.len())?;
    }
    if let Some(spec) = &settings.finetune {
        countable("finetune", spec.epochs, corpus.train.len())?;
    }
    const RAISE: &str = "raise `model.context`";
    if let Some(spec) = settings.pretrain.as_ref().filter(|stage| stage.epochs > 0) {
        let task = spec.task(corpus, model.context, 0)?;
        fits("a corrupted document", task.longest_sequence(), RAISE)?;
    }
    if settings
        .finetune
        .as_ref()
        .is_some_and(|stage| stage.epochs > 0)
    {
        let task = Answering::new(&corpus.train, &corpus.vocabulary)?;
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
        let nobody = asked::invented(spec, settings, corpus)?;
        let mapped = asked::mapped(spec, corpus)?;
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

/// Checks that the weights file that a stage starts from, if any, fits its model and its corpus' vocabulary;
/// see [`start_from`] for the note.
///
/// # Errors
/// It does not fit, or cannot be read.
pub(super) fn check_start(job: &Job<'_>, source: &Source) -> Result<Option<String>> {
    let Source::File { path, blake3 } = source else {
        return Ok(None);
    };
    let Some(Inputs { settings, corpus }) = job.inputs() else {
        return Ok(None);
    };
    // The initial weights are replaced by those of the file.
    let start = Start {
        seed: 0,
        deviation: 0.0,
    };
    let mut model = registry::instantiate(&settings.model.shape(), settings.placement(), start)?;
    start_from(model.as_mut(), path, Some(blake3), corpus)
}

/// A note on which device `auto` selects here, if the experiment uses `auto`.
pub fn auto_device_note(experiment: &Experiment) -> Option<String> {
    let points = experiment.points.iter();
    let mut settings = points.filter_map(|point| point.settings.training());
    let is_auto = settings.any(|one| one.device == DeviceKind::Auto && uses_model(one));
    is_auto.then(registry::describe_auto_device)
}

/// Whether any stage trains or asks a model; the constant answer needs none.
pub(super) fn uses_model(settings: &Settings) -> bool {
    let asks = settings.evaluate.as_ref().is_some_and(|e| e.ask_model);
    settings.trains() || asks || settings.init_files().next().is_some()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// 9 × 10^18 epochs would be 18 × 10^20 tokens, which once wrapped around to a plausible number.
    #[test]
    fn too_many_epochs_to_count_tokens_are_refused_with_the_maximum() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/quickstart.toml");
        let with = |epochs: u64| {
            let set = [
                format!("sweep.pretrain.epochs=[{epochs}]"),
                "labels=[]".to_owned(),
            ];
            let experiment = config::load(&file, &set).expect("a valid experiment");
            experiment.points[0]
                .settings
                .training()
                .expect("it trains")
                .clone()
        };
        let few = with(1);
        let corpus = few.data.open(None).expect("synthetic data");
        assert!(check(&few, &corpus).is_ok());
        let error = check(&with(1 << 45), &corpus)
            .expect_err("too many")
            .to_string();
        let start = "error: `pretrain.epochs` = 35184372088832 passes over ";
        assert!(error.starts_with(start), "{error}");
        let most = error.rsplit(' ').next().and_then(|most| most.parse().ok());
        let most = with(most.expect("how many are allowed"));
        assert!(check(&most, &corpus).is_ok());
        let training = most.pretrain.as_ref().expect("it pretrains").training();
        assert!(training.steps(corpus.documents.len()) > 1 << 40);
    }
}
