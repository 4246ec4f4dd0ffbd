//! Results as `run` and `plot` print them: each seed's accuracy, then what the seeds of a point say together; of an
//! exploration, what was found.

use crate::metrics::rows::{AccuracyRow, FindingRow, GroupRow};
use crate::metrics::statistics::STUDENT_T;
use crate::pipeline::Report;
use crate::plot::significant;
use crate::progress::thousands;

/// All that a report has to say in numbers.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut lines = accuracies(report);
    let same = |a: &FindingRow, b: &FindingRow| a.label == b.label && a.quantity == b.quantity;
    lines.extend(report.findings.chunk_by(same).map(finding));
    lines
}

/// One line for each row of `summary.csv`, and one more after the seeds of a point that has several.
fn accuracies(report: &Report) -> Vec<String> {
    let mut lines = vec![];
    let rows = report.accuracies.as_slice();
    for rows in rows.chunk_by(|a, b| a.point == b.point && a.subject == b.subject) {
        lines.extend(rows.iter().map(accuracy));
        let own =
            |group: &&GroupRow| group.point == rows[0].point && group.subject == rows[0].subject;
        lines.extend(report.groups.iter().find(own).and_then(mean));
    }
    lines
}

/// `pretrained, mean of 3 seeds: 85.6 %  (standard deviation 5.9 percentage points; 95 % interval
/// 71.0 to 100.0 %)`; nothing where there is one seed, which has its own line.
fn mean(group: &GroupRow) -> Option<String> {
    let seeds = group.seeds.filter(|&seeds| seeds > 1)?;
    let deviation = group.standard_deviation?;
    let over = match group.interval.as_deref() == Some(STUDENT_T) {
        true => {
            let points = 100.0 * deviation;
            format!("standard deviation {points:.1} percentage points; 95 % interval")
        }
        false => "every seed the same; 95 % interval of one seed's questions".to_owned(),
    };
    Some(format!(
        "{}, mean of {seeds} seeds: {:.1} %  ({over} {:.1} to {:.1} %)",
        group.label,
        100.0 * group.mean_accuracy,
        100.0 * group.low_95?,
        100.0 * group.high_95?
    ))
}

/// `pretrained, seed 1: 21.0 % of 500 dev questions (105 right; 95 % interval 17.7 to 24.8 %)`.
fn accuracy(row: &AccuracyRow) -> String {
    let percent = 100.0 * row.accuracy;
    let detail = row.detail.as_deref().unwrap_or_default();
    let who = match row.subject.as_str() {
        "model" => format!("{}, seed {}", row.label, row.seed.unwrap_or_default()),
        "constant" => format!("always \u{201c}{detail}\u{201d}"),
        _ => {
            return format!(
                "{}, reported elsewhere: {percent:.1} %  ({detail})",
                row.label
            );
        }
    };
    let of = match (row.correct, row.questions, row.low_95, row.high_95) {
        (Some(correct), Some(questions), Some(low), Some(high)) => format!(
            " of {questions} {} questions  ({correct} right; 95 % interval {:.1} to {:.1} %)",
            row.split,
            100.0 * low,
            100.0 * high
        ),
        _ => String::new(),
    };
    format!("{who}: {percent:.1} %{of}")
}

/// What was found of one quantity: a distribution, or both ends of a curve.
fn finding(rows: &[FindingRow]) -> String {
    let [first, last] = [&rows[0], &rows[rows.len() - 1]];
    let (what, value) = (
        format!("{}: {}", first.label, first.quantity),
        significant(first.value),
    );
    if let (Some(variance), Some(low), Some(high)) = (first.variance, first.low_90, first.high_90) {
        return format!(
            "{what} {value} on average, variance {}  ({} draws, the middle 90 % from {} to {})",
            significant(variance),
            thousands(first.samples),
            significant(low),
            significant(high)
        );
    }
    let at = |row: &FindingRow| row.x.map_or(String::new(), |x| x.to_string());
    let varied = first.x_quantity.as_deref().unwrap_or_default();
    if rows.len() == 1 {
        return format!("{what} {value}  ({varied} = {})", at(first));
    }
    let to = significant(last.value);
    format!(
        "{what} from {value} to {to}  ({varied} from {} to {})",
        at(first),
        at(last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(seeds: usize, interval: &str) -> GroupRow {
        GroupRow {
            point: "base-00000000".to_owned(),
            label: "pretrained".to_owned(),
            split: "dev".to_owned(),
            subject: "model".to_owned(),
            detail: None,
            seeds: Some(seeds),
            questions: Some(60),
            mean_accuracy: 0.85555,
            standard_deviation: (seeds > 1).then_some(0.058531),
            low_95: Some(0.71016),
            high_95: Some(1.0),
            interval: Some(interval.to_owned()),
            parameters: Some(3_323_392),
        }
    }

    #[test]
    fn several_seeds_have_a_line_for_their_mean() {
        let line = "pretrained, mean of 3 seeds: 85.6 %  (standard deviation 5.9 percentage \
                    points; 95 % interval 71.0 to 100.0 %)";
        assert_eq!(mean(&group(3, STUDENT_T)).as_deref(), Some(line));
        assert_eq!(mean(&group(1, "wilson")), None);
    }

    #[test]
    fn seeds_that_agree_say_whose_interval_it_is() {
        let line = mean(&group(3, "wilson")).expect("three seeds");
        let says = "(every seed the same; 95 % interval of one seed's questions 71.0 to 100.0 %)";
        assert!(line.contains(says), "{line}");
    }
}
