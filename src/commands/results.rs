//! Results as `run` and `plot` print them: each seed's measures, then each point's mean over its seeds; for an
//! exploration, its findings.

use crate::eval::measures::Measure;
use crate::kinds::Listed as _;
use crate::metrics::rows::{ChoiceRow, FindingRow, GroupRow, MeasureRow};
use crate::metrics::statistics::IntervalKind;
use crate::pipeline::ExperimentResults;
use crate::pipeline::summary::choice::{by_group, tried, why_undecided, winner};
use crate::plot::significant;
use crate::progress::thousands;

/// All numbers of a report, line by line.
pub(super) fn lines(report: &ExperimentResults) -> Vec<String> {
    let mut lines = match report.choice.is_empty() {
        true => measures(&report.measures, &report.groups),
        false => {
            let (measured, groups) = chosen(report);
            measures(&measured, &groups)
        }
    };
    lines.extend(by_group(&report.choice).map(choice));
    let same = |a: &FindingRow, b: &FindingRow| {
        (&a.point, &a.label, &a.quantity) == (&b.point, &b.label, &b.quantity)
    };
    lines.extend(report.findings.chunk_by(same).map(finding));
    lines
}

/// The rows of the points that were chosen by validation, each called what its candidates share.
fn chosen(report: &ExperimentResults) -> (Vec<MeasureRow>, Vec<GroupRow>) {
    let called = |point: &str| {
        let mut winners = by_group(&report.choice).filter_map(winner);
        let own = winners.find(|row| row.point == point);
        own.map(|row| row.group.clone())
    };
    let measure = |row: &MeasureRow| {
        let label = called(&row.point)?;
        Some(MeasureRow {
            label,
            ..row.clone()
        })
    };
    let group = |row: &GroupRow| {
        let label = called(&row.point)?;
        Some(GroupRow {
            label,
            ..row.clone()
        })
    };
    let measures = report.measures.iter().filter_map(measure).collect();
    (measures, report.groups.iter().filter_map(group).collect())
}

/// `linear: chose pretrain.learning_rate = 0.002, the best of 4 candidates (token-accuracy 99.1 % on the dev split)`.
fn choice(candidates: &[ChoiceRow]) -> String {
    let (group, tried) = (&candidates[0].group, tried(candidates));
    let known = winner(candidates)
        .and_then(|row| Some((row, Measure::named(&row.measure)?, row.validation?)));
    match known {
        Some((row, measure, value)) => format!(
            "{group}: chose {}, the best of {tried} ({} {} on the dev split)",
            row.values,
            row.measure,
            measure.unit.show(value)
        ),
        None => {
            let why = why_undecided(candidates);
            format!("{group}: no candidate chosen: {why}")
        }
    }
}

/// A line for each row of `summary.csv`, and one more after a point with several seeds.
fn measures(measures: &[MeasureRow], groups: &[GroupRow]) -> Vec<String> {
    let mut lines = vec![];
    for rows in measures.chunk_by(|a, b| a.group() == b.group()) {
        let Some(measure) = Measure::named(&rows[0].measure) else {
            continue;
        };
        lines.extend(rows.iter().map(|row| line(row, measure)));
        let mut groups = groups.iter();
        let group = groups.find(|group| group.group() == rows[0].group());
        lines.extend(group.and_then(|group| mean(group, measure)));
    }
    lines
}

/// The measure's name with a space before it, such as ` Brier score`; empty for exact match.
fn named(measure: &Measure) -> String {
    match measure.is_exact_match() {
        true => String::new(),
        false => format!(" {}", measure.quantity),
    }
}

/// `pretrained, mean of 3 seeds: 85.6 %  (standard deviation 5.9 percentage points; 95 % interval
/// 71.0 to 100.0 %)`; nothing with one seed, which has its own line.
fn mean(group: &GroupRow, measure: &Measure) -> Option<String> {
    let seeds = group.seeds.filter(|&seeds| seeds > 1)?;
    let deviation = group.standard_deviation?;
    let (label, named, unit) = (&group.label, named(measure), measure.unit);
    let (mean, deviation) = (unit.show(group.mean), unit.show_distance(deviation));
    let over = match group.interval {
        Some(IntervalKind::StudentT) => &format!("standard deviation {deviation}; 95 % interval"),
        _ => &format!(
            "all seeds equal; 95 % interval over one seed's {}",
            measure.counts
        ),
    };
    let over = format!(
        "({over} {})",
        unit.show_range(group.low_95?, group.high_95?)
    );
    Some(format!(
        "{label}, mean of {seeds} seeds:{named} {mean}  {over}"
    ))
}

/// `pretrained, seed 1: 21.0 % of 500 dev questions (105 right; 95 % interval 17.7 to 24.8 %)`.
fn line(row: &MeasureRow, measure: &Measure) -> String {
    let value = measure.unit.show(row.value);
    let detail = row.detail.as_deref().unwrap_or_default();
    let who = match row.subject.as_str() {
        "model" => format!("{}, seed {}", row.label, row.seed.unwrap_or_default()),
        "constant" => format!("always \u{201c}{detail}\u{201d}"),
        _ => return format!("{}, reported elsewhere: {value}  ({detail})", row.label),
    };
    let range = |(low, high)| format!("95 % interval {}", measure.unit.show_range(low, high));
    let interval = row.low_95.zip(row.high_95).map(range);
    let right = row.correct.map(|correct| format!("{correct} right"));
    let brackets: Vec<String> = right.into_iter().chain(interval).collect();
    let brackets = match brackets.is_empty() {
        true => String::new(),
        false => format!("  ({})", brackets.join("; ")),
    };
    let questions = row.questions.unwrap_or_default();
    let (named, split, counts) = (named(measure), &row.split, measure.counts);
    let over = if row.correct.is_some() { "of" } else { "over" };
    format!("{who}:{named} {value} {over} {questions} {split} {counts}{brackets}")
}

