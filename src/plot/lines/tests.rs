use std::collections::BTreeMap;

use super::*;
use crate::eval::measures::Unit;
use crate::metrics::measured::MeasuredPoint;
use crate::plot::tests::drawn;
use crate::plot::tests::gallery::{self, Label, chance, runs};

fn lines(
    points: usize,
    label: Label<'_>,
    xs: &[f64],
    runs: &dyn Fn(usize, usize) -> Vec<SeedValue>,
) -> Vec<Line> {
    let line = |i: usize| Line {
        label: label(i),
        spots: (xs.iter().enumerate())
            .map(|(j, &x)| Spot {
                x,
                runs: runs(i, j),
                reported: (i == 0).then(|| (1.0, "a paper".to_owned())),
                bin: None,
            })
            .collect(),
    };
    (0..points).map(line).collect()
}

/// Accuracy against four widths, in two charts.
pub fn by_width(points: usize, label: Label<'_>) -> Figure {
    let widths = [64.0, 128.0, 256.0, 512.0];
    let panel = |heading: &str| Panel {
        heading: heading.to_owned(),
        lines: lines(points, label, &widths, &|i, j| {
            runs(i + 3 * j, points + 12, 1)
        }),
    };
    let figure = Lines {
        horizontal: "model.embed".to_owned(),
        panels: vec![
            panel("data.length = 64, data.pairs = 4"),
            panel("data.length = 128, data.pairs = 8"),
        ],
        ..Lines::default()
    };
    drawn(&ByKey(figure), "A figure of lines")
}

/// A measure without an upper end, of three seeds, in as many charts as there are points.
pub fn losses_in_panels(points: usize, label: Label<'_>) -> Figure {
    let mut all = Measure::all().iter();
    let nats = all.find(|one| one.unit == Unit::Nats).expect("one in nats");
    let panel = |i: usize| Panel {
        heading: label(i),
        lines: lines(3, &|j| format!("kind {j}"), &[1.0, 2.0, 3.0], &|i, j| {
            gallery::losses(i + j, 6, 3)
        }),
    };
    let figure = Lines {
        measure: Named(nats),
        horizontal: "layers".to_owned(),
        panels: (0..points).map(panel).collect(),
        ..Lines::default()
    };
    drawn(&ByKey(figure), "A figure of losses")
}

/// Sixty lengths, with bands where there are few lines.
pub fn by_length(points: usize, label: Label<'_>) -> Figure {
    let lengths: Vec<f64> = (41..=100).map(f64::from).collect();
    let right = |i: usize, j: usize| {
        let share = 1.0 - 0.5 * j as f64 / 60.0 * (1.0 + chance(i, 1));
        SeedValue::of_counts(1, (40.0 * share) as usize, 40)
            .into_iter()
            .collect()
    };
    let lines = lines(points, label, &lengths, &right);
    let figure = one_chart("length (tokens)", lines);
    drawn(&ByLength(figure), "A figure of lengths")
}

/// Lines without reported numbers.
fn one_chart(horizontal: &str, mut lines: Vec<Line>) -> Lines {
    let spots = lines.iter_mut().flat_map(|line| &mut line.spots);
    spots.for_each(|spot| spot.reported = None);
    let heading = String::new();
    Lines {
        horizontal: horizontal.to_owned(),
        panels: vec![Panel { heading, lines }],
        ..Lines::default()
    }
}

/// A validation every 250 steps, of two seeds.
pub fn by_step(points: usize, label: Label<'_>) -> Figure {
    let steps: Vec<f64> = (1..=8).map(|i| 250.0 * f64::from(i)).collect();
    let lines = lines(points, label, &steps, &|i, j| runs(i + j, points + 9, 2));
    let figure = one_chart("optimiser step (pretrain)", lines);
    drawn(&ByStep(figure), "A figure of validations")
}

