//! `attnlab data`: fetching and inspecting a corpus.

use super::{count, print, thousands};
use crate::cli::{DataArgs, ExperimentArgs};
use crate::config;
use crate::config::schema::{Settings, default_excerpt};
use crate::data::fetch::fetch_cs224n;
use crate::data::objectives::{Answering, ObjectiveSettings, SpanCorruption};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Task, cs224n};
use crate::error::Result;
use crate::plot;
use crate::progress::{Progress, Verbosity};

pub fn fetch(from: &str, args: &DataArgs) -> Result<()> {
    let into = cs224n::destination(args.directory.as_deref())?;
    let place = fetch_cs224n(from, &into, &Progress::new(Verbosity::Normal))?;
    print(format!("cs224n: {}", place.display()))
}

pub fn show(args: &ExperimentArgs, data: &DataArgs, examples: usize) -> Result<()> {
    let experiment = config::load(&args.file, &args.overrides())?;
    let point = &experiment.points[0];
    let settings = point.settings.needed(args.file.display(), "data to show")?;
    let corpus = settings.data.open(data.directory.as_deref())?;
    print(format!(
        "data has {} characters in {}, {} unique with padding and mask",
        thousands(corpus.characters),
        count(corpus.documents.len(), "document"),
        corpus.vocabulary.size()
    ))?;
    print(format!(
        "questions: {} train, {} dev, {} test (without answers)",
        thousands(corpus.train.len()),
        thousands(corpus.dev.len()),
        thousands(corpus.test.len())
    ))?;
    let seed = experiment.seeds[0];
    let corruption = corruption(&corpus, settings, seed)?;
    print("\nspan corruption, as in pretraining (x: input, y: targets):")?;
    print_examples(corruption.as_ref(), &corpus.vocabulary, examples)?;
    print("\nbirth places, as in finetuning (only the answer is scored):")?;
    let answering = Answering::new(&corpus.train, &corpus.vocabulary)?;
    print_examples(&answering, &corpus.vocabulary, examples)?;
    let shown = 0..examples.min(corruption.len());
    let rows = shown.filter_map(|index| corruption.example(1, index));
    let origin = format!("{}, seed {seed}.", experiment.name);
    let figure = plot::of_examples(rows.collect(), origin)?;
    let folder = args.results.join(&experiment.name).join("data");
    let written = figure.write(&folder, "corruption_examples")?;
    print("")?;
    let mut written = written.iter();
    written.try_for_each(|path| print(format!("wrote {}", path.display())))
}

/// Prints the first sequences of a task as they appear in the first epoch.
fn print_examples(task: &dyn Task, vocabulary: &Vocabulary, examples: usize) -> Result<()> {
    for index in 0..examples.min(task.len()) {
        let sequence = task.sequence(1, index);
        print(format!("x: {}", vocabulary.decode(&sequence.tokens)))?;
        print(format!("y: {}", vocabulary.decode(&sequence.targets)))?;
    }
    Ok(())
}

/// The pretraining task, or the default one if the experiment does not pretrain.
fn corruption(corpus: &Corpus, settings: &Settings, seed: u64) -> Result<Box<dyn Task>> {
    let context = settings.model.context;
    if let Some(spec) = &settings.pretrain {
        return spec.task(corpus, context, seed);
    }
    let settings = ObjectiveSettings {
        longest_excerpt: default_excerpt(context),
        terminated: true,
        seed,
    };
    Ok(Box::new(SpanCorruption::new(corpus, settings)?))
}