/// The findings on one quantity: a distribution, or both ends of a curve.
fn finding(rows: &[FindingRow]) -> String {
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    let what = format!("{}: {}", first.label, first.quantity);
    let (Some(varied), Some(from), Some(to)) = (&first.x_quantity, first.x, last.x) else {
        let value = significant(first.value);
        return format!("{what}: {value} on average{}", spread(first));
    };
    let draws = thousands(first.samples);
    let brackets = first.low_90.map_or(String::new(), |_| {
        format!("; in brackets: middle 90 % of {draws} draws")
    });
    let (value, end) = (with_range(first), with_range(last));
    match rows.len() {
        1 => format!("{what}: {value} at {from}  ({varied}{brackets})"),
        _ => format!("{what}: {value} at {from}, {end} at {to}  ({varied}{brackets})"),
    }
}

/// `0.708 [0.707, 0.709]`: a median and the middle 90 % of the draws, if there are several.
fn with_range(of: &FindingRow) -> String {
    let value = significant(of.value);
    match (of.low_90, of.high_90) {
        (Some(low), Some(high)) => format!("{value} [{}, {}]", significant(low), significant(high)),
        _ => value,
    }
}

/// The variance and range of a distribution; nothing for a single draw.
fn spread(of: &FindingRow) -> String {
    let (Some(variance), Some(low), Some(high)) = (of.variance, of.low_90, of.high_90) else {
        return String::new();
    };
    format!(
        ", variance {}  ({} draws, the middle 90 % from {} to {})",
        significant(variance),
        thousands(of.samples),
        significant(low),
        significant(high)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::measures::EXACT_MATCH;
    use crate::metrics::statistics::IntervalKind::{StudentT, Wilson};

    fn group(seeds: usize, interval: IntervalKind) -> GroupRow {
        GroupRow {
            point: "base-00000000".to_owned(),
            label: "pretrained".to_owned(),
            split: "dev".to_owned(),
            subject: "model".to_owned(),
            detail: None,
            seeds: Some(seeds),
            questions: Some(60),
            mean_accuracy: Some(0.85555),
            mean: 0.85555,
            standard_deviation: (seeds > 1).then_some(0.058531),
            low_95: Some(0.71016),
            high_95: Some(1.0),
            interval: Some(interval),
            parameters: Some(3_323_392),
            ..GroupRow::default()
        }
    }

    #[test]
    fn several_seeds_have_a_line_for_their_mean() {
        let line = "pretrained, mean of 3 seeds: 85.6 %  (standard deviation 5.9 percentage \
                    points; 95 % interval 71.0 to 100.0 %)";
        let mean = |group| mean(&group, &EXACT_MATCH);
        assert_eq!(mean(group(3, StudentT)).as_deref(), Some(line));
        assert_eq!(mean(group(1, Wilson)), None);
    }

    #[test]
    fn seeds_that_agree_say_whose_interval_it_is() {
        let line = mean(&group(3, Wilson), &EXACT_MATCH).expect("three seeds");
        let says = "(all seeds equal; 95 % interval over one seed's questions 71.0 to 100.0 %)";
        assert!(line.contains(says), "{line}");
    }

    fn found(label: &str, value: f64, at: Option<f64>) -> FindingRow {
        FindingRow {
            point: "base-00000000".to_owned(),
            label: label.to_owned(),
            is_reported: false,
            quantity: "error".to_owned(),
            value,
            variance: None,
            low_90: None,
            high_90: None,
            samples: 1000,
            x_quantity: at.map(|_| "factor".to_owned()),
            x: at,
        }
    }

    #[test]
    fn a_finding_is_a_line() {
        let ends = [
            found("n = 3", 0.5, Some(0.0)),
            found("n = 3", 1.5e-7, Some(40.0)),
        ];
        let lines = [
            finding(&ends),
            finding(&ends[..1]),
            finding(&[found("one", 0.5, None)]),
        ];
        let wanted = [
            "n = 3: error: 0.500 at 0, 1.50e-7 at 40  (factor)",
            "n = 3: error: 0.500 at 0  (factor)",
            "one: error: 0.500 on average",
        ];
        assert_eq!(lines, wanted);
        let ranged = FindingRow {
            low_90: Some(0.25),
            high_90: Some(0.75),
            ..found("n = 3", 0.5, Some(2.0))
        };
        let line = "n = 3: error: 0.500 [0.250, 0.750] at 2  (factor; in brackets: middle 90 % of 1,000 draws)";
        assert_eq!(finding(&[ranged]), line);
        let drawn = FindingRow {
            variance: Some(0.02),
            low_90: Some(0.1),
            high_90: Some(0.9),
            ..found("one", 0.5, None)
        };
        let line = "one: error: 0.500 on average, variance 0.0200  (1,000 draws, the middle 90 % from 0.100 to 0.900)";
        assert_eq!(finding(&[drawn]), line);
    }
}
