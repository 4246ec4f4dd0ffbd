//! Accuracies as `run` and `plot` print them: each seed, then what the seeds of a point say together.

use crate::metrics::rows::GroupRow;
use crate::metrics::statistics::STUDENT_T;
use crate::pipeline::Report;

/// One line for each row of `summary.csv`, and one more after the seeds of a point that has several.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![];
    let rows = report.accuracies.as_slice();
    for rows in rows.chunk_by(|a, b| a.point == b.point && a.subject == b.subject) {
        lines.extend(rows.iter().map(super::describe));
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
