//! `compare`: two recipes side by side, as text and as JSON.

use crate::lab::{Lab, column, read};

/// The short quickstart with some seeds, and the folders of its two points.
fn two_points(seeds: &str) -> (Lab, String, String) {
    let lab = Lab::new();
    let seeds = format!("seeds={seeds}");
    lab.quickstart("run", "r", &["--set", &seeds]).done();
    let point = |epochs| {
        lab.run_folder("r", epochs)
            .parent()
            .expect("a point")
            .to_owned()
    };
    let [without, with] = [0, 1].map(|epochs| point(epochs).display().to_string());
    (lab, without, with)
}

/// The cells of the line that starts with `start`, two spaces apart.
#[track_caller]
fn cells(out: &str, start: &str) -> Vec<String> {
    let line = out.lines().find(|line| line.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no line starts with {start:?}:\n{out}"));
    let cells = line.split("  ").map(str::trim);
    cells
        .filter(|cell| !cell.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn two_runs_are_compared_by_settings_accuracy_loss_and_questions() {
    let (lab, without, with) = two_points("[1]");
    let out = lab.attnlab(&["compare", &without, &with]).done();
    assert!(
        out.starts_with(&format!("A  {without}\nB  {with}\n")),
        "{out}"
    );
    assert_eq!(
        cells(&out, "settings that differ"),
        ["settings that differ", "A", "B"]
    );
    assert_eq!(
        cells(&out, "pretrain.epochs"),
        ["pretrain.epochs", "0", "1"]
    );

    // The same numbers as in the files that the run left.
    let summary = read(&lab.path("r/quickstart/summary.csv"));
    let (correct, accuracy) = (column(&summary, "correct"), column(&summary, "accuracy"));
    for (name, row) in [("A, seed 1", 0), ("B, seed 1", 2)] {
        let percent = 100.0 * accuracy[row].parse::<f64>().expect("a number");
        let shown = cells(&out, name);
        let expected = [
            name,
            correct[row].as_str(),
            "19 dev",
            &format!("{percent:.1} %"),
        ];
        assert_eq!(shown[..4], expected, "{out}");
        assert!(shown[4].contains(" to ") && shown.len() == 5, "{out}");
    }
    let metrics = read(&lab.run_folder("r", 1).join("metrics.csv"));
    let losses: Vec<f64> = column(&metrics, "loss_nats")
        .iter()
        .map(|loss| loss.parse().expect("a number"))
        .collect();
    let of_the_epoch = format!("{:.4}", losses[..4].iter().sum::<f64>() / 4.0);
    let name = "pretrain: B, seed 1";
    assert_eq!(cells(&out, name), [name, &of_the_epoch]);
    assert!(!out.contains("pretrain: A"), "A did not pretrain: {out}");
    let name = "finetune: B, seed 1";
    assert_eq!(cells(&out, name), [name, &format!("{:.4}", losses[4])]);

    // Accuracy and the paired test tell the same difference.
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let pair = cells(&out, "seed 1");
    let (only_a, only_b) = (number(&pair[2]), number(&pair[3]));
    assert_eq!(
        only_b - only_a,
        number(&correct[2]) - number(&correct[0]),
        "{out}"
    );
    let difference = 100.0 * (only_b - only_a) as f64 / 19.0;
    assert_eq!(pair[1], "19");
    assert_eq!(pair[5], format!("{difference:+.1} points"), "{out}");
    assert_eq!(pair.len(), 7, "{out}");
    assert!(!out.contains("note: "), "{out}");
}

#[test]
fn several_seeds_are_compared_in_pairs_and_as_means() {
    let (lab, without, with) = two_points("[1, 2]");
    let out = lab.attnlab(&["compare", &without, &with]).done();
    for start in [
        "seed 1",
        "seed 2",
        "A, seed 2",
        "B, seed 2",
        "mean of 2 seeds",
    ] {
        cells(&out, start);
    }
    let mean = cells(&out, "finetune: B, mean of 2 seeds");
    assert_eq!(mean.len(), 4, "mean, deviation and interval: {out}");
    let text = lab.attnlab(&["compare", &without, &with, "--json"]).done();
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["pairs"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["pairs"][1]["test"]["questions"], 19);
    assert_eq!(json["a"]["runs"][1]["seed"], 2);
    assert_eq!(json["b"]["runs"][0]["state"], "done");
    assert_eq!(json["b"]["final_loss_nats"]["pretrain"]["seeds"], 2);
    assert_eq!(json["settings"][0]["key"], "pretrain.epochs");
    assert_eq!(json["settings"][0]["b"], 1);
    let loss = json["b"]["final_loss_nats"]["finetune"]["mean"].as_f64();
    assert_eq!(mean[1], format!("{:.4}", loss.expect("a number")));

    // One run against all seeds of the other point: the seed that both have.
    let one = lab.run_text("r", 0);
    let out = lab.attnlab(&["compare", &one, &with]).done();
    let note = "note: B, seed 2 has no partner: A has no finished run with that seed\n";
    assert!(out.ends_with(note), "{out}");
    cells(&out, "seed 1");
}

#[test]
fn the_means_of_seeds_are_printed_and_tabled_by_run_and_plot() {
    let lab = Lab::new();
    let seeds = ["--set", "seeds=[1, 2]"];
    let out = lab.quickstart("run", "r", &seeds).done();
    let who: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(who, _)| who)
        .take(7)
        .collect();
    let expected = [
        "no pretraining, seed 1",
        "no pretraining, seed 2",
        "no pretraining, mean of 2 seeds",
        "always \u{201c}London\u{201d}",
        "pretrained, seed 1",
        "pretrained, seed 2",
        "pretrained, mean of 2 seeds",
    ];
    assert_eq!(who, expected, "{out}");
    assert_eq!(lab.quickstart("plot", "r", &seeds).done(), out);
    let groups = read(&lab.path("r/quickstart/groups.csv"));
    assert_eq!(column(&groups, "subject"), ["model", "constant"].repeat(2));
    assert_eq!(column(&groups, "seeds"), ["2", "", "2", ""]);
    assert_eq!(column(&groups, "questions"), ["19"; 4]);
    let of_the_constant = &column(&groups, "interval")[1];
    assert_eq!(of_the_constant, "wilson");
}

#[test]
fn different_questions_are_reported_and_not_compared() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    lab.quickstart("run", "others", &["--set", "data.seed=5"])
        .done();
    let (a, b) = (lab.run_text("r", 0), lab.run_text("others", 0));
    let out = lab.attnlab(&["compare", &a, &b]).done();
    assert_eq!(cells(&out, "data.seed"), ["data.seed", "absent", "5"]);
    let note = "note: seed 1 not compared: the questions are not the same: ";
    assert!(out.contains(note), "{out}");
    assert!(!out.contains("McNemar"), "{out}");
}

#[test]
fn folders_that_are_not_recipes_are_rejected() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let (one, all, gone) = (lab.run_text("r", 0), lab.text("r"), lab.text("gone"));
    let message = lab.attnlab(&["compare", &one, &all]).failed(2);
    assert_eq!(
        lab.filtered(&message),
        "error: TMP/r holds runs of several points"
    );
    let message = lab.attnlab(&["compare", &gone, &one]).failed(2);
    assert_eq!(lab.filtered(&message), "error: TMP/gone holds no run");
}

#[test]
fn a_measure_added_after_the_runs_is_in_tables_and_comparisons_and_no_run_is_repeated() {
    let (lab, without, with) = two_points("[1]");
    let weights = |point: &str| {
        let file = format!("{point}/seed-1/checkpoints/finetune.safetensors");
        std::fs::read(file).expect("weights")
    };
    let before = weights(&with);
    let measures = "evaluate.measures=[\"exact-match\", \"log-loss\"]";
    let told = lab.quickstart("run", "r", &["--set", "seeds=[1]", "--set", measures]);
    let out = told.done();
    assert!(out.contains("seed 1: log loss "), "{out}");
    assert_eq!(weights(&with), before);
    let summary = read(&lab.path("r/quickstart/summary.csv"));
    let (measured, unit) = (column(&summary, "measure"), column(&summary, "unit"));
    assert!(
        measured
            .iter()
            .zip(&unit)
            .any(|pair| pair == (&"log-loss".to_owned(), &"nats".to_owned()))
    );
    let compared = lab.attnlab(&["compare", &without, &with]).done();
    let difference = cells(&compared, "B - A, seed 1");
    assert!(difference[2].ends_with(" nats"), "{compared}");
    assert_eq!(cells(&compared, "log loss")[0], "log loss");
}
