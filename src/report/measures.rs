//! The tables of measures: each point over its seeds beside reported numbers, and each seed.

use std::collections::BTreeSet;

use super::results::Results;
use super::table::{Cell, Column, Table, count, maybe, seed, words};
use crate::eval::measures::{Better, MEASURES, Measure, Unit};
use crate::kinds::Listed as _;
use crate::metrics::explored::distinct;
use crate::metrics::rows::{GroupRow, MeasureRow};
use crate::metrics::statistics::IntervalKind::{self, Bootstrap, StudentT, Wilson};

const MODEL: &str = "model";
const CONSTANT: &str = "constant";
const REPORTED: &str = "reported";

/// The tables of every measure; none if no questions were asked.
pub(super) fn tables(results: &Results) -> Vec<Table> {
    let tables = MEASURES.iter().flat_map(|measure| {
        let name = measure.name();
        let groups = results.groups.iter().filter(|row| row.measure == name);
        let rows = results.measures.iter().filter(|row| row.measure == name);
        let (groups, rows): (Vec<_>, Vec<_>) = (groups.collect(), rows.collect());
        [
            over_seeds(measure, &groups, &rows),
            each_seed(measure, &groups, &rows),
        ]
    });
    let tables = tables.filter(|table| table.all_rows().next().is_some());
    tables.map(Table::without_empty_columns).collect()
}

/// A measure's name and title in tables, where exact match is called accuracy.
fn title(measure: &Measure) -> (&'static str, String) {
    match measure.is_exact_match() {
        true => ("accuracy", "Accuracy".to_owned()),
        false => (measure.name(), measure.title()),
    }
}

/// One row per point, and below them each constant answer once.
fn over_seeds(measure: &Measure, groups: &[&GroupRow], rows: &[&MeasureRow]) -> Table {
    let (name_of_table, title) = title(measure);
    let caption = format!(
        "{title}{}.{}{}{}",
        of_splits(groups),
        meaning(measure),
        intervals(groups),
        sources(groups)
    );
    let (measured, reported) = match measure.unit {
        Unit::Fraction => ("Measured in %", "Reported in %"),
        Unit::Score => ("Measured", "Reported"),
        Unit::Nats => ("Measured in nats", "Reported in nats"),
    };
    let columns = [
        Column::words("Point"),
        Column::numbers(measured),
        Column::numbers(reported),
        Column::numbers("95 % interval"),
        Column::words("Interval over"),
        Column::numbers("Seeds"),
        Column::numbers("Right"),
        Column::numbers("Questions"),
    ];
    let mut table = Table::new(name_of_table, caption, &columns);
    let entries = entries(groups);
    let names: Vec<String> = entries.iter().map(|one| name(one.group)).collect();
    for (entry, name) in entries.iter().zip(&names) {
        let group = entry.group;
        let is_alone = names.iter().filter(|other| *other == name).count() == 1;
        let name = match group.subject != CONSTANT || is_alone {
            true => name.clone(),
            false => format!("{name} ({})", group.label),
        };
        let measured = (group.subject != REPORTED).then_some(group.mean);
        let deviation = group.standard_deviation.map(|one| measure.unit.digits(one));
        let cells = vec![
            words(name),
            maybe(measured, |mean| Cell {
                deviation: deviation.clone(),
                ..value(measure, mean)
            }),
            maybe(entry.reported, |reported| value(measure, reported)),
            interval(measure, group.low_95.zip(group.high_95)),
            words(over(group, groups)),
            maybe(group.seeds, count),
            maybe(right(group, rows), count),
            maybe(group.questions, count),
        ];
        match entry.is_baseline {
            true => table.baselines.push(cells),
            false => table.rows.push(cells),
        }
    }
    table.with_shared_columns_in_caption(&["Seeds", "Questions"])
}

/// The caption's explanation of a measure: its definition, unless it is exact match, and its direction.
fn meaning(measure: &Measure) -> String {
    let about = match measure.is_exact_match() {
        true => String::new(),
        false => format!(" It is {}.", measure.about()),
    };
    match measure.better {
        Better::Higher => about,
        Better::Lower => about + " Lower is better.",
    }
}

/// A value without its unit, which is in the column heading.
fn value(measure: &Measure, value: f64) -> Cell {
    Cell::number(measure.unit.digits(value), value)
}

fn interval(measure: &Measure, ends: Option<(f64, f64)>) -> Cell {
    maybe(ends, |(low, high)| {
        let [from, to] = [low, high].map(|end| measure.unit.digits(end));
        Cell::number(format!("{from} to {to}"), low)
    })
}

/// A row of the table, without its name.
struct Entry<'a> {
    group: &'a GroupRow,
    reported: Option<f64>,
    is_baseline: bool,
}

