//! Checks before the first step, so that no run fails hours later on something that could have been known.

use super::stage::Source;
use super::stage::job::{Asked, Inputs, Job};
use super::stage::work::start_from;
use crate::config::Experiment;
use crate::config::schema::{AttentionSpec, DeviceKind, ModelSpec, Settings, Training};
use crate::config::shape::ModelShape;
use crate::data::objectives::Reads;
use crate::data::questions::prompt;
use crate::data::{Corpus, Question, Split};
use crate::error::{Error, Result};
use crate::model::registry;

/// Checks that the weights files that stages start from exist; the error names the first that does not, and its key.
pub(super) fn check_ready(experiment: &Experiment) -> Result<()> {
    let first = experiment.blockers.first();
    first.map_or(Ok(()), |blocker| {
        let error = Error::data(format!("{}: {}", blocker.place, blocker.message));
        Err(blocker.help.iter().fold(error, Error::help))
    })
}

/// The shapes of the models that an experiment uses.
pub fn shapes(experiment: &Experiment) -> impl Iterator<Item = ModelShape> {
    let settings = experiment.trainings().filter(|one| uses_model(one));
    settings.map(|one| one.model.shape())
}

/// Checks that the vocabulary and every text to be read fit the model, and that tokens can be counted.
///
/// # Errors
/// One does not; the message says which, how long it is, and the key to change.
pub(super) fn check(inputs: &Inputs<'_>) -> Result<()> {
    const RAISE: &str = "raise `model.context`";
    let Inputs { settings, corpus } = inputs;
    let model = &settings.model;
    let needed = corpus.vocabulary.size();
    if needed > model.vocabulary {
        return Err(Error::config(format!(
            "`model.vocabulary` = {} is too small: the data has {needed} token ids",
            model.vocabulary
        ))
        .help(format!("set `model.vocabulary = {needed}`")));
    }
    let asked = match &corpus.examples {
        Some(examples) => {
            let made = format!("an example of {:?}", examples.name());
            has_latents(model, &made, examples.longest())?;
            made
        }
        None => "a training question with its answer".to_owned(),
    };
    if let Some(spec) = settings.pretrain.as_ref().filter(|stage| stage.epochs > 0) {
        let task = inputs.pretraining(spec, 0)?;
        let training = spec.training();
        countable("pretrain", &training, task.len(), model)?;
        let what = match spec.objective.0.reads {
            Reads::Documents if spec.corrupts() => "a corrupted document",
            Reads::Documents => "a document",
            Reads::Answers => asked.as_str(),
        };
        fits(model, what, task.longest_sequence(), RAISE)?;
    }
    if let Some(spec) = settings.finetune.as_ref().filter(|stage| stage.epochs > 0) {
        let task = inputs.finetuning(spec, 0)?;
        countable("finetune", spec, task.len(), model)?;
        fits(model, &asked, task.longest_sequence(), RAISE)?;
    }
    for spec in settings.validations() {
        let split = settings.validation_split(spec);
        if settings.validated_by(spec).is_of_answers() {
            has_questions(corpus, split, "a validation asks training questions")?;
            let asked = corpus.questions(split);
            check_answers(settings, corpus, split, asked)?;
            let prompts = asked.iter().map(|one| prompt(one, &corpus.vocabulary));
            check_prompts(settings, prompts)?;
        } else {
            let longest = inputs.held_out(split)?.longest_sequence();
            fits(model, "a validation sequence", longest, RAISE)?;
        }
    }
    if let Some(spec) = settings.evaluate.as_ref().filter(|spec| spec.ask_model) {
        if settings.scores_held_out() {
            let longest = inputs.held_out(spec.split)?.longest_sequence();
            fits(model, "a held-out sequence", longest, RAISE)?;
        }
        if settings.asks_questions() {
            let split = spec.split.name();
            has_questions(
                corpus,
                spec.split,
                &format!("`evaluate.split` is {split:?}"),
            )?;
        }
        check_answers(settings, corpus, spec.split, inputs.asked(spec.split))?;
        check_prompts(settings, Asked::of(spec, inputs)?.prompts(inputs))?;
    }
    Ok(())
}

/// Refuses questions that do not fit the context with the longest answer that the model may give.
fn check_prompts(
    settings: &Settings,
    prompts: impl Iterator<Item = Result<Vec<u32>>>,
) -> Result<()> {
    for prompt in prompts {
        // The last character of an answer is never read.
        let tokens = prompt?.len() + settings.answer_characters() - 1;
        let help = "raise `model.context`, or lower `evaluate.answer_characters`";
        fits(
            &settings.model,
            "a question with its longest answer",
            tokens,
            help,
        )?;
    }
    Ok(())
}

/// Refuses to ask the questions of a split that has none.
fn has_questions(corpus: &Corpus, split: Split, why: &str) -> Result<()> {
    if !corpus.questions(split).is_empty() {
        return Ok(());
    }
    let help = match split {
        Split::Validate => {
            "set `evaluate.kept_out_questions`, or give the data more training questions"
        }
        _ => "choose a split that has some, or add them to the data",
    };
    let message = match split {
        Split::Validate => format!("{why}, but no training questions are kept out"),
        _ => format!("{why}, but the data has no {} questions", split.name()),
    };
    Err(Error::config(message).help(help))
}

