//! Reports: experiments as one HTML page, as Markdown and as LaTeX tables, from their files alone.
//!
//! In reading order: [`Document`] and its [`Section`]s say what is to be told; `results` reads the
//! files of one experiment and says what they do not hold; `accuracy`, `training` and `origin` lay
//! rows out as a `table`; `figure` takes a drawing into a page; `page` numbers everything and is what
//! the templates show, each with its own `escape`; `latex` sets the tables once more for a paper, with
//! the `symbols` that are mathematics there.
//!
//! The same files give the same bytes: no clock is read. The page needs no other file, no network and
//! no font, and its policy forbids it everything but its own style and script.

mod accuracy;
mod escape;
mod figure;
mod findings;
mod latex;
mod origin;
mod page;
mod rendered;
mod results;
mod symbols;
mod table;
#[cfg(test)]
mod tests;
mod training;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::files;
use page::Page;
use results::Results;

/// What a report is about.
#[derive(Clone, Debug)]
pub struct Document {
    /// The heading of the whole.
    pub title: String,
    /// One line below it, such as the profile that was run; may be empty.
    pub subtitle: String,
    /// The experiments, in the order in which they are told.
    pub sections: Vec<Section>,
}

/// One experiment of a report.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its heading, such as `Question 2 (d): finetuning without pretraining`.
    pub heading: String,
    /// What a reader has to know first, in paragraphs with an empty line between them; may be empty.
    pub text: String,
    /// What others reported, in words and paragraphs; may be empty. Numbers that the experiment file
    /// has as `reported` are in the tables without it.
    pub reported: String,
    /// The experiment, with the settings that it was run with.
    pub experiment: Experiment,
    /// The folder of all results.
    pub results: PathBuf,
}

/// The files of a report, and what is not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Built {
    /// The page.
    pub html: PathBuf,
    /// The same as Markdown.
    pub markdown: PathBuf,
    /// Its tables of measurements, for LaTeX.
    pub latex: PathBuf,
    /// Each of them in a file of its own.
    pub latex_tables: Vec<PathBuf>,
    /// The figures to which the Markdown refers.
    pub images: Vec<PathBuf>,
    /// What each section holds.
    pub sections: Vec<Contents>,
}

/// What a section of a report holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// The experiment.
    pub experiment: String,
    /// Runs that are done.
    pub done: usize,
    /// Runs that the experiment asks for.
    pub runs: usize,
    /// Figures that are shown.
    pub figures: Vec<String>,
    /// Names of figures that are not shown, and why.
    pub left_out: Vec<(String, String)>,
    /// What else a reader is told about what is missing.
    pub notices: Vec<String>,
}

/// Where each table has a file of its own.
const TABLES: &str = "tables";

/// Writes `index.html`, `report.md` with `images/`, and `tables.tex` with `tables/` into `folder`. What
/// an earlier report has there and this one has not is removed.
///
/// A section whose experiment has no finished run is there, and says so.
///
/// # Errors
/// No section has a finished run, a result cannot be read, or a file cannot be written.
pub fn build(document: &Document, folder: &Path) -> Result<Built> {
    let read = |section: &Section| Results::read(&section.experiment, &section.results);
    let results: Vec<Results> = document.sections.iter().map(read).collect::<Result<_>>()?;
    if !results.iter().any(Results::any_done) {
        return Err(nothing(document));
    }
    let page = Page::new(document, &results);
    let earlier = earlier(folder);
    let mut images = vec![];
    for figure in page.figures() {
        let path = folder.join(&figure.image);
        files::write(&path, &figure.png)?;
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
    earlier
        .iter()
        .filter(is_left)
        .try_for_each(|path| files::remove(path))?;
    Ok(Built {
        html: write("index.html".as_ref(), page.html())?,
        markdown: write("report.md".as_ref(), page.markdown())?,
        latex: write("tables.tex".as_ref(), page.latex())?,
        latex_tables,
        images,
        sections: results.iter().map(Results::contents).collect(),
    })
}

/// The tables and images that a report in this folder has. What the user has put beside them is not
/// among them: tables say that attnlab wrote them, and images are those that the Markdown shows.
fn earlier(folder: &Path) -> Vec<PathBuf> {
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let is_ours = |path: &PathBuf| text(path).starts_with(latex::WRITTEN_BY);
    let tables = files::entries(&folder.join(TABLES))
        .into_iter()
        .filter(is_ours);
    // Without what keeps Markdown from reading names as anything else.
    let page = text(&folder.join("report.md")).replace('\\', "");
    let is_shown = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        page.contains(&format!("](images/{name})"))
    };
    let images = files::entries(&folder.join("images"));
    tables.chain(images.into_iter().filter(is_shown)).collect()
}

/// There is nothing to tell: which command changes that.
fn nothing(document: &Document) -> Error {
    let Some(section) = document.sections.first() else {
        return Error::usage("a report needs an experiment").help("name an experiment file");
    };
    let (name, file) = (&section.experiment.name, section.experiment.argument());
    let others = match document.sections.len() {
        1 => String::new(),
        n => format!(", nor have the {} others", n - 1),
    };
    let results = section.results.display();
    Error::usage(format!("{name} has no finished run in {results}{others}")).help(format!(
        "`attnlab run {file}` makes one; a run with --set or --results is found with the same"
    ))
}
