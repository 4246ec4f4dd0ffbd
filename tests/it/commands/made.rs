//! Made tasks from their settings to tables and comparisons.

use crate::lab::{Lab, column, read};

/// Parity of short strings.
fn parity(lab: &Lab, seeds: &str) -> String {
    let data = "kind = \"parity\"\ntraining_examples = 400\nheld_out_examples = 40\nlongest_training = 6\nlongest_held_out = 10";
    let stages = "[pretrain]\nobjective = \"answers\"\nepochs = 2\nbatch_documents = 40\nlearning_rate = 3e-3\n\n[evaluate]\n";
    let file = lab.experiment("parity", data, stages);
    let text = read(std::path::Path::new(&file)).replace("seeds = [1]", seeds);
    lab.write("parity.toml", text)
}

#[test]
fn a_made_task_is_judged_by_its_scored_tokens() {
    let lab = Lab::new();
    let file = parity(&lab, "seeds = [1, 2]");
    let results = lab.text("r");
    let said = lab.attnlab(&["run", &file, "--results", &results]);
    assert!(
        said.err
            .contains(" of 40 dev scored tokens right  95 % CI "),
        "{}",
        said.err
    );
    let out = said.done();
    assert!(out.contains(": token accuracy "), "{out}");
    let summary = read(&lab.path("r/parity/summary.csv"));
    assert_eq!(column(&summary, "measure"), ["token-accuracy"; 2]);
    assert_eq!(column(&summary, "questions"), ["40"; 2]);
    assert_eq!(column(&summary, "interval"), ["wilson"; 2]);

    let point = std::fs::read_dir(lab.path("r/parity")).expect("results");
    let mut point = point.map(|one| one.expect("an entry").path());
    let point = point
        .find(|path| path.join("seed-1").is_dir())
        .expect("a point");
    let held_out = read(&point.join("seed-1/held_out/dev.csv"));
    let mut lengths = column(&held_out, "length");
    lengths.sort();
    lengths.dedup();
    assert_eq!(lengths, ["10", "7", "8", "9"]);

    let [one, other] = ["seed-1", "seed-2"].map(|seed| point.join(seed).display().to_string());
    let compared = lab.attnlab(&["compare", &one, &other]).done();
    assert!(compared.contains("token accuracy"), "{compared}");
    assert!(compared.contains("B - A"), "{compared}");
    let elsewhere = lab.text("elsewhere");
    lab.attnlab(&[
        "run",
        &file,
        "--results",
        &elsewhere,
        "--set",
        "data.seed=5",
    ])
    .done();
    let unpaired = lab.attnlab(&["compare", &one, &elsewhere]);
    let unpaired = unpaired.err + &unpaired.out;
    assert!(!unpaired.contains("B - A"), "other examples: {unpaired}");
    let report = lab.text("report");
    lab.attnlab(&["report", &file, "--results", &results, "--out", &report])
        .done();
    let page = read(&lab.path("report/report.md"));
    assert!(page.contains("Token accuracy"), "{page}");

    let shown = lab
        .attnlab(&["data", "show", &file, "--results", &results])
        .done();
    assert!(
        shown.starts_with("parity: 400 training examples, 40 dev, 40 test, of up to 11 tokens"),
        "{shown}"
    );
}

#[test]
fn a_made_task_that_does_not_fit_is_refused_by_name() {
    let lab = Lab::new();
    let file = parity(&lab, "seeds = [1]");
    for (set, expected) in [
        (
            "data.longest_held_out=200",
            "an example of \"parity\" has 201 tokens, `model.context` is 128",
        ),
        (
            "model.attention={ kind = \"perceiver\", bottleneck = 8 }",
            "an example of \"parity\" has 11 tokens, but `model.attention.bottleneck` = 8 reads only the first 8",
        ),
        (
            "data.longest_held_out=6",
            "`data.longest_held_out` = 6 must be ",
        ),
        (
            "pretrain.objective=\"language-model\"",
            "learns from documents, but \"parity\" data has none",
        ),
        (
            "evaluate.measures=[\"exact-match\"]",
            "lists \"exact-match\", which needs answers to questions, but \"parity\" data has none",
        ),
        (
            "evaluate.measures=[\"bits-per-byte\"]",
            "lists \"bits-per-byte\", which needs text, but \"parity\" data has none",
        ),
        (
            "evaluate.constant_answer=\"even\"",
            "`evaluate.constant_answer` is about questions, but \"parity\" data has none",
        ),
    ] {
        let said = lab.attnlab(&["run", &file, "--results", &lab.text("r"), "--set", set]);
        let message = said.err.clone();
        said.failed(3);
        assert!(message.contains(expected), "{set}: {message}");
        assert!(!lab.path("r").exists(), "{set} has written something");
    }
}
