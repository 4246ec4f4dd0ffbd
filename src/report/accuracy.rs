//! Accuracy tables: each point over its seeds beside reported numbers, and each seed.

use super::results::Results;
use super::table::{
    Cell, Column, Table, count, maybe, mean_percent, percent, percents, seed, words,
};
use crate::metrics::rows::{AccuracyRow, GroupRow};
use crate::metrics::statistics::{STUDENT_T, WILSON};

const MODEL: &str = "model";
const CONSTANT: &str = "constant";
const REPORTED: &str = "reported";

/// The accuracy tables; none if no questions were asked.
pub(super) fn tables(results: &Results) -> Vec<Table> {
    let tables = [over_seeds(results), each_seed(results)];
    let tables = tables
        .into_iter()
        .filter(|table| table.all_rows().next().is_some());
    tables.map(Table::without_empty_columns).collect()
}

/// One row per point, and below them each constant answer once.
fn over_seeds(results: &Results) -> Table {
    let caption = format!(
        "Accuracy{}.{}{}",
        of_splits(&results.groups),
        intervals(&results.groups),
        sources(&results.groups)
    );
    let columns = [
        Column::words("Point"),
        Column::numbers("Measured in %"),
        Column::numbers("Reported in %"),
        Column::numbers("95 % interval"),
        Column::words("Interval over"),
        Column::numbers("Seeds"),
        Column::numbers("Right"),
        Column::numbers("Questions"),
    ];
    let mut table = Table::new("accuracy", caption, &columns);
    let entries = entries(&results.groups);
    let names: Vec<String> = entries.iter().map(|entry| name(entry.group)).collect();
    for (entry, name) in entries.iter().zip(&names) {
        let is_alone = names.iter().filter(|other| *other == name).count() == 1;
        let name = match entry.group.subject != CONSTANT || is_alone {
            true => name.clone(),
            false => format!("{name} ({})", entry.group.label),
        };
        let rows = match entry.is_baseline {
            true => &mut table.baselines,
            false => &mut table.rows,
        };
        rows.push(row(name, entry, results));
    }
    table.with_shared_columns_in_caption(&["Seeds", "Questions"])
}

/// A row of the table before it is named.
struct Entry<'a> {
    group: &'a GroupRow,
    reported: Option<f64>,
    is_baseline: bool,
}

/// Each point's measured and reported accuracy, and every constant answer once.
fn entries(groups: &[GroupRow]) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = vec![];
    for at_point in groups.chunk_by(|a, b| a.point == b.point) {
        let reported = at_point.iter().find(|group| group.subject == REPORTED);
        let (models, constants): (Vec<&GroupRow>, Vec<&GroupRow>) = at_point
            .iter()
            .filter(|group| group.subject != REPORTED)
            .partition(|group| group.subject == MODEL);
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
            reported: reported.map(|reported| reported.mean_accuracy),
            is_baseline: false,
        }));
        for group in compared {
            let is_known = |entry: &Entry<'_>| entry.is_baseline && is_same(entry.group, group);
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

/// Whether a constant answer has the same accuracy at two points.
fn is_same(one: &GroupRow, other: &GroupRow) -> bool {
    name(one) == name(other) && one.mean_accuracy == other.mean_accuracy
}

fn row(name: String, entry: &Entry<'_>, results: &Results) -> Vec<Cell> {
    let group = entry.group;
    let measured = (group.subject != REPORTED).then_some(group.mean_accuracy);
    let interval = group.low_95.zip(group.high_95);
    vec![
        words(name),
        maybe(measured, |mean| {
            mean_percent(mean, group.standard_deviation)
        }),
        maybe(entry.reported, percent),
        maybe(interval, |(low, high)| percents(low, high)),
        words(over(group, &results.groups)),
        maybe(group.seeds, count),
        maybe(right(group, &results.accuracies), count),
        maybe(group.questions, count),
    ]
}

/// The number of right answers, with a single seed.
fn right(group: &GroupRow, accuracies: &[AccuracyRow]) -> Option<usize> {
    let own = |row: &&AccuracyRow| row.point == group.point && row.subject == group.subject;
    let mut rows = accuracies.iter().filter(own);
    let only = rows.next()?;
    only.correct.filter(|_| rows.next().is_none())
}

fn name(group: &GroupRow) -> String {
    match group.detail.as_deref() {
        Some(answer) if group.subject == CONSTANT => format!("always \u{201c}{answer}\u{201d}"),
        _ => group.label.clone(),
    }
}

/// What the interval is over; empty if that is the same for all rows and so in the caption.
fn over(group: &GroupRow, groups: &[GroupRow]) -> &'static str {
    match group.interval.as_deref() {
        Some(STUDENT_T) if has(groups, WILSON) => "seeds",
        Some(WILSON) if has(groups, STUDENT_T) => "questions",
        _ => "",
    }
}

