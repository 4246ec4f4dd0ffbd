//! Explorations from a file to their figures, and the commands that have no use for them.

use crate::lab::{Lab, Said, column, files_below, read};

/// Each experiment of question 1, what makes it short, its table and its figure.
const QUESTIONS: [(&str, &[&str], &str, &str); 6] = [
    ("a_copying", &[], "curves.csv", "copying"),
    (
        "b_extraction",
        &["explore.samples=20"],
        "curves.csv",
        "extraction",
    ),
    ("b_averaging", &[], "curves.csv", "averaging"),
    (
        "c_noisy_averaging",
        &["explore.samples=20"],
        "curves.csv",
        "noisy_averaging",
    ),
    ("c_swing", &["explore.samples=600"], "samples.csv", "swing"),
    (
        "d_two_heads",
        &["explore.samples=600"],
        "samples.csv",
        "two_heads",
    ),
];

fn explore(lab: &Lab, command: &str, name: &str, set: &[&str]) -> Said {
    let (file, results) = (
        format!("experiments/exploration/{name}.toml"),
        lab.text("r"),
    );
    let mut arguments = vec![command, &file, "--results", &results];
    arguments.extend(set.iter().flat_map(|one| ["--set", one]));
    lab.attnlab(&arguments)
}

#[test]
fn every_question_is_run_drawn_and_not_done_twice() {
    let lab = Lab::new();
    for (name, set, table, figure) in QUESTIONS {
        let before = explore(&lab, "plan", name, set).done();
        assert!(
            before.contains("explore  run") && before.contains("   new"),
            "{before}"
        );
        let said = explore(&lab, "run", name, set).done();
        let drawn = format!("figures/{figure}.svg");
        assert!(
            said.contains(&drawn) && !said.contains("left out"),
            "{said}"
        );

        let folder = lab.path(&format!("r/exploration/{name}"));
        let files = files_below(&folder);
        let tables = files.keys().filter(|file| file.ends_with(table)).count();
        let runs = files
            .keys()
            .filter(|file| file.ends_with("status.json"))
            .count();
        assert!(runs > 0 && tables == runs, "{:?}", files.keys());
        let findings = read(&folder.join("findings.csv"));
        let labels = column(&findings, "label");
        assert!(!labels.is_empty(), "{findings}");
        for label in labels {
            assert!(said.contains(&format!("{label}: ")), "{label}: {said}");
        }
        for none in [
            "summary.csv",
            "groups.csv",
            "calibration.csv",
            "metrics.csv",
            "predictions",
        ] {
            assert!(
                files.keys().all(|file| !file.contains(none)),
                "{name} has {none}"
            );
        }

        if name == "a_copying" {
            // The weight on one of 100 keys, at margins 0 and 16: 1 / n, and e^m / (e^m + n - 1).
            let told = "n = 100: weight on value j: 0.0100 at 0, 1.000 at 16  (margin";
            assert!(said.contains(told), "{said}");
        }

        let again = explore(&lab, "run", name, set);
        assert!(again.err.contains("already finished"), "{}", again.err);
        again.done();
        let planned = explore(&lab, "plan", name, set).done();
        assert!(planned.contains("all already finished"), "{planned}");
        explore(&lab, "plot", name, set).done();
        let figures = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
            let drawn = files.iter().filter(|(file, _)| file.contains("figures/"));
            drawn
                .map(|(file, bytes)| (file.clone(), bytes.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            figures(&files),
            figures(&files_below(&folder)),
            "drawn from files alone"
        );
    }
    let stale = explore(&lab, "plan", "d_two_heads", &["explore.samples=700"]).done();
    assert!(
        stale.contains("new, because explore.samples 600 -> 700"),
        "{stale}"
    );
}

#[test]
fn two_heads_vary_less_than_one_on_the_same_keys() {
    let lab = Lab::new();
    explore(&lab, "run", "d_two_heads", &["explore.samples=3000"]).done();
    let csv = read(&lab.path("r/exploration/d_two_heads/figures/two_heads.csv"));
    let mut variances: Vec<(String, f64)> = vec![];
    for (name, variance) in column(&csv, "label")
        .into_iter()
        .zip(column(&csv, "variance"))
    {
        if variances.iter().all(|(known, _)| *known != name) {
            variances.push((name, variance.parse().expect("a number")));
        }
    }
    let [one, two, reported] = variances.as_slice() else {
        panic!("{variances:?}");
    };
    assert!(two.1 < one.1 / 4.0, "{variances:?}");
    assert!(reported.0.contains("as reported"), "{variances:?}");
    assert!(
        !one.0.contains("reported") && !two.0.contains("reported"),
        "{variances:?}"
    );
}

#[test]
fn the_reported_constructions_are_measured_beside_ours() {
    let lab = Lab::new();
    explore(&lab, "run", "b_extraction", &["explore.samples=50"]).done();
    let csv = read(&lab.path("r/exploration/b_extraction/figures/extraction.csv"));
    let errors = column(&csv, "y").into_iter();
    let errors = errors.map(|y| y.parse::<f64>().expect("a number"));
    let rows: Vec<(String, f64)> = column(&csv, "is_reported")
        .into_iter()
        .zip(errors)
        .collect();
    assert_eq!(rows.len(), 14);
    for (is_reported, error) in rows {
        let is_reported = is_reported == "true";
        assert!(
            if is_reported {
                error > 0.5
            } else {
                error < 1e-12
            },
            "{csv}"
        );
    }
}

#[test]
fn samples_are_the_same_for_any_number_of_threads() {
    let lab = Lab::new();
    let set = [
        "explore.samples=1100",
        "sweep.explore.beta=[10]",
        "labels=[]",
    ];
    let mut tables = vec![];
    for threads in ["1", "3"] {
        let (file, results) = ("experiments/exploration/c_swing.toml", lab.text(threads));
        let mut arguments = vec!["run", file, "--results", &results];
        arguments.extend(set.iter().flat_map(|one| ["--set", one]));
        lab.attnlab_with(&arguments, &[("RAYON_NUM_THREADS", threads)])
            .done();
        let files = files_below(&lab.path(&format!("{threads}/exploration")));
        let table = files
            .into_iter()
            .find(|(name, _)| name.ends_with("samples.csv"));
        tables.push(table.expect("samples").1);
    }
    assert_eq!(tables[0], tables[1]);
    let text = String::from_utf8(tables.remove(0)).expect("text");
    let numbers: Vec<String> = (0..1100).map(|i| i.to_string()).collect();
    assert_eq!(column(&text, "sample"), numbers);
}

#[test]
fn commands_about_models_say_that_there_is_none() {
    let lab = Lab::new();
    let set = ["explore.samples=20"];
    explore(&lab, "run", "d_two_heads", &set).done();
    let (run, file) = (
        lab.text("r/exploration/d_two_heads"),
        "experiments/exploration/d_two_heads.toml",
    );
    let (weights, text) = (lab.text("w.safetensors"), lab.write("lines.txt", "Ada\n"));
    let cases: [(&[&str], &str); 6] = [
        (&["ask", &run, "Where was Ada born?"], "model to ask"),
        (&["score", &run, "--text", &text], "model to ask"),
        (&["export", &run, &weights], "weights to export"),
        (&["compare", &run, &run], "answers to compare"),
        (&["bench", file], "training step to measure"),
        (&["data", "show", file], "data to show"),
    ];
    for (arguments, lacks) in cases {
        let error = lab.attnlab(arguments).failed(2);
        assert!(error.contains("is an exploration: it has no"), "{error}");
        assert!(error.ends_with(lacks), "{error}");
    }
}

#[test]
fn show_list_and_check_know_explorations() {
    let lab = Lab::new();
    let shown = explore_show(&lab, &[]).done();
    // Keys of other questions are not among those that could be set.
    assert!(
        shown.contains("samples") && !shown.contains("not set"),
        "{shown}"
    );
    assert!(
        !shown.contains("model") && !shown.contains("pretrain"),
        "{shown}"
    );
    let checked = lab.attnlab(&["check", "experiments/exploration"]).done();
    assert_eq!(checked.lines().count(), QUESTIONS.len());
    assert!(!checked.contains("compiled when"), "{checked}");
    let listed = lab.attnlab(&["list", "experiments"]).done();
    assert!(
        listed.contains("exploration/a_copying.toml  (3 points × 1 seed)"),
        "{listed}"
    );
    let mixed = explore_show(&lab, &["model.embed=8"]).failed(3);
    assert!(
        mixed.contains("`model` is not for an exploration"),
        "{mixed}"
    );
    // A suite is run on one device, and its explorations have no model to place.
    let placed = explore_show(&lab, &["device=auto", "precision=tf32"]).done();
    assert!(!placed.contains("device"), "{placed}");
}

fn explore_show(lab: &Lab, set: &[&str]) -> Said {
    let mut arguments = vec!["show", "experiments/exploration/d_two_heads.toml"];
    arguments.extend(set.iter().flat_map(|one| ["--set", one]));
    lab.attnlab(&arguments)
}

#[test]
fn a_report_tells_what_was_found() {
    let lab = Lab::new();
    let set = ["explore.samples=600"];
    explore(&lab, "run", "d_two_heads", &set).done();
    let file = "experiments/exploration/d_two_heads.toml";
    let results = lab.text("r");
    let report = |more: &[&str]| {
        let arguments = ["report", file, "--results", &results];
        lab.attnlab(&[&arguments[..], more].concat()).done()
    };
    report(&["--set", set[0]]);
    let folder = lab.path("r/exploration/d_two_heads/report");
    let page = read(&folder.join("index.html"));
    assert!(page.contains("two heads as reported"), "{page}");
    let tables = read(&folder.join("tables.tex"));
    assert!(tables.contains("weight on value a"), "{tables}");
    assert!(tables.contains("\\ensuremath{\\mu}"), "{tables}");

    // Findings that do not match the finished runs are left out.
    let table = lab.path("r/exploration/d_two_heads/findings.csv");
    let old = read(&table).replace(",600,", ",599,");
    std::fs::write(&table, old).expect("written");
    let told = report(&["--set", set[0]]);
    assert!(told.contains("do not match the finished runs"), "{told}");
    let tables = read(&folder.join("tables.tex"));
    assert!(!tables.contains("weight on value a"), "{tables}");
}
