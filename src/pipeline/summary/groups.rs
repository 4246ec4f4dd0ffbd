//! Accuracy over seeds: `groups.csv`, all seeds of a point in one row.

use std::path::Path;

use crate::error::Result;
use crate::metrics::rows::{AccuracyRow, GroupRow};
use crate::metrics::statistics::accuracy_over_seeds;
use crate::metrics::table;
use crate::pipeline::summary::parameters;

/// Writes `groups.csv` from the rows of `summary.csv`, and returns its rows.
///
/// # Errors
/// The file cannot be written.
pub fn write(accuracies: &[AccuracyRow], folder: &Path) -> Result<Vec<GroupRow>> {
    let groups = groups(accuracies);
    let rows: Vec<GroupRow> = groups.iter().map(|group| row(group, folder)).collect();
    table::write(&folder.join("groups.csv"), &rows)?;
    Ok(rows)
}

/// Whether two rows differ only in the seed and its results.
fn together(a: &AccuracyRow, b: &AccuracyRow) -> bool {
    let key = |row: &AccuracyRow| {
        let (split, subject) = (row.split.clone(), row.subject.clone());
        (row.point.clone(), split, subject, row.detail.clone())
    };
    key(a) == key(b)
}

/// The rows of each group, in the order of their first rows.
fn groups(accuracies: &[AccuracyRow]) -> Vec<Vec<&AccuracyRow>> {
    let mut groups: Vec<Vec<&AccuracyRow>> = vec![];
    for row in accuracies {
        match groups.iter_mut().find(|group| together(group[0], row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn row(group: &[&AccuracyRow], folder: &Path) -> GroupRow {
    let first = group[0];
    let own = |row: &&AccuracyRow| row.seed.filter(|_| row.subject == "model");
    let asked: Vec<u64> = group.iter().filter_map(own).collect();
    let seeds = group.iter().filter(|row| row.seed.is_some()).count();
    let counted = |row: &&AccuracyRow| Some((row.correct?, row.questions?));
    let runs: Vec<(usize, usize)> = group.iter().filter_map(counted).collect();
    let over_seeds = accuracy_over_seeds(&runs);
    let of_all = |questions: &usize| runs.iter().all(|run| run.1 == *questions);
    GroupRow {
        point: first.point.clone(),
        label: first.label.clone(),
        split: first.split.clone(),
        subject: first.subject.clone(),
        detail: first.detail.clone(),
        seeds: (seeds > 0).then_some(seeds),
        questions: first.questions.filter(of_all),
        mean_accuracy: over_seeds.as_ref().map_or(first.accuracy, |a| a.mean),
        standard_deviation: over_seeds.as_ref().and_then(|a| a.standard_deviation),
        low_95: over_seeds.as_ref().map(|a| a.low_95),
        high_95: over_seeds.as_ref().map(|a| a.high_95),
        interval: over_seeds.map(|a| a.interval.to_owned()),
        parameters: parameters::of_point(&folder.join(&first.point), &asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::statistics::{STUDENT_T, WILSON, t_interval_95, wilson_95};

    /// A row of `summary.csv` as [`crate::pipeline::summary`] makes it.
    fn accuracy(
        point: &str,
        seed: Option<u64>,
        subject: &str,
        correct: Option<usize>,
    ) -> AccuracyRow {
        AccuracyRow {
            point: point.to_owned(),
            label: point.to_uppercase(),
            seed,
            split: "dev".to_owned(),
            subject: subject.to_owned(),
            detail: (subject != "model").then(|| "London".to_owned()),
            correct,
            questions: correct.map(|_| 60),
            accuracy: correct.map_or(0.21, |right| right as f64 / 60.0),
            low_95: correct.map(|right| wilson_95(right, 60).0),
            high_95: correct.map(|right| wilson_95(right, 60).1),
        }
    }

    fn written(accuracies: &[AccuracyRow]) -> Vec<GroupRow> {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = write(accuracies, folder.path()).expect("written");
        let read: Vec<GroupRow> = table::read(&folder.path().join("groups.csv")).expect("read");
        assert_eq!(read, rows);
        rows
    }

    #[test]
    fn seeds_of_a_point_become_one_row_and_points_stay_apart() {
        let rows = written(&[
            accuracy("a", Some(1), "model", Some(48)),
            accuracy("a", Some(2), "model", Some(51)),
            accuracy("a", Some(3), "model", Some(55)),
            accuracy("a", None, "constant", Some(21)),
            accuracy("b", Some(1), "model", Some(8)),
        ]);
        let who: Vec<_> = rows
            .iter()
            .map(|r| (r.point.as_str(), r.subject.as_str(), r.seeds))
            .collect();
        let expected = [
            ("a", "model", Some(3)),
            ("a", "constant", None),
            ("b", "model", Some(1)),
        ];
        assert_eq!(who, expected);
        let (low, _) = t_interval_95(&[48.0 / 60.0, 51.0 / 60.0, 55.0 / 60.0]).expect("three");
        assert!((rows[0].mean_accuracy - 154.0 / 180.0).abs() < 1e-12);
        assert_eq!((rows[0].low_95, rows[0].high_95), (Some(low), Some(1.0)));
        assert_eq!(rows[0].interval.as_deref(), Some(STUDENT_T));
        assert_eq!(rows[0].questions, Some(60));
        let deviation = rows[0].standard_deviation.expect("three seeds");
        assert!((deviation - 0.058531).abs() < 1e-6, "{deviation}");
    }

    #[test]
    fn one_seed_has_no_deviation_and_the_interval_of_its_questions() {
        let rows = written(&[accuracy("a", Some(7), "model", Some(8))]);
        let (low, high) = wilson_95(8, 60);
        assert_eq!((rows[0].low_95, rows[0].high_95), (Some(low), Some(high)));
        assert_eq!(rows[0].standard_deviation, None);
        assert_eq!(rows[0].interval.as_deref(), Some(WILSON));
    }

    #[test]
    fn a_reported_number_has_no_interval_of_ours() {
        let rows = written(&[accuracy("a", None, "reported", None)]);
        assert_eq!(rows[0].mean_accuracy, 0.21);
        let empty = (
            rows[0].seeds,
            rows[0].questions,
            rows[0].low_95,
            rows[0].high_95,
        );
        assert_eq!(empty, (None, None, None, None));
        assert_eq!(
            (&rows[0].interval, rows[0].standard_deviation),
            (&None, None)
        );
    }

    #[test]
    fn seeds_with_different_numbers_of_questions_leave_the_number_empty() {
        let more = AccuracyRow {
            questions: Some(61),
            ..accuracy("a", Some(2), "model", Some(51))
        };
        let rows = written(&[accuracy("a", Some(1), "model", Some(48)), more]);
        assert_eq!((rows[0].seeds, rows[0].questions), (Some(2), None));
    }

    #[test]
    fn no_accuracies_give_no_groups() {
        assert_eq!(written(&[]), []);
    }
}
