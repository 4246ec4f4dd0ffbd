//! Reports: experiments as one HTML page, Markdown and LaTeX tables, from their result files alone.
//!
//! In reading order: [`Document`] and its [`Section`]s describe a report; `results` reads the files of one
//! experiment and lists what is missing; `choice`, `measures`, `training` and `origin` build the `table`s; `figure` embeds
//! drawings; `page` numbers everything and feeds the templates, which `escape` text for their format; `latex`
//! typesets the tables for a paper, with mathematical `symbols`.
//!
//! The same files give the same bytes: no clock is read. The page needs no other file, network or font, and
//! its content security policy allows only its own style and script.

mod choice;
mod escape;
mod figure;
mod findings;
mod latex;
mod measures;
mod origin;
mod page;
mod results;
mod symbols;
mod table;
#[cfg(test)]
mod tests;
mod training;

use std::path::{Path, PathBuf};

use askama::Template;
use serde::Serialize;

use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::files;
use page::Page;
use results::Results;

/// The contents of a report.
#[derive(Clone, Debug)]
pub struct Document {
    /// Heading of the report.
    pub title: String,
    /// A line below the heading, such as the profile; may be empty.
    pub subtitle: String,
    /// The experiments, in order.
    pub sections: Vec<Section>,
}

/// A section of a report: one experiment.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its heading, such as `Question 2 (d): finetuning without pretraining`.
    pub heading: String,
    /// Introduction, in paragraphs separated by empty lines; may be empty.
    pub text: String,
    /// What others reported, in the same form; may be empty. The tables already have the numbers that the
    /// experiment file gives as `reported`.
    pub reported: String,
    /// The experiment, with the settings of its runs.
    pub experiment: Experiment,
}

/// The files of a report, and what is missing from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Built {
    /// The HTML page.
    pub html: PathBuf,
    /// The same as Markdown.
    pub markdown: PathBuf,
    /// The tables of measurements, for LaTeX.
    pub latex: PathBuf,
    /// Each of these tables in its own file.
    pub latex_tables: Vec<PathBuf>,
    /// The images of the Markdown file.
    pub images: Vec<PathBuf>,
    /// Summaries of the sections.
    pub sections: Vec<Contents>,
}

/// A summary of a section.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// The experiment.
    pub experiment: String,
    /// Number of finished runs.
    pub done: usize,
    /// Number of all runs.
    pub runs: usize,
    /// Figures included.
    pub figures: Vec<String>,
    /// Figures left out, and why.
    pub left_out: Vec<(String, String)>,
    /// Other notes about what is missing.
    pub notices: Vec<String>,
}

/// The folder with one file per table.
const TABLES: &str = "tables";

/// Writes `index.html`, `report.md` with `images/`, and `tables.tex` with `tables/` into `folder`, from the results in
/// `results`. Files of an earlier report that this one lacks are removed.
///
/// A section whose experiment has no finished run says so.
///
/// # Errors
/// No experiment has a finished run, or a result cannot be read.
pub fn build(document: &Document, results: &Path, folder: &Path) -> Result<Built> {
    let sections = document.sections.iter();
    let found = sections.map(|section| Results::read(&section.experiment, results));
    let found: Vec<Results> = found.collect::<Result<_>>()?;
    if !found.iter().any(Results::any_done) {
        return Err(nothing(document, results));
    }
    let page = Page::new(document, &found);
    let earlier = earlier(folder);
    let mut images = vec![];
    for figure in page.figures() {
        let path = folder.join(&figure.image);
        files::write(&path, &figure.figure.png)?;
        images.push(path);
    }
    let write = |name: &Path, text: Result<String>| {
        let path = folder.join(name);
        files::write(&path, text?.as_bytes()).map(|()| path)
    };
    let latex_tables = page.latex_tables();
    let latex_tables = latex_tables.map(|(name, table)| {
        let path = Path::new(TABLES).join(name);
        write(&path, latex::file(&[table]))
    });
    let latex_tables: Vec<PathBuf> = latex_tables.collect::<Result<_>>()?;
    let is_left = |path: &&PathBuf| !images.contains(path) && !latex_tables.contains(path);
    let mut left = earlier.iter().filter(is_left);
    left.try_for_each(|path| files::remove(path))?;
    Ok(Built {
        html: write("index.html".as_ref(), page.html())?,
        markdown: write("report.md".as_ref(), page.markdown())?,
        latex: write("tables.tex".as_ref(), page.latex())?,
        latex_tables,
        images,
        sections: found.iter().map(Results::contents).collect(),
    })
}

/// Renders a template.
fn rendered(template: &impl Template) -> Result<String> {
    let text = template.render();
    text.map_err(|cause| Error::run(format!("cannot write a report: {cause}")))
}

/// The tables and images of an existing report in this folder. The user's own files are not among them: tables
/// are recognised by their first line, images by their links in the Markdown.
fn earlier(folder: &Path) -> Vec<PathBuf> {
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let is_ours = |path: &PathBuf| text(path).starts_with(latex::WRITTEN_BY);
    let tables = files::entries(&folder.join(TABLES)).into_iter();
    let tables = tables.filter(is_ours);
    // Undo the escaping of file names.
    let page = text(&folder.join("report.md")).replace('\\', "");
    let is_shown = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        page.contains(&format!("](images/{name})"))
    };
    let images = files::entries(&folder.join("images"));
    tables.chain(images.into_iter().filter(is_shown)).collect()
}

/// The error for a report without results: it names the command that makes some.
fn nothing(document: &Document, results: &Path) -> Error {
    let Some(section) = document.sections.first() else {
        return Error::usage("a report needs an experiment").help("name an experiment file");
    };
    let (name, file) = (&section.experiment.name, section.experiment.argument());
    let others = match document.sections.len() {
        1 => String::new(),
        n => format!(", nor have the {} others", n - 1),
    };
    let results = results.display();
    Error::usage(format!("{name} has no finished run in {results}{others}")).help(format!(
        "`attnlab run {file}` makes one; a run with --set or --results is found with the same"
    ))
}
