//! Figures of a sweep with seeds: accuracy against a quantity, which points differ, and which key matters.

use std::collections::BTreeMap;

use crate::lab::{Lab, column, files_below, read};

/// Two rates with two seeds, beside the two lengths of pretraining, and the figures.
const SWEEP: [&str; 14] = [
    "--set",
    "labels=[\"slow\", \"slow+\", \"fast\", \"fast+\"]",
    "--set",
    "seeds=[1, 2]",
    "--set",
    "sweep.finetune.learning_rate=[1e-3, 3e-3]",
    "--set",
    "figures.rates={ kind = \"accuracy-scatter\", x = \"finetune.learning_rate\" }",
    "--set",
    "figures.times={ kind = \"accuracy-scatter\", x = \"step_ms\" }",
    "--set",
    "figures.pairs={ kind = \"paired-matrix\" }",
    "--set",
    "figures.effects={ kind = \"effects\" }",
];

/// The mean accuracy of each label in a table of runs or of plotted spots.
fn means(labels: &[String], accuracies: &[String]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (label, accuracy) in labels.iter().zip(accuracies) {
        let accuracy = accuracy.parse().expect("a fraction");
        all.entry(label.clone()).or_default().push(accuracy);
    }
    let mean = |of: Vec<f64>| of.iter().sum::<f64>() / of.len() as f64;
    all.into_iter()
        .map(|(label, of)| (label, mean(of)))
        .collect()
}

/// The columns of the rows in which `name` is `wanted`.
fn rows(csv: &str, (name, wanted): (&str, &str), columns: [&str; 2]) -> [Vec<String>; 2] {
    let chosen = column(csv, name);
    columns.map(|of| {
        let values = column(csv, of).into_iter().zip(&chosen);
        let values = values.filter(|(_, is)| *is == wanted);
        values.map(|(value, _)| value.to_owned()).collect()
    })
}

#[test]
fn the_figures_say_what_the_tables_say() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &SWEEP).done();
    let folder = lab.path("r/quickstart");
    let figures = folder.join("figures");
    let summary = read(&folder.join("summary.csv"));
    let [labels, accuracies] = rows(&summary, ("subject", "model"), ["label", "accuracy"]);
    assert_eq!(labels.len(), 8, "four points with two seeds");
    let measured = means(&labels, &accuracies);

    for figure in ["rates", "times"] {
        let spots = read(&figures.join(format!("{figure}.csv")));
        let [labels, accuracies] = rows(&spots, ("kind", "mean"), ["label", "accuracy"]);
        let drawn = means(&labels, &accuracies);
        assert_eq!(drawn.len(), 4, "{spots}");
        for (label, accuracy) in drawn {
            let difference = (accuracy - measured[&label]).abs();
            assert!(difference < 1e-12, "{label}: {accuracy} in {figure}.csv");
        }
        assert_eq!(rows(&spots, ("kind", "seed"), ["x", "seed"])[0].len(), 8);
    }
    let rates = read(&figures.join("rates.csv"));
    let [rates, _] = rows(&rates, ("kind", "mean"), ["x", "label"]);
    assert_eq!(rates, ["0.001", "0.001", "0.003", "0.003"]);

    let effects = read(&figures.join("effects.csv"));
    let [keys, changes] = rows(&effects, ("kind", "main"), ["key", "effect"]);
    assert_eq!(keys, ["finetune.learning_rate", "pretrain.epochs"]);

    let change = |of: [&str; 2], other: [&str; 2]| {
        (measured[of[0]] - measured[of[1]] + measured[other[0]] - measured[other[1]]) / 2.0
    };
    let expected = [
        change(["fast", "slow"], ["fast+", "slow+"]),
        change(["slow+", "slow"], ["fast+", "fast"]),
    ];
    for (change, expected) in changes.iter().zip(expected) {
        let change: f64 = change.parse().expect("a fraction");
        assert!((change - expected).abs() < 1e-12, "{effects}");
    }

    let pairs = read(&figures.join("pairs.csv"));
    assert_eq!(column(&pairs, "p").len(), 6, "every pair of four once");
    let names = column(&pairs, "row")
        .into_iter()
        .zip(column(&pairs, "column"));
    for ((row, column), difference) in names.zip(column(&pairs, "difference")) {
        let difference: f64 = difference.parse().expect("a fraction");
        let expected = measured[&row] - measured[&column];
        assert!((difference - expected).abs() < 1e-12, "{row}, {column}");
    }
}

#[test]
fn they_are_drawn_again_from_the_files_alone() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[&SWEEP[..], &["-j", "2"]].concat())
        .done();
    let folder = lab.path("r/quickstart");
    // Each of two stages at once has half of the threads, which the caption says.
    let threads = std::thread::available_parallelism().map_or(1, usize::from) / 2;
    let (threads, plural) = (threads.max(1), if threads > 1 { "s" } else { "" });
    let times = read(&folder.join("figures/times.svg"));
    let shares = format!("{threads} thread{plural}, 2 stages at once");
    assert!(times.contains(&shares), "{shares}");
    let before = files_below(&folder);
    for name in before.keys().filter(|name| name.ends_with(".svg")) {
        std::fs::remove_file(folder.join(name)).expect("a figure");
    }
    lab.quickstart("plot", "r", &SWEEP).done();
    let after = files_below(&folder);
    for (name, bytes) in &before {
        assert!(after.get(name) == Some(bytes), "{name} is another");
    }
}
