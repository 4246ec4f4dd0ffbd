//! `experiments/experiment.schema.json`, and that every experiment leads to it.

use std::path::Path;

use crate::lab::{Lab, REPOSITORY, files_below, read};

const SCHEMA: &str = "experiment.schema.json";

/// `UPDATE_GOLDEN=1 cargo test` writes the file anew.
#[test]
fn the_schema_in_the_repository_is_what_the_command_prints() {
    let path = Path::new(REPOSITORY).join("experiments").join(SCHEMA);
    let printed = Lab::new().attnlab(&["schema"]).done();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &printed).expect("written");
    }
    let committed = read(&path).replace("\r\n", "\n");
    let differs = committed
        .lines()
        .zip(printed.lines())
        .position(|(a, b)| a != b);
    let place = differs.map_or("its end".to_owned(), |line| format!("line {}", line + 1));
    assert!(
        committed == printed,
        "{SCHEMA} differs from {place} on; UPDATE_GOLDEN=1 accepts the new one"
    );
}

#[test]
fn every_experiment_and_base_opens_with_the_way_to_the_schema() {
    let files = files_below(&Path::new(REPOSITORY).join("experiments"));
    let files = files.iter().filter(|(name, _)| name.ends_with(".toml"));
    let mut number = 0;
    for (name, bytes) in files {
        let text = String::from_utf8_lossy(bytes);
        // A suite is no experiment; the schema says nothing about it.
        if text.lines().any(|line| line == "[[members]]") {
            assert!(!text.contains("#:schema"), "{name} is a suite");
            continue;
        }
        let up = "../".repeat(name.matches('/').count());
        assert_eq!(
            text.lines().next(),
            Some(&*format!("#:schema {up}{SCHEMA}")),
            "{name}"
        );
        number += 1;
    }
    assert!(number >= 5, "the walk found only {number} files");
}
