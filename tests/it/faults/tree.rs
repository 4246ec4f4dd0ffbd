//! Two trees of results compared byte by byte, times and provenance aside.

use std::collections::BTreeMap;
use std::path::Path;

use crate::lab::files_below;

/// Files that say who, when and where, not what.
const ASIDE: [&str; 4] = [".lock", ".lock-holder", "timings.csv", "provenance.json"];

/// The folder with the provenance of a run's stages.
const PROVENANCE: &str = "/provenance/";

/// Every file by its path with its bytes; `status.json` without its times.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files_below(folder);
    files.retain(|path, _| {
        let name = path.rsplit('/').next().unwrap_or_default();
        !ASIDE.contains(&name) && !path.contains(PROVENANCE)
    });
    for (path, bytes) in &mut files {
        if path.ends_with("/status.json") {
            let mut status: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
            let status = status.as_object_mut().expect("a table");
            for time in ["started", "ended"] {
                assert!(status.remove(time).is_some(), "{path} has no {time}");
            }
            *bytes = serde_json::to_vec(status).expect("JSON");
        }
    }
    files
}

/// Fails the test where two trees differ, naming the files.
#[track_caller]
pub(crate) fn assert_same_tree(expected: &BTreeMap<String, Vec<u8>>, folder: &Path, story: &str) {
    let found = tree(folder);
    let names = expected.keys().chain(found.keys());
    let mut differ: Vec<&String> = names
        .filter(|&name| expected.get(name) != found.get(name))
        .collect();
    differ.sort();
    differ.dedup();
    let said = |name: &&String| match (expected.get(*name), found.get(*name)) {
        (Some(_), None) => format!("{name} is missing"),
        (None, Some(_)) => format!("{name} is too many"),
        _ => format!("{name} is not the same"),
    };
    let said: Vec<String> = differ.iter().map(said).collect();
    assert!(said.is_empty(), "{story}: {}", said.join(", "));
}
