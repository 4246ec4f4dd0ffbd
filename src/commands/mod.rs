//! What each command does: calls the library and says what came of it.

mod accuracies;
pub(crate) mod clean;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod list;
pub(crate) mod plan;
pub(crate) mod schema;
pub(crate) mod show;

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::{ExperimentArgs, Run};
use crate::config::schema::default_answer_characters;
use crate::config::{self, Point};
use crate::data::Question;
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Kind, Result};
use crate::metrics::rows::AccuracyRow;
use crate::metrics::table;
use crate::model::{Start, Trainable, registry, weights};
use crate::pipeline::directory::{RunDirectory, State, Status};
use crate::pipeline::{self, Options, Report};
use crate::progress::{Progress, Verbosity, thousands};
use crate::stop::Stop;
use crate::{eval, files};

/// `attnlab run`.
pub(crate) fn run(args: &Run) -> Result<()> {
    if args.dry_run {
        return plan::plan(args);
    }
    let experiment = config::load(&args.experiment.file, &args.experiment.set)?;
    let options = options(args);
    let progress = Arc::new(Progress::new(args.verbosity()));
    let speaks = progress.clone();
    let stop = Stop::on_signals(move || {
        speaks.say("stopping after this step; Ctrl-C again quits at once");
    })?;
    let report = pipeline::run(&experiment, &options, &progress, &stop)?;
    show_report(&report, args.json)?;
    report.failed.map_or(Ok(()), Err)
}

fn options(args: &Run) -> Options {
    Options {
        results: args.experiment.results.clone(),
        data: args.data.directory.clone(),
        again: args.again,
        keep_going: args.keep_going,
        jobs: args.jobs,
    }
}

/// `attnlab plot`.
pub(crate) fn plot(args: &ExperimentArgs, json: bool) -> Result<()> {
    let experiment = config::load(&args.file, &args.set)?;
    let report = pipeline::finish(&experiment, &args.results)?;
    show_report(&report, json)
}

/// `attnlab check`.
pub(crate) fn check(paths: &[PathBuf]) -> Result<()> {
    for checked in config::check(paths)? {
        let says = match &checked.experiment {
            None => "a base for others".to_owned(),
            Some(experiment) => {
                let (points, seeds) = (experiment.points.len(), experiment.seeds.len());
                let note = if experiment.points.iter().all(is_compiled) {
                    ""
                } else {
                    "  (not in this binary: the next `cargo run` compiles its shape)"
                };
                format!(
                    "{} × {}{note}",
                    count(points, "point"),
                    count(seeds, "seed")
                )
            }
        };
        print(format!("{}: {says}", checked.path.display()))?;
    }
    Ok(())
}

/// `attnlab shapes`.
pub(crate) fn shapes(json: bool) -> Result<()> {
    let compiled = registry::compiled();
    if json {
        return print_json(&compiled.iter().map(shape_row).collect::<Vec<_>>());
    }
    let Some(first) = compiled.first() else {
        return print(
            "no shape is compiled in: put an experiment under experiments/ and build again",
        );
    };
    let header: String = first
        .shape
        .counts()
        .iter()
        .map(|(name, _)| format!("{name:>10}  "))
        .collect();
    print(format!("{header}{:>12}  attention", "parameters"))?;
    for one in compiled {
        let row: String = one
            .shape
            .counts()
            .iter()
            .map(|(_, n)| format!("{n:>10}  "))
            .collect();
        let parameters = thousands(one.parameter_count());
        print(format!("{row}{parameters:>12}  {}", one.shape.attention))?;
    }
    Ok(())
}

/// A shape as JSON.
fn shape_row(one: &registry::Compiled) -> serde_json::Value {
    let counts = one.shape.counts().into_iter();
    let mut row: serde_json::Map<_, _> = counts
        .map(|(name, n)| (name.to_owned(), n.into()))
        .collect();
    row.insert("attention".to_owned(), one.shape.attention.as_ref().into());
    row.insert("parameters".to_owned(), one.parameter_count().into());
    row.into()
}

/// `attnlab ask`.
pub(crate) fn ask(run: &Path, question: &str) -> Result<()> {
    let trained = Trained::load(run)?;
    trained.check_fits(question)?;
    let asked = [Question {
        text: question.to_owned(),
        place: None,
    }];
    let rows = eval::ask_model(
        trained.model.as_ref(),
        &trained.vocabulary,
        &asked,
        trained.answer_characters,
        &mut |_| Ok(()),
    )?;
    for row in rows {
        let probability = row.log_probability.map_or(f64::NAN, f64::exp);
        print(format!(
            "{}\nprobability {:.1} %",
            row.predicted,
            100.0 * probability
        ))?;
    }
    Ok(())
}

/// `attnlab score`.
pub(crate) fn score(run: &Path, file: &Path) -> Result<()> {
    let trained = Trained::load(run)?;
    let text = files::read_text(Kind::Data, file)?;
    let model = trained.model.as_ref();
    let rows = eval::score::lines(model, &trained.vocabulary, trained.context, &text)
        .map_err(|e| e.in_file(file))?;
    print_bytes(&table::to_bytes(&rows, b',')?)
}