/// Each point's measured and reported value, and every constant answer once.
fn entries<'a>(groups: &[&'a GroupRow]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = vec![];
    for at_point in groups.chunk_by(|a, b| a.point == b.point) {
        let reported = at_point.iter().find(|group| group.subject == REPORTED);
        let ours = at_point.iter().filter(|group| group.subject != REPORTED);
        let (models, constants): (Vec<&GroupRow>, Vec<&GroupRow>) =
            ours.partition(|group| group.subject == MODEL);
        // Without a model, the constant answer is the point's measurement.
        let (mut measured, compared) = match models.is_empty() {
            true => (constants, vec![]),
            false => (models, constants),
        };
        if measured.is_empty() {
            measured.extend(reported);
        }
        entries.extend(measured.into_iter().map(|group| Entry {
            group,
            reported: reported.map(|reported| reported.mean),
            is_baseline: false,
        }));
        for group in compared {
            let is_known = |entry: &Entry<'_>| {
                let known = entry.group;
                entry.is_baseline && name(known) == name(group) && known.mean == group.mean
            };
            if !entries.iter().any(is_known) {
                entries.push(Entry {
                    group,
                    reported: None,
                    is_baseline: true,
                });
            }
        }
    }
    entries
}

/// The number of right answers; `None` with several seeds.
fn right(group: &GroupRow, rows: &[&MeasureRow]) -> Option<usize> {
    let own = |row: &&&MeasureRow| row.point == group.point && row.subject == group.subject;
    let mut rows = rows.iter().filter(own);
    let only = rows.next()?;
    only.correct.filter(|_| rows.next().is_none())
}

fn name(group: &GroupRow) -> String {
    match group.detail.as_deref() {
        Some(answer) if group.subject == CONSTANT => format!("always \u{201c}{answer}\u{201d}"),
        _ => group.label.clone(),
    }
}

/// What the interval is over; empty if it is the same for all rows, because the caption then says so.
fn over(group: &GroupRow, groups: &[&GroupRow]) -> &'static str {
    let is_mixed = has(groups, StudentT) && (has(groups, Wilson) || has(groups, Bootstrap));
    match group.interval {
        Some(StudentT) if is_mixed => "seeds",
        Some(_) if is_mixed => "questions",
        _ => "",
    }
}

fn has(groups: &[&GroupRow], interval: IntervalKind) -> bool {
    groups.iter().any(|one| one.interval == Some(interval))
}

/// ` on dev questions`.
fn of_splits(groups: &[&GroupRow]) -> String {
    let splits: BTreeSet<&str> = groups.iter().map(|group| group.split.as_str()).collect();
    match splits.is_empty() {
        true => String::new(),
        false => format!(" on {} questions", Vec::from_iter(splits).join(" and ")),
    }
}

/// Explains the intervals in use.
fn intervals(groups: &[&GroupRow]) -> String {
    let mut says = String::new();
    if has(groups, Wilson) {
        says += " Interval over questions: Wilson's, of one run.";
    }
    if has(groups, Bootstrap) {
        says += " Interval over questions: the bootstrap's, of one run.";
    }
    if has(groups, StudentT) {
        says += " Interval over seeds: Student's t, of their mean on the same questions.";
    }
    if groups.iter().any(|one| one.standard_deviation.is_some()) {
        says += " \u{b1}: standard deviation over the seeds.";
    }
    says
}

/// The sources of the reported numbers.
fn sources(groups: &[&GroupRow]) -> String {
    let reported = groups.iter().filter(|one| one.subject == REPORTED);
    let source = |group: &GroupRow| group.detail.clone().unwrap_or_default();
    let told = match &distinct(reported.clone().map(|group| source(group)))[..] {
        [] => return String::new(),
        [only] => only.clone(),
        _ => {
            let each = reported.map(|group| format!("{}: {}", group.label, source(group)));
            each.collect::<Vec<String>>().join("; ")
        }
    };
    format!(" Reported elsewhere, not measured here: {told}.")
}

/// One row per run, if any point has several seeds.
fn each_seed(measure: &Measure, groups: &[&GroupRow], rows: &[&MeasureRow]) -> Table {
    let (name, title) = title(measure);
    let of = match rows.iter().any(|row| row.interval == Some(Bootstrap)) {
        true => "the bootstrap's",
        false => "Wilson's",
    };
    let caption = format!("{title} of each seed, with {of} 95 % interval over its questions.");
    let value_title = match measure.unit {
        Unit::Fraction if measure.is_exact_match() => "Accuracy in %",
        Unit::Fraction => "Value in %",
        Unit::Score => "Value",
        Unit::Nats => "Value in nats",
    };
    let columns = [
        Column::words("Point"),
        Column::numbers("Seed"),
        Column::numbers(value_title),
        Column::numbers("95 % interval"),
        Column::numbers("Right"),
        Column::numbers("Questions"),
    ];
    let mut table = Table::new(format!("{name}-of-seeds"), caption, &columns);
    let several = groups.iter().any(|group| group.seeds > Some(1));
    for row in rows.iter().filter(|row| several && row.subject == MODEL) {
        table.rows.push(vec![
            words(&row.label),
            maybe(row.seed, seed),
            value(measure, row.value),
            interval(measure, row.low_95.zip(row.high_95)),
            maybe(row.correct, count),
            maybe(row.questions, count),
        ]);
    }
    table.with_shared_columns_in_caption(&["Questions"])
}
