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
    assert_eq!(out.matches(" of 19 dev questions").count(), 3, "{out}");
    let lines: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(who, _)| who)
        .take(3)
        .collect();
    assert_eq!(
        lines,
        [
            "no pretraining, seed 1",
            "always \u{201c}London\u{201d}",
            "pretrained, seed 1",
        ]
    );
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
        assert_eq!(status["state"], "done");
        let keys = status["stages"].as_object().expect("stages");
        let mut names: Vec<&str> = stages.iter().copied().chain(["evaluate"]).collect();
        names.sort_unstable();
        assert_eq!(keys.keys().collect::<Vec<_>>(), names);
        for (stage, key) in keys {
            let folder = format!("r/.cache/{stage}/{}", key.as_str().expect("a key"));
            assert!(lab.path(&folder).join("done.json").is_file(), "{folder}");
        }

        // 96 documents by 24 are four steps; 19 questions by 32 are one.
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
        for subject in ["model", "constant"] {
            let predictions = read(&run.join(format!("predictions/dev-{subject}.tsv")));
            let mut lines = predictions.lines();
            assert_eq!(
                lines.next(),
                Some("question\tgold\tpredicted\tcorrect\tlog_probability")
            );
            let rows: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
            let cells: Vec<usize> = rows.iter().map(Vec::len).collect();
            assert_eq!(cells, [5; 19], "{predictions}");
            for row in &rows {
                assert_eq!(row[3] == "true", row[1] == row[2], "{predictions}");
                assert_eq!(row[4].is_empty(), subject == "constant", "{predictions}");
                assert!(subject == "model" || row[2] == "London", "{predictions}");
            }
        }
    }
    let summary = read(&lab.path("r/quickstart/summary.csv"));
    let is = |name, cells: [&str; 4]| assert_eq!(column(&summary, name), cells, "{name}");
    let (without, with) = ("no pretraining", "pretrained");
    is("label", [without, without, with, with]);
    is("seed", ["1", "", "1", ""]);
    is("subject", ["model", "constant", "model", "constant"]);
    is("detail", ["", "London", "", "London"]);
    is("questions", ["19"; 4]);
    // London's share of 19 people born in ten places: 19 / (1 + 1/2 + … + 1/10) = 6.5.
    let correct = column(&summary, "correct");
    assert_eq!([&correct[1], &correct[3]], ["6", "6"]);

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
    assert_eq!(said.out, "");
    let help = "\n  help: `attnlab run experiments/quickstart.toml` makes one; a run with --set or --results is found with the same\n";
    assert!(said.err.ends_with(help), "{}", said.err);
    assert_eq!(
        lab.filtered(&said.failed(2)),
        "error: quickstart has no finished run in TMP/r"
    );
    assert!(!lab.path("r").exists(), "something was written");

    // Nor is a run that has failed a finished one: what it left stays as it is.
    let diverging = ["--set", "pretrain.learning_rate=1e30"];
    let only_pretrained = ["--set", "sweep.pretrain.epochs=[1, 2]"];
    let both = [diverging, only_pretrained].concat();
    lab.quickstart("run", "r", &both).failed(1);
    let before = files_below(&lab.path("r"));
    lab.quickstart("plot", "r", &both).failed(2);
    assert!(files_below(&lab.path("r")) == before, "a file has changed");
}

#[test]
fn tables_without_rows_say_what_their_columns_are() {
    let lab = Lab::new();
    let file = lab.finetuning("untold", "");
    let results = lab.text("r");
    let nothing = ["evaluate.split=test", "finetune.epochs=0"];
    let mut arguments = vec!["run", &file, "--results", &results];
    arguments.extend(nothing.iter().flat_map(|setting| ["--set", setting]));
    assert_eq!(
        lab.attnlab(&arguments).done(),
        "",
        "nobody knows the answers"
    );
    let files = files_below(&lab.path("r/untold"));
    let the = |end: &str| {
        let mut found = files.iter().filter(|(name, _)| name.ends_with(end));
        let (_, bytes) = found.next().unwrap_or_else(|| panic!("no {end}"));
        assert!(found.next().is_none(), "several {end}");
        String::from_utf8_lossy(bytes).into_owned()
    };
    assert_eq!(
        the("summary.csv"),
        "point,label,seed,split,subject,detail,correct,questions,accuracy,low_95,high_95,measure,unit,better,value,interval\n"
    );
    assert_eq!(
        the("metrics.csv"),
        "stage,epoch,step,documents,tokens,loss_nats,learning_rate,gradient_norm\n"
    );
    assert_eq!(the("timings.csv"), "stage,step,step_ms,tokens_per_second\n");
    let predictions = the("test-model.tsv");
    let rows: Vec<Vec<&str>> = predictions
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 10, "{predictions}");
    for row in rows {
        assert_eq!((row[1], row[3]), ("", ""), "{predictions}");
    }
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
        out.contains("experiments/base/assignment.toml: a base file\n"),
        "{out}"
    );
    assert!(out.lines().count() >= 5, "{out}");

    let good = read(std::path::Path::new("experiments/quickstart.toml"));
    let (start, finetune) = good.split_once("[finetune]\n").expect("a stage");
    let bad = [
        start.replace("heads      = 4", "heads      = 0"),
        finetune.replacen("epochs ", "epoch ", 1),
    ]
    .join("[finetune]\n");
    let line = |start: &str| 1 + bad.lines().position(|l| l.starts_with(start)).expect(start);
    let heads = format!("bad.toml:{}:1: `model.heads` = 0", line("heads "));
    let epoch = format!(
        "bad.toml:{}:1: unknown key `finetune.epoch`;",
        line("epoch ")
    );
    let file = lab.write("bad.toml", &bad);
    let said = lab.attnlab(&["check", &file]);
    assert_eq!(said.code, 3);
    for part in [heads, epoch] {
        assert!(said.err.contains(&part), "{part} is not in\n{}", said.err);
    }
    assert_eq!(said.out, "");
}

#[test]
fn the_device_that_auto_resolves_to_is_reported() {
    let lab = Lab::new();
    let told = "`device = \"auto\"` is the ";
    let planned = lab.quickstart("plan", "r", &["--device", "auto"]).done();
    assert!(planned.contains(&format!("note: {told}")), "{planned}");
    let said = lab.quickstart("run", "r", &["--device", "auto"]);
    assert_eq!(said.err.matches(told).count(), 1, "{}", said.err);
    said.done();
}
