//! Shapes that the program lacks; a script stands for cargo, since a real build would change the program under the other
//! tests.
#![cfg(unix)]

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::lab::{Lab, QUICKSTART};

/// A shape that no other test asks for.
const HIDDEN: &str = "model.hidden=41";
const SHAPE: &str = "embed=64 hidden=41 vocabulary=64 context=128";

/// Runs the quickstart with the shape.
fn run(results: &str) -> [&str; 6] {
    ["run", QUICKSTART, "--set", HIDDEN, "--results", results]
}

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
        &format!("echo \"$*\" >> '{calls}'\necho 'not JSON'\necho '{message}'"),
    )
}

/// The list as it was, put back in the end: with its time, since cargo must not build the program again. One test at a time
/// changes it.
struct List {
    before: Vec<u8>,
    time: SystemTime,
    _turn: MutexGuard<'static, ()>,
}

impl List {
    fn kept() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::fs::read(list()).expect("the build script has made it");
        let time = list().metadata().and_then(|list| list.modified());
        Self {
            before,
            time: time.expect("a time"),
            _turn: turn,
        }
    }

    fn text() -> String {
        std::fs::read_to_string(list()).expect("a list")
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let written = std::fs::write(list(), &self.before);
        let file = written.and_then(|()| File::options().append(true).open(list()));
        file.and_then(|file| file.set_modified(self.time))
            .expect("the list is put back");
    }
}

#[test]
fn a_new_shape_is_compiled_and_the_new_program_goes_on_with_the_same_command() {
    let (lab, _list) = (Lab::new(), List::kept());
    let cargo = cargo(&lab, 41);
    let results = lab.text("r");
    let command = run(&results);
    let said = lab.attnlab_with(&command, &[("CARGO", &cargo)]);
    let told =
        format!("compiling the shape {SHAPE} into the program: once, for about half a minute\n");
    assert_eq!(said.err, told);
    assert_eq!(said.done(), format!("new program: {}\n", command.join(" ")));
    assert_eq!(List::text().matches(SHAPE).count(), 1);
    let calls = std::fs::read_to_string(lab.path("calls")).expect("cargo was called");
    let build = calls.lines().last().unwrap_or_default();
    let profile = list();
    let profile = profile
        .parent()
        .and_then(Path::file_name)
        .expect("a folder")
        .to_string_lossy();
    let profile = if profile == "debug" { "dev" } else { &*profile };
    for part in [
        "build --quiet",
        "--bin=attnlab",
        &format!("--profile {profile} "),
        "--target-dir ",
    ] {
        assert!(build.contains(part), "{part} is not in {build}");
    }
    // The program of this test still lacks it: it is not listed once more, and nothing else is said.
    let command = [&command[..], &["--quiet"]].concat();
    let said = lab.attnlab_with(&command, &[("CARGO", &cargo)]);
    assert_eq!(said.err, "");
    said.done();
    assert_eq!(List::text().matches(SHAPE).count(), 1);
}

#[test]
fn several_shapes_are_compiled_at_once() {
    let (lab, _list) = (Lab::new(), List::kept());
    let cargo = cargo(&lab, 41);
    let axes = ["--set", "sweep.model.hidden=[40,41]", "--set", "labels=[]"];
    let said = lab.attnlab_with(
        &[&["plan", QUICKSTART][..], &axes].concat(),
        &[("CARGO", &cargo)],
    );
    let other = SHAPE.replace("41", "40");
    let told = format!("compiling the shapes {other}, {SHAPE} into the program");
    assert!(said.err.starts_with(&told), "{}", said.err);
}

#[test]
fn a_build_that_fails_or_lacks_the_shape_leaves_the_list_and_the_results_as_they_were() {
    let (lab, list) = (Lab::new(), List::kept());
    let fails = script(
        &lab,
        "fails",
        "[ \"$1\" = --version ] || { echo broken >&2; exit 1; }",
    );
    for (cargo, why) in [
        (cargo(&lab, 40), "lacks it too"),
        (fails, "`cargo build` failed in "),
        (
            script(&lab, "nothing", "exit 7"),
            "nothing --version` fails",
        ),
    ] {
        let results = lab.text("r");
        let command = run(&results);
        let said = lab.attnlab_with(&command, &[("CARGO", &cargo)]);
        assert_eq!((said.code, &*said.out), (3, ""));
        let refused = format!("error: shape {SHAPE} is not in this program, and ");
        assert!(
            said.err.contains(&refused) && said.err.contains(why),
            "{}",
            said.err
        );
        assert_eq!(List::text().as_bytes(), list.before);
        assert!(!lab.path("r").exists());
    }
}

#[test]
fn the_shapes_of_an_experiment_that_are_there_need_no_cargo() {
    let said = Lab::new().attnlab(&["compile", QUICKSTART]).done();
    assert_eq!(said, "1 shape, 0 newly compiled\n");
    let shapes = Lab::new().attnlab(&["shapes"]).done();
    let rows: Vec<Vec<&str>> = shapes
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["embed", "hidden", "vocabulary", "context"]);
    assert!(rows.contains(&vec!["64", "256", "64", "128"]), "{shapes}");
}
