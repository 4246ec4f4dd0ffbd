//! Progress messages on standard error, and runs whose output is closed.

use std::process::{Command, Stdio};

use crate::lab::{Lab, REPOSITORY};

#[test]
fn a_log_has_plain_lines_alone_and_one_for_each_stage() {
    let said = Lab::new().quickstart("run", "r", &[]);
    assert!(!said.err.contains(['\r', '\x1b']), "{:?}", said.err);
    for (stage, runs) in [
        ("pretrain 4/4  ", 1),
        ("finetune 1/1  ", 2),
        ("evaluate 19/19 questions asked  ", 2),
    ] {
        let lines = said.err.lines().filter(|line| line.contains(stage));
        let ended: Vec<&str> = lines.filter(|line| line.contains("  took ")).collect();
        assert_eq!(ended.len(), runs, "{stage}: {}", said.err);
    }
    assert!(!said.err.contains(" runs (new)"), "{}", said.err);
    said.done();
}

#[test]
fn verbose_says_where_the_files_are_and_excludes_quiet() {
    let lab = Lab::new();
    let said = lab.quickstart("run", "r", &["-v"]);
    for epochs in [0, 1] {
        let folder = format!(": in {}\n", lab.run_text("r", epochs));
        assert!(said.err.contains(&folder), "{folder}: {}", said.err);
    }
    assert_eq!(said.err.matches(" runs (new)\n").count(), 5, "{}", said.err);
    said.done();
    let error = lab.quickstart("run", "r", &["-v", "-q"]).failed(2);
    assert!(
        error.contains("'--verbose'") && error.contains("'--quiet'"),
        "{error}"
    );
}

#[test]
fn a_run_whose_output_is_closed_still_finishes() {
    let lab = Lab::new();
    let file = lab.finetuning(
        "unheard",
        "\n[figures.accuracy]\nkind = \"accuracy-bars\"\n",
    );
    // Standard error alone, then both: the reading ends go before the first line is written.
    for (results, out) in [("half", Stdio::null()), ("whole", Stdio::piped())] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_attnlab"))
            .args(["run", &file, "--results", &lab.text(results)])
            .current_dir(REPOSITORY)
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop((run.stdout.take(), run.stderr.take()));
        let status = run.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{results}");
        let figure = lab.path(&format!("{results}/unheard/figures/accuracy.svg"));
        assert!(figure.is_file(), "{results}");
    }
}
