//! Shapes that the program lacks; a script stands for cargo, since a real build would change the program under the other
//! tests.
#![cfg(unix)]

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::lab::{Lab, QUICKSTART};

/// A shape that no other test asks for.
const HIDDEN: &str = "model.hidden=41";
const SHAPE: &str = "embed=64 hidden=41 vocabulary=64 context=128";

/// The list beside the program.
fn list() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_attnlab")).with_file_name("shapes.txt")
}

/// Writes an executable script and returns its path as text.
fn script(lab: &Lab, name: &str, lines: &str) -> String {
    let path = lab.write(name, format!("#!/bin/sh\n{lines}\n"));
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    path
}

/// A program that has the shape and tells how it was called, and a `cargo` that builds it and tells the same.
fn cargo(lab: &Lab, hidden: u32) -> String {
    let shapes = format!(r#"[{{"embed":64,"hidden":{hidden},"vocabulary":64,"context":128}}]"#);
    let program =
        format!("[ \"$1\" = shapes ] && echo '{shapes}' && exit\necho \"new program: $*\"");
    let program = script(lab, "program", &program);
    let message = format!(r#"{{"reason":"compiler-artifact","executable":"{program}"}}"#);
    let calls = lab.text("calls");
    script(
        lab,
        "cargo",
        &format!("echo \"$*\" >> {calls}\necho 'not JSON'\necho '{message}'"),
    )
}

/// The list changes twice, and cargo must not take that for a reason to build the program again.
fn keeping_the_list<T>(test: impl FnOnce() -> T) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock();
    let path = list();
    let before = std::fs::read(&path).expect("the build script has made it");
    let time = path
        .metadata()
        .and_then(|list| list.modified())
        .expect("a time");
    let result = test();
    std::fs::write(&path, before).expect("written");
    let file = File::options()
        .append(true)
        .open(&path)
        .expect("it is there");
    file.set_modified(time).expect("a time");
    result
}

#[test]
fn a_new_shape_is_compiled_and_the_new_program_goes_on_with_the_same_command() {
    let lab = Lab::new();
    let cargo = cargo(&lab, 41);
    let command = [
        "run",
        QUICKSTART,
        "--set",
        HIDDEN,
        "--results",
        &lab.text("r"),
    ];
    let (said, listed) = keeping_the_list(|| {
        let said = lab.attnlab_with(&command, &[("CARGO", &cargo)]);
        (said, std::fs::read_to_string(list()).expect("a list"))
    });
    assert_eq!(
        said.err,
        format!("compiling the shape {SHAPE} into the program: once, in about half a minute\n")
    );
    assert_eq!(said.done(), format!("new program: {}\n", command.join(" ")));
    assert!(listed.lines().any(|line| line == SHAPE), "{listed}");
    let calls = std::fs::read_to_string(lab.path("calls")).expect("cargo was called");
    let build = calls.lines().last().unwrap_or_default();
    for part in [
        "build --quiet",
        "--bin attnlab",
        "--profile ",
        "--target-dir ",
    ] {
        assert!(build.contains(part), "{part} is not in {build}");
    }
}

#[test]
fn a_program_that_was_built_without_the_shape_is_not_run() {
    let lab = Lab::new();
    let cargo = cargo(&lab, 40);
    let said = keeping_the_list(|| {
        let command = [
            "run",
            QUICKSTART,
            "--set",
            HIDDEN,
            "--results",
            &lab.text("r"),
        ];
        let said = lab.attnlab_with(&command, &[("CARGO", &cargo)]);
        let listed = std::fs::read_to_string(list()).expect("a list");
        assert!(!listed.contains(SHAPE), "{listed}");
        said
    });
    assert_eq!(said.code, 3);
    assert!(
        said.err.contains("program has been built without"),
        "{}",
        said.err
    );
    assert!(!lab.path("r").exists());
}

#[test]
fn the_shapes_of_an_experiment_that_are_there_need_no_cargo() {
    let said = Lab::new().attnlab(&["compile", QUICKSTART]).done();
    assert_eq!(said, "1 shape, 0 of them new\n");
    let shapes = Lab::new().attnlab(&["shapes"]).done();
    let rows: Vec<Vec<&str>> = shapes
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["embed", "hidden", "vocabulary", "context"]);
    assert!(rows.contains(&vec!["64", "256", "64", "128"]), "{shapes}");
}
