//! The commands: each calls the library and prints the result.

mod bench;
mod check;
mod clean;
mod compare;
mod compile;
mod data;
mod list;
mod plan;
mod report;
mod results;
mod show;
mod suite;
mod table;
mod trained;

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

pub use self::compile::Build;
use crate::cli::{self, Command, Data, ExperimentArgs, Plan, Run, SuiteArgs};
use crate::config::{self, Experiment, Loaded, Point};
use crate::error::{Error, Result};
use crate::model::registry::{self, Compiled, Program};
use crate::pipeline::directory::{RunDirectory, experiment_folder, of_other_settings};
use crate::pipeline::{self, ExperimentResults, Options};
use crate::progress::{Progress, Verbosity, output_width, thousands};
use crate::stop::Stop;

/// The whole program, with these shapes: parses the command line, runs the command, prints an error if there is one,
/// and returns the exit code.
pub fn main(shapes: &'static [Compiled], build: Build) -> ExitCode {
    crate::ops::allocator::keep_freed_memory();
    let command = cli::parse();
    let verbosity = match &command {
        Command::Run(args) => args.verbosity(),
        _ => Verbosity::Normal,
    };
    let compile = move |missing: &_| build.go_on_with(missing, verbosity);
    registry::install(Program {
        shapes,
        compile: Box::new(compile),
    });
    match dispatch(command, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is nowhere to report it.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(command: Command, build: Build) -> Result<()> {
    match command {
        Command::Run(args) if args.dry_run => plan::plan(&args.plan),
        Command::Run(args) => run(&args),
        Command::Plan(plan) => plan::plan(&plan),
        Command::List(what) => list::list(&what),
        Command::Clean(args) => clean::clean(&args),
        Command::Check { paths, json } => check::check(&paths, json),
        Command::Compile { paths } => compile::compile(build, &paths),
        Command::Shapes { json } => check::shapes(json),
        Command::Show {
            file,
            set,
            placement,
            json,
        } => show::show(&file, &placement.added_to(&set), json),
        Command::Schema => print_bytes(config::json_schema().as_bytes()),
        Command::Plot {
            experiment,
            suite,
            json,
        } => plot(&experiment, &suite, json),
        Command::Report(args) => report::report(&args),
        Command::Compare { a, b, json } => compare::compare(&a, &b, json),
        Command::Ask {
            run,
            question,
            json,
        } => trained::ask(&run, &question, json),
        Command::Score { run, text } => trained::score(&run, &text),
        Command::Export { run, file, force } => trained::export(&run, &file, force),
        Command::Bench(args) => bench::bench(&args),
        Command::Completions { shell } => print_bytes(&cli::completions(shell)),
        Command::Data(Data::Fetch {
            name: _,
            from,
            data,
        }) => data::fetch(&from, &data),
        Command::Data(Data::Show {
            experiment,
            data,
            examples,
        }) => data::show(&experiment, &data, usize::from(examples)),
    }
}

fn run(args: &Run) -> Result<()> {
    let loaded = load(&args.plan.experiment, &args.plan.suite)?;
    let options = options(&args.plan, args.keep_going, args.jobs);
    let progress = Arc::new(Progress::new(args.verbosity()));
    let stop = Stop::on_signals()?;
    let speaks = progress.clone();
    stop.answer(move || speaks.say("stopping after this step; press Ctrl-C again to quit at once"));
    let is_changed = !args.plan.experiment.overrides().is_empty();
    let run = |experiment: &Experiment| {
        if is_changed {
            note_replaced(experiment, &options.results, &progress);
        }
        pipeline::run(experiment, &options, &progress, &stop)
    };
    match &loaded {
        Loaded::Experiment(experiment) => {
            let results = run(experiment)?;
            show_results(&results, args.plan.json)?;
            results.failed.map_or(Ok(()), Err)
        }
        Loaded::Suite(suite) => {
            let ran = pipeline::suite::each(suite, options.keep_going, run)?;
            suite::tell(suite, ran, &options.results, args.plan.json)
        }
    }
}

/// Says so if tables and figures show runs with other settings, which the command line has changed.
fn note_replaced(experiment: &Experiment, results: &Path, progress: &Progress) {
    let others = of_other_settings(experiment, results);
    if others.iter().any(RunDirectory::has_results) {
        let folder = experiment_folder(experiment, results);
        progress.note(&format!(
            "tables and figures in {} will show only runs with these settings; use --results FOLDER to keep the others",
            folder.display()
        ));
    }
}

/// Reads the experiment or suite that the command line names.
fn load(args: &ExperimentArgs, suite: &SuiteArgs) -> Result<Loaded> {
    config::load_any(&args.file, suite.profile.as_deref(), &args.overrides())
}

fn options(args: &Plan, keep_going: bool, jobs: usize) -> Options {
    Options {
        results: args.experiment.results.clone(),
        data: args.data.directory.clone(),
        again: args.again,
        keep_going,
        jobs,
    }
}

fn plot(args: &ExperimentArgs, suite: &SuiteArgs, json: bool) -> Result<()> {
    let (progress, stop) = (Progress::new(Verbosity::Normal), Stop::default());
    let finish = |experiment: &_| pipeline::finish(experiment, &args.results, &progress, &stop);
    match &load(args, suite)? {
        Loaded::Experiment(experiment) => show_results(&finish(experiment)?, json),
        Loaded::Suite(suite) => {
            let ran = pipeline::suite::each(suite, true, finish)?;
            suite::tell(suite, ran, &args.results, json)
        }
    }
}

fn show_results(results: &ExperimentResults, json: bool) -> Result<()> {
    match json {
        true => print_json(results),
        false => print_results(results),
    }
}

fn print_results(results: &ExperimentResults) -> Result<()> {
    let mut said = vec![];
    for line in self::results::lines(results) {
        // A constant answer has the same accuracy at every point.
        if !said.contains(&line) {
            print_wrapped(&line, 4)?;
            said.push(line);
        }
    }
    let svg = |path: &&PathBuf| path.extension().is_some_and(|e| e == "svg");
    for path in results.figures.iter().filter(svg) {
        print(format!("figure  {}  (and .png, .csv)", path.display()))?;
    }
    for (name, why) in &results.left_out {
        print(format!("figure  {name} was not drawn: {why}"))?;
    }
    Ok(())
}

/// Prints a line on standard output.
fn print(line: impl Display) -> Result<()> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Prints a line on standard output, wrapped to the terminal's width if it is one, with `indent` spaces before
/// continuation lines.
fn print_wrapped(line: &str, indent: usize) -> Result<()> {
    let lines = table::wrap(line, output_width(), indent);
    lines.iter().try_for_each(print)
}

fn print_json<T: serde::Serialize>(value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    print(text.expect("tables with text keys are JSON"))
}

/// A closed pipe, as after `head`, is not an error.
fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Error::run(format!("cannot write to standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// `1 point`, `2,938 documents`.
fn count(n: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// `3 points × 2 seeds`.
fn points_and_seeds(points: usize, seeds: usize) -> String {
    format!("{} × {}", count(points, "point"), count(seeds, "seed"))
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

/// Whether the program has the shape of a point's model, if it uses one.
fn is_compiled(point: &Point) -> bool {
    let mut settings = point.settings.training().into_iter();
    settings.all(|one| !pipeline::preflight::uses_model(one) || registry::has(&one.model.shape()))
}
