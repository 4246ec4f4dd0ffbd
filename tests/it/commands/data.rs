//! `data show` and `data fetch`.

use crate::lab::{Lab, files_below};

const FILES: [&str; 4] = [
    "wiki.txt",
    "birth_places_train.tsv",
    "birth_dev.tsv",
    "birth_test_inputs.tsv",
];

#[test]
fn show_prints_both_tasks_and_writes_a_figure() {
    let lab = Lab::new();
    let out = lab
        .quickstart("data show", "r", &["--examples", "3"])
        .done();
    assert!(
        out.contains("in 96 documents, 64 unique with padding and mask\n"),
        "{out}"
    );
    assert!(
        out.contains("questions: 19 train, 19 dev, 10 test (without answers)\n"),
        "{out}"
    );
    let pairs: Vec<(&str, &str)> = out
        .lines()
        .filter_map(|line| line.strip_prefix("x: "))
        .zip(out.lines().filter_map(|line| line.strip_prefix("y: ")))
        .collect();
    assert_eq!(pairs.len(), 6, "{out}");
    for (x, y) in &pairs[..3] {
        let (x, y): (Vec<char>, Vec<char>) = (x.chars().collect(), y.chars().collect());
        assert_eq!(x[1..], y[..y.len() - 1], "y is x one character on");
    }
    for (x, y) in &pairs[3..] {
        let answer = x.split('\u{2047}').nth(1).expect("an answer");
        assert_eq!(
            y.trim_start_matches('\u{25A1}'),
            format!("\u{2047}{answer}\u{2047}")
        );
    }
    let files = files_below(&lab.path("r/quickstart/data"));
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "corruption_examples.csv",
            "corruption_examples.png",
            "corruption_examples.svg"
        ]
    );
    let csv = String::from_utf8_lossy(&files[names[0]]).into_owned();
    assert_eq!(
        csv.lines().count(),
        4,
        "a header and three documents: {csv}"
    );
    let again = lab
        .quickstart("data show", "r", &["--examples", "3"])
        .done();
    assert_eq!(again, out);
}

#[test]
fn fetch_of_wrong_files_leaves_nothing() {
    let lab = Lab::new();
    for name in FILES {
        lab.write(&format!("wrong/{name}"), "Where was Ada born?\tLondon\n");
    }
    let (from, into) = (lab.text("wrong"), lab.text("new/data"));
    let said = lab.attnlab(&["data", "fetch", "cs224n", "--from", &from, "--data", &into]);
    let message = lab.filtered(&said.failed(5));
    let start = "error: TMP/wrong/wiki.txt has the wrong SHA-256 checksum: ";
    assert!(message.starts_with(start), "{message}");
    assert!(!lab.path("new").exists());
    assert_eq!(files_below(&lab.path("wrong")).len(), 4);
}

#[test]
fn fetch_from_nowhere_says_what_is_missing() {
    let lab = Lab::new();
    let fetch = |from: &str| {
        let into = lab.text("data");
        lab.attnlab(&["data", "fetch", "cs224n", "--from", from, "--data", &into])
    };
    let message = lab.filtered(&fetch(&lab.text("gone")).failed(5));
    assert_eq!(message, "error: cannot fetch from TMP/gone: no such folder");
    lab.write("empty/notes.txt", "text");
    let message = lab.filtered(&fetch(&lab.text("empty")).failed(5));
    let none = "error: no corpus in TMP/empty: it has neither wiki.txt nor cs224n/wiki.txt";
    assert_eq!(message, none);
    let message = lab.filtered(&fetch(&lab.text("empty/notes.txt")).failed(2));
    assert_eq!(
        message,
        "error: cannot fetch from TMP/empty/notes.txt: it is a file"
    );
    lab.write("half/wiki.txt", "text");
    let message = fetch(&lab.text("half")).failed(5);
    assert!(
        message.contains("half/wiki.txt has the wrong SHA-256 checksum"),
        "{message}"
    );
    assert!(
        fetch("ftp://localhost/x")
            .failed(2)
            .contains("an http or https URL")
    );
    // Port 1 of this machine: nobody listens, nothing leaves it.
    let message = fetch("http://127.0.0.1:1/x").failed(5);
    assert!(
        message.contains("http://127.0.0.1:1/x/wiki.txt"),
        "{message}"
    );
    assert!(!lab.path("data").exists());
}

#[test]
fn a_missing_corpus_names_the_file_and_the_way_out() {
    let lab = Lab::new();
    let (data, results) = (lab.text("data"), lab.text("r"));
    let london = "experiments/birthplace/london.toml";
    for command in [vec!["run"], vec!["data", "show"]] {
        let rest = [london, "--data", &data, "--results", &results];
        let said = lab.attnlab(&[command, rest.to_vec()].concat());
        assert!(
            said.err.contains("\n  help: `attnlab data fetch cs224n "),
            "{}",
            said.err
        );
        let message = lab.filtered(&said.failed(5));
        assert_eq!(
            message,
            "error: no corpus in TMP/data: it has neither wiki.txt nor cs224n/wiki.txt"
        );
    }
    let variables = [("ATTNLAB_DATA", data.as_str())];
    let said = lab.attnlab_with(&["run", london, "--results", &results], &variables);
    let message = lab.filtered(&said.failed(5));
    assert_eq!(
        message,
        "error: no corpus in TMP/data: it has neither wiki.txt nor cs224n/wiki.txt"
    );
}
