//! The command line, as clap types.

mod arguments;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser as _, ValueParser};
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::home;
pub use arguments::{DataArgs, ExperimentArgs, PlacementArgs, Plan, Run, SuiteArgs};
use arguments::{at_least_one, url_or_folder};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 a run failed, 2 usage, 3 configuration, 4 some runs failed and the others
finished (--keep-going), 5 data missing or damaged, 130 interrupted (finished work is kept).";

/// One TOML file pretrains, finetunes, evaluates and plots a transformer.
#[derive(Debug, Parser)]
#[command(name = "attnlab", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the program is asked to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an experiment (every point of its sweep with every seed) or a suite
    #[command(after_help = "\
Examples:
  attnlab run experiments/quickstart.toml
  attnlab run experiments/birthplace/vanilla.toml --data ~/data --set pretrain.epochs=2
  ATTNLAB_PRETRAIN__EPOCHS=2 attnlab run experiments/birthplace/vanilla.toml
  attnlab run experiments/assignment.toml --profile short")]
    Run(Run),
    /// Show what a run would do, why, and what it would cost; starts nothing
    #[command(after_help = "\
Examples:
  attnlab plan experiments/quickstart.toml
  attnlab plan experiments/birthplace/vanilla.toml --set pretrain.learning_rate=3e-3 --json")]
    Plan(Plan),
    /// Check experiment files without running them; reports every mistake with its line
    #[command(after_help = "\
