//! `attnlab compare`: two recipes as tables, or as JSON.

use std::path::Path;

use super::table::Table;
use super::{print, print_json, print_wrapped};
use crate::config::Difference;
use crate::error::Result;
use crate::eval::measures::{EXACT_MATCH, MEASURES, Measure, Unit};
use crate::kinds::Listed as _;
use crate::labels::shorten_apart;
use crate::metrics::statistics::IntervalKind;
use crate::metrics::steps::TrainingStage;
use crate::pipeline::compare::{ComparedRun, Comparison, Pair, Side, Spread, compare as compared};
use crate::progress::{columns, output_width};

/// `attnlab compare`.
pub fn compare(a: &Path, b: &Path, json: bool) -> Result<()> {
    let comparison = compared(a, b)?;
    if json {
        return print_json(&comparison);
    }
    let names = [a, b].map(|path| path.display().to_string());
    let names = shorten_apart(&names, &|name| columns(name) + 3 <= output_width());
    let mut names = ["A", "B"].into_iter().zip(names);
    names.try_for_each(|(side, name)| print(format!("{side}  {name}")))?;
    let sides = [("A", &comparison.a), ("B", &comparison.b)];
    let others = MEASURES.iter().filter(|one| !one.is_exact_match());
    let first = [
        settings(&comparison.settings),
        measure(&comparison, &EXACT_MATCH),
        losses(sides),
        pairs(&comparison),
    ];
    let others = others.map(|one| measure(&comparison, one));
    for table in first.into_iter().chain(others) {
        let lines = table.lines(output_width());
        if !lines.is_empty() {
            print("")?;
        }
        lines.iter().try_for_each(print)?;
    }
    let untested = |pair: &Pair| {
        let why = pair.untested.as_ref()?;
        Some(format!("{} not compared: {why}", who(pair)))
    };
    let notes = comparison.pairs.iter().filter_map(untested);
    let notes: Vec<String> = comparison.notes.iter().cloned().chain(notes).collect();
    if !notes.is_empty() {
        print("")?;
    }
    notes
        .iter()
        .try_for_each(|note| print_wrapped(&format!("note: {note}"), 2))
}

fn under(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    Table {
        header: header.iter().map(|&cell| cell.to_owned()).collect(),
        rows: rows.into_iter().collect(),
        names: 0,
    }
}

fn settings(differences: &[Difference]) -> Table {
    if differences.is_empty() {
        return under(&[], [vec!["no setting differs".to_owned()]]);
    }
    let text = |value: &Option<serde_json::Value>| match value {
        Some(value) => value.to_string(),
        None => "absent".to_owned(),
    };
    let rows = differences
        .iter()
        .map(|one| vec![one.key.clone(), text(&one.a), text(&one.b)]);
    under(&["settings that differ", "A", "B"], rows)
}

/// Runs and means over seeds; a table leaves out the columns that are empty in all rows.
fn values(title: &str, [counts, value]: [&str; 2], rows: Vec<Vec<String>>) -> Table {
    let (deviation, interval) = ("standard deviation", "95 % interval");
    let header = [title, "right", counts, value, deviation, interval];
    under(&header, rows)
}

/// The row of a mean over seeds.
fn mean(name: String, value: String, deviation: String, range: String) -> Vec<String> {
    vec![name, String::new(), String::new(), value, deviation, range]
}

/// A measure: each run, the means over seeds, and except for the exact match, whose test has a table of its own, the
/// differences over the same questions.
fn measure(comparison: &Comparison, measure: &Measure) -> Table {
    let (name, unit, is_exact) = (measure.name(), measure.unit, measure.is_exact_match());
    let title = match is_exact {
        true => "accuracy",
        false => measure.quantity,
    };
    let distance = |distance| match is_exact {
        true => points(distance),
        false => unit.show_distance(distance),
    };
    let mut rows = vec![];
    for (side_name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        let split = side.split.as_deref().unwrap_or_default();
        let constant = match side.subject.as_deref() {
            Some("constant") => ", constant answer",
            _ => "",
        };
        let of_run = |run: &ComparedRun| {
            let (right, questions, value, interval) = match is_exact {
                true => {
                    let one = run.accuracy.as_ref()?;
                    let right = one.correct.to_string();
                    let interval = Some((one.low_95, one.high_95));
                    (right, one.questions, one.accuracy, interval)
                }
                false => {
                    let one = run.measures.get(name)?;
                    let interval = one.low_95.zip(one.high_95);
                    (String::new(), one.questions, one.value, interval)
                }
            };
            Some(vec![
                format!("{side_name}, seed {}{constant}", run.seed),
                right,
                format!("{questions} {split}"),
                unit.show(value),
                String::new(),
                interval.map_or(String::new(), |(low, high)| unit.show_range(low, high)),
            ])
        };
        rows.extend(side.runs.iter().filter_map(of_run));
        let spread = match is_exact {
            true => side.accuracy.as_ref(),
            false => side.measures.get(name),
        };
        rows.extend(spread.map(|spread| {
            let of = match spread.interval {
                IntervalKind::Wilson => ", interval of one",
                _ => "",
            };
            mean(
                format!("{side_name}, mean of {} seeds{constant}{of}", spread.seeds),
                unit.show(spread.mean),
                distance(spread.standard_deviation),
                unit.show_range(spread.low_95, spread.high_95),
            )
        }));
    }
    let of_pair = |pair: &Pair| {
        let one = pair.differences.get(name)?;
        Some(vec![
            format!("B - A, {}", who(pair)),
            String::new(),
            one.questions.to_string(),
            unit.show_difference(one.difference),
            String::new(),
            unit.show_differences(one.low_95, one.high_95),
        ])
    };
    rows.extend(comparison.pairs.iter().filter_map(of_pair));
    rows.extend(comparison.differences.get(name).map(|spread| {
        mean(
            format!("B - A, mean of {} seeds", spread.seeds),
            unit.show_difference(spread.mean),
            unit.show_distance(spread.standard_deviation),
            unit.show_differences(spread.low_95, spread.high_95),
        )
    }));
    values(title, [measure.counts, ""], rows)
}

