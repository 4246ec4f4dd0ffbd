//! `attnlab data`: fetching and inspecting a corpus.

use super::{count, print, thousands};
use crate::cli::{DataArgs, ExperimentArgs};
use crate::config;
use crate::config::schema::{Settings, default_excerpt};
use crate::data::fetch::{FetchProgress, fetch_cs224n};
use crate::data::objectives::{Answering, ObjectiveSettings, SpanCorruption};
use crate::data::vocabulary::MASK_CHARACTER;
use crate::data::{Corpus, Task, cs224n};
use crate::error::Result;
use crate::metrics::rows::CorruptionRow;
use crate::plot::{CorruptionExamples, Plot as _};
use crate::progress::{Progress, Task as Bar, Verbosity};

/// `attnlab data fetch`.
pub fn fetch(from: &str, args: &DataArgs) -> Result<()> {
    let into = cs224n::destination(args.directory.as_deref())?;
    let progress = Progress::new(Verbosity::Normal);
    let mut current: Option<(&str, Bar)> = None;
    let place = fetch_cs224n(from, &into, &mut |news| match news {
        FetchProgress::AlreadyThere => progress.say("it is already there and verified"),
        FetchProgress::Repaired { file, came_with } => progress.say(&format!(
            "note: {file} came with {came_with}; the original text is stored"
        )),
        FetchProgress::Receiving { file, bytes, total } => {
            if current.as_ref().is_none_or(|(name, _)| *name != file) {
                if total.is_none() {
                    progress.say(&format!("receiving {file}"));
                }
                current = Some((file, progress.begin(file, total.unwrap_or(0) as usize)));
            }
            if let Some((_, bar)) = &mut current {
                bar.at(bytes as usize, "bytes");
            }
        }
    })?;
    print(format!("cs224n: {}", place.display()))
}

/// `attnlab data show`.
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
    let rows = corruption_rows(&corpus, settings, experiment.seeds[0], examples)?;
    print("\nspan corruption, as in pretraining (x: input, y: targets):")?;
    for row in &rows {
        print_pair(&row.sequence)?;
    }
    print("\nbirth places, as in finetuning (only the answer is scored):")?;
    let task = Answering::new(&corpus.train, &corpus.vocabulary)?;
    for index in 0..examples.min(task.len()) {
        let sequence = task.sequence(1, index);
        print(format!("x: {}", corpus.vocabulary.decode(&sequence.tokens)))?;
        print(format!(
            "y: {}",
            corpus.vocabulary.decode(&sequence.targets)
        ))?;
    }
    let figure = CorruptionExamples {
        title: CorruptionExamples::TITLE.to_owned(),
        caption: format!("{}, seed {}.", experiment.name, experiment.seeds[0]),
        rows,
    };
    let figure = figure.draw()?;
    let folder = args.results.join(&experiment.name).join("data");
    let written = figure.write(&folder, "corruption_examples")?;
    print("")?;
    written
        .iter()
        .try_for_each(|path| print(format!("wrote {}", path.display())))
}

/// Prints a sequence as inputs and targets, shifted by one character.
fn print_pair(sequence: &str) -> Result<()> {
    debug_assert!(sequence.contains(MASK_CHARACTER));
    let last = sequence.char_indices().next_back().map_or(0, |(at, _)| at);
    let first = sequence.chars().next().map_or(0, char::len_utf8);
    print(format!("x: {}", &sequence[..last]))?;
    print(format!("y: {}", &sequence[first..]))
}

fn corruption_rows(
    corpus: &Corpus,
    settings: &Settings,
    seed: u64,
    examples: usize,
) -> Result<Vec<CorruptionRow>> {
    let context = settings.model.context;
    let task = match &settings.pretrain {
        Some(spec) => spec.task(corpus, context, seed)?,
        None => {
            let settings = ObjectiveSettings {
                longest_excerpt: default_excerpt(context),
                terminated: true,
                seed,
            };
            Box::new(SpanCorruption::new(corpus, &settings)?)
        }
    };
    let rows = (0..examples.min(task.len())).filter_map(|index| task.example(1, index));
    Ok(rows.collect())
}
