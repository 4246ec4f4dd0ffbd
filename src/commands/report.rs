//! `attnlab report`: experiments as a page, as Markdown and as LaTeX tables.

use std::path::{Path, PathBuf};

use super::{print, print_json};
use crate::cli::Report;
use crate::config::{self, Experiment};
use crate::error::Result;
use crate::pipeline::directory::experiment_folder;
use crate::report::{Built, Document, Section, build};

/// `attnlab report`.
pub(crate) fn report(args: &Report) -> Result<()> {
    let files = config::experiment_files(&args.paths)?;
    let load = |file: &PathBuf| config::load(file, &args.set);
    let experiments: Vec<Experiment> = files.iter().map(load).collect::<Result<_>>()?;
    let folder = match (&args.out, &experiments[..]) {
        (Some(folder), _) => folder.clone(),
        (None, [only]) => experiment_folder(only, &args.results).join("report"),
        (None, _) => args.results.join("report"),
    };
    let document = document(experiments, &args.results);
    let built = build(&document, &folder)?;
    if args.json {
        return print_json(&built);
    }
    say(&built)
}

/// A section for each experiment, headed by the question that its file asks.
fn document(experiments: Vec<Experiment>, results: &Path) -> Document {
    let title = match &experiments[..] {
        [only] => only.name.clone(),
        all => format!("{} experiments", all.len()),
    };
    let section = |experiment: Experiment| Section {
        heading: config::question(&experiment.path).unwrap_or_else(|| experiment.name.clone()),
        text: String::new(),
        reported: String::new(),
        experiment,
        results: results.to_owned(),
    };
    Document {
        title,
        subtitle: String::new(),
        sections: experiments.into_iter().map(section).collect(),
    }
}

fn say(built: &Built) -> Result<()> {
    for section in &built.sections {
        for notice in &section.notices {
            print(format!("{}: {notice}", section.experiment))?;
        }
    }
    for path in [&built.html, &built.markdown, &built.latex] {
        print(format!("report  {}", path.display()))?;
    }
    Ok(())
}
