//! `attnlab data`: fetching and inspecting a corpus.

use super::{count, print, thousands};
use crate::cli::{DataArgs, ExperimentArgs};
use crate::config;
use crate::config::schema::Settings;
use crate::data::directory::data_directory;
use crate::data::fetch::fetch_cs224n;
use crate::data::objectives::{Answering, Objective};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Split, Task};
use crate::error::Result;
use crate::kinds::{Listed as _, Named};
use crate::plot;
use crate::progress::{Progress, Verbosity};

pub fn fetch(from: &str, args: &DataArgs) -> Result<()> {
    let into = data_directory(args.directory.as_deref())?;
    let place = fetch_cs224n(from, &into, &Progress::new(Verbosity::Normal))?;
    print(format!("cs224n: {}", place.display()))
}

pub fn show(args: &ExperimentArgs, data: &DataArgs, examples: usize) -> Result<()> {
    let experiment = config::load(&args.file, &args.overrides())?;
    let point = &experiment.points[0];
    let settings = point.settings.needed(args.file.display(), "data to show")?;
    let corpus = settings.open(data.directory.as_deref())?;
    for line in described(&corpus) {
        print(line)?;
    }
    for note in &corpus.notes {
        print(format!("note: {note}"))?;
    }
    let seed = experiment.seeds[0];
    let mut corrupted = vec![];
    for (objective, task) in objectives(&corpus, settings, seed)? {
        let name = objective.replace('-', " ");
        print(format!(
            "\n{name}, as training shows it (x: input, y: targets):"
        ))?;
        print_examples(task.as_ref(), &corpus.vocabulary, examples)?;
        for index in 0..examples.min(task.len()) {
            corrupted.extend(task.example(1, index)?);
        }
    }
    if !corpus.train.is_empty() {
        print("\nanswers, as in finetuning (only the answer is scored):")?;
        let answering = Answering::new(&corpus.train, &corpus.vocabulary)?;
        print_examples(&answering, &corpus.vocabulary, examples)?;
    }
    if corrupted.is_empty() {
        return Ok(());
    }
    let origin = format!("{}, seed {seed}.", experiment.name);
    let figure = plot::of_examples(corrupted, origin)?;
    let folder = args.results.join(&experiment.name).join("data");
    let written = figure.write(&folder, "corruption_examples")?;
    print("")?;
    let mut written = written.iter();
    written.try_for_each(|path| print(format!("wrote {}", path.display())))
}

/// What there is to read, in numbers.
fn described(corpus: &Corpus) -> Vec<String> {
    if let Some(examples) = &corpus.examples {
        let [train, dev, test] =
            [Split::Train, Split::Dev, Split::Test].map(|split| thousands(examples.len(split)));
        return vec![format!(
            "{}: {train} training examples, {dev} dev, {test} test, of up to {} tokens and {} symbols",
            examples.name(),
            examples.longest(),
            thousands(corpus.vocabulary.size())
        )];
    }
    let characters = thousands(corpus.characters as usize);
    let size = thousands(corpus.vocabulary.size());
    let unit = match &corpus.vocabulary {
        Vocabulary::Characters(_) => format!("{size} unique with padding and mask"),
        _ => format!("{size} token ids with padding and mask"),
    };
    let documents = count(corpus.documents.len(), "document");
    let mut lines = vec![format!(
        "data has {characters} characters in {documents}, {unit}"
    )];
    let [dev, test] = corpus.held_out.each_ref().map(|documents| documents.len());
    if dev + test > 0 {
        let (dev, test) = (thousands(dev), thousands(test));
        lines.push(format!(
            "held out, and not counted above: {dev} dev, {test} test"
        ));
    }
    let [train, kept_out, dev, test] = [&corpus.train, &corpus.validate, &corpus.dev, &corpus.test]
        .map(|questions| thousands(questions.len()));
    let kept_out = match corpus.validate.is_empty() {
        true => String::new(),
        false => format!(", {kept_out} validate (kept out of train)"),
    };
    let is_answered = corpus.test.iter().all(|question| question.answer.is_some());
    let answers = if is_answered {
        ""
    } else {
        " (without answers)"
    };
    let splits = [&corpus.train, &corpus.dev, &corpus.test];
    if splits.iter().any(|questions| !questions.is_empty()) {
        lines.push(format!(
            "questions: {train} train{kept_out}, {dev} dev, {test} test{answers}"
        ));
    }
    lines
}

/// Prints the first sequences of a task as they appear in the first epoch.
fn print_examples(task: &dyn Task, vocabulary: &Vocabulary, examples: usize) -> Result<()> {
    for index in 0..examples.min(task.len()) {
        let sequence = task.sequence(1, index)?;
        print(format!("x: {}", vocabulary.decode(&sequence.tokens)))?;
        print(format!("y: {}", vocabulary.decode(&sequence.targets)))?;
    }
    Ok(())
}

/// The objectives of both stages with their tasks; without pretraining, span corruption of the documents, if there are any.
fn objectives(
    corpus: &Corpus,
    settings: &Settings,
    seed: u64,
) -> Result<Vec<(&'static str, Box<dyn Task>)>> {
    let mut all = match &settings.pretrain {
        Some(spec) => {
            let mixed = spec.mix.iter().map(|one| one.objective);
            [spec.objective].into_iter().chain(mixed).collect()
        }
        None if corpus.documents.is_empty() => vec![],
        None => vec![Named(&Objective::all()[0])],
    };
    let finetuned = settings.finetune.iter().flat_map(|spec| &spec.mix);
    for one in finetuned.map(|one| one.objective) {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    let shown = settings.objective_settings(Split::Train, seed);
    let task = |one: Named<Objective>| Ok((one.0.name(), one.0.task(corpus, shown)?));
    all.into_iter().map(task).collect()
}