/// `attnlab export`.
pub(crate) fn export(run: &Path, file: &Path) -> Result<()> {
    let from = RunDirectory::find(run)?.last_weights()?;
    let (weights, notes) = weights::read(&from)?;
    weights::write(file, &weights, &notes)?;
    let parameters: usize = weights.iter().map(|w| w.values.len()).sum();
    print(format!(
        "{}: {} tensors, {} parameters, from {}",
        file.display(),
        weights.len(),
        thousands(parameters),
        from.display()
    ))
}

/// A model as a run left it.
struct Trained {
    model: Box<dyn Trainable>,
    vocabulary: Vocabulary,
    context: usize,
    answer_characters: usize,
}

impl Trained {
    fn load(run: &Path) -> Result<Self> {
        let run = RunDirectory::find(run)?;
        let experiment = config::load_alone(&run.resolved_toml())?;
        let settings = &experiment.points[0].settings;
        let file = run.last_weights()?;
        if let Ok(Status { state, .. }) = run.status()
            && state != State::Done
        {
            let file = file.display();
            Progress::new(Verbosity::Normal).say(&format!(
                "note: the run did not end well; its last weights are {file}"
            ));
        }
        let (loaded, notes) = weights::read(&file)?;
        let given = settings.evaluate.as_ref().map(|e| e.answer_characters);
        let answer_characters = given
            .unwrap_or_else(default_answer_characters)
            .min(settings.model.context - 1);
        // Drawn only to be replaced.
        let start = Start {
            seed: 0,
            deviation: 0.0,
        };
        let mut model = registry::instantiate(&settings.model.shape(), settings.device, start)?;
        model.load_weights(&loaded).map_err(|e| e.in_file(&file))?;
        let characters = notes.get(pipeline::VOCABULARY_NOTE).ok_or_else(|| {
            Error::data(format!(
                "the weights of {} name no vocabulary",
                run.path().display()
            ))
        })?;
        Ok(Self {
            model,
            vocabulary: Vocabulary::of(characters)?,
            context: settings.model.context,
            answer_characters,
        })
    }

    /// Refuses a question that leaves no room for the answer.
    fn check_fits(&self, question: &str) -> Result<()> {
        // The question's closing mask is one token, the answer's last one is never read.
        let (asked, room) = (
            question.chars().count(),
            self.context - self.answer_characters,
        );
        if asked <= room {
            return Ok(());
        }
        Err(Error::data(format!(
            "the question has {asked} characters; with an answer of up to {} that is more than the \
             model's context of {}",
            self.answer_characters, self.context
        ))
        .help(format!("ask in at most {room} characters")))
    }
}

/// Accuracies and figures, for a script or for a person.
fn show_report(report: &Report, json: bool) -> Result<()> {
    if json {
        print_json(report)
    } else {
        print_report(report)
    }
}

/// Accuracies and figures, as a person reads them.
fn print_report(report: &Report) -> Result<()> {
    let mut said = vec![];
    for line in accuracies::lines(report) {
        // A constant answer is the same at every point.
        if !said.contains(&line) {
            print(&line)?;
            said.push(line);
        }
    }
    let svg = |path: &&PathBuf| path.extension().is_some_and(|e| e == "svg");
    for path in report.figures.iter().filter(svg) {
        print(format!("figure  {}  (and .png, .csv)", path.display()))?;
    }
    for (name, why) in &report.left_out {
        print(format!("figure  {name} is left out: {why}"))?;
    }
    Ok(())
}

/// `pretrained, seed 1: 21.0 % of 500 dev questions (105 right; 95 % interval 17.7 to 24.8 %)`.
fn describe(row: &AccuracyRow) -> String {
    let percent = 100.0 * row.accuracy;
    let detail = row.detail.as_deref().unwrap_or_default();
    let who = match row.subject.as_str() {
        "model" => format!("{}, seed {}", row.label, row.seed.unwrap_or_default()),
        "constant" => format!("always \u{201c}{detail}\u{201d}"),
        _ => {
            return format!(
                "{}, reported elsewhere: {percent:.1} %  ({detail})",
                row.label
            );
        }
    };
    let of = match (row.correct, row.questions, row.low_95, row.high_95) {
        (Some(correct), Some(questions), Some(low), Some(high)) => format!(
            " of {questions} {} questions  ({correct} right; 95 % interval {:.1} to {:.1} %)",
            row.split,
            100.0 * low,
            100.0 * high
        ),
        _ => String::new(),
    };
    format!("{who}: {percent:.1} %{of}")
}

/// Prints an error on standard error, once.
pub(crate) fn print_error(error: &Error) {
    // If standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{error}");
}

/// Prints a line on standard output.
fn print(line: impl Display) -> Result<()> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Prints a value as JSON.
fn print_json<T: serde::Serialize>(value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    print(text.expect("tables with text keys are JSON"))
}

/// A reader that has seen enough, such as `head`, ends the program quietly.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Error::run(format!("cannot write to standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// `1 point`, `2,938 documents`.
fn count(n: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// `0.2 MB`, `90 MB`, `1.2 GB`.
fn megabytes(bytes: u64) -> String {
    let mega = bytes as f64 / 1e6;
    match mega {
        _ if mega < 10.0 => format!("{mega:.1} MB"),
        _ if mega < 1000.0 => format!("{mega:.0} MB"),
        _ => format!("{:.1} GB", mega / 1e3),
    }
}

/// Whether a point's model shape is in this binary.
fn is_compiled(point: &Point) -> bool {
    let settings = &point.settings;
    registry::find(&settings.model.shape(), settings.device).is_ok()
}
