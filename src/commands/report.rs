//! `attnlab report`: experiments as HTML, Markdown and LaTeX tables.

use std::path::PathBuf;

use super::suite::build_report;
use super::{print, print_json};
use crate::cli::Report;
use crate::config::{self, Experiment, Loaded};
use crate::error::{Error, Result};
use crate::pipeline::directory::experiment_folder;
use crate::report::{Document, Section, build};

pub fn report(args: &Report) -> Result<()> {
    let files = config::experiment_files(&args.paths)?;
    let profile = args.suite.profile.as_deref();
    let load = |file: &PathBuf| config::load_any(file, profile, &args.set);
    let loaded: Vec<Loaded> = files.iter().map(load).collect::<Result<_>>()?;
    let is_suite = |one: &Loaded| matches!(one, Loaded::Suite(_));
    let built = match &loaded[..] {
        [Loaded::Suite(suite)] => build_report(suite, &args.results, args.out.as_deref())?,
        several if several.iter().any(is_suite) => {
            let error = Error::usage("a suite has its own report");
            return Err(error.help("name the suite alone, or experiments and folders"));
        }
        _ => {
            let experiments = loaded.into_iter().flat_map(Loaded::into_experiments);
            let experiments: Vec<Experiment> = experiments.collect();
            let folder = match (&args.out, &experiments[..]) {
                (Some(folder), _) => folder.clone(),
                (None, [only]) => experiment_folder(only, &args.results).join("report"),
                (None, _) => args.results.join("report"),
            };
            build(&document(experiments), &args.results, &folder)?
        }
    };
    if args.json {
        return print_json(&built);
    }
    for section in &built.sections {
        for notice in &section.notices {
            print(format!("{}: {notice}", section.experiment))?;
        }
    }
    let written = [&built.html, &built.markdown, &built.latex];
    written
        .iter()
        .try_for_each(|path| print(format!("report  {}", path.display())))
}

/// A section for each experiment, headed by its file's question.
fn document(experiments: Vec<Experiment>) -> Document {
    let title = match &experiments[..] {
        [only] => only.name.clone(),
        all => format!("{} experiments", all.len()),
    };
    let section = |experiment: Experiment| Section {
        heading: config::question(&experiment.path).unwrap_or_else(|| experiment.name.clone()),
        text: String::new(),
        reported: String::new(),
        experiment,
    };
    Document {
        title,
        subtitle: String::new(),
        sections: experiments.into_iter().map(section).collect(),
    }
}
