//! Tables of accuracies: each point over its seeds with what others reported beside it, and each seed.

use super::results::Results;
use super::table::{Column, Table, count, empty, maybe, percent, percents, points, seed, words};
use crate::metrics::rows::{AccuracyRow, GroupRow};
use crate::metrics::statistics::{STUDENT_T, WILSON};

const MODEL: &str = "model";
const REPORTED: &str = "reported";

/// What was measured and what was reported; nothing where nothing was asked.
pub(super) fn tables(results: &Results) -> Vec<Table> {
    let tables = [over_seeds(results), each_seed(results)];
    let tables = tables.into_iter().filter(|table| !table.rows.is_empty());
    tables.map(Table::without_empty_columns).collect()
}

/// A row each point, and one for a constant answer that is the same at all of them.
fn over_seeds(results: &Results) -> Table {
    let caption = format!(
        "Accuracy{}.{}{}",
        of_splits(&results.groups),
        intervals(&results.groups),
        sources(&results.groups)
    );
    let columns = [
        Column::words("Point"),
        Column::numbers("Measured"),
        Column::numbers("Reported"),
        Column::numbers("95 % interval"),
        Column::words("Interval over"),
        Column::numbers("Deviation"),
        Column::numbers("Seeds"),
        Column::numbers("Right"),
        Column::numbers("Questions"),
    ];
    let mut table = Table::new(caption, &columns);
    let mut shown: Vec<(String, f64)> = vec![];
    for at_point in results.groups.chunk_by(|a, b| a.point == b.point) {
        let reported = at_point.iter().find(|group| group.subject == REPORTED);
        let ours: Vec<&GroupRow> = at_point
            .iter()
            .filter(|one| one.subject != REPORTED)
            .collect();
        let mut reported = reported.map(|group| group.mean_accuracy);
        for group in &ours {
            let name = name(group);
            // Where no model is asked, the constant answer is what the point measures.
            let own = reported.filter(|_| group.subject == MODEL || ours.len() == 1);
            let row = (name.clone(), group.mean_accuracy);
            if group.subject != MODEL && own.is_none() && shown.contains(&row) {
                continue;
            }
            shown.push(row);
            reported = reported.filter(|_| own.is_none());
            let right = right(group, &results.accuracies);
            table.rows.push(vec![
                words(name),
                percent(group.mean_accuracy),
                maybe(own, percent),
                maybe(group.low_95.zip(group.high_95), |(low, high)| {
                    percents(low, high)
                }),
                words(over(group)),
                maybe(group.standard_deviation, points),
                maybe(group.seeds, count),
                maybe(right, count),
                maybe(group.questions, count),
            ]);
        }
        // Nothing was measured here, or not what was reported.
        if let Some(fraction) = reported {
            let mut row = vec![words(&at_point[0].label), empty(), percent(fraction)];
            row.resize_with(table.columns.len(), empty);
            table.rows.push(row);
        }
    }
    table
}

/// Right answers, where one seed gave them.
fn right(group: &GroupRow, accuracies: &[AccuracyRow]) -> Option<usize> {
    let own = |row: &&AccuracyRow| row.point == group.point && row.subject == group.subject;
    let mut rows = accuracies.iter().filter(own);
    let only = rows.next()?;
    only.correct.filter(|_| rows.next().is_none())
}

fn name(group: &GroupRow) -> String {
    match group.detail.as_deref() {
        Some(answer) if group.subject != MODEL => format!("always \u{201c}{answer}\u{201d}"),
        _ => group.label.clone(),
    }
}

/// What the interval is over, as a column says it.
fn over(group: &GroupRow) -> &'static str {
    match group.interval.as_deref() {
        Some(STUDENT_T) => "seeds",
        Some(WILSON) => "questions",
        _ => "",
    }
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

/// Which intervals there are, and what they say.
fn intervals(groups: &[GroupRow]) -> String {
    let has = |interval: &str| {
        groups
            .iter()
            .any(|one| one.interval.as_deref() == Some(interval))
    };
    let mut says = String::new();
    if has(WILSON) {
        says += " Interval over questions: Wilson's, of one run.";
    }
    if has(STUDENT_T) {
        says += " Interval over seeds: Student's t, of their mean on the same questions.";
    }
    if groups.iter().any(|one| one.standard_deviation.is_some()) {
        says += " Deviation: standard deviation of the seeds, in percentage points.";
    }
    says
}

/// Where the reported numbers come from.
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

/// A row each run, where any point has several.
fn each_seed(results: &Results) -> Table {
    let caption = "Accuracy of each seed, with Wilson's 95 % interval over its questions.";
    let columns = [
        Column::words("Point"),
        Column::numbers("Seed"),
        Column::numbers("Accuracy"),
        Column::numbers("95 % interval"),
        Column::numbers("Right"),
        Column::numbers("Questions"),
    ];
    let mut table = Table::new(caption, &columns);
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
    table
}
