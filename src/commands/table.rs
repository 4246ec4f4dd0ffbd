//! Tables and paragraphs that fit the terminal and never break a word.
//!
//! Without a terminal the width is unlimited and nothing is cut.

use crate::labels::shorten_apart;
use crate::progress::columns;

/// The gap between columns.
const GAP: &str = "  ";

/// Least width of the column of names: if less is left, the cells of a row are stacked.
const SHORTEST_NAME: usize = 16;

/// Rows of cells. Columns of numbers are right-aligned, all others left-aligned.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// Column headers; empty for a table without a header.
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Index of the column of names, which is shortened if there is no room.
    pub(super) names: usize,
}

impl Table {
    /// The table under its header; nothing without rows. Empty columns are left out.
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        let (header, blocks) = self.blocks(width);
        header
            .into_iter()
            .chain(blocks.into_iter().flatten())
            .collect()
    }

    /// The lines of the header and of each row: one line, or one per cell if that is too wide.
    pub(super) fn blocks(&self, width: usize) -> (Vec<String>, Vec<Vec<String>>) {
        let table = self.of_used_columns();
        if table.rows.is_empty() {
            return (vec![], vec![]);
        }
        let natural = table.widths(columns);
        if total(&natural) <= width {
            return table.side_by_side(&natural);
        }
        let narrow = table.widths(|header| words(header).map(columns).max().unwrap_or(0));
        if total(&narrow) <= width {
            return table.side_by_side(&narrow);
        }
        let others = total(&narrow) - narrow[table.names];
        if others + SHORTEST_NAME <= width {
            let cut = table.with_names_of(width - others);
            return cut
                .side_by_side(&cut.widths(|header| words(header).map(columns).max().unwrap_or(0)));
        }
        (vec![], table.one_under_another(width))
    }

    fn cell<'a>(&self, row: &'a [String], at: usize) -> &'a str {
        row.get(at).map_or("", String::as_str)
    }

    fn of_used_columns(&self) -> Self {
        let all = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let is_used = |at: &usize| self.rows.iter().any(|row| !self.cell(row, *at).is_empty());
        let used: Vec<usize> = (0..all).filter(is_used).collect();
        let pick = |row: &Vec<String>| {
            let cells = used.iter().map(|&at| self.cell(row, at).to_owned());
            cells.collect()
        };
        Self {
            header: pick(&self.header),
            rows: self.rows.iter().map(pick).collect(),
            names: used.iter().position(|&at| at == self.names).unwrap_or(0),
        }
    }

    /// The width of each column, given the widths of the headers.
    fn widths(&self, header: impl Fn(&str) -> usize) -> Vec<usize> {
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| columns(self.cell(row, at)));
            cells
                .chain([header(self.cell(&self.header, at))])
                .max()
                .unwrap_or(0)
        };
        (0..self.header.len()).map(width).collect()
    }

    fn with_names_of(&self, width: usize) -> Self {
        let names = self
            .rows
            .iter()
            .map(|row| self.cell(row, self.names).to_owned());
        let names = shorten_apart(&names.collect::<Vec<_>>(), &|name| columns(name) <= width);
        let mut cut = self.clone();
        for (row, name) in cut.rows.iter_mut().zip(names) {
            row[self.names] = name;
        }
        cut
    }

    fn side_by_side(&self, widths: &[usize]) -> (Vec<String>, Vec<Vec<String>>) {
        let is_number = |at: usize| {
            let mut cells = self.rows.iter().map(|row| self.cell(row, at));
            cells.all(|cell| !cell.starts_with(|c: char| !c.is_ascii_digit() && !"+-~".contains(c)))
        };
        let line = |cells: Vec<&str>| {
            let cells = cells
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(at, (cell, width))| {
                    let space = " ".repeat(width.saturating_sub(columns(cell)));
                    match at != self.names && is_number(at) {
                        true => format!("{space}{cell}"),
                        false => format!("{cell}{space}"),
                    }
                });
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        let pairs = self.header.iter().zip(widths);
        let headers: Vec<Vec<String>> = pairs.map(|(text, width)| wrap(text, *width, 0)).collect();
        let depth = headers.iter().map(Vec::len).max().unwrap_or(0);
        // Headers of several lines are aligned at the bottom.
        let header = |i: usize| {
            let part = |own: &'_ Vec<String>| (i + own.len()).checked_sub(depth);
            let cells = headers
                .iter()
                .map(|own| part(own).map_or("", |at| own[at].as_str()));
            line(cells.collect())
        };
        let header = (0..depth).map(header).filter(|line| !line.is_empty());
        let rows = self.rows.iter();
        let rows = rows.map(|row| vec![line(row.iter().map(String::as_str).collect())]);
        (header.collect(), rows.collect())
    }

    /// Every row as its name, with the other cells stacked below it.
    fn one_under_another(&self, width: usize) -> Vec<Vec<String>> {
        let table = self.with_names_of(width);
        let heads = table
            .header
            .iter()
            .map(|header| columns(header))
            .max()
            .unwrap_or(0);
        let cells = table.rows.iter().flat_map(|row| {
            let others = row.iter().enumerate().filter(|(at, _)| *at != table.names);
            others.map(|(_, cell)| columns(cell))
        });
        // Align the cells if there is room.
        let start = heads + 2 * GAP.len();
        let is_column = start + cells.max().unwrap_or(0) <= width;
        let (heads, indent) = if is_column { (heads, start) } else { (0, 4) };
        let block = |row: &Vec<String>| {
            let mut lines = vec![row[table.names].clone()];
            for (at, cell) in row.iter().enumerate() {
                if at == table.names || cell.is_empty() {
                    continue;
                }
                let header = table.cell(&table.header, at);
                let text = match header {
                    "" => format!("{GAP}{cell}"),
                    _ => format!("{GAP}{header:<heads$}{GAP}{cell}"),
                };
                lines.extend(wrap(&text, width, indent));
            }
            lines
        };
        table.rows.iter().map(block).collect()
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ')
}

