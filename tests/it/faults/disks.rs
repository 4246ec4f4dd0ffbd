//! Full and read-only disks: one clear line, and what was there stays.
//!
//! Each test mounts a small disk in memory inside a mount namespace of its own; where the system
//! does not allow that, it says so and returns.
#![cfg(target_os = "linux")]

use std::process::Command;

use super::tree::{assert_same_tree, tree};
use crate::lab::{Lab, REPOSITORY, Said};

/// Runs a shell script that may mount disks; `None` where it may not.
fn script(lab: &Lab, text: &str) -> Option<Said> {
    let disk = lab.path("disk");
    std::fs::create_dir_all(&disk).expect("a folder");
    let run = |text: &str, who: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(who).args(["sh", "-c", text, "sh"]);
        command.arg(&disk).current_dir(REPOSITORY);
        command.output().ok()
    };
    let probe = "mount -t tmpfs -o size=64k none \"$1\"";
    let who: [&[&str]; 2] = [&["-m"], &["-rm"]];
    let who = who
        .into_iter()
        .find(|who| run(probe, who).is_some_and(|said| said.status.success()));
    let Some(who) = who else {
        eprintln!("skipped: no disk can be mounted here");
        return None;
    };
    run(text, who).map(Said::from)
}

/// The command line of the short quickstart with its results on the disk.
fn quickstart(lab: &Lab) -> String {
    let program = lab.quickstart_program("run", "disk", &["--set", "pretrain.checkpoint_steps=2"]);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let quoted: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    quoted.join(" ")
}

#[test]
fn a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room() {
    let lab = Lab::new();
    lab.quickstart("run", "whole", &["--set", "pretrain.checkpoint_steps=2"])
        .done();
    let whole = tree(&lab.path("whole"));
    // From nothing at all to nearly enough: another write fails each time.
    for kilobytes in [4, 40, 300, 700, 1500, 2200] {
        let copied = lab.path("copied");
        let _ = std::fs::remove_dir_all(&copied);
        let run = quickstart(&lab);
        let copied_text = copied.display();
        let said = script(
            &lab,
            &format!(
                "mount -t tmpfs -o size={kilobytes}k none \"$1\" || exit 99\n\
                 {run} > /dev/null && exit 98\n\
                 echo \"exit $?\"\n\
                 mount -o remount,size=64m \"$1\" || exit 97\n\
                 {run} > /dev/null 2>&1 || exit 96\n\
                 cp -a \"$1\" {copied_text}"
            ),
        );
        let Some(said) = said else { return };
        assert_eq!(said.code, 0, "{kilobytes} kB: {}", said.err);
        assert_eq!(said.out, "exit 1\n", "{kilobytes} kB: {}", said.err);
        let errors: Vec<&str> = said
            .err
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{kilobytes} kB: {}", said.err);
        assert!(errors[0].contains("cannot write "), "{}", errors[0]);
        assert!(
            errors[0].contains("No space left on device"),
            "{}",
            errors[0]
        );
        assert!(!said.err.contains("panicked"), "{}", said.err);
        assert_same_tree(&whole, &copied, &format!("{kilobytes} kB"));
    }
}

#[test]
fn a_read_only_disk_is_one_line_and_what_is_there_can_be_looked_at() {
    let lab = Lab::new();
    let run = quickstart(&lab);
    let program = env!("CARGO_BIN_EXE_attnlab");
    let said = script(
        &lab,
        &format!(
            "mount -t tmpfs -o size=64m none \"$1\" || exit 99\n\
             mount -o remount,ro \"$1\" || exit 98\n\
             {run} > /dev/null && exit 97\n\
             mount -o remount,rw \"$1\" || exit 96\n\
             {run} > /dev/null 2>&1 || exit 95\n\
             mount -o remount,ro \"$1\" || exit 94\n\
             {program} list runs --results \"$1\" && ls -a \"$1\"/quickstart"
        ),
    );
    let Some(said) = said else { return };
    assert_eq!(said.code, 0, "{}", said.err);
    let errors: Vec<&str> = said
        .err
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{}", said.err);
    let error = lab.filtered(errors[0]);
    assert!(
        error.starts_with("error: cannot write TMP/disk/quickstart/"),
        "{error}"
    );
    assert!(error.contains("Read-only file system"), "{error}");
    assert_eq!(said.out.matches("done ").count(), 2, "{}", said.out);
    assert!(said.out.contains("summary.csv"), "{}", said.out);
}
