//! LaTeX tables: all in one file, and each in its own file.

use std::collections::BTreeSet;

use askama::Template;

use super::escape::is_beyond_pdflatex;
use super::rendered;
use super::table::{Cell, Table};
use crate::error::Result;

/// Rows that fit on a page below a caption; longer tables break across pages.
const LINES_ON_A_PAGE: usize = 40;

/// The first line of every file of tables.
pub(super) const WRITTEN_BY: &str = "% Written by attnlab";

/// Characters on a line of a one-column article in `\footnotesize`.
const CHARACTERS_ON_A_LINE: usize = 80;

/// A table with its label and heading.
#[derive(Debug)]
pub(super) struct LatexTable<'a> {
    /// `tab:birthplace/vanilla/accuracy`.
    label: String,
    /// Start of the caption, before the table's own.
    heading: String,
    table: &'a Table,
}

#[derive(Template)]
#[template(path = "page.tex", config = "report/askama.toml")]
struct Tables<'a> {
    tables: &'a [LatexTable<'a>],
}

/// Tables for `\input`, with a comment at the top that lists the packages they need.
pub(super) fn file(tables: &[LatexTable<'_>]) -> Result<String> {
    let tables = rendered(&Tables { tables })?;
    Ok(needs(&tables) + &tables)
}

/// The required packages and, if it matters, the engine.
fn needs(tables: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut needs = format!(
        "{WRITTEN_BY} {version} for \\input. The preamble of the document needs:\n\
         %   \\usepackage[T1]{{fontenc}}\n\
         %   \\usepackage{{amssymb,array,booktabs,graphicx,longtable,textcomp}}\n"
    );
    let beyond: BTreeSet<char> = tables.chars().filter(|&c| is_beyond_pdflatex(c)).collect();
    if !beyond.is_empty() {
        let some: Vec<String> = beyond.iter().take(8).map(char::to_string).collect();
        let more = if beyond.len() > 8 { ", …" } else { "" };
        needs += &format!(
            "% pdfLaTeX cannot set {}{more}: compile with XeLaTeX or LuaLaTeX, and in place of fontenc\n\
             %   \\usepackage{{fontspec}}\\setmainfont{{a font that has these characters}}\n",
            some.join(", ")
        );
    }
    if tables.contains("\\begin{longtable}") {
        needs += "% A longtable works in one-column text only: put \\onecolumn before it in a two-column document.\n";
    }
    needs
}

/// A name as part of a LaTeX label. Different names give different labels; `+` only occurs in pairs.
pub(super) fn label_part(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let part = |c: char| match plain(c) {
        true => c.to_string(),
        false => format!("+{:x}+", u32::from(c)),
    };
    name.chars().map(part).collect()
}

impl<'a> LatexTable<'a> {
    /// A table of `experiment`, which is part of its label.
    pub(super) fn new(experiment: &str, heading: &str, table: &'a Table) -> Self {
        let is_sentence = heading.ends_with(['.', '?', '!', ':']);
        Self {
            label: format!("tab:{experiment}/{}", table.name),
            heading: format!("{heading}{}", if is_sentence { "" } else { "." }),
            table,
        }
    }

    /// Whether it is too long for one page.
    fn is_long(&self) -> bool {
        let wrapped = self.wrapped();
        let lines = |row: &Vec<Cell>| {
            wrapped.map_or(1, |(at, share)| {
                let room = (share * CHARACTERS_ON_A_LINE as f64) as usize;
                row[at].whole().chars().count().div_ceil(room).max(1)
            })
        };
        self.table.all_rows().map(lines).sum::<usize>() > LINES_ON_A_PAGE
    }

    /// The column specification of `tabular`: `lr@{\,}lr`.
    fn columns(&self) -> String {
        let wrapped = self.wrapped();
        let columns = self.table.columns.iter().enumerate();
        let columns = columns.map(|(at, column)| match (wrapped, column.is_number) {
            (Some((wide, share)), _) if wide == at => format!(
                ">{{\\raggedright\\arraybackslash\\hangindent=1em}}p{{{share:.2}\\linewidth}}"
            ),
            (_, true) if column.has_deviations => "r@{\\,}l".to_owned(),
            (_, true) => "r".to_owned(),
            (_, false) => "l".to_owned(),
        });
        columns.collect()
    }

    /// The number of columns in that specification.
    fn width(&self) -> usize {
        let columns = &self.table.columns;
        let deviations = columns.iter().filter(|column| column.has_deviations);
        columns.len() + deviations.count()
    }

    /// If the table is wider than a line: its widest column of words, and the share of the line left for it.
    fn wrapped(&self) -> Option<(usize, f64)> {
        let columns = &self.table.columns;
        let width = |at: usize| {
            let rows = self.table.all_rows();
            let cells = rows.map(|row| row[at].whole().chars().count());
            cells.fold(columns[at].title.chars().count(), usize::max)
        };
        let words = (0..columns.len()).filter(|&at| !columns[at].is_number);
        let widest = words.max_by_key(|&at| width(at))?;
        // The space between columns is about two characters.
        let all: usize = (0..columns.len()).map(|at| width(at) + 2).sum();
        let others = all - width(widest);
        let share = 1.0 - others as f64 / CHARACTERS_ON_A_LINE as f64;
        (all > CHARACTERS_ON_A_LINE).then_some((widest, share.clamp(0.2, 0.7)))
    }
}
