//! The numbered contents of a report, and the three templates that render them.

use askama::Template;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::figure::Figure;
use super::latex::{self, LatexTable};
use super::results::Results;
use super::table::Table;
use super::{Document, choice, findings, measures, origin, rendered, training};
use crate::error::Result;
use crate::progress::thousands;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A report, ready to render.
#[derive(Debug)]
pub(super) struct Page<'a> {
    document: &'a Document,
    /// `5 of 6 runs done`.
    summary: String,
    version: &'static str,
    sections: Vec<Part<'a>>,
}

/// A section with its numbers.
#[derive(Debug)]
struct Part<'a> {
    /// Anchor for links.
    anchor: String,
    heading: &'a str,
    results: &'a Results,
    text: Vec<String>,
    reported: Vec<String>,
    notices: Vec<String>,
    tables: Vec<Numbered<Table>>,
    figures: Vec<Numbered<Shown<'a>>>,
    /// Runs, then their provenance.
    origin: Vec<Numbered<Table>>,
    settings: Vec<Settings>,
}

/// A table or a figure and its number in the report, from 1.
#[derive(Debug)]
struct Numbered<T> {
    number: usize,
    it: T,
}

/// A figure as the templates render it.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) figure: &'a Figure,
    caption: String,
    drawing: String,
    /// Path of its PNG, relative to the report's folder.
    pub(super) image: String,
}

/// The settings of a run.
#[derive(Debug)]
struct Settings {
    of: String,
    toml: String,
    /// A code fence with more backticks than any in the text.
    fence: String,
}

#[derive(Template)]
#[template(path = "page.html", config = "report/askama.toml")]
struct Html<'a> {
    page: &'a Page<'a>,
    style: &'static str,
    script: &'static str,
    /// Content security policy of the page.
    policy: String,
}

#[derive(Template)]
#[template(path = "page.md", config = "report/askama.toml")]
struct Markdown<'a> {
    page: &'a Page<'a>,
}

impl<'a> Page<'a> {
    /// Combines a document with the results of its sections.
    pub(super) fn new(document: &'a Document, results: &'a [Results]) -> Self {
        let (mut last_figure, mut last_table) = (0, 0);
        let sections = document.sections.iter().zip(results).enumerate();
        let sections = sections.map(|(i, (section, results))| {
            let tables = choice::table(results).into_iter();
            let tables = tables
                .chain(measures::tables(results))
                .chain(findings::table(results))
                .chain(training::table(results));
            let figures = results.figures.iter().map(|one| shown(i + 1, one));
            let origin = [origin::runs(results)].into_iter();
            let origin = origin.chain(origin::tables(results));
            let settings = origin::settings(results).into_iter();
            Part {
                anchor: format!("section-{}", i + 1),
                heading: &section.heading,
                results,
                text: paragraphs(&section.text),
                reported: paragraphs(&section.reported),
                notices: results.notices(),
                tables: numbered(tables, &mut last_table),
                figures: numbered(figures, &mut last_figure),
                origin: numbered(origin, &mut last_table),
                settings: settings.map(Settings::new).collect(),
            }
        });
        Self {
            document,
            summary: summary(results),
            version: env!("CARGO_PKG_VERSION"),
            sections: sections.collect(),
        }
    }

    /// All figures, in order.
    pub(super) fn figures(&self) -> impl Iterator<Item = &Shown<'a>> {
        let figures = self.sections.iter().flat_map(|part| &part.figures);
        figures.map(|figure| &figure.it)
    }

    /// One HTML file.
    pub(super) fn html(&self) -> Result<String> {
        rendered(&Html {
            page: self,
            style: STYLE,
            script: SCRIPT,
            policy: format!(
                "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; \
                 form-action 'none'",
                source(STYLE),
                source(SCRIPT)
            ),
        })
    }

    /// One Markdown file beside `images/`.
    pub(super) fn markdown(&self) -> Result<String> {
        rendered(&Markdown { page: self })
    }

    /// The tables of measurements, all in one LaTeX file.
    pub(super) fn latex(&self) -> Result<String> {
        let tables: Vec<LatexTable<'_>> = self.latex_tables().map(|(_, table)| table).collect();
        latex::file(&tables)
    }

    /// The same tables, each with a file name.
    pub(super) fn latex_tables(&self) -> impl Iterator<Item = (String, LatexTable<'_>)> {
        let sections = self.sections.iter().enumerate();
        sections.flat_map(|(i, part)| {
            // A report may contain an experiment twice; names contain `+` only in pairs.
            let before = self.sections[..i].iter();
            let name = &part.results.name;
            let before = before.filter(|one| one.results.name == *name);
            let experiment = match before.count() {
                0 => latex::label_part(name),
                n => format!("{}+{}", latex::label_part(name), n + 1),
            };
            part.tables.iter().map(move |Numbered { it: table, .. }| {
                let file = format!("{}-{}.tex", i + 1, table.name);
                (file, LatexTable::new(&experiment, part.heading, table))
            })
        })
    }
}

/// The content security policy's hash of an allowed inline style or script.
fn source(text: &str) -> String {
    let sum = BASE64_STANDARD.encode(Sha256::digest(text));
    format!("'sha256-{sum}'")
}

fn numbered<T>(all: impl Iterator<Item = T>, last: &mut usize) -> Vec<Numbered<T>> {
    let number = |it| {
        *last += 1;
        Numbered { number: *last, it }
    };
    all.map(number).collect()
}

fn shown(section: usize, figure: &Figure) -> Shown<'_> {
    Shown {
        figure,
        // No line break between a number and its unit.
        caption: figure.caption.replace(" %", "\u{a0}%"),
        drawing: figure.drawing(&format!("in-{section}-{}-", figure.name)),
        image: format!("images/{section}-{}.png", figure.name),
    }
}

fn paragraphs(text: &str) -> Vec<String> {
    let all = text.split("\n\n").map(|one| one.trim().replace('\n', " "));
    all.filter(|one| !one.is_empty()).collect()
}

fn summary(results: &[Results]) -> String {
    let all: usize = results.iter().map(|one| one.runs.len()).sum();
    let runs = results.iter().flat_map(|one| &one.runs);
    let done = runs.filter(|run| run.is_done()).count();
    let runs = if all == 1 { "run" } else { "runs" };
    format!("{} of {} {runs} done", thousands(done), thousands(all))
}

impl Settings {
    fn new((of, toml): (String, String)) -> Self {
        let runs = toml.split(|c| c != '`').map(str::len);
        Self {
            of,
            toml: toml.trim_end().to_owned(),
            fence: "`".repeat(runs.fold(2, usize::max) + 1),
        }
    }
}