/// Wraps a text to `width` columns, indenting all lines but the first; only a longer word exceeds it.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let (mut lines, mut line) = (vec![], String::new());
    let start = text.len() - text.trim_start().len();
    line.push_str(&text[..start]);
    let mut is_empty = true;
    for word in words(&text[start..]) {
        let more = usize::from(!is_empty) + columns(word);
        if !is_empty && columns(&line) + more > width {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(indent);
            is_empty = true;
        }
        // Spaces at a line break are dropped.
        if is_empty && word.is_empty() {
            continue;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let row = |row: &&[&str]| row.iter().map(|&cell| cell.to_owned()).collect();
        let mut rows = rows.iter().map(row);
        Table {
            header: rows.next().expect("a header"),
            rows: rows.collect(),
            names: 0,
        }
    }

    fn accuracies() -> Table {
        table(&[
            &[
                "accuracy",
                "right",
                "nothing",
                "standard deviation",
                "95 % interval",
            ],
            &[
                "pretrain.learning_rate = 0.001",
                "8",
                "",
                "",
                "6.9 to 24.2 %",
            ],
            &[
                "pretrain.learning_rate = 0.002",
                "57",
                "",
                "5.9",
                "86.3 to 98.3 %",
            ],
        ])
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let wide = [
            "accuracy                        right  standard deviation   95 % interval",
            "pretrain.learning_rate = 0.001      8                       6.9 to 24.2 %",
            "pretrain.learning_rate = 0.002     57                 5.9  86.3 to 98.3 %",
        ];
        assert_eq!(accuracies().lines(usize::MAX), wide);
        assert_eq!(table(&[&["accuracy"]]).lines(80), [""; 0]);
    }

    #[test]
    fn headers_wrap_first_then_names_are_cut_where_they_are_alike() {
        let wrapped = [
            "                                        standard",
            "accuracy                        right  deviation   95 % interval",
            "pretrain.learning_rate = 0.001      8              6.9 to 24.2 %",
            "pretrain.learning_rate = 0.002     57        5.9  86.3 to 98.3 %",
        ];
        assert_eq!(accuracies().lines(70), wrapped);
        let cut = "…earning_rate = 0.001      8              6.9 to 24.2 %";
        assert_eq!(accuracies().lines(55)[2], cut);
    }

    #[test]
    fn a_row_that_fits_nowhere_is_a_block() {
        let block = [
            "pretrain.learning_rate = 0.001",
            "  right               8",
            "  95 % interval       6.9 to 24.2 %",
        ];
        assert_eq!(accuracies().lines(40)[..3], block);
        let narrow = [
            "…ing_rate = 0.001",
            "  right  8",
            "  95 % interval",
            "    6.9 to 24.2 %",
        ];
        assert_eq!(accuracies().lines(17)[..4], narrow);
    }

    #[test]
    fn no_width_is_exceeded_and_no_word_broken() {
        let table = accuracies();
        let whole = table.lines(usize::MAX).join(" ");
        for width in 20..90 {
            let lines = table.lines(width);
            assert!(
                lines.iter().all(|line| columns(line) <= width),
                "{width}: {lines:#?}"
            );
            let mut words = lines.iter().flat_map(|line| line.split_whitespace());
            assert!(
                words.all(|word| word.contains('…') || whole.contains(word)),
                "{lines:#?}"
            );
            let cut = [&lines.join(" ")].map(|text| text.matches("0.001").count());
            assert_eq!(cut, [1], "{lines:#?}");
        }
    }

    #[test]
    fn a_paragraph_is_indented_and_keeps_its_spaces() {
        assert_eq!(wrap("  a bc  d", 80, 4), ["  a bc  d"]);
        assert_eq!(wrap("  a bc  d", 6, 4), ["  a bc", "    d"]);
        assert_eq!(wrap("abcdefgh ij", 4, 2), ["abcdefgh", "  ij"]);
        assert_eq!(wrap("", 4, 2), [""]);
    }
}
