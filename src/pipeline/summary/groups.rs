//! `groups.csv`: each measure of a point over its seeds, one row each.

use std::path::Path;

use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::Listed as _;
use crate::metrics::measured::MeasuredPoint;
use crate::metrics::rows::{GroupRow, MeasureRow};
use crate::metrics::statistics::{Estimate, Interval, over_seeds};
use crate::metrics::table;
use crate::model::weights;
use crate::pipeline::directory::RunDirectory;

/// Writes `groups.csv` from the rows of `summary.csv`, and returns its rows.
pub fn write(
    rows: &[MeasureRow],
    points: &[MeasuredPoint],
    folder: &Path,
) -> Result<Vec<GroupRow>> {
    let mut groups: Vec<Vec<&MeasureRow>> = vec![];
    for row in rows {
        let mut known = groups.iter_mut();
        match known.find(|group| group[0].group() == row.group()) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let rows: Vec<GroupRow> = groups.iter().map(|group| row(group)).collect();
    let rows = with_parameters(rows, points);
    table::write(&folder.join("groups.csv"), &rows)?;
    Ok(rows)
}

fn row(group: &[&MeasureRow]) -> GroupRow {
    let first = group[0];
    let seeds = group.iter().filter(|row| row.seed.is_some()).count();
    let runs: Vec<Estimate> = group.iter().map(|row| row.estimate()).collect();
    let measure = Measure::named(&first.measure);
    let range = measure.map_or(f64::NEG_INFINITY..=f64::INFINITY, |one| one.unit.range());
    let over_seeds = over_seeds(&runs, &range);
    let mean = over_seeds.as_ref().map(|one| one.mean);
    let (low_95, high_95, interval) = Interval::columns(mean.and_then(|one| one.interval));
    let mean = mean.map_or(first.value, |one| one.value);
    let asked_alike = |questions: &usize| group.iter().all(|row| row.questions == Some(*questions));
    GroupRow {
        point: first.point.clone(),
        label: first.label.clone(),
        split: first.split.clone(),
        subject: first.subject.clone(),
        detail: first.detail.clone(),
        seeds: (seeds > 0).then_some(seeds),
        questions: first.questions.filter(asked_alike),
        mean_accuracy: first.accuracy.map(|_| mean),
        standard_deviation: over_seeds.and_then(|one| one.standard_deviation),
        low_95,
        high_95,
        interval,
        parameters: None,
        measure: first.measure.clone(),
        unit: first.unit.clone(),
        better: first.better.clone(),
        mean,
    }
}

/// Fills in the parameters of the models, which are counted once for all measures of a point.
fn with_parameters(mut rows: Vec<GroupRow>, points: &[MeasuredPoint]) -> Vec<GroupRow> {
    for point in points {
        let of_model = |row: &&mut GroupRow| row.subject == "model" && row.point == point.folder;
        let mut own = rows.iter_mut().filter(of_model).peekable();
        let count = own.peek().and_then(|_| parameters(point));
        own.for_each(|row| row.parameters = count);
    }
    rows
}

/// The parameters of a point's model; absent where no finished run has weights.
fn parameters(point: &MeasuredPoint) -> Option<usize> {
    point.runs.iter().find_map(|run| {
        let run = RunDirectory::find(&run.folder).ok()?;
        weights::parameter_count(&run.last_weights().ok()?)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metrics::measured::MeasuredRun;
    use crate::metrics::statistics::IntervalKind::{StudentT, Wilson};
    use crate::metrics::statistics::{t_interval_95, wilson_95};
    use crate::model::weights::Weight;

    /// A row of `summary.csv` as [`crate::pipeline::summary`] makes it.
    fn accuracy(
        point: &str,
        seed: Option<u64>,
        subject: &str,
        correct: Option<usize>,
    ) -> MeasureRow {
        let value = correct.map_or(0.21, |right| right as f64 / 60.0);
        MeasureRow {
            point: point.to_owned(),
            label: point.to_uppercase(),
            seed,
            split: "dev".to_owned(),
            subject: subject.to_owned(),
            detail: (subject != "model").then(|| "London".to_owned()),
            correct,
            questions: correct.map(|_| 60),
            accuracy: Some(value),
            low_95: correct.map(|right| wilson_95(right, 60).0),
            high_95: correct.map(|right| wilson_95(right, 60).1),
            measure: "exact-match".to_owned(),
            unit: "fraction".to_owned(),
            better: "higher".to_owned(),
            value,
            interval: correct.map(|_| Wilson),
        }
    }

    fn written(rows: &[MeasureRow]) -> Vec<GroupRow> {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = write(rows, &[], folder.path()).expect("written");
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
        assert!((rows[0].mean - 154.0 / 180.0).abs() < 1e-12);
        assert_eq!(rows[0].mean_accuracy, Some(rows[0].mean));
        assert_eq!((rows[0].low_95, rows[0].high_95), (Some(low), Some(1.0)));
        assert_eq!(rows[0].interval, Some(StudentT));
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
        assert_eq!(rows[0].interval, Some(Wilson));
    }

    #[test]
    fn a_reported_number_has_no_interval_of_ours() {
        let rows = written(&[accuracy("a", None, "reported", None)]);
        assert_eq!((rows[0].mean_accuracy, rows[0].mean), (Some(0.21), 0.21));
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
        let more = MeasureRow {
            questions: Some(61),
            ..accuracy("a", Some(2), "model", Some(51))
        };
        let rows = written(&[accuracy("a", Some(1), "model", Some(48)), more]);
        assert_eq!((rows[0].seeds, rows[0].questions), (Some(2), None));
    }

    #[test]
    fn no_rows_give_no_groups() {
        assert_eq!(written(&[]), []);
    }

    #[test]
    fn parameters_come_from_the_weights_of_a_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let weight = |name: &str, shape: &[usize]| Weight {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        };
        let both = [weight("w", &[3, 4]), weight("b", &[5])];
        let run = folder.path().join("seed-2");
        std::fs::create_dir_all(run.join("checkpoints")).expect("made");
        for file in ["resolved.toml", "status.json"] {
            std::fs::write(run.join(file), "").expect("written");
        }
        let file = run.join("checkpoints/finetune.safetensors");
        weights::write(&file, &both, &BTreeMap::new()).expect("written");
        let of = |seeds: &[u64]| {
            let run = |&seed: &u64| MeasuredRun {
                seed,
                folder: folder.path().join(format!("seed-{seed}")),
            };
            parameters(&MeasuredPoint {
                runs: seeds.iter().map(run).collect(),
                ..MeasuredPoint::default()
            })
        };
        assert_eq!(of(&[1, 2]), Some(17));
        assert_eq!(of(&[1]), None);
    }
}
