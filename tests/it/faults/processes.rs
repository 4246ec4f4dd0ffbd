//! A second process, signals, and a clock that jumps.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::tree::{assert_same_tree, tree};
use crate::lab::{Lab, Said, files_below, read};

/// One point that pretrains for some seconds.
const LONG: [&str; 8] = [
    "--set",
    "sweep.pretrain.epochs=[60]",
    "--set",
    "labels=[]",
    "--set",
    "pretrain.checkpoint_steps=5",
    "--set",
    "model.dropout=0.1",
];

fn start(lab: &Lab, results: &str, more: &[&str]) -> Child {
    let mut program = lab.quickstart_program("run", results, &[&LONG, more].concat());
    program
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Waits until pretraining has kept a checkpoint.
pub(crate) fn wait_for_a_checkpoint(results: &Path) {
    let started = Instant::now();
    // Files come and go meanwhile, so names alone are looked at.
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let there = || {
        let stages = inside(&results.join(".cache/pretrain")).into_iter();
        let mut files = stages.flat_map(|stage| inside(&stage.join("checkpoints")));
        files.any(|file| file.display().to_string().contains("/step-"))
    };
    while !there() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("kill").success());
}

pub(crate) fn ended(child: Child) -> Said {
    let output: Output = child.wait_with_output().expect("a child");
    Said::from(output)
}

fn state(lab: &Lab, results: &str) -> String {
    let status = read(&lab.run_folder(results, 60).join("status.json"));
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status["state"].as_str().expect("a word").to_owned()
}

#[test]
fn the_first_signal_keeps_a_checkpoint_and_the_run_goes_on_from_it() {
    let lab = Lab::new();
    lab.quickstart("run", "whole", &LONG).done();
    let whole = tree(&lab.path("whole"));
    for name in ["-INT", "-TERM"] {
        let results = name.trim_start_matches('-');
        let child = start(&lab, results, &[]);
        wait_for_a_checkpoint(&lab.path(results));
        signal(&child, name);
        let said = ended(child);
        assert!(
            said.err
                .contains("\n  help: rerun the same command to resume\n"),
            "{}",
            said.err
        );
        let message = said.failed(130);
        let step = message.strip_prefix("error: interrupted in pretrain after step ");
        let step = step
            .and_then(|rest| rest.strip_suffix(" of 240"))
            .unwrap_or_else(|| panic!("{message}"));
        assert_eq!(state(&lab, results), "interrupted");

        let plan = lab.quickstart("plan", results, &LONG).done();
        assert!(plan.contains(&format!("resume after {step} ")), "{plan}");
        let said = lab.quickstart("run", results, &LONG);
        assert!(
            said.err
                .contains(&format!("pretrain resumes after step {step}\n")),
            "{}",
            said.err
        );
        said.done();
        assert_same_tree(&whole, &lab.path(results), name);
    }
}

