//! Tables independent of their format, and the formatting of numbers.

use crate::progress::thousands;

/// Rows under named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// Name in labels and file names, such as `accuracy`.
    pub(super) name: String,
    /// Caption, which explains the columns.
    pub(super) caption: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Baselines, set apart below the other rows.
    pub(super) baselines: Vec<Vec<Cell>>,
}

/// A column's heading and alignment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Whether it holds numbers, which are right-aligned.
    pub(super) is_number: bool,
}

/// The text of a cell, and its sort key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// The deviation after ±, in a separate column if the format has one.
    pub(super) deviation: Option<String>,
    /// Sort key of a number; text is sorted as text.
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
    pub(super) fn new(
        name: impl Into<String>,
        caption: impl Into<String>,
        columns: &[Column],
    ) -> Self {
        Self {
            name: name.into(),
            caption: caption.into(),
            columns: columns.to_vec(),
            rows: vec![],
            baselines: vec![],
        }
    }

    /// All rows from top to bottom.
    pub(super) fn all_rows(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.rows.iter().chain(&self.baselines)
    }

    /// All rows from top to bottom, and whether each is a baseline.
    pub(super) fn marked_rows(&self) -> impl Iterator<Item = (bool, &Vec<Cell>)> {
        let marked = |is_baseline| move |row| (is_baseline, row);
        let rows = self.rows.iter().map(marked(false));
        rows.chain(self.baselines.iter().map(marked(true)))
    }

    /// The table without empty columns.
    pub(super) fn without_empty_columns(mut self) -> Self {
        for at in (0..self.columns.len()).rev() {
            if self.all_rows().all(|row| row[at].text.is_empty()) {
                self.remove_column(at);
            }
        }
        self
    }

    /// Moves each of these columns into the caption, as `Seeds: 3.`, if all rows that have a value share it and
    /// there are several rows.
    pub(super) fn with_shared_columns_in_caption(mut self, titles: &[&str]) -> Self {
        for title in titles {
            let Some(at) = self.columns.iter().position(|one| one.title == *title) else {
                continue;
            };
            if let Some(text) = self.shared(at).map(str::to_owned) {
                self.caption += &format!(" {title}: {text}.");
                self.remove_column(at);
            }
        }
        self
    }

    /// The value of a column, if all rows that have one share it.
    fn shared(&self, column: usize) -> Option<&str> {
        let texts = self.all_rows().map(|row| row[column].text.as_str());
        let mut texts = texts.filter(|text| !text.is_empty());
        let first = texts.next()?;
        let is_shared = self.all_rows().count() > 1 && texts.all(|text| text == first);
        is_shared.then_some(first)
    }

    fn remove_column(&mut self, at: usize) {
        self.columns.remove(at);
        let rows = self.rows.iter_mut().chain(&mut self.baselines);
        rows.for_each(|row| drop(row.remove(at)));
    }

    /// Whether the table can usefully be sorted.
    pub(super) fn is_sortable(&self) -> bool {
        self.all_rows().count() > 1 && self.columns.iter().any(|column| column.is_number)
    }

    /// Whether a column's numbers have deviations.
    pub(super) fn has_deviations(&self, column: usize) -> bool {
        self.all_rows().any(|row| row[column].deviation.is_some())
    }

    /// Cells with their columns, and whether the column's numbers have deviations.
    pub(super) fn cells<'a>(
        &'a self,
        row: &'a [Cell],
    ) -> impl Iterator<Item = (&'a Column, &'a Cell, bool)> {
        let columns = self.columns.iter().enumerate().zip(row);
        columns.map(|((at, column), cell)| (column, cell, self.has_deviations(at)))
    }
}

impl Cell {
    /// A cell sorted by a number.
    pub(super) fn number(text: impl Into<String>, order: f64) -> Self {
        Self {
            text: text.into(),
            deviation: None,
            order: Some(order),
        }
    }

    /// The text with its deviation: `57.3 ± 1.2`.
    pub(super) fn whole(&self) -> String {
        let deviation = self.deviation.iter().map(|text| format!(" ± {text}"));
        self.text.clone() + &deviation.collect::<String>()
    }
}

pub(super) fn words(text: impl Into<String>) -> Cell {
    Cell {
        text: text.into(),
        ..Cell::default()
    }
}

pub(super) fn empty() -> Cell {
    Cell::default()
}

/// A whole number: `14,950`.
pub(super) fn count(n: usize) -> Cell {
    Cell::number(thousands(n), n as f64)
}

/// A seed, without thousands separators.
pub(super) fn seed(seed: u64) -> Cell {
    Cell::number(seed.to_string(), seed as f64)
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
            Cell {
                deviation: Some("5.9".to_owned()),
                ..Cell::number("21.0", 0.21)
            },
            maybe(None, count),
        ];
        let texts = cells.map(|cell| cell.whole());
        let expected = ["14,950", "14950", "21.0 ± 5.9", ""];
        assert_eq!(texts, expected);
    }

    /// Points `a` and `b`, a baseline, and columns of each kind.
    fn table() -> Table {
        let columns = [
            Column::words("Point"),
            Column::words("Note"),
            Column::numbers("Seeds"),
            Column::numbers("Right"),
        ];
        let mut table = Table::new("x", "Which is right.", &columns);
        let row = |name: &str, seeds, right| vec![words(name), empty(), seeds, right];
        table.rows.push(row("a", count(3), count(5)));
        table.rows.push(row("b", count(3), empty()));
        table.baselines.push(row("c", empty(), count(4)));
        table
    }

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let table = table().without_empty_columns();
        let titles: Vec<&str> = table.columns.iter().map(|column| column.title).collect();
        assert_eq!(titles, ["Point", "Seeds", "Right"]);
        assert_eq!(table.rows[0], [words("a"), count(3), count(5)]);
        assert_eq!(table.baselines[0], [words("c"), empty(), count(4)]);
    }

    #[test]
    fn what_all_rows_share_is_said_once_in_the_caption() {
        let shared = ["Seeds", "Right", "Questions"];
        let together = table().with_shared_columns_in_caption(&shared);
        assert_eq!(together.caption, "Which is right. Seeds: 3.");
        let titles: Vec<&str> = together.columns.iter().map(|column| column.title).collect();
        assert_eq!(titles, ["Point", "Note", "Right"], "5 and 4 differ");
        assert_eq!(together.rows[1], [words("b"), empty(), empty()]);

        let mut alone = table();
        alone.rows.truncate(1);
        alone.baselines.clear();
        let columns = alone.columns.len();
        let alone = alone.with_shared_columns_in_caption(&shared);
        assert_eq!(alone.columns.len(), columns, "one row shares nothing");
    }
}
