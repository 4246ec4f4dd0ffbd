//! The table of an exploration's findings.

use super::results::Results;
use super::table::{Cell, Field, Table, count, maybe, words};
use crate::metrics::rows::FindingRow;
use crate::plot::significant;

/// One row per end of a curve and per distribution; nothing without an exploration.
pub(super) fn table(results: &Results) -> Option<Table> {
    let caption = "What was found. Of a curve, both ends: the median of the draws where there are several. Of a \
                   distribution, its mean and variance. The middle 90 % is that of the draws.";
    let range = |(low, high): (f64, f64)| {
        let text = format!("{} to {}", significant(low), significant(high));
        Cell::number(text, low)
    };
    let at = |x: f64| Cell::number(x.to_string(), x);
    let fields: [Field<'_, &FindingRow>; 8] = [
        ("Point or construction", &|row| words(&row.label)),
        ("Measured", &|row| words(&row.quantity)),
        ("Value", &|row| number(row.value)),
        ("Variance", &|row| maybe(row.variance, number)),
        ("Middle 90 %", &|row| {
            maybe(row.low_90.zip(row.high_90), range)
        }),
        ("Draws", &|row| count(row.samples)),
        ("Varied", &|row| maybe(row.x_quantity.as_ref(), words)),
        ("At", &|row| maybe(row.x, at)),
    ];
    let table = Table::of("findings", caption, &results.findings, &fields);
    (!table.rows.is_empty()).then(|| table.without_empty_columns())
}

/// To three significant digits: `0.0230`, `1.12e-5`.
fn number(value: f64) -> Cell {
    Cell::number(significant(value), value)
}
