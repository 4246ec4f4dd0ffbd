use super::*;
use crate::eval::measures::Unit;
use crate::plot::tests::drawn;
use crate::plot::tests::gallery::{self, Label, runs, skill};

/// A figure of made-up values.
pub fn made_up(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    let bar = |i: usize| Bar {
        label: label(i),
        runs: runs(i, points, seeds),
        reported: (i % 7 == 1).then(|| (skill(i, points) * 0.9, "a paper, table 2".to_owned())),
    };
    let figure = AccuracyBars {
        bars: (0..points).map(bar).collect(),
        baseline: Some(Baseline {
            label: "always \u{201c}London\u{201d}".to_owned(),
            run: run(0, 25, 500),
        }),
        ..AccuracyBars::default()
    };
    drawn(&figure, "A figure of bars")
}

/// The same for a measure in nats, where lower is better.
pub fn losses(points: usize, label: Label<'_>) -> Figure {
    let bar = |i: usize| Bar {
        label: label(i),
        runs: gallery::losses(i, points, 3),
        reported: None,
    };
    let figure = AccuracyBars {
        measure: nats(),
        bars: (0..points).map(bar).collect(),
        baseline: None,
    };
    drawn(&figure, "Log loss")
}

fn nats() -> Named<Measure> {
    let mut all = Measure::all().iter();
    Named(all.find(|one| one.unit == Unit::Nats).expect("one in nats"))
}

use crate::metrics::statistics::{mean, t_interval_95, wilson_95};

fn run(seed: u64, correct: usize, questions: usize) -> SeedValue {
    SeedValue::of_counts(seed, correct, questions).expect("questions")
}

fn under(title: &str, origin: &str) -> Caption {
    Caption::new(title.to_owned(), origin.to_owned())
}

fn example() -> AccuracyBars {
    let bar = |label: &str, runs| Bar {
        label: label.to_owned(),
        runs,
        reported: None,
    };
    let reported = Some((0.2, "assignment, figure 4".to_owned()));
    AccuracyBars {
        bars: vec![
            bar("no pretraining", vec![run(1, 8, 500)]),
            Bar {
                reported,
                ..bar(
                    "vanilla",
                    vec![run(1, 105, 500), run(2, 98, 500), run(3, 113, 500)],
                )
            },
        ],
        baseline: Some(Baseline {
            label: "always \"London\"".to_owned(),
            run: run(0, 25, 500),
        }),
        ..AccuracyBars::default()
    }
}

