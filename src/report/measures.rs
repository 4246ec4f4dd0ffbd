//! The tables of measures: each point over its seeds beside reported numbers, and each seed.

use std::collections::BTreeSet;

use super::results::Results;
use super::table::{Cell, Field, Table, count, maybe, seed, words};
use crate::eval::measures::{Better, MEASURES, Measure};
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
        of_splits(measure, groups),
        meaning(measure),
        intervals(measure, groups),
        sources(groups)
    );
    let mut entries = entries(groups);
    tell_apart(&mut entries);
    entries.sort_by_key(|entry| entry.is_baseline);
    let points = entries.partition_point(|entry| !entry.is_baseline);
    let reported = |one: f64| value(measure, one);
    let fields: [Field<'_, Entry<'_>>; 8] = [
        ("Point", &|entry| words(&entry.name)),
        (&heading(measure, "Measured"), &|entry| {
            measured(measure, entry.group)
        }),
        (&heading(measure, "Reported"), &|entry| {
            maybe(entry.reported, reported)
        }),
        ("95 % interval", &|Entry { group, .. }| {
            interval(measure, group.low_95.zip(group.high_95))
        }),
        ("Interval over", &|entry| {
            words(over(measure, entry.group, groups))
        }),
        ("Seeds", &|entry| maybe(entry.group.seeds, count)),
        ("Right", &|entry| maybe(right(entry.group, rows), count)),
        (&counts(measure), &|entry| {
            maybe(entry.group.questions, count)
        }),
    ];
    let mut table = Table::of(name_of_table, caption, entries, &fields);
    table.baselines = table.rows.split_off(points);
    table.with_shared_columns_in_caption(&["Seeds", &counts(measure)])
}

/// The heading of a column of values: `Measured in %`.
pub(super) fn heading(measure: &Measure, words: &str) -> String {
    match measure.unit.symbol() {
        "" => words.to_owned(),
        symbol => format!("{words} in {symbol}"),
    }
}

/// What we measured, with its deviation; empty for what others reported.
fn measured(measure: &Measure, group: &GroupRow) -> Cell {
    let deviation = group.standard_deviation;
    let mean = (group.subject != REPORTED).then_some(group.mean);
    maybe(mean, |mean| Cell {
        deviation: deviation.map(|one| measure.unit.digits(one)),
        ..value(measure, mean)
    })
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
pub(super) fn value(measure: &Measure, value: f64) -> Cell {
    Cell::number(measure.unit.digits(value), value)
}

fn interval(measure: &Measure, ends: Option<(f64, f64)>) -> Cell {
    maybe(ends, |(low, high)| {
        let [from, to] = [low, high].map(|end| measure.unit.digits(end));
        Cell::number(format!("{from} to {to}"), low)
    })
}

/// A row of the table.
struct Entry<'a> {
    name: String,
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
            name: name(group),
            group,
            reported: reported.map(|reported| reported.mean),
            is_baseline: false,
        }));
        for group in compared {
            let is_known = |known: &Entry<'_>| {
                known.is_baseline && known.name == name(group) && known.group.mean == group.mean
            };
            if !entries.iter().any(is_known) {
                entries.push(Entry {
                    name: name(group),
                    group,
                    reported: None,
                    is_baseline: true,
                });
            }
        }
    }
    entries
}

/// Adds the point to the name of a constant answer that several entries have.
fn tell_apart(entries: &mut [Entry<'_>]) {
    let names: Vec<String> = entries.iter().map(|one| one.name.clone()).collect();
    let alike = |name: &String| names.iter().filter(|other| *other == name).count();
    for entry in entries {
        if entry.group.subject == CONSTANT && alike(&entry.name) > 1 {
            entry.name += &format!(" ({})", entry.group.label);
        }
    }
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
fn over(measure: &Measure, group: &GroupRow, groups: &[&GroupRow]) -> &'static str {
    let is_mixed = has(groups, StudentT) && (has(groups, Wilson) || has(groups, Bootstrap));
    match group.interval {
        Some(StudentT) if is_mixed => "seeds",
        Some(_) if is_mixed => measure.counts,
        _ => "",
    }
}

fn has(groups: &[&GroupRow], interval: IntervalKind) -> bool {
    groups.iter().any(|one| one.interval == Some(interval))
}

/// ` on dev questions`.
fn of_splits(measure: &Measure, groups: &[&GroupRow]) -> String {
    let splits: BTreeSet<&str> = groups.iter().map(|group| group.split.as_str()).collect();
    match splits.is_empty() {
        true => String::new(),
        false => {
            let splits = Vec::from_iter(splits).join(" and ");
            format!(" on {splits} {}", measure.counts)
        }
    }
}

/// Explains the intervals in use.
fn intervals(measure: &Measure, groups: &[&GroupRow]) -> String {
    let counts = measure.counts;
    let kinds = [
        (Wilson, format!("{counts}: Wilson's, of one run")),
        (Bootstrap, format!("{counts}: the bootstrap's, of one run")),
        (
            StudentT,
            format!("seeds: Student's t, of their mean on the same {counts}"),
        ),
    ];
    let used = kinds.iter().filter(|(kind, _)| has(groups, *kind));
    let mut says: String = used
        .map(|(_, over)| format!(" Interval over {over}."))
        .collect();
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

/// The heading of a column of numbers of what the measure counts: `Scored tokens`.
fn counts(measure: &Measure) -> String {
    let (first, rest) = measure.counts.split_at(1);
    first.to_uppercase() + rest
}

/// One row per run, if any point has several seeds.
fn each_seed(measure: &Measure, groups: &[&GroupRow], rows: &[&MeasureRow]) -> Table {
    let (name, title) = title(measure);
    let of = match rows.iter().any(|row| row.interval == Some(Bootstrap)) {
        true => "the bootstrap's",
        false => "Wilson's",
    };
    let counted = measure.counts;
    let caption = format!("{title} of each seed, with {of} 95 % interval over its {counted}.");
    let what = match measure.is_exact_match() {
        true => "Accuracy",
        false => "Value",
    };
    let fields: [Field<'_, &&MeasureRow>; 6] = [
        ("Point", &|row| words(&row.label)),
        ("Seed", &|row| maybe(row.seed, seed)),
        (&heading(measure, what), &|row| value(measure, row.value)),
        ("95 % interval", &|row| {
            interval(measure, row.low_95.zip(row.high_95))
        }),
        ("Right", &|row| maybe(row.correct, count)),
        (&counts(measure), &|row| maybe(row.questions, count)),
    ];
    let several = groups.iter().any(|group| group.seeds > Some(1));
    let shown = rows.iter().filter(|row| several && row.subject == MODEL);
    let table = Table::of(format!("{name}-of-seeds"), caption, shown, &fields);
    table.with_shared_columns_in_caption(&[&counts(measure)])
}
