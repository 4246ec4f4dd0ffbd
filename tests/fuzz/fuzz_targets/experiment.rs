//! An experiment file is an experiment or has problems; what an experiment resolves to is itself
//! one, with a point of the same hash.
#![no_main]

use std::sync::LazyLock;

use attnlab::config;
use attnlab::error::Error;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("x.toml");
    std::fs::write(&path, bytes).expect("written");
    let experiment = match config::load_alone(&path) {
        Ok(experiment) => experiment,
        Err(Error::Problems(problems)) => return assert!(!problems.is_empty()),
        Err(other) => panic!("{other}"),
    };
    let resolved = FOLDER.path().join("resolved.toml");
    for point in experiment.points.iter().take(3) {
        let text = config::to_toml(&point.settings, experiment.seeds[0]);
        std::fs::write(&resolved, &text).expect("written");
        let again = config::load_alone(&resolved).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again.points[0].hash(), point.hash(), "{text}");
    }
});
