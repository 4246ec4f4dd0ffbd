//! Confidence: people who are in no data, `calibration.csv`, and the figures about it.

use std::collections::BTreeSet;

use crate::lab::{Lab, column, files_below, read};

const INVENT: [&str; 2] = ["--set", "evaluate.invented={ names = 40 }"];

const FIGURES: [&str; 6] = [
    "--set",
    "figures.confidence={ kind = \"confidence\" }",
    "--set",
    "figures.reliability={ kind = \"reliability-diagram\", bins = 5 }",
    "--set",
    "figures.answers={ kind = \"commonest-answers\", answers = 3 }",
];

/// The questions of a file of predictions.
fn questions(tsv: &str) -> Vec<String> {
    tsv.lines()
        .skip(1)
        .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn invented_people_are_asked_about_and_do_not_count_as_accuracy() {
    let lab = Lab::new();
    let plain = lab.quickstart("run", "r", &[]).done();
    let before = lab.run_folder("r", 1).join("predictions/dev-model.tsv");
    let before = (read(&before), read(&lab.path("r/quickstart/summary.csv")));

    // Training is done already; the evaluation says why it is not.
    let planned = lab.quickstart("plan", "r", &INVENT).done();
    let stale = "new, because data.invented changed, data.train changed, evaluate.invented.names not set -> 40";
    assert!(planned.contains("5 stages, 2 to do"), "{planned}");
    assert!(planned.contains(stale), "{planned}");

    let again = lab.quickstart("run", "s", &INVENT).done();
    let accuracies = |out: &str| -> Vec<String> {
        let lines = out.lines().filter(|line| line.contains(" dev questions"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(accuracies(&plain), accuracies(&again));
    let run = lab.run_folder("s", 1);
    let dev = read(&run.join("predictions/dev-model.tsv"));
    assert_eq!(dev, before.0, "the split's answers are the same to the bit");
    let summary = read(&lab.path("s/quickstart/summary.csv"));
    for name in ["label", "seed", "split", "subject", "correct", "questions"] {
        assert_eq!(column(&summary, name), column(&before.1, name));
    }

    let invented = read(&run.join("predictions/invented.tsv"));
    let rows: Vec<Vec<&str>> = invented
        .lines()
        .skip(1)
        .map(|l| l.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 40);
    for row in &rows {
        assert_eq!((row[1], row[3]), ("", ""), "nobody says what is right");
        let log_probability: f64 = row[4].parse().expect("a number");
        assert!(log_probability < 0.0);
    }
    let names: BTreeSet<String> = questions(&invented).into_iter().collect();
    assert_eq!(names.len(), 40, "every name is another");
    let asked: BTreeSet<String> = questions(&dev).into_iter().collect();
    assert!(names.is_disjoint(&asked));
    let trained = read(&run.join("training_answers.csv"));
    let counts: Vec<usize> = column(&trained, "questions")
        .iter()
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 19);
    assert_eq!(column(&trained, "answer")[0], "London");

    let [a, b] = ["r", "s"].map(|results| lab.run_text(results, 1));
    let compared = lab.attnlab(&["compare", &a, &b]).done();
    assert!(
        compared.contains("19 dev") && !compared.contains("59"),
        "{compared}"
    );
}

#[test]
fn figures_and_measures_come_from_files_alone() {
    let lab = Lab::new();
    let more = [&INVENT[..], &FIGURES].concat();
    lab.quickstart("run", "r", &more).done();
    let folder = lab.path("r/quickstart");
    let before = files_below(&folder);
    let calibration = read(&folder.join("calibration.csv"));
    let measures = column(&calibration, "measure");
    for measure in [
        "ece",
        "brier",
        "mean-confidence-invented",
        "auroc-asked-over-invented",
    ] {
        let rows = measures.iter().filter(|name| *name == measure).count();
        assert_eq!(rows, 2, "{measure} of two runs: {calibration}");
    }
    for value in column(&calibration, "value") {
        let value: f64 = value.parse().expect("a number");
        assert!((0.0..=1.0).contains(&value), "{calibration}");
    }

    std::fs::remove_dir_all(folder.join("figures")).expect("removed");
    std::fs::remove_file(folder.join("calibration.csv")).expect("removed");
    lab.quickstart("plot", "r", &more).done();
    let after = files_below(&folder);
    for name in ["confidence", "reliability", "answers"] {
        for extension in ["svg", "png", "csv"] {
            let file = format!("figures/{name}.{extension}");
            assert!(after[&file] == before[&file], "{file} is not the same");
        }
    }
    assert!(after["calibration.csv"] == before["calibration.csv"]);
    let bins = read(&folder.join("figures/reliability.csv"));
    let kinds = column(&bins, "kind");
    assert_eq!(kinds.iter().filter(|kind| *kind == "bin").count(), 2 * 5);
    let answers = column(&bins, "answers");
    let counted = kinds
        .iter()
        .zip(&answers)
        .filter(|(kind, _)| *kind == "bin");
    let counted: usize = counted
        .map(|(_, n)| n.parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(counted, 2 * 19, "no invented answer is in a bin");
}

#[test]
fn without_invented_people_their_figure_is_refused_before_anything_runs() {
    let lab = Lab::new();
    let message = lab.quickstart("run", "r", &FIGURES).failed(3);
    let why = "`figures.answers.kind` = \"commonest-answers\" has nothing to show: no point asks about invented people";
    assert!(message.ends_with(why), "{message}");
    assert!(!lab.path("r/quickstart").exists());
}

#[test]
fn more_names_than_there_can_be_are_refused_before_anything_runs() {
    let lab = Lab::new();
    let many = [
        "--set",
        "data.people=1500",
        "--set",
        "evaluate.invented={ names = 5000 }",
    ];
    let message = lab.quickstart("run", "r", &many).failed(3);
    let start = "error: `evaluate.invented.names` = 5000, but the names in the data make only 4";
    assert!(message.starts_with(start), "{message}");
}
