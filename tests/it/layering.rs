//! Who may import what, and where `unsafe` may stand.

use std::path::Path;

use crate::lab::{REPOSITORY, files_below};
use crate::paths::{code, mentions};

/// Fewer files than this and the walk has missed some.
const LEAST_FILES: usize = 300;

/// A crate, and the places below `src/` that may name it.
const CRATES: [(&str, &[&str]); 13] = [
    ("dfdx", &["model/", "ops/"]),
    ("cudarc", &["model/", "ops/"]),
    (
        "figment",
        &[
            "config/",
            "data/source.rs",
            "explore/question.rs",
            "kinds.rs",
            "plot/kind.rs",
        ],
    ),
    ("toml", &["config/"]),
    (
        "schemars",
        &[
            "config/",
            "data/",
            "explore/",
            "kinds.rs",
            "metrics/steps.rs",
            "plot/",
        ],
    ),
    ("csv", &["metrics/"]),
    ("plotters", &["plot/"]),
    ("tokenizers", &["data/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("askama", &["report/"]),
    ("base64", &["report/"]),
    ("roxmltree", &["report/"]),
];

/// A top-level module of `src/`, and the modules that it may not import.
const ROOMS: [(&str, &[&str]); 5] = [
    ("ops", &["model", "train", "pipeline", "plot", "config"]),
    ("train", &["ops"]),
    ("plot", &["model", "data", "train"]),
    ("report", &["model", "data", "train"]),
    ("explore", &["model", "ops", "train", "pipeline", "plot"]),
];

/// What a file at `file`, below `src/`, does that the rules forbid; a line each.
fn violations(file: &str, source: &str) -> Vec<String> {
    let mut found = forbidden_imports(file, source);
    found.extend(unsafe_code(file, source));
    found
}

fn forbidden_imports(file: &str, source: &str) -> Vec<String> {
    let room = file.split(['/', '.']).next().unwrap_or_default();
    let unknown = ROOMS.iter().filter(|(name, _)| *name == room);
    let unknown: Vec<&str> = unknown.flat_map(|(_, rooms)| *rooms).copied().collect();
    let forbidden = |path: &str| {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        if first == "crate" {
            return unknown.contains(&rest.split("::").next().unwrap_or_default());
        }
        let rule = CRATES.iter().find(|(name, _)| *name == first);
        rule.is_some_and(|(_, places)| !places.iter().any(|place| file.starts_with(place)))
    };
    mentions(file, source)
        .into_iter()
        .filter(|mention| forbidden(&mention.path))
        .map(|mention| format!("{file}:{} names {}", mention.line, mention.path))
        .collect()
}

/// `unsafe` outside `ops`, and blocks of it without a `// SAFETY:` comment right above.
fn unsafe_code(file: &str, source: &str) -> Vec<String> {
    let raw: Vec<&str> = source.lines().collect();
    let mut found = vec![];
    for (i, line) in code(source).lines().enumerate() {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if !words.clone().any(|word| word == "unsafe") {
            continue;
        }
        let place = format!("{file}:{}", i + 1);
        if !file.starts_with("ops/") {
            found.push(format!("{place} is unsafe outside ops"));
        }
        let above = raw[..i].iter().rev().map(|line| line.trim_start());
        let mut comment = above.take_while(|line| line.starts_with("//"));
        // The brace may stand on the next line.
        let (_, after) = line.rsplit_once("unsafe").unwrap_or_default();
        let block = after.trim_start().starts_with('{') || after.trim().is_empty();
        if block && !comment.any(|line| line.starts_with("// SAFETY:")) {
            found.push(format!("{place} is unsafe without a `// SAFETY:` comment"));
        }
    }
    found
}

#[test]
fn every_file_keeps_the_rules() {
    let files = files_below(&Path::new(REPOSITORY).join("src"));
    let sources: Vec<(&str, &str)> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".rs"))
        .map(|(name, bytes)| (name.as_str(), std::str::from_utf8(bytes).expect("UTF-8")))
        .collect();
    assert!(sources.len() >= LEAST_FILES, "only {} files", sources.len());
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(name, source)| violations(name, source))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Each rule names a crate or room that is there, so that none is kept by being misspelt.
#[test]
fn every_rule_is_about_something() {
    let files = files_below(&Path::new(REPOSITORY).join("src"));
    let text = |name: &str| String::from_utf8_lossy(&files[name]).into_owned();
    // Templates lie beside the code.
    let is_code = |file: &&String| file.ends_with(".rs");
    for (name, places) in CRATES.iter().filter(|(name, _)| *name != "cudarc") {
        let used = files.keys().filter(is_code).filter(|file| {
            places.iter().any(|place| file.starts_with(place))
                && mentions(file, &text(file))
                    .iter()
                    .any(|m| m.path.split("::").next() == Some(*name))
        });
        assert!(used.count() > 0, "{name} is used nowhere");
    }
    for room in ROOMS
        .iter()
        .flat_map(|(room, unknown)| [&[*room], *unknown].concat())
    {
        let start = format!("{room}/");
        assert!(files.keys().any(|file| file.starts_with(&start)), "{room}");
    }
}

