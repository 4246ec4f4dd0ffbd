//! The arguments of commands that run or plan, and those that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::config::home;
use crate::progress::Verbosity;

/// The arguments of `attnlab plan`.
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Rerun finished stages and replace their results
    #[arg(long)]
    pub(crate) again: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `attnlab run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub(crate) plan: Plan,
    /// Only show what would be done, as `attnlab plan` does
    #[arg(long, short = 'n', conflicts_with_all = ["keep_going", "quiet", "verbose"])]
    pub(crate) dry_run: bool,
    /// Finish the other runs when one fails; the exit code is then 4
    #[arg(long, short)]
    pub(crate) keep_going: bool,
    /// Run N stages at once, each with an equal share of the threads
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) jobs: usize,
    /// Print only results and errors
    #[arg(long, short)]
    quiet: bool,
    /// Print more: where each run's files are and when its weights are saved
    #[arg(long, short, conflicts_with = "quiet")]
    verbose: bool,
}

impl Run {
    /// How much the run prints.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

/// An experiment, and where its results are.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// The experiment, a TOML file; run, plan and plot also take a suite
    pub(crate) file: PathBuf,
    /// Override a key of the file, such as finetune.epochs=3 or model.dropout=0.2
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// The results folder
    #[arg(long, value_name = "FOLDER", default_value = "results")]
    pub(crate) results: PathBuf,
}

impl ExperimentArgs {
    /// Everything that is set on the command line, each `key=value`, or `--key=value` where it has an option of its own.
    pub(crate) fn overrides(&self) -> Vec<String> {
        self.placement.added_to(&self.set)
    }
}

/// What the model runs on.
#[derive(Debug, Args)]
pub struct PlacementArgs {
    /// Where the model runs; the same as --set device=…
    #[arg(long, value_name = "DEVICE", value_parser = devices())]
    device: Option<String>,
    /// How linear layers round their inputs; the same as --set precision=…
    #[arg(long, value_name = "PRECISION", value_parser = ["f32", "bf16", "tf32", "tf32x3"])]
    precision: Option<String>,
}

impl PlacementArgs {
    /// Adds the options to what `--set` sets.
    pub(crate) fn added_to(&self, set: &[String]) -> Vec<String> {
        let pair = |key: &str, value: &Option<String>| Some(format!("--{key}={}", value.as_ref()?));
        let mut all = set.to_vec();
        all.extend(pair("device", &self.device));
        all.extend(pair("precision", &self.precision));
        all
    }
}

/// The profile of a suite.
#[derive(Debug, Args)]
pub struct SuiteArgs {
    /// The profile of a suite [default: the one its file names]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// Where fetched data is.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// The folder of fetched data [default: $ATTNLAB_DATA, else the user's cache directory]
    #[arg(long = "data", value_name = "FOLDER")]
    pub(crate) directory: Option<PathBuf>,
}

/// The devices. `gpu` is accepted here, since clap would suggest `cpu`; the check of the configuration
/// then suggests `cuda`.
fn devices() -> PossibleValuesParser {
    let cuda = PossibleValue::new("cuda").alias("gpu");
    PossibleValuesParser::new([PossibleValue::new("cpu"), cuda, PossibleValue::new("auto")])
}

/// Leaves a URL as it is and expands `~` in a folder.
pub(super) fn url_or_folder(text: &str) -> Result<String, String> {
    home::expand(Path::new(text)).map(|path| path.display().to_string())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("it must be a whole number of at least 1".to_owned()),
    }
}
