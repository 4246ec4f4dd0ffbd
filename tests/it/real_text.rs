//! The corpus of the assignment, where it is: `ATTNLAB_TEST_DATA`, or `../shared/data` beside the
//! repository. It is not part of the repository, so elsewhere these tests have nothing to read.

use std::path::{Path, PathBuf};

use crate::lab::{Lab, REPOSITORY, column, read};

const LONDON: &str = "experiments/birthplace/london.toml";

fn corpus() -> Option<String> {
    let named = std::env::var_os("ATTNLAB_TEST_DATA").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(REPOSITORY).join("../shared/data"));
    let there = folder.join("cs224n/wiki.txt").is_file();
    if !there {
        eprintln!("skipped: no corpus");
    }
    there.then(|| folder.display().to_string())
}

#[test]
fn london_is_right_for_25_of_500() {
    let Some(data) = corpus() else { return };
    let lab = Lab::new();
    let results = lab.text("r");
    let out = lab
        .attnlab(&["run", LONDON, "--data", &data, "--results", &results])
        .done();
    let says = "always \u{201c}London\u{201d}: 5.0 % of 500 dev questions  (25 right; ";
    assert!(out.contains(says), "{out}");
    let summary = read(&lab.path("r/birthplace/london/summary.csv"));
    assert_eq!(column(&summary, "subject"), ["constant", "reported"]);
    assert_eq!(column(&summary, "correct")[0], "25");
    assert_eq!(column(&summary, "questions")[0], "500");
}

#[test]
fn the_corpus_has_the_characters_of_the_assignment() {
    let Some(data) = corpus() else { return };
    let lab = Lab::new();
    let results = lab.text("r");
    let show = [
        "data",
        "show",
        LONDON,
        "--data",
        &data,
        "--results",
        &results,
    ];
    let out = lab.attnlab(&show).done();
    assert!(out.contains("data has 418,352 characters"), "{out}");
    assert!(out.contains(" in 2,938 documents, 256 unique "), "{out}");
    assert!(
        out.contains("questions: 2,000 train, 500 dev, 437 test"),
        "{out}"
    );
}

#[test]
fn a_fetch_from_a_folder_brings_the_corpus_and_does_it_once() {
    let Some(data) = corpus() else { return };
    let lab = Lab::new();
    let into = lab.text("new/data");
    let fetch = ["data", "fetch", "cs224n", "--from", &data, "--data", &into];
    lab.attnlab(&fetch).done();
    assert!(lab.path("new/data/cs224n/wiki.txt").is_file());
    let again = lab.attnlab(&fetch);
    assert!(
        again.err.contains("it is already there and verified"),
        "{}",
        again.err
    );
    again.done();
}
