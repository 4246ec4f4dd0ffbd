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
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) title: String,
    /// Whether it holds numbers, which are right-aligned.
    pub(super) is_number: bool,
    /// Whether some of them have deviations.
    pub(super) has_deviations: bool,
}

/// A column to be filled: its heading, and its cell in the row of an `R`.
pub(super) type Field<'a, R> = (&'a str, &'a dyn Fn(&R) -> Cell);

/// The text of a cell, and its sort key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// The deviation after ±, in a separate column if the format has one.
    pub(super) deviation: Option<String>,
    /// Sort key of a number; text is sorted as text.
    pub(super) order: Option<f64>,
}

impl Table {
    /// A table with a row for each of `rows`.
    pub(super) fn of<R>(
        name: impl Into<String>,
        caption: impl Into<String>,
        rows: impl IntoIterator<Item = R>,
        fields: &[Field<'_, R>],
    ) -> Self {
        let row = |row: R| fields.iter().map(|(_, cell)| cell(&row)).collect();
        let rows: Vec<Vec<Cell>> = rows.into_iter().map(row).collect();
        let column = |(at, (title, _)): (usize, &Field<'_, R>)| Column {
            title: (*title).to_owned(),
            is_number: rows.iter().any(|row| row[at].order.is_some()),
            has_deviations: rows.iter().any(|row| row[at].deviation.is_some()),
        };
        Self {
            name: name.into(),
            caption: caption.into(),
            columns: fields.iter().enumerate().map(column).collect(),
            rows,
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
    value.map_or_else(Cell::default, f)
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
        let rows = [
            ("a", count(3), count(5)),
            ("b", count(3), Cell::default()),
            ("c", Cell::default(), count(4)),
        ];
        let fields: [Field<'_, (&str, Cell, Cell)>; 4] = [
            ("Point", &|row| words(row.0)),
            ("Note", &|_| Cell::default()),
            ("Seeds", &|row| row.1.clone()),
            ("Right", &|row| row.2.clone()),
        ];
        let mut table = Table::of("x", "Which is right.", rows, &fields);
        table.baselines = table.rows.split_off(2);
        table
    }

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let table = table().without_empty_columns();
        let titles: Vec<&str> = table.columns.iter().map(|column| &*column.title).collect();
        assert_eq!(titles, ["Point", "Seeds", "Right"]);
        let numbers: Vec<bool> = table.columns.iter().map(|one| one.is_number).collect();
        assert_eq!(numbers, [false, true, true]);
        assert_eq!(table.rows[0], [words("a"), count(3), count(5)]);
        assert_eq!(table.baselines[0], [words("c"), Cell::default(), count(4)]);
    }

    #[test]
    fn what_all_rows_share_is_said_once_in_the_caption() {
        let shared = ["Seeds", "Right", "Questions"];
        let together = table().with_shared_columns_in_caption(&shared);
        assert_eq!(together.caption, "Which is right. Seeds: 3.");
        let titles: Vec<&str> = together
            .columns
            .iter()
            .map(|column| &*column.title)
            .collect();
        assert_eq!(titles, ["Point", "Note", "Right"], "5 and 4 differ");
        assert_eq!(
            together.rows[1],
            [words("b"), Cell::default(), Cell::default()]
        );

        let mut alone = table();
        alone.rows.truncate(1);
        alone.baselines.clear();
        let columns = alone.columns.len();
        let alone = alone.with_shared_columns_in_caption(&shared);
        assert_eq!(alone.columns.len(), columns, "one row shares nothing");
    }
}