fn losses(sides: [(&str, &Side); 2]) -> Table {
    let mut rows = vec![];
    for stage in TrainingStage::ALL {
        for (name, side) in sides {
            let stage_name = stage.name();
            let of_run = |run: &ComparedRun| {
                let loss = run.final_loss_nats.get(&stage)?;
                let name = format!("{stage_name}: {name}, seed {}", run.seed);
                let (none, loss) = (String::new(), format!("{loss:.4}"));
                Some(vec![name, none.clone(), none, loss])
            };
            rows.extend(side.runs.iter().filter_map(of_run));
            rows.extend(side.final_loss_nats.get(&stage).map(|spread| {
                mean(
                    format!("{stage_name}: {name}, mean of {} seeds", spread.seeds),
                    format!("{:.4}", spread.mean),
                    format!("{:.4}", spread.standard_deviation),
                    format!("{:.4} to {:.4}", spread.low_95, spread.high_95),
                )
            }));
        }
    }
    values("training loss, last epoch", ["questions", "nats"], rows)
}

fn pairs(comparison: &Comparison) -> Table {
    let title = [
        "the same questions",
        "questions",
        "only A right",
        "only B right",
        "McNemar p",
        "B - A",
        "standard deviation",
        "95 % interval",
    ];
    let of_pair = |pair: &Pair| {
        let test = pair.test.as_ref()?;
        Some(vec![
            who(pair),
            test.questions.to_string(),
            test.only_a_right.to_string(),
            test.only_b_right.to_string(),
            p_value(test.p),
            Unit::Fraction.show_difference(test.difference),
            String::new(),
            Unit::Fraction.show_differences(test.low_95, test.high_95),
        ])
    };
    let of_mean = |spread: &Spread| {
        let mut cells = vec![String::new(); 8];
        cells[0] = format!("mean of {} seeds", spread.seeds);
        cells[5] = Unit::Fraction.show_difference(spread.mean);
        cells[6] = points(spread.standard_deviation);
        cells[7] = Unit::Fraction.show_differences(spread.low_95, spread.high_95);
        cells
    };
    let tested = comparison.pairs.iter().filter_map(of_pair);
    let means = comparison.difference.iter().map(of_mean);
    under(&title, tested.chain(means))
}

fn who(pair: &Pair) -> String {
    match pair.seed_a == pair.seed_b {
        true => format!("seed {}", pair.seed_a),
        false => format!("A, seed {} and B, seed {}", pair.seed_a, pair.seed_b),
    }
}

/// A difference of fractions, in percentage points.
fn points(distance: f64) -> String {
    format!("{:.1} points", 100.0 * distance)
}

/// Two significant digits: `0.51`, `0.034`, `0.0012`, `4.7e-7`.
fn p_value(p: f64) -> String {
    match p {
        0.1.. => format!("{p:.2}"),
        0.01.. => format!("{p:.3}"),
        0.001.. => format!("{p:.4}"),
        _ => format!("{p:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_have_two_digits_that_say_something() {
        let texts = [1.0, 0.51234, 0.03449, 0.00123, 4.66e-7, f64::MIN_POSITIVE].map(p_value);
        assert_eq!(
            texts,
            ["1.00", "0.51", "0.034", "0.0012", "4.7e-7", "2.2e-308"]
        );
    }

    #[test]
    fn differences_keep_their_sign() {
        assert_eq!(Unit::Fraction.show_difference(-0.0621), "-6.2 points");
        assert_eq!(
            Unit::Fraction.show_differences(-0.005, 0.12),
            "-0.5 to +12.0 points"
        );
    }
}
