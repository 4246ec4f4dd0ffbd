use super::*;
use crate::eval::measures::Unit;
use crate::plot::tests::gallery::{self, Label, chance, runs};

/// A figure of made-up values.
pub fn made_up(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    drawn(points, label, Named::default(), |i| runs(i, points, seeds))
}

/// The same for a measure in nats, where lower is better.
pub fn losses(points: usize, label: Label<'_>) -> Figure {
    let mut all = Measure::all().iter();
    let nats = all.find(|one| one.unit == Unit::Nats).expect("one in nats");
    let runs = |i| gallery::losses(i, points, 3);
    drawn(points, label, Named(nats), runs)
}

fn drawn(
    points: usize,
    label: Label<'_>,
    measure: Named<Measure>,
    runs: impl Fn(usize) -> Vec<SeedValue>,
) -> Figure {
    let spot = |i: usize| Spot {
        label: label(i),
        x: 100_000.0 + 5_000.0 * (chance(i, 3) * 6.0).floor(),
        runs: runs(i),
    };
    let figure = AccuracyScatter {
        measure,
        horizontal: "parameters".to_owned(),
        spots: (0..points).map(spot).collect(),
        named: true,
    };
    crate::plot::tests::drawn(&figure, "A figure of spots")
}

fn spot(label: &str, x: f64, right: &[usize]) -> Spot {
    let run = |(i, &correct): (usize, &usize)| SeedValue::of_counts(i as u64 + 1, correct, 60);
    Spot {
        label: label.to_owned(),
        x,
        runs: right.iter().enumerate().filter_map(run).collect(),
    }
}

fn figure(spots: Vec<Spot>) -> AccuracyScatter {
    AccuracyScatter {
        measure: Named::default(),
        horizontal: "trained parameters".to_owned(),
        spots,
        named: true,
    }
}

/// Ten kinds, most with the same number of parameters.
fn kinds() -> AccuracyScatter {
    let names = [
        ("alibi", 106_000.0, [51, 48, 55]),
        ("differential", 106_200.0, [40, 44, 39]),
        ("grouped-query, 2 heads", 98_000.0, [50, 51, 47]),
        ("linear", 106_000.0, [20, 31, 25]),
        ("multi-query", 94_000.0, [44, 46, 49]),
        ("perceiver, bottleneck 32", 122_000.0, [12, 21, 19]),
        ("rope", 97_800.0, [58, 57, 59]),
        ("sliding-window, window 32", 106_000.0, [52, 52, 50]),
        ("synthesizer", 130_000.0, [26, 21, 30]),
        ("vanilla", 106_000.0, [54, 49, 52]),
    ];
    let spots = names.iter().map(|(name, x, right)| spot(name, *x, right));
    figure(spots.collect())
}

#[test]
fn the_table_holds_means_and_seeds() {
    let drawn = figure(vec![spot("a", 10.0, &[30, 36, 33])])
        .draw(Caption::default())
        .unwrap();
    let csv = String::from_utf8(drawn.csv).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "kind,label,x,seed,correct,questions,accuracy,low_95,high_95,interval,measure,value"
    );
    assert!(lines[1].starts_with("mean,a,10.0,,,,0.55,"), "{csv}");
    assert_eq!(lines[2], "seed,a,10.0,1,30,60,0.5,,,,exact-match,0.5");
    assert_eq!(lines.len(), 5);
}

fn explained(figure: &AccuracyScatter, shifted: bool) -> String {
    let caption = Caption::new(String::new(), "Split dev.".to_owned());
    let caption = figure.explained(caption, shifted, &Naming::of(figure));
    caption.finish()
}

#[test]
fn the_caption_says_n_seeds_intervals_and_what_was_moved() {
    let words = explained(&kinds(), true);
    assert!(words.starts_with("Split dev. n = 60 questions a run, seeds 1, 2, 3. Disc: mean"));
    assert!(words.contains("95 % t-interval") && words.contains("moved sideways"));
    let one = figure(vec![spot("a", 1.0, &[30])]);
    let one = explained(&one, false);
    assert!(one.contains("seed 1. Whisker: Wilson's"), "{one}");
}

#[test]
fn extremes_are_drawn_without_a_font() {
    let long = "a name that is much too long for its place beside a marker, and goes on";
    let rates = [1e-4, 2.3e-4, 4.1e-4, 9e-4, 1.7e-3, 3e-3, 6.1e-3, 9.9e-3];
    let drawn = |(i, rate): (usize, &f64)| spot("", *rate, &[5 + 6 * i, 60 - 5 * i, 30]);
    let figures = [
        kinds(),
        figure(vec![spot("only", 5e6, &[30])]),
        figure(
            (0..10)
                .map(|i| spot("all wrong", f64::from(i), &[0, 0, 0]))
                .collect(),
        ),
        figure((0..10).map(|_| spot(long, 7.0, &[60])).collect()),
        AccuracyScatter {
            named: false,
            horizontal: "pretrain.learning_rate".to_owned(),
            ..figure(rates.iter().enumerate().map(drawn).collect())
        },
        AccuracyScatter::default(),
        figure(vec![spot("not run", 3.0, &[])]),
    ];
    for figure in &figures {
        let drawn = figure.draw(Caption::default()).unwrap();
        assert_eq!(drawn, figure.draw(Caption::default()).unwrap());
        assert!(!drawn.svg.contains("<text"));
    }
}

#[test]
fn nonsense_is_refused() {
    let many = figure(vec![spot("a", 1.0, &[61])]);
    let error = many.draw(Caption::default()).unwrap_err().to_string();
    assert!(
        error.contains("`a` has exact-match = 1.0166666666666666, which is not from 0 to 1"),
        "{error}"
    );
    assert!(
        figure(vec![spot("a", f64::NAN, &[1])])
            .draw(Caption::default())
            .is_err()
    );
}

#[test]
fn many_spots_have_numbers_and_a_key() {
    let spots = |number: usize| {
        let spots = (0..number).map(|i| spot(&format!("kind {i}"), i as f64, &[30]));
        Naming::of(&figure(spots.collect()))
    };
    let few = spots(12);
    assert!(!few.is_key() && few.beside[11] == "kind 11");
    let many = spots(13);
    assert!(many.is_key() && many.beside[12] == "13");
}

use crate::metrics::measured::MeasuredRun;

#[test]
fn the_time_of_a_step_is_the_median_over_the_runs_of_pretraining() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = |stage: &str, step, step_ms| TimingRow {
        stage: stage.to_owned(),
        step,
        step_ms,
        tokens_per_second: 1.0,
    };
    for (seed, times) in [(1, [9.0, 1.0]), (2, [3.0, 5.0])] {
        let mut rows = vec![row("finetune", 1, 100.0)];
        rows.extend((1..).zip(times).map(|(step, ms)| row("pretrain", step, ms)));
        let run = folder.path().join(format!("seed-{seed}"));
        std::fs::create_dir(&run).expect("made");
        table::write(&run.join("timings.csv"), &rows).expect("written");
    }
    let of = |seeds: &[u64]| {
        let run = |&seed: &u64| MeasuredRun {
            seed,
            folder: folder.path().join(format!("seed-{seed}")),
        };
        let runs = seeds.iter().map(run).collect();
        let point = MeasuredPoint {
            runs,
            ..MeasuredPoint::default()
        };
        median_step_ms(&point).expect("read")
    };
    assert_eq!(of(&[1, 2]), Some(4.0));
    assert_eq!(of(&[1]), Some(5.0));
    assert_eq!(of(&[3]), None);
}