fn has(groups: &[GroupRow], interval: &str) -> bool {
    let mut intervals = groups.iter().filter_map(|one| one.interval.as_deref());
    intervals.any(|one| one == interval)
}

/// ` on dev questions`.
fn of_splits(groups: &[GroupRow]) -> String {
    let mut splits: Vec<&str> = groups.iter().map(|group| group.split.as_str()).collect();
    splits.sort_unstable();
    splits.dedup();
    match &splits[..] {
        [] => String::new(),
        splits => format!(" on {} questions", splits.join(" and ")),
    }
}

/// Explains the intervals in use.
fn intervals(groups: &[GroupRow]) -> String {
    let mut says = String::new();
    if has(groups, WILSON) {
        says += " Interval over questions: Wilson's, of one run.";
    }
    if has(groups, STUDENT_T) {
        says += " Interval over seeds: Student's t, of their mean on the same questions.";
    }
    if groups.iter().any(|one| one.standard_deviation.is_some()) {
        says += " \u{b1}: standard deviation over the seeds.";
    }
    says
}

/// The sources of the reported numbers.
fn sources(groups: &[GroupRow]) -> String {
    let reported: Vec<&GroupRow> = groups
        .iter()
        .filter(|one| one.subject == REPORTED)
        .collect();
    let source = |group: &&GroupRow| group.detail.clone().unwrap_or_default();
    let Some(first) = reported.first().map(source) else {
        return String::new();
    };
    if reported.iter().all(|group| source(group) == first) {
        return format!(" Reported elsewhere, not measured here: {first}.");
    }
    let each = reported
        .iter()
        .map(|group| format!("{}: {}", group.label, source(group)));
    let each: Vec<String> = each.collect();
    format!(
        " Reported elsewhere, not measured here: {}.",
        each.join("; ")
    )
}

/// One row per run, if any point has several seeds.
fn each_seed(results: &Results) -> Table {
    let caption = "Accuracy of each seed, with Wilson's 95 % interval over its questions.";
    let columns = [
        Column::words("Point"),
        Column::numbers("Seed"),
        Column::numbers("Accuracy in %"),
        Column::numbers("95 % interval"),
        Column::numbers("Right"),
        Column::numbers("Questions"),
    ];
    let mut table = Table::new("accuracy-of-seeds", caption, &columns);
    if results
        .groups
        .iter()
        .all(|group| group.seeds.is_none_or(|seeds| seeds < 2))
    {
        return table;
    }
    for row in results.accuracies.iter().filter(|row| row.subject == MODEL) {
        table.rows.push(vec![
            words(&row.label),
            maybe(row.seed, seed),
            percent(row.accuracy),
            maybe(row.low_95.zip(row.high_95), |(low, high)| {
                percents(low, high)
            }),
            maybe(row.correct, count),
            maybe(row.questions, count),
        ]);
    }
    table.with_shared_columns_in_caption(&["Questions"])
}