fn lines(figure: &Figure) -> Vec<Vec<String>> {
    let text = String::from_utf8(figure.csv.clone()).unwrap();
    text.lines()
        .map(|l| l.split(',').map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_same_input_gives_the_same_bytes_without_any_font() {
    let draw = || {
        example()
            .draw(under("Where were they born?", "Split dev"))
            .unwrap()
    };
    let figure = draw();
    assert_eq!(figure, draw());
    assert!(!figure.svg.contains("<text") && !figure.svg.contains("font-family"));
    assert!(
        figure
            .svg
            .contains("<title>Where were they born?</title><desc>Split dev. n = 500")
    );
}

#[test]
fn the_table_holds_the_plotted_numbers_by_kind() {
    let lines = lines(&example().draw(Caption::default()).unwrap());
    let kinds: Vec<&str> = lines.iter().map(|l| l[0].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "kind", "bar", "seed", "bar", "seed", "seed", "seed", "reported", "baseline"
        ]
    );
    let number = |row: usize, column: usize| lines[row][column].parse::<f64>().unwrap();
    let (low, high) = wilson_95(8, 500);
    assert_eq!(
        [number(1, 5), number(1, 6), number(1, 7)],
        [8.0 / 500.0, low, high]
    );
    let fractions = [105.0 / 500.0, 98.0 / 500.0, 113.0 / 500.0];
    let (low, high) = t_interval_95(&fractions).unwrap();
    assert_eq!(
        [number(3, 5), number(3, 6), number(3, 7)],
        [mean(&fractions).unwrap(), low, high]
    );
    assert_eq!(
        [lines[1][8].as_str(), lines[3][8].as_str()],
        ["wilson", "student-t"]
    );
    assert_eq!([number(4, 5), number(5, 5), number(6, 5)], fractions);
    assert_eq!(number(7, 5), 0.2);
    assert_eq!(
        lines[7][3..5],
        ["", ""],
        "a reported number has no count of ours"
    );
    assert_eq!(number(8, 5), 0.05);
}

#[test]
fn the_caption_says_which_interval_it_is() {
    let mut figure = example();
    assert!(
        figure
            .explained(Caption::default(), &PointLabels::default())
            .finish()
            .contains("with one seed, or where all agree, Wilson's 95 % interval")
    );
    figure.bars.truncate(1);
    let caption = figure
        .explained(under("", "Split dev"), &PointLabels::default())
        .finish();
    assert!(
        caption.starts_with("Split dev. n = 500 questions a run, seed 1. Whisker: Wilson's 95 %"),
        "{caption}"
    );
    assert!(
        !caption.contains("t-interval") && !caption.contains("Diamond"),
        "{caption}"
    );
}

#[test]
fn degenerate_figures_are_drawn() {
    AccuracyBars::default().draw(Caption::default()).unwrap();
    let long = "x漢 ".repeat(300);
    for questions in [0, 1, usize::MAX >> 12] {
        for correct in [0, questions] {
            let run = |seed| SeedValue::of_counts(seed, correct, questions);
            let runs: Vec<SeedValue> = [1, u64::MAX].into_iter().filter_map(run).collect();
            let bar = Bar {
                label: long.clone(),
                runs,
                reported: Some((f64::NAN, long.clone())),
            };
            let one = Bar {
                runs: bar.runs.iter().take(1).copied().collect(),
                reported: Some((1.0, String::new())),
                ..bar.clone()
            };
            let bars = vec![bar, one, Bar::default()];
            let baseline = run(0).map(|run| Baseline {
                label: long.clone(),
                run,
            });
            let figure = AccuracyBars {
                bars,
                baseline,
                ..AccuracyBars::default()
            };
            let drawn = figure.draw(under(&long, &long)).unwrap();
            assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
        }
    }
    let crowd = AccuracyBars {
        bars: vec![example().bars[1].clone(); 60],
        ..example()
    };
    crowd.draw(Caption::default()).unwrap();
}

#[test]
fn impossible_counts_are_refused() {
    let bars = |runs, reported| AccuracyBars {
        bars: vec![Bar {
            label: "a".to_owned(),
            runs,
            reported,
        }],
        ..AccuracyBars::default()
    };
    let error = bars(vec![run(1, 7, 5)], None)
        .draw(Caption::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: `a` has exact-match = 1.4, which is not from 0 to 1"
    );
    let error = bars(vec![], Some((21.0, "paper".to_owned())))
        .draw(Caption::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: the reported exact-match 21 (paper) is not between 0 and 1\n  help: write 21 % as 0.21"
    );
}

#[test]
fn bars_are_horizontal_where_numbers_or_names_would_collide() {
    let stand = |number: usize, label: &str| {
        let bar = |i: usize| Bar {
            label: format!("{label} {i}"),
            ..example().bars[1].clone()
        };
        let figure = AccuracyBars {
            bars: (0..number).map(bar).collect(),
            ..example()
        };
        let names = PointLabels::of(figure.bars.iter().map(|bar| bar.label.as_str()));
        vertical::have_room(&figure, &names)
    };
    assert!(stand(3, "grouped-query") && stand(10, "rope"));
    assert!(!stand(20, "rope"), "numbers would lie on each other");
    assert!(!stand(10, "data.augmentation"), "a word would be broken");
    assert!(!stand(3, &"word ".repeat(40)), "a name would be cut");
}

#[test]
fn a_loss_has_its_unit_and_direction_and_no_accuracy() {
    let drawn = losses(2, &|i| format!("point {i}"));
    let lines = lines(&drawn);
    let column = |name: &str| {
        lines[0]
            .iter()
            .position(|one| one == name)
            .expect("a column")
    };
    assert_eq!(lines[1][column("accuracy")], "");
    assert_eq!(lines[1][column("measure")], "log-loss");
    assert!(lines[1][column("value")].parse::<f64>().expect("a number") > 1.0);
    let says = |words: &str| assert!(drawn.svg.contains(words), "{words}");
    says("Lower is better. Bar: mean over seeds");
    says("95 % t-interval of the mean, over seeds");
}