/// A scheduler sends a signal of the user's choice before it kills, the kernel sends XCPU at the limit of
/// CPU time, and a closing terminal sends HUP.
#[test]
fn warnings_keep_a_checkpoint_too_unless_they_are_ignored() {
    let lab = Lab::new();
    for name in ["-USR1", "-USR2", "-HUP", "-XCPU"] {
        let child = start(&lab, "r", &[]);
        wait_until_running(&lab);
        signal(&child, name);
        let message = ended(child).failed(130);
        assert!(message.starts_with("error: interrupted "), "{message}");
        assert_eq!(state(&lab, "r"), "interrupted", "{name}");
    }

    let program = lab.quickstart_program("run", "r", &LONG);
    let mut nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(crate::lab::REPOSITORY);
    let child = nohup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("it starts");
    wait_until_running(&lab);
    signal(&child, "-HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(state(&lab, "r"), "running", "HUP is ignored");
    signal(&child, "-TERM");
    ended(child).failed(130);
}

/// Waits until the status of the run says that it is running.
fn wait_until_running(lab: &Lab) {
    let started = Instant::now();
    let is_running = || {
        let points = std::fs::read_dir(lab.path("r/quickstart"));
        let mut points = points.into_iter().flatten().flatten();
        points.any(|point| {
            let status = std::fs::read_to_string(point.path().join("seed-1/status.json"));
            status.is_ok_and(|status| status.contains("\"running\""))
        })
    };
    while !is_running() {
        assert!(started.elapsed() < Duration::from_secs(60), "it hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_that_comes_twice_in_a_moment_counts_once() {
    let lab = Lab::new();
    let child = start(&lab, "r", &[]);
    wait_for_a_checkpoint(&lab.path("r"));
    signal(&child, "-INT");
    signal(&child, "-INT");
    let message = ended(child).failed(130);
    assert!(
        message.starts_with("error: interrupted in pretrain after step "),
        "{message}"
    );
}

#[test]
fn the_second_signal_ends_at_once() {
    let lab = Lab::new();
    // One step of some seconds: the first signal alone would be answered at its end.
    let slow = [
        "data.people=250",
        "data.biographies_per_person=8",
        "pretrain.batch_documents=2000",
    ];
    let slow: Vec<&str> = slow.iter().flat_map(|setting| ["--set", setting]).collect();
    let child = start(&lab, "r", &slow);
    let started = Instant::now();
    let stages = lab.path("r/.cache/pretrain");
    while std::fs::read_dir(&stages).map_or(0, Iterator::count) == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(400));
    signal(&child, "-INT");
    let said = ended(child);
    assert_eq!(said.code, 130, "{}", said.err);
    assert!(
        !said.err.contains("error: "),
        "it did not wait for the step: {}",
        said.err
    );
    assert_eq!(state(&lab, "r"), "running", "nothing was written any more");
}

#[test]
fn two_processes_do_not_do_one_run() {
    let lab = Lab::new();
    let first = start(&lab, "r", &[]);
    wait_for_a_checkpoint(&lab.path("r"));
    let said = lab.quickstart("run", "r", &LONG);
    let help =
        "\n  help: wait until it has ended, or give this run another folder with --results\n";
    assert!(said.err.ends_with(help), "{}", said.err);
    let message = said.failed(1);
    assert!(
        message.contains(&format!(" is being run by process {} on ", first.id())),
        "{message}"
    );
    assert_eq!(
        state(&lab, "r"),
        "running",
        "the second has changed nothing"
    );
    let list = lab
        .attnlab(&["list", "runs", "--results", &lab.text("r")])
        .done();
    assert!(list.starts_with("running "), "{list}");
    // Told to keep going, it waits for the first and takes its results.
    let waited = lab.quickstart("run", "r", &[&LONG[..], &["--keep-going"]].concat());
    let waits = format!(": waiting for process {} on ", first.id());
    assert_eq!(waited.err.matches(&waits).count(), 1, "{}", waited.err);
    assert!(!waited.err.contains("pretrain 240/240"), "{}", waited.err);
    let first = ended(first);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(waited.done(), first.out);
    let again = lab.quickstart("run", "r", &LONG);
    assert!(again.err.contains("already finished"), "{}", again.err);
    assert_eq!(again.done(), first.out);
}

#[test]
fn a_lock_dies_with_its_owner() {
    let lab = Lab::new();
    let mut child = start(&lab, "r", &[]);
    wait_for_a_checkpoint(&lab.path("r"));
    child.kill().expect("a child");
    child.wait().expect("a child");
    assert_eq!(
        state(&lab, "r"),
        "running",
        "nobody was left to say otherwise"
    );
    let list = lab
        .attnlab(&["list", "runs", "--results", &lab.text("r")])
        .done();
    assert!(list.starts_with("killed "), "{list}");

    // One that waits for a process that is killed does the run itself.
    let mut child = start(&lab, "r", &[]);
    let holder = format!("process {} on ", child.id());
    let started = Instant::now();
    while !read(&lab.run_folder("r", 60).join(".lock")).starts_with(&holder) {
        assert!(started.elapsed() < Duration::from_secs(60), "it hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut waiting = start(&lab, "r", &["--keep-going"]);
    let mut said = BufReader::new(waiting.stderr.take().expect("a pipe")).lines();
    let waits = |line: std::io::Result<String>| line.expect("text").contains(": waiting for ");
    assert!(said.any(waits), "it does not wait");
    child.kill().expect("a child");
    child.wait().expect("a child");
    assert!(said.any(|line| line.expect("text").contains("pretrain resumes after step ")));
    said.for_each(drop);
    assert_eq!(ended(waiting).code, 0);
    assert_eq!(state(&lab, "r"), "done");
}

/// Two experiments that share a pretraining, run at once: one does it, the other waits and reuses it.
#[test]
fn a_stage_that_another_process_does_is_waited_for() {
    let lab = Lab::new();
    let first = start(&lab, "r", &[]);
    wait_for_a_checkpoint(&lab.path("r"));
    let said = lab.quickstart(
        "run",
        "r",
        &[&LONG, &["--set", "finetune.learning_rate=2e-3"][..]].concat(),
    );
    let waits = format!("waiting for process {} on ", first.id());
    assert!(said.err.contains(&waits), "{}", said.err);
    assert!(
        said.err.contains(", which does the same pretrain\n"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("pretrain 240/240"), "{}", said.err);
    said.done();
    assert_eq!(ended(first).code, 0);
}

/// Neither old nor future times on files and in `status.json` make anything stale.
#[test]
fn times_of_files_mean_nothing() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let before = tree(&lab.path("r"));
    let decades = Duration::from_secs(20 * 365 * 24 * 3600);
    for time in [SystemTime::UNIX_EPOCH, SystemTime::now() + decades] {
        for name in files_below(&lab.path("r")).keys() {
            let path = lab.path("r").join(name);
            let file = std::fs::File::options()
                .append(true)
                .open(&path)
                .expect("a file");
            let times = std::fs::FileTimes::new()
                .set_modified(time)
                .set_accessed(time);
            file.set_times(times).expect("set");
            if name.ends_with("/status.json") {
                let text = read(&path).replace("\"20", "\"99");
                std::fs::write(&path, text).expect("written");
            }
        }
        let plan = lab.quickstart("plan", "r", &[]).done();
        assert!(
            plan.starts_with("quickstart: 2 runs, 5 stages, all already finished\n"),
            "{plan}"
        );
        let said = lab.quickstart("run", "r", &[]);
        assert_eq!(
            said.err.matches("already finished").count(),
            2,
            "{}",
            said.err
        );
        said.done();
        assert_same_tree(&before, &lab.path("r"), "other times");
    }
}

/// The clock of the whole process jumps by decades, forwards and backwards, while it works.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| Path::new(path).is_file());
    let Some(library) = library else {
        eprintln!("skipped: libfaketime is not installed");
        return;
    };
    let lab = Lab::new();
    lab.quickstart("run", "whole", &LONG).done();
    let whole = tree(&lab.path("whole"));
    let clock = lab.write("clock", "+0d");
    let mut program = lab.quickstart_program("run", "r", &LONG);
    program
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock);
    program
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut child = program
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut jumps = 0;
    while child.try_wait().expect("a child").is_none() {
        let to = ["+7000d", "-9000d", "+1d", "-20000d"][jumps % 4];
        std::fs::write(&clock, to).expect("written");
        jumps += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().expect("a child").success());
    assert!(jumps > 4, "only {jumps} jumps");
    assert_same_tree(&whole, &lab.path("r"), "a clock that jumps");
}
