//! Tables and paragraphs that fit the terminal and never break a word.
//!
//! Without a terminal the width is unlimited and nothing is cut.

use crate::labels::shorten_apart;
use crate::progress::columns;

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
        let rows = blocks.into_iter().flatten();
        header.into_iter().chain(rows).collect()
    }

    /// The lines of the header and of each row: one line, or one per cell if that is too wide.
    pub(super) fn blocks(&self, width: usize) -> (Vec<String>, Vec<Vec<String>>) {
        let mut table = self.of_used_columns();
        if table.rows.is_empty() {
            return (vec![], vec![]);
        }
        let natural = table.widths(columns);
        if total(&natural) <= width {
            return table.side_by_side(&natural);
        }
        let longest_word = |header: &str| header.split(' ').map(columns).max().unwrap_or(0);
        let narrow = table.widths(longest_word);
        if total(&narrow) > width {
            let others = total(&narrow) - narrow[table.names];
            if others + SHORTEST_NAME > width {
                return (vec![], table.one_under_another(width));
            }
            table.shorten_names(width - others);
        }
        table.side_by_side(&table.widths(longest_word))
    }

    /// The table without the columns that are empty in all rows; header and rows get a cell in every other column.
    fn of_used_columns(&self) -> Self {
        let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
        let all = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let is_used = |at: &usize| self.rows.iter().any(|row| !cell(row, *at).is_empty());
        let used: Vec<usize> = (0..all).filter(is_used).collect();
        let pick = |row: &Vec<String>| used.iter().map(|&at| cell(row, at)).collect();
        Self {
            header: pick(&self.header),
            rows: self.rows.iter().map(pick).collect(),
            names: used.iter().position(|&at| at == self.names).unwrap_or(0),
        }
    }

    /// The width of each column, given the widths of the headers.
    fn widths(&self, header: impl Fn(&str) -> usize) -> Vec<usize> {
        let width = |(at, title): (usize, &String)| {
            let cells = self.rows.iter().map(|row| columns(&row[at]));
            cells.fold(header(title), usize::max)
        };
        self.header.iter().enumerate().map(width).collect()
    }

    fn shorten_names(&mut self, width: usize) {
        let names = self.rows.iter().map(|row| row[self.names].clone());
        let names = shorten_apart(&names.collect::<Vec<_>>(), &|name| columns(name) <= width);
        for (row, name) in self.rows.iter_mut().zip(names) {
            row[self.names] = name;
        }
    }

    fn side_by_side(&self, widths: &[usize]) -> (Vec<String>, Vec<Vec<String>>) {
        let is_number = |at: usize| {
            let is_word = |c: char| !c.is_ascii_digit() && !"+-~".contains(c);
            self.rows.iter().all(|row| !row[at].starts_with(is_word))
        };
        let cell = |(at, (cell, width)): (usize, (&str, &usize))| {
            let space = " ".repeat(width.saturating_sub(columns(cell)));
            match at != self.names && is_number(at) {
                true => format!("{space}{cell}"),
                false => format!("{cell}{space}"),
            }
        };
        let line = |cells: Vec<&str>| {
            let cells = cells.into_iter().zip(widths).enumerate().map(cell);
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        let pairs = self.header.iter().zip(widths);
        let headers: Vec<Vec<String>> = pairs.map(|(text, width)| wrap(text, *width, 0)).collect();
        let depth = headers.iter().map(Vec::len).max().unwrap_or(0);
        // Headers of several lines are aligned at the bottom.
        let header = |i: usize| {
            let part = |own: &'_ Vec<String>| (i + own.len()).checked_sub(depth);
            let cell = |own| part(own).map_or("", |at| own[at].as_str());
            line(headers.iter().map(cell).collect())
        };
        let header = (0..depth).map(header).filter(|line| !line.is_empty());
        let row = |row: &Vec<String>| vec![line(row.iter().map(String::as_str).collect())];
        (header.collect(), self.rows.iter().map(row).collect())
    }

    /// Every row as its name, with the other cells stacked below it.
    fn one_under_another(&mut self, width: usize) -> Vec<Vec<String>> {
        self.shorten_names(width);
        let heads = self.header.iter().map(|header| columns(header));
        let heads = heads.max().unwrap_or(0);
        let others = |row: &'_ Vec<String>| {
            let mut cells: Vec<_> = self.header.iter().cloned().zip(row.clone()).collect();
            cells.remove(self.names);
            cells.into_iter()
        };
        let cells = self.rows.iter().flat_map(others);
        let cells = cells.map(|(_, cell)| columns(&cell));
        // Align the cells if there is room.
        let start = heads + 2 * GAP.len();
        let is_column = start + cells.max().unwrap_or(0) <= width;
        let (heads, indent) = if is_column { (heads, start) } else { (0, 4) };
        let block = |row: &Vec<String>| {
            let mut lines = vec![row[self.names].clone()];
            for (header, cell) in others(row).filter(|(_, cell)| !cell.is_empty()) {
                let text = match header.as_str() {
                    "" => format!("{GAP}{cell}"),
                    header => format!("{GAP}{header:<heads$}{GAP}{cell}"),
                };
                lines.extend(wrap(&text, width, indent));
            }
            lines
        };
        self.rows.iter().map(block).collect()
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Wraps a text to `width` columns, indenting all lines but the first; only a longer word exceeds it.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let (start, words) = text.split_at(text.len() - text.trim_start().len());
    let (mut lines, mut line, mut is_empty) = (vec![], start.to_owned(), true);
    for word in words.split(' ') {
        if !is_empty && columns(&line) + 1 + columns(word) > width {
            lines.push(line.trim_end().to_owned());
            (line, is_empty) = (" ".repeat(indent), true);
        }
        match is_empty {
            // Spaces at a line break are dropped.
            true if word.is_empty() => continue,
            true => line += word,
            false => line = line + " " + word,
        }
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