/// Refuses answers that are longer than any that the model may give, and so could never be right.
fn check_answers(
    settings: &Settings,
    corpus: &Corpus,
    split: Split,
    asked: &[Question],
) -> Result<()> {
    let most = settings.answer_characters();
    let vocabulary = &corpus.vocabulary;
    let mut longest = (0, "");
    for answer in asked
        .iter()
        .filter_map(|question| question.answer.as_deref())
    {
        longest = longest.max((vocabulary.encode(answer)?.len(), answer));
    }
    let (tokens, answer) = longest;
    if tokens <= most {
        return Ok(());
    }
    let split = split.name();
    let message = format!(
        "the longest {split} answer, '{answer}', has {tokens} tokens, but `evaluate.answer_characters` is {most}"
    );
    Err(Error::config(message).help(format!(
        "set `evaluate.answer_characters` to {tokens} or more"
    )))
}

fn fits(model: &ModelSpec, what: &str, tokens: usize, help: &str) -> Result<()> {
    let longest = model.longest_document();
    if tokens <= longest {
        return Ok(());
    }
    let context = model.context;
    let shortest = |spec: &AttentionSpec| (spec.kind.0.longest)(context) == longest;
    let read = match model.attentions().find(shortest) {
        Some(spec) if longest < context => {
            format!(", of which {} reads {longest}", spec.kind.0.name)
        }
        _ => String::new(),
    };
    let message = format!("{what} has {tokens} tokens, `model.context` is {context}{read}");
    Err(Error::config(message).help(help))
}

/// Refuses examples that are longer than a bottleneck, whose latents read the first tokens alone: what is asked later could
/// not be answered.
fn has_latents(model: &ModelSpec, what: &str, tokens: usize) -> Result<()> {
    let latents = model.attentions().filter_map(|spec| spec.bottleneck).min();
    // A context that is too short as well is refused by name later.
    let is_within = tokens <= model.context;
    match latents.filter(|&latents| latents < tokens && is_within) {
        None => Ok(()),
        Some(latents) => Err(Error::config(format!(
            "{what} has {tokens} tokens, but `model.attention.bottleneck` = {latents} reads only the first {latents}"
        ))
        .help(format!("set `model.attention.bottleneck` to {tokens} or more"))),
    }
}

fn countable(stage: &str, spec: &Training, documents: usize, model: &ModelSpec) -> Result<()> {
    let (epochs, documents) = (spec.epochs, spec.epoch_documents(documents));
    let most = Training::most_epochs(documents, model.context);
    if epochs as u64 <= most {
        return Ok(());
    }
    Err(Error::config(format!(
        "`{stage}.epochs` = {epochs} passes over {documents} documents are more tokens than can be \
         counted exactly"
    ))
    .help(format!("set `{stage}.epochs` to at most {most}")))
}

/// Checks that the weights file that a stage starts from, if any, fits its model and its corpus' vocabulary;
/// see [`start_from`] for the note. The initial weights do not matter, since those of the file replace them.
pub(super) fn check_start(job: &Job<'_>, source: &Source) -> Result<Option<String>> {
    let (Source::File(path, blake3), Some(inputs)) = (source, job.inputs()) else {
        return Ok(None);
    };
    let mut model = inputs.model(0)?;
    start_from(model.as_mut(), path, Some(blake3), &inputs.corpus)
}

/// A note on which device `auto` selects here, if the experiment uses `auto`.
pub fn auto_device_note(experiment: &Experiment) -> Option<String> {
    let points = experiment.points.iter();
    let mut settings = points.filter_map(|point| point.settings.training());
    let is_auto = settings.any(|one| one.device == DeviceKind::Auto && uses_model(one));
    is_auto.then(registry::describe_auto_device)
}

/// Whether any stage trains or asks a model; the constant answer needs none.
pub fn uses_model(settings: &Settings) -> bool {
    let asks = settings.evaluate.as_ref().is_some_and(|e| e.ask_model);
    settings.trains() || asks || settings.init_files().next().is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config;

    /// 9 × 10^18 epochs would be 18 × 10^20 tokens, which once wrapped around to a plausible number.
    #[test]
    fn too_many_epochs_to_count_tokens_are_refused_with_the_maximum() {
        let file = crate::sources().join("experiments/quickstart.toml");
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
        let corpus = Arc::new(few.data.open(None).expect("synthetic data"));
        let check = |settings: &Settings| {
            let corpus = corpus.clone();
            check(&Inputs { settings, corpus })
        };
        assert!(check(&few).is_ok());
        let error = check(&with(1 << 45)).expect_err("too many").to_string();
        let start = "error: `pretrain.epochs` = 35184372088832 passes over ";
        assert!(error.starts_with(start), "{error}");
        let most = error.rsplit(' ').next().and_then(|most| most.parse().ok());
        let most = with(most.expect("how many are allowed"));
        assert!(check(&most).is_ok());
        let training = most.pretrain.as_ref().expect("it pretrains").training();
        assert!(training.steps(corpus.documents.len()) > 1 << 40);
    }
}