Examples:
  attnlab check experiments
  attnlab check my_experiment.toml")]
    Check {
        /// Files, or folders to search for *.toml
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print files and problems as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// List experiments, attention kinds or runs
    #[command(subcommand)]
    List(List),
    /// Delete results that no run refers to any more, after listing them and asking
    #[command(after_help = "\
Examples:
  attnlab clean --dry-run
  attnlab clean experiments/quickstart.toml    also the runs of points that it no longer has")]
    Clean(Clean),
    /// List the model shapes compiled into this program
    #[command(after_help = "\
Example:
  attnlab shapes")]
    Shapes {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Compile the shapes that experiments need, before they run
    #[command(after_help = "\
Examples:
  attnlab compile experiments
  attnlab compile my.toml")]
    Compile {
        /// Files, or folders to search for *.toml
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Print every key of an experiment with its value and where it was set
    #[command(after_help = "\
Examples:
  attnlab show experiments/quickstart.toml
  attnlab show experiments/birthplace/vanilla.toml --set pretrain.epochs=2 --json")]
    Show {
        /// The experiment, a TOML file
        file: PathBuf,
        /// Override a key of the file, as for run
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        placement: PlacementArgs,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of experiment files, for editors and linters
    #[command(after_help = "\
Example:
  attnlab schema > experiments/experiment.schema.json")]
    Schema,
    /// Redraw an experiment's figures from its CSV files
    #[command(after_help = "\
Example:
  attnlab plot experiments/quickstart.toml")]
    Plot {
        #[command(flatten)]
        experiment: ExperimentArgs,
        #[command(flatten)]
        suite: SuiteArgs,
        /// Print results as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Write an HTML, Markdown and LaTeX report of experiments, from their result files
    #[command(after_help = "\
Examples:
  attnlab report experiments/quickstart.toml
  attnlab report experiments/birthplace --out report
  attnlab report experiments/quickstart.toml --set pretrain.epochs=2 --results short
  attnlab report experiments/assignment.toml --profile short")]
    Report(Report),
    /// Compare two recipes: settings that differ, accuracy, loss, and a paired test
    #[command(after_help = "\
A and B are each a run's folder, or a folder that holds all seeds of one point.

Examples:
  attnlab compare results/birthplace/no_pretraining results/birthplace/vanilla
  attnlab compare results/birthplace/london results/birthplace/vanilla --json")]
    Compare {
        /// The first recipe: a run's folder, or a folder above it that holds the seeds of one point
        a: PathBuf,
        /// The second recipe
        b: PathBuf,
        /// Print JSON, with fractions instead of percentages
        #[arg(long)]
        json: bool,
    },
    /// Ask a trained model a question
    #[command(after_help = "\
Example:
  attnlab ask results/birthplace/vanilla \"Where was Ada Lovelace born?\"")]
    Ask {
        /// A run's folder, or a folder above it that holds a single run
        run: PathBuf,
        /// The question, worded like the training questions
        question: String,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Score each line of a text by its likelihood under a trained model, as CSV
    #[command(after_help = "\
Example:
  attnlab score results/birthplace/vanilla --text lines.txt > scores.csv")]
    Score {
        /// A run's folder, or a folder above it that holds a single run
        run: PathBuf,
        /// The text, one document per line
        #[arg(long, value_name = "FILE")]
        text: PathBuf,
    },
    /// Write a run's weights as safetensors under PyTorch names
    #[command(after_help = "\
Example:
  attnlab export results/birthplace/vanilla vanilla.safetensors")]
    Export {
        /// A run's folder, or a folder above it that holds a single run
        run: PathBuf,
        /// The file to write
        file: PathBuf,
        /// Overwrite the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Measure the speed of a pretraining step and of answers on this machine
    #[command(after_help = "\
Uses the first point of the experiment and its first seed. Writes nothing.

Examples:
  attnlab bench
  attnlab bench experiments/quickstart.toml --steps 100 --threads 1 --json
  attnlab bench --device cuda --precision tf32")]
    Bench(Bench),
    /// Print a script that completes commands, options and files in a shell
    #[command(after_help = "\
Examples:
  attnlab completions bash > ~/.local/share/bash-completion/completions/attnlab
  attnlab completions zsh > ~/.zfunc/_attnlab
  attnlab completions fish > ~/.config/fish/completions/attnlab.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Fetch data sets and show examples
    #[command(subcommand)]
    Data(Data),
}

/// What `attnlab list` lists.
#[derive(Debug, Subcommand)]
pub enum List {
    /// List experiment files with the question that each asks
    #[command(after_help = "\
Example:
  attnlab list experiments")]
    Experiments {
        /// The folder with the files
        #[arg(default_value = "experiments")]
        folder: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// List kinds of attention
    #[command(after_help = "\
Example:
  attnlab list attention")]
    Attention {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// List runs with their status
    #[command(after_help = "\
Example:
  attnlab list runs --json | jq '.[] | select(.state == \"failed\") | .folder'")]
    Runs {
        /// The results folder
        #[arg(long, value_name = "FOLDER", default_value = "results")]
        results: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// The arguments of `attnlab clean`.
#[derive(Debug, Args)]
pub struct Clean {
    /// Experiments: also delete runs whose point or seed is no longer in the file, including runs made with
    /// other --set values or ATTNLAB_ variables
    pub(crate) files: Vec<PathBuf>,
    /// Override a key of these experiments, as for the runs to keep
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    /// The results folder
    #[arg(long, value_name = "FOLDER", default_value = "results")]
    pub(crate) results: PathBuf,
    /// Delete without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Only list what could be deleted
    #[arg(long, short = 'n', conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Only list what could be deleted, as JSON
    #[arg(long, conflicts_with = "yes")]
    pub(crate) json: bool,
}

/// The arguments of `attnlab report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Experiments, or folders to search for *.toml; or one suite
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub(crate) paths: Vec<PathBuf>,
    /// Override a key of the experiments, as for their runs
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    /// The results folder
    #[arg(long, value_name = "FOLDER", default_value = "results")]
    pub(crate) results: PathBuf,
    /// The folder to write [default: report/ in the results of the experiment, or in the results folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Print what was written and what is missing as JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `attnlab bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// The experiment [default: experiments/birthplace/vanilla.toml if its data is there, else
    /// experiments/quickstart.toml]
    pub(crate) file: Option<PathBuf>,
    /// Steps to measure, after two warm-up steps (six on a GPU)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) steps: usize,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Override a key of the file, as for run
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `attnlab data` does.
#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Fetch a data set; it is verified before it is put in place
    #[command(after_help = "\
Examples:
  attnlab data fetch cs224n --from https://example.org/cs224n
  attnlab data fetch cs224n --from ~/Downloads/cs224n --data ~/data")]
    Fetch {
        /// The data set
        #[arg(value_parser = ["cs224n"])]
        name: String,
        /// The URL or folder that holds its files
        #[arg(long, value_name = "URL-OR-FOLDER", value_parser = url_or_folder)]
        from: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Print examples of both tasks and write those of pretraining as a figure and CSV
    #[command(after_help = "\
Examples:
  attnlab data show experiments/quickstart.toml
  attnlab data show experiments/birthplace/vanilla.toml --data ~/data --examples 8")]
    Show {
        #[command(flatten)]
        experiment: ExperimentArgs,
        #[command(flatten)]
        data: DataArgs,
        /// Number of examples of each task
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=12))]
        examples: u8,
    },
}

/// What the command line asks for. Ends the program after `--help`, and with an error if it asks for
/// something that does not exist.
pub(crate) fn parse() -> Command {
    let matches = expanding_home(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.command
}

/// The script by which `shell` completes the program's commands, options and files.
pub(crate) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "attnlab", &mut script);
    script
}

/// Makes every path argument expand `~` to the home directory. A shell expands it only at the start of a
/// word, so not in `--results=~/x`; a job script or a desktop entry does not expand it at all.
fn expanding_home(command: clap::Command) -> clap::Command {
    let path = ValueParser::path_buf().type_id();
    let expanding = |arg: Arg| match arg.get_value_parser().type_id() == path {
        true => arg.value_parser(PathBufValueParser::new().try_map(|path| home::expand(&path))),
        false => arg,
    };
    command.mut_args(expanding).mut_subcommands(expanding_home)
}
