//! The table of an exploration's findings.

use super::results::Results;
use super::table::{Cell, Column, Table, count, maybe, words};
use crate::metrics::rows::FindingRow;
use crate::plot::significant;

/// One row per end of a curve and per distribution; nothing without an exploration.
pub(super) fn table(results: &Results) -> Option<Table> {
    let caption = "What was found. Of a curve, both ends: the median of the draws where there are several. Of a \
                   distribution, its mean and variance. The middle 90 % is that of the draws.";
    let columns = [
        Column::words("Point or construction"),
        Column::words("Measured"),
        Column::numbers("Value"),
        Column::numbers("Variance"),
        Column::numbers("Middle 90 %"),
        Column::numbers("Draws"),
        Column::words("Varied"),
        Column::numbers("At"),
    ];
    let mut table = Table::new("findings", caption, &columns);
    table.rows = results.findings.iter().map(row).collect();
    (!table.rows.is_empty()).then(|| table.without_empty_columns())
}

fn row(finding: &FindingRow) -> Vec<Cell> {
    let middle = finding.low_90.zip(finding.high_90);
    let middle = maybe(middle, |(low, high)| {
        let text = format!("{} to {}", significant(low), significant(high));
        Cell::number(text, low)
    });
    let at = |x: f64| Cell::number(x.to_string(), x);
    let varied = finding.x_quantity.as_deref().unwrap_or_default();
    vec![
        words(&finding.label),
        words(&finding.quantity),
        number(finding.value),
        maybe(finding.variance, number),
        middle,
        count(finding.samples),
        words(varied),
        maybe(finding.x, at),
    ]
}

/// To three significant digits: `0.0230`, `1.12e-5`.
fn number(value: f64) -> Cell {
    Cell::number(significant(value), value)
}