/// The same against minutes, which are no round numbers.
pub fn by_minutes(points: usize, label: Label<'_>) -> Figure {
    let minutes: Vec<f64> = (1..=6)
        .map(|i| 3.746_016_410_866_664 * f64::from(i))
        .collect();
    let lines = lines(points, label, &minutes, &|i, j| runs(i + j, points + 9, 2));
    let figure = Lines {
        is_measured: true,
        ..one_chart("minutes of training", lines)
    };
    drawn(&ByStep(figure), "A figure of validations over time")
}

fn point(values: &[(&str, &str)], names: &[(&str, &str)]) -> MeasuredPoint {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    MeasuredPoint {
        values: values.iter().map(owned).collect(),
        names: names.iter().map(owned).collect::<BTreeMap<_, _>>(),
        ..MeasuredPoint::default()
    }
}

#[test]
fn a_line_is_called_by_what_the_axis_does_not_show() {
    let points = [
        point(
            &[("kind", "linear"), ("embed", "64"), ("head_dim", "64")],
            &[("kind", "Linear attention")],
        ),
        point(
            &[("kind", "linear"), ("embed", "128"), ("head_dim", "128")],
            &[],
        ),
        point(
            &[("kind", "based"), ("embed", "128"), ("head_dim", "128")],
            &[],
        ),
    ];
    let names = Names::of(&points, Some("embed"), None);
    let lines = points.each_ref().map(|point| names.line(point));
    assert_eq!(lines, ["Linear attention", "kind = linear", "kind = based"]);
    let names = Names::of(&points, None, Some("kind"));
    assert_eq!(names.panel(&points[2]), "kind = based");
    assert_eq!(names.line(&points[2]), "embed = 128, head_dim = 128");
}

/// As when models of several kinds have the same number of parameters.
#[test]
fn kinds_with_widths_of_their_own_are_lines_of_their_own() {
    let points = [
        ("vanilla", "128"),
        ("linear", "96"),
        ("vanilla", "256"),
        ("linear", "192"),
    ];
    let points = points.map(|(kind, embed)| point(&[("kind", kind), ("embed", embed)], &[]));
    let names = Names::of(&points, Some("embed"), None);
    let lines = points.each_ref().map(|point| names.line(point));
    assert_eq!(
        lines,
        [
            "kind = vanilla",
            "kind = linear",
            "kind = vanilla",
            "kind = linear"
        ]
    );
}

#[test]
fn few_values_are_ticks_and_widths_are_as_far_apart_as_their_ratios() {
    let spot = |x| Spot {
        x,
        ..Spot::default()
    };
    let figure = |xs: &[f64]| Lines {
        by_ratio: true,
        panels: vec![Panel {
            lines: vec![Line {
                spots: xs.iter().copied().map(spot).collect(),
                ..Line::default()
            }],
            ..Panel::default()
        }],
        ..Lines::default()
    };
    let (axis, ticks) = figure(&[64.0, 128.0, 256.0]).across(700.0);
    let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
    assert_eq!(labels, ["64", "128", "256"]);
    let apart = |a: f64, b: f64| axis.share(b) - axis.share(a);
    assert!((apart(64.0, 128.0) - apart(128.0, 256.0)).abs() < 1e-9);
    let many: Vec<f64> = (41..=100).map(f64::from).collect();
    let (_, ticks) = figure(&many).across(700.0);
    assert_eq!(ticks[0].1, "40");
}

#[test]
fn a_value_outside_its_range_is_refused() {
    let mut run = runs(0, 1, 1);
    run[0].estimate = Estimate::exact(1.5);
    let spots = vec![Spot {
        x: 1.0,
        runs: run,
        ..Spot::default()
    }];
    let lines = vec![Line {
        label: "a".to_owned(),
        spots,
    }];
    let figure = Lines {
        panels: vec![Panel {
            heading: String::new(),
            lines,
        }],
        ..Lines::default()
    };
    let error = figure.draw(Caption::default()).expect_err("refused");
    assert!(
        error.to_string().contains("`a` has exact-match = 1.5"),
        "{error}"
    );
}
