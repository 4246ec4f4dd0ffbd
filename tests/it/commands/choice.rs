//! Points chosen by validation, from the sweep to tables, figures and reports.

use crate::lab::{Lab, column, read};

/// Parity of short strings by two kinds of attention, each at three rates of which one diverges.
fn rates(lab: &Lab) -> String {
    let data = "kind = \"parity\"\ntraining_examples = 200\nheld_out_examples = 40\nlongest_training = 6\nlongest_held_out = 10";
    let stages = "[pretrain]\nobjective = \"answers\"\nepochs = 2\nbatch_documents = 40\nvalidate = {}\n\n[evaluate]\n\
                  split = \"test\"\nreported = { token-accuracy = 0.5, source = \"a paper\" }\n\n[sweep]\n\
                  \"model.attention.kind\" = [\"vanilla\", \"linear\"]\n\
                  \"pretrain.learning_rate\" = [1e-3, 3e-3, 1e30]\n\n\
                  [labels]\n\"model.attention.kind = linear\" = \"Linear\"\n\n\
                  [figures.bars]\nkind = \"accuracy-bars\"\n\n[figures.rates]\nkind = \"accuracy-lines\"\n\
                  by = \"pretrain.learning_rate\"\n\n[figures.lengths]\nkind = \"accuracy-by-length\"\n\n\
                  [figures.validation]\nkind = \"validation-curves\"\n";
    let file = lab.experiment("rates", data, stages);
    let text = read(std::path::Path::new(&file));
    lab.write(
        "rates.toml",
        format!("choose = \"best of learning_rate by dev\"\n{text}"),
    )
}

#[test]
fn the_best_of_candidates_is_chosen_by_validation_and_scored_apart() {
    let lab = Lab::new();
    let (file, results) = (rates(&lab), lab.text("r"));
    let only = "sweep.model.attention.kind=[\"vanilla\"]";
    let part = "sweep.pretrain.learning_rate=[1e-3]";
    lab.attnlab(&[
        "run",
        &file,
        "--results",
        &results,
        "--set",
        only,
        "--set",
        part,
    ])
    .done();
    let plotted = lab.attnlab(&["plot", &file, "--results", &results]).done();
    assert!(
        plotted.contains("no candidate chosen: 2 of 3 candidates unfinished"),
        "{plotted}"
    );
    assert!(
        plotted.contains("bars was not drawn: no point is chosen"),
        "{plotted}"
    );

    let said = lab.attnlab(&["run", &file, "--results", &results, "--keep-going"]);
    assert_eq!(said.code, 4, "{}", said.err);
    let out = &said.out;
    assert!(
        out.contains(", the best of 3 candidates, 1 of which failed (token-accuracy "),
        "{out}"
    );
    assert_eq!(
        out.matches("Linear, seed 1: token accuracy").count(),
        1,
        "{out}"
    );

    let folder = lab.path("r/rates");
    let choice = read(&folder.join("choice.csv"));
    assert_eq!(
        column(&choice, "state"),
        ["finished", "finished", "failed"].repeat(2)
    );
    let chosen = column(&choice, "is_chosen");
    let validations = column(&choice, "validation");
    for group in [0, 3] {
        let value = |i: usize| -> f64 { validations[group + i].parse().expect("a number") };
        // Of equals the first is chosen.
        let second = value(1) > value(0);
        let expected = [!second, second, false].map(|one| one.to_string());
        assert_eq!(chosen[group..group + 3], expected, "{choice}");
        assert_eq!(validations[group + 2], "");
    }
    assert_eq!(column(&choice, "group")[3], "Linear");

    let bars = read(&folder.join("figures/bars.csv"));
    assert_eq!(
        column(&bars, "kind")
            .iter()
            .filter(|kind| **kind == "bar")
            .count(),
        2
    );
    let rates = read(&folder.join("figures/rates.csv"));
    let means = column(&rates, "kind");
    assert_eq!(
        means.iter().filter(|kind| **kind == "mean").count(),
        4,
        "all candidates"
    );
    assert_eq!(means.iter().filter(|kind| **kind == "reported").count(), 4);
    let lengths = column(&read(&folder.join("figures/lengths.csv")), "x");
    assert_eq!(lengths.first().map(String::as_str), Some("7.0"));
    let steps = column(&read(&folder.join("figures/validation.csv")), "x");
    assert_eq!(steps[..2], ["5.0", "5.0"], "a mean and its seed");

    let report = lab.text("report");
    lab.attnlab(&["report", &file, "--results", &results, "--out", &report])
        .done();
    let page = read(&lab.path("report/report.md"));
    assert!(page.contains("Points chosen by validation"), "{page}");
    assert!(page.contains("3 candidates, 1 of which failed"), "{page}");

    // Without a choice, tables and figures are about every point again.
    let file = lab.write(
        "rates.toml",
        read(&lab.path("rates.toml")).replacen("choose", "# choose", 1),
    );
    let stale = ["report", &file, "--results", &results, "--out", &report];
    lab.attnlab(&stale).done();
    assert!(
        read(&lab.path("report/report.md")).contains("do not match the finished runs"),
        "choice.csv is left over"
    );
    lab.attnlab(&["plot", &file, "--results", &results]).done();
    assert!(!folder.join("choice.csv").exists());
    let bars = read(&folder.join("figures/bars.csv"));
    assert_eq!(
        column(&bars, "kind")
            .iter()
            .filter(|kind| **kind == "bar")
            .count(),
        6
    );
}
