//! `run`, `plot` and `check`: from an experiment file to its results.

use crate::lab::{Lab, column, files_below, read};

#[test]
fn run_leaves_settings_status_metrics_predictions_weights_and_figures() {
    let lab = Lab::new();
    let said = lab.quickstart("run", "r", &[]);
    assert!(
        said.err.contains("quickstart / pretrained / seed 1"),
        "{}",
        said.err
    );
    let out = said.done();
    assert_eq!(out.matches(" of 12 dev questions").count(), 2, "{out}");
    assert_eq!(out.matches("\nfigure  ").count(), 4, "{out}");

    for (epochs, stages) in [(0, vec!["finetune"]), (1, vec!["pretrain", "finetune"])] {
        let run = lab.run_folder("r", epochs);
        let resolved = read(&run.join("resolved.toml"));
        assert!(resolved.contains("people = 48\n"), "{resolved}");
        assert!(
            resolved.contains(&format!("epochs = {epochs}\n")),
            "{resolved}"
        );
        let status: serde_json::Value =
            serde_json::from_str(&read(&run.join("status.json"))).expect("JSON");
        assert_eq!(status, serde_json::json!({"state": "done"}));

        // 96 documents by 24 are four steps; 24 questions by 32 are one.
        let metrics = read(&run.join("metrics.csv"));
        let rows = column(&metrics, "stage");
        let of = |stage| rows.iter().filter(|row| *row == stage).count();
        assert_eq!(
            (of("pretrain"), of("finetune")),
            (4 * epochs, 1),
            "{metrics}"
        );
        for loss in column(&metrics, "loss_nats") {
            let loss: f64 = loss.parse().expect("a number");
            assert!(loss > 0.0 && loss < 10.0, "{metrics}");
        }
        for stage in stages {
            let file = run.join(format!("checkpoints/{stage}.safetensors"));
            let bytes = std::fs::metadata(&file).expect("weights").len();
            assert!(bytes > 4 * 116_480, "{bytes} bytes of 116,480 parameters");
        }
        assert_eq!(run.join("corruption_examples.csv").is_file(), epochs > 0);
        let predictions = read(&run.join("predictions/dev-model.tsv"));
        let mut lines = predictions.lines();
        assert_eq!(
            lines.next(),
            Some("question\tgold\tpredicted\tcorrect\tlog_probability")
        );
        let cells: Vec<usize> = lines.map(|line| line.split('\t').count()).collect();
        assert_eq!(cells, [5; 12], "{predictions}");
    }
    let summary = read(&lab.path("r/quickstart/summary.csv"));
    assert_eq!(column(&summary, "label"), ["no pretraining", "pretrained"]);
    assert_eq!(column(&summary, "questions"), ["12", "12"]);

    let figures = files_below(&lab.path("r/quickstart/figures"));
    for name in ["accuracy", "pretraining", "finetuning", "corruption"] {
        let svg = &figures[&format!("{name}.svg")];
        assert!(
            svg.starts_with(b"<svg") || svg.starts_with(b"<?xml"),
            "{name}.svg"
        );
        assert!(
            figures[&format!("{name}.png")].starts_with(b"\x89PNG"),
            "{name}.png"
        );
        let csv = String::from_utf8_lossy(&figures[&format!("{name}.csv")]).into_owned();
        assert!(csv.lines().count() >= 2, "{name}.csv: {csv}");
    }
    assert_eq!(figures.len(), 12, "{:?}", figures.keys());
}

#[test]
fn quiet_says_only_results() {
    let lab = Lab::new();
    let said = lab.quickstart("run", "r", &["--quiet"]);
    assert_eq!(said.err, "");
    assert!(said.done().contains("pretrained, seed 1: "));
}

#[test]
fn plot_draws_the_same_bytes_again() {
    let lab = Lab::new();
    let ran = lab.quickstart("run", "r", &[]).done();
    let folder = lab.path("r/quickstart");
    let before = files_below(&folder);
    std::fs::remove_dir_all(folder.join("figures")).expect("removed");
    std::fs::remove_file(folder.join("summary.csv")).expect("removed");

    assert_eq!(lab.quickstart("plot", "r", &[]).done(), ran);
    let after = files_below(&folder);
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &before {
        assert!(after[name] == *bytes, "{name} is not the same");
    }
}

#[test]
fn plot_without_a_run_says_so_and_draws_nothing() {
    let lab = Lab::new();
    let said = lab.quickstart("plot", "r", &[]);
    let all = format!("{}{}", said.out, said.err);
    assert!(
        all.contains("no finished run") || all.contains("no run"),
        "{all}"
    );
    let figures = lab.path("r/quickstart/figures");
    assert!(
        !figures.exists(),
        "figures of nothing: {:?}",
        files_below(&figures).keys()
    );
}

#[test]
fn check_passes_the_repository_and_names_every_mistake() {
    let lab = Lab::new();
    let out = lab.attnlab(&["check", "experiments"]).done();
    assert!(
        out.contains("experiments/quickstart.toml: 2 points × 1 seed\n"),
        "{out}"
    );
    assert!(
        out.contains("experiments/base/assignment.toml: a base for others\n"),
        "{out}"
    );
    assert!(out.lines().count() >= 5, "{out}");

    let good = read(std::path::Path::new("experiments/quickstart.toml"));
    let bad = good
        .replace("heads      = 4", "heads      = 0")
        .replace("epochs          = 20", "epoch = 20");
    assert_ne!(good, bad);
    let file = lab.write("bad.toml", bad);
    let said = lab.attnlab(&["check", &file]);
    assert_eq!(said.code, 3);
    for part in [
        "bad.toml:17:1: ",
        "model.heads",
        "unknown key `finetune.epoch`",
    ] {
        assert!(said.err.contains(part), "{part} is not in\n{}", said.err);
    }
    assert_eq!(said.out, "");
}

#[test]
fn shapes_lists_the_shape_of_the_assignment() {
    let out = Lab::new().attnlab(&["shapes"]).done();
    let assignment = [
        "4",
        "256",
        "8",
        "32",
        "1024",
        "256",
        "128",
        "3,323,392",
        "vanilla",
    ];
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert!(rows.iter().any(|row| row == &assignment), "{out}");
    assert_eq!(rows[0][0], "layers");
}
