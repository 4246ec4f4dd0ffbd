//! Tables as every format shows them, and numbers as people write them.

use crate::progress::thousands;

/// Rows under named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// What it shows, and what its columns mean.
    pub(super) caption: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A column's heading and how it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Whether it holds numbers: those stand to the right.
    pub(super) is_number: bool,
}

/// What a cell says, and its place among the cells of its column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What a number is sorted by; text is sorted as text.
    pub(super) order: Option<f64>,
}

impl Column {
    /// A column of words.
    pub(super) const fn words(title: &'static str) -> Self {
        Self {
            title,
            is_number: false,
        }
    }

    /// A column of numbers.
    pub(super) const fn numbers(title: &'static str) -> Self {
        Self {
            title,
            is_number: true,
        }
    }
}

impl Table {
    /// A table without rows.
    pub(super) fn new(caption: impl Into<String>, columns: &[Column]) -> Self {
        Self {
            caption: caption.into(),
            columns: columns.to_vec(),
            rows: vec![],
        }
    }

    /// Without the columns that say nothing.
    pub(super) fn without_empty_columns(mut self) -> Self {
        for at in (0..self.columns.len()).rev() {
            if self.rows.iter().all(|row| row[at].text.is_empty()) {
                self.columns.remove(at);
                self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
            }
        }
        self
    }

    /// Whether a reader may want its rows in another order.
    pub(super) fn is_sortable(&self) -> bool {
        self.rows.len() > 1 && self.columns.iter().any(|column| column.is_number)
    }

    /// How LaTeX is to set the columns: `llrr`.
    pub(super) fn alignment(&self) -> String {
        let letter = |column: &Column| if column.is_number { 'r' } else { 'l' };
        self.columns.iter().map(letter).collect()
    }

    /// Cells with the columns in which they stand.
    pub(super) fn cells<'a>(
        &'a self,
        row: &'a [Cell],
    ) -> impl Iterator<Item = (&'a Column, &'a Cell)> {
        self.columns.iter().zip(row)
    }
}

/// A cell of words.
pub(super) fn words(text: impl Into<String>) -> Cell {
    Cell {
        text: text.into(),
        order: None,
    }
}

/// A cell with nothing in it.
pub(super) fn empty() -> Cell {
    Cell::default()
}

/// A whole number: `14,950`.
pub(super) fn count(n: usize) -> Cell {
    Cell {
        text: thousands(n),
        order: Some(n as f64),
    }
}

/// The seed of a run: a name, and so without separators.
pub(super) fn seed(seed: u64) -> Cell {
    Cell {
        text: seed.to_string(),
        order: Some(seed as f64),
    }
}

/// A fraction in per cent: `21.0 %`.
pub(super) fn percent(fraction: f64) -> Cell {
    Cell {
        text: format!("{:.1} %", 100.0 * fraction),
        order: Some(fraction),
    }
}

/// An interval of fractions: `17.7 to 24.8 %`.
pub(super) fn percents(low: f64, high: f64) -> Cell {
    Cell {
        text: format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high),
        order: Some(low),
    }
}

/// A distance of fractions in percentage points: `5.9 points`.
pub(super) fn points(distance: f64) -> Cell {
    Cell {
        text: format!("{:.1} points", 100.0 * distance),
        order: Some(distance),
    }
}

/// `f` of a value, or an empty cell.
pub(super) fn maybe<T>(value: Option<T>, f: impl Fn(T) -> Cell) -> Cell {
    value.map_or_else(empty, f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_the_rest_of_the_program() {
        let cells = [
            count(14_950),
            seed(14_950),
            percent(0.21),
            percents(0.17699, 0.24781),
            points(0.058531),
            maybe(None, count),
        ];
        let texts = cells.map(|cell| cell.text);
        let expected = [
            "14,950",
            "14950",
            "21.0 %",
            "17.7 to 24.8 %",
            "5.9 points",
            "",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let mut table = Table::new(
            "",
            &[
                Column::words("Point"),
                Column::words("Note"),
                Column::numbers("Seeds"),
                Column::numbers("Right"),
            ],
        );
        table
            .rows
            .push(vec![words("a"), empty(), empty(), count(3)]);
        table.rows.push(vec![words("b"), empty(), empty(), empty()]);
        let table = table.without_empty_columns();
        assert_eq!(table.alignment(), "lr");
        assert_eq!(table.rows[0], [words("a"), count(3)]);
        assert_eq!(table.rows[1], [words("b"), empty()]);
    }
}
