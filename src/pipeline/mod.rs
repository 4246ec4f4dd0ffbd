//! One experiment from its file to its figures.

pub mod directory;
mod figures;
mod preflight;
mod stages;
pub mod summary;

use std::path::{Path, PathBuf};

use crate::config::{self, Experiment};
use crate::error::{Error, Result};
use crate::metrics::rows::AccuracyRow;
use crate::model::registry;
use crate::progress::Progress;
use directory::{RunDirectory, State, experiment_folder};
use stages::Bench;

pub use stages::VOCABULARY_NOTE;

/// What the command line says about a run, beyond the experiment itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where results go: the folder that holds one folder an experiment.
    pub results: PathBuf,
    /// Where fetched data is; see [`crate::data::cs224n::locate`].
    pub data: Option<PathBuf>,
    /// Run what is done already once more.
    pub again: bool,
}

/// What a run leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The rows of `summary.csv`.
    pub accuracies: Vec<AccuracyRow>,
    /// The figures, as SVG, PNG and CSV.
    pub figures: Vec<PathBuf>,
    /// Names of figures that have nothing to show, and why.
    pub left_out: Vec<(String, String)>,
}

/// Runs every point with every seed, then summarises and draws from the files they left.
///
/// A run that is done is not run again unless asked, or unless it starts from a weights file, whose
/// content its folder does not name. The first that fails ends the experiment, and what it and the
/// others have written stays.
///
/// # Errors
/// Data, shape or device are missing, training diverges, or a file cannot be written.
pub fn run(experiment: &Experiment, options: &Options, progress: &Progress) -> Result<Report> {
    let points = || experiment.points.iter().zip(summary::labels(experiment));
    for (point, _) in points().filter(|(point, _)| preflight::uses_model(&point.settings)) {
        registry::find(&point.settings.model.shape(), point.settings.device)?;
    }
    for (point, label) in points() {
        for &seed in &experiment.seeds {
            let directory = RunDirectory::new(experiment, point, seed, &options.results);
            let name = format!("{} / {label} / seed {seed}", experiment.name);
            let from_a_file = point.settings.init_files().next().is_some();
            if directory.is_done() && !options.again && !from_a_file {
                progress.say(&format!(
                    "{name}: done before (`--again` runs it once more)"
                ));
                continue;
            }
            progress.say(&name);
            progress.detail(&format!("files of the run: {}", directory.path().display()));
            // Nothing of an earlier run is touched before this one is known to start.
            let data = options.data.as_deref();
            let bench = Bench::open(&point.settings, seed, data, &directory, progress)?;
            directory.begin(&config::to_toml(&point.settings, seed))?;
            if let Err(error) = run_stages(bench) {
                directory.set_status(State::Failed, Some(error.message()))?;
                return Err(error);
            }
            directory.set_status(State::Done, None)?;
        }
    }
    finish(experiment, &options.results)
}

/// Pretrain, finetune, evaluate: each stage hands its model to the next.
fn run_stages(mut bench: Bench<'_>) -> Result<()> {
    bench.begin()?;
    bench.pretrain()?;
    bench.finetune()?;
    bench.evaluate()
}

/// Summarises and draws from the files of finished runs; no model, no data, no GPU.
///
/// # Errors
/// No run is done, a run's files are missing or damaged, or the figures cannot be written.
pub fn finish(experiment: &Experiment, results: &Path) -> Result<Report> {
    let folder = experiment_folder(experiment, results);
    if !summary::any_done(experiment, results) {
        let name = &experiment.name;
        return Err(Error::usage(format!(
            "{name} has no finished run in {}",
            results.display()
        ))
        .help(format!(
            "`attnlab run {}` makes one; a run with --set or --results is found with the same",
            experiment.path.display()
        )));
    }
    let accuracies = summary::write(experiment, results, &folder)?;
    let drawn = figures::draw(experiment, results, &folder)?;
    Ok(Report {
        accuracies,
        figures: drawn.written,
        left_out: drawn.left_out,
    })
}