#[track_caller]
fn assert_refused(file: &str, source: &str, message: &str) {
    assert_eq!(violations(file, source), [format!("{file}{message}")]);
}

#[test]
fn a_crate_outside_its_place_is_refused() {
    for (name, places) in CRATES {
        let source = format!("use {name}::Thing;\n");
        assert_refused("eval/mod.rs", &source, &format!(":1 names {name}::Thing"));
        for place in places {
            let file = format!(
                "{}{}",
                place,
                if place.ends_with('/') { "x.rs" } else { "" }
            );
            assert_eq!(violations(&file, &source), [""; 0], "{file}");
        }
    }
    assert_refused(
        "train/mod.rs",
        "fn f() {\n    let t = dfdx::tensor::Cpu::default();\n}\n",
        ":2 names dfdx::tensor::Cpu::default",
    );
    assert_refused("plot/axis.rs", "pub use {csv, std::io};\n", ":1 names csv");
    assert_refused(
        "config/mod.rs",
        "#[derive(clap::Args)]\nstruct A;\n",
        ":1 names clap::Args",
    );
}

#[test]
fn a_room_that_is_not_to_be_known_is_refused() {
    for (room, unknown) in ROOMS {
        for other in unknown {
            let source = format!("use crate::{other}::Thing;\n");
            let message = format!(":1 names crate::{other}::Thing");
            assert_refused(&format!("{room}/mod.rs"), &source, &message);
            let source = format!("use crate::{{error, {other}}};\n");
            let message = format!(":1 names crate::{other}");
            assert_refused(&format!("{room}/deep/mod.rs"), &source, &message);
            assert_eq!(violations("pipeline/mod.rs", &source), [""; 0]);
        }
    }
    assert_refused(
        "ops/head/cpu.rs",
        "mod tests {\n    fn f() { super::super::super::super::model::f() }\n}\n",
        ":2 names crate::model::f",
    );
}

#[test]
fn unsafe_code_needs_its_place_and_its_reason() {
    let good = "// SAFETY: the length is checked,\n// twice.\nlet x = unsafe { y() };\n";
    assert_eq!(violations("ops/x.rs", good), [""; 0]);
    assert_refused("plot/x.rs", good, ":3 is unsafe outside ops");
    for bad in [
        "// Fast.\nunsafe { y() }\n",
        "// SAFETY: no.\n\nunsafe { y() }\n",
    ] {
        let line = bad.lines().count();
        let message = format!(":{line} is unsafe without a `// SAFETY:` comment");
        assert_refused("ops/x.rs", bad, &message);
    }
    let words = "#![allow(unsafe_code)]\n// unsafe { }\nlet x = \"unsafe {\";\n";
    assert_eq!(violations("plot/x.rs", words), [""; 0]);
}
