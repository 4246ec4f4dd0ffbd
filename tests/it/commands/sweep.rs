//! Sweeps: failures and the rest, several runs at once, cleaning up.

use crate::lab::{Lab, column, files_below, read};

/// Three points, of which the second diverges.
const ONE_FAILS: [&str; 8] = [
    "--set",
    "sweep.pretrain.epochs=[1]",
    "--set",
    "sweep.pretrain.learning_rate=[1e-3, 1e30, 2e-3]",
    "--set",
    "labels=[\"slow\", \"absurd\", \"fast\"]",
    "--set",
    "pretrain.optimiser.clip_norm=0",
];

/// The state of each run by its label's place in the sweep.
fn states(lab: &Lab, results: &str) -> Vec<String> {
    let out = lab
        .attnlab(&["list", "runs", "--json", "--results", &lab.text(results)])
        .done();
    let runs: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let state = |start: &str| {
        let mut runs = runs.as_array().expect("runs").iter();
        let run = runs.find(|run| {
            run["folder"]
                .as_str()
                .is_some_and(|folder| folder.contains(start))
        });
        run.map_or("none".to_owned(), |run| {
            run["state"].as_str().expect("a word").to_owned()
        })
    };
    ["rate-0.001-", "rate-1e30-", "rate-0.002-"]
        .map(state)
        .to_vec()
}

#[test]
fn a_sweep_with_a_failing_point_finishes_the_others_and_exits_with_4() {
    let lab = Lab::new();
    for jobs in ["1", "3"] {
        let said = lab.quickstart("run --keep-going --jobs", jobs, &[]);
        assert_eq!(said.code, 2, "{}", said.err);
        let more = [&ONE_FAILS[..], &["--keep-going", "--jobs", jobs]].concat();
        let said = lab.quickstart("run", jobs, &more);
        let when = "quickstart / absurd / seed 1: failed: pretrain stopped at step 2: ";
        assert!(
            said.err.contains(when),
            "said when it happens: {}",
            said.err
        );
        assert!(
            said.err
                .contains("\n  quickstart / absurd / seed 1: pretrain stopped at step 2: "),
            "and again at the end: {}",
            said.err
        );
        // Accuracies are said when a run has them, before the table of all.
        let accuracies = said.err.lines().filter(|line| line.contains("accuracy "));
        let accuracies: Vec<&str> = accuracies.collect();
        let is_whole = |line: &&str| line.contains(" of 19 dev questions right  95 % CI ");
        assert!(
            accuracies.len() == 2 && accuracies.iter().all(is_whole),
            "{}",
            said.err
        );
        let help = "\n  help: lower `pretrain.learning_rate`, or clip with";
        assert!(said.err.contains(help), "{}", said.err);
        assert!(
            said.out.contains("slow, seed 1: ") && said.out.contains("fast, seed 1: "),
            "{}",
            said.out
        );
        assert!(!said.out.contains("absurd"), "{}", said.out);
        assert_eq!(said.failed(4), "error: 1 of 3 runs failed");
        assert_eq!(states(&lab, jobs), ["done", "failed", "done"]);
        let summary = read(&lab.path(jobs).join("quickstart/summary.csv"));
        assert_eq!(column(&summary, "label"), ["slow", "slow", "fast", "fast"]);
    }
}

#[test]
fn without_keep_going_the_first_failure_ends_it_and_the_rest_is_not_started() {
    let lab = Lab::new();
    let said = lab.quickstart("run", "r", &ONE_FAILS);
    let message = said.failed(1);
    assert!(
        message.starts_with("error: pretrain stopped at step 2: "),
        "{message}"
    );
    assert_eq!(states(&lab, "r"), ["done", "failed", "not started"]);
    assert!(!lab.path("r/quickstart/summary.csv").exists());
    // Every run is listed under its name, and none waits for somebody who has gone.
    let listed = lab
        .attnlab(&["list", "runs", "--results", &lab.text("r")])
        .done();
    for name in ["slow, seed 1", "absurd, seed 1", "fast, seed 1"] {
        assert_eq!(listed.matches(name).count(), 1, "{listed}");
    }
    assert!(!listed.contains("queued"), "{listed}");

    // What failed is tried again, what was never begun is done.
    let more = [&ONE_FAILS[..], &["--keep-going"]].concat();
    let said = lab.quickstart("run", "r", &more);
    assert_eq!(
        said.err.matches("already finished").count(),
        1,
        "{}",
        said.err
    );
    said.failed(4);
    assert_eq!(states(&lab, "r"), ["done", "failed", "done"]);
}

#[test]
fn where_every_run_fails_there_is_nothing_to_draw() {
    let lab = Lab::new();
    let all_fail = [
        "--keep-going",
        "--set",
        "sweep.pretrain.epochs=[1, 2]",
        "--set",
        "pretrain.learning_rate=1e30",
        "--set",
        "pretrain.optimiser.clip_norm=0",
    ];
    let said = lab.quickstart("run", "r", &all_fail);
    assert_eq!(said.failed(1), "error: 2 of 2 runs failed");
}

#[test]
fn a_shared_stage_that_fails_ends_the_runs_that_need_it_and_no_others() {
    let lab = Lab::new();
    let sweep = [
        "--keep-going",
        "--set",
        "sweep.pretrain.epochs=[1]",
        "--set",
        "sweep.pretrain.learning_rate=[1e30, 1e-3]",
        "--set",
        "sweep.finetune.learning_rate=[1e-3, 2e-3]",
        "--set",
        "labels=[]",
        "--set",
        "pretrain.optimiser.clip_norm=0",
    ];
    for jobs in ["1", "3"] {
        let said = lab.quickstart("run", jobs, &[&sweep[..], &["--jobs", jobs]].concat());
        let failed = ": failed: pretrain stopped at step 2: ";
        assert_eq!(said.err.matches(failed).count(), 2, "{}", said.err);
        assert_eq!(said.err.matches("pretrain 4/4").count(), 1, "{}", said.err);
        assert_eq!(said.failed(4), "error: 2 of 4 runs failed");
        let runs = lab
            .attnlab(&["list", "runs", "--results", &lab.text(jobs)])
            .done();
        let state = |state: &str| runs.lines().filter(|line| line.starts_with(state)).count();
        assert_eq!((state("done"), state("failed")), (2, 2), "{runs}");
    }
}

#[test]
fn several_at_once_leave_the_same_bytes_as_one_after_another() {
    let lab = Lab::new();
    let more = ["--set", "seeds=[1, 2]", "--set", "model.dropout=0.1"];
    let one = lab.quickstart("run", "one", &more).done();
    let both = [&more[..], &["-j", "2"]].concat();
    let two = lab.quickstart("run", "two", &both).done();
    assert_eq!(two.replace(&lab.text("two"), &lab.text("one")), one);
    let expected = crate::faults::tree::tree(&lab.path("one"));
    crate::faults::tree::assert_same_tree(&expected, &lab.path("two"), "-j 2");

    // Provenance says what each stage had.
    for (results, at_once) in [("one", 1), ("two", 2)] {
        let run = lab.run_folder(results, 1);
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        for file in ["provenance.json", "provenance/pretrain.json"] {
            let entries = read(&run.join(file));
            let entries: serde_json::Value = serde_json::from_str(&entries).expect("JSON");
            let computed = &entries[0]["computed"];
            assert_eq!(computed["stages_at_once"], at_once, "{computed}");
            assert_eq!(computed["threads"], (all / at_once).max(1), "{computed}");
            assert_eq!(computed["device"], "cpu");
            assert_eq!(computed["precision"], "f32");
            assert!(computed["matmul_kernel"].is_string(), "{computed}");
        }
    }
}

#[test]
fn clean_frees_what_no_run_refers_to_and_asks_first() {
    let lab = Lab::new();
    let results = lab.text("r");
    let clean =
        |more: &[&str]| lab.attnlab(&[&["clean", "--results", &results][..], more].concat());
    lab.quickstart("run", "r", &[]).done();
    assert!(clean(&[]).done().starts_with("nothing to free in "));
    let whole = files_below(&lab.path("r"));

    // A second learning rate, whose run is then removed by hand.
    lab.quickstart(
        "run",
        "r",
        &[
            "--set",
            "finetune.learning_rate=2e-3",
            "--set",
            "sweep.pretrain.epochs=[1]",
            "--set",
            "labels=[]",
        ],
    )
    .done();
    let folders = std::fs::read_dir(lab.path("r/quickstart")).expect("a folder");
    let kept = whole
        .keys()
        .filter_map(|name| name.split('/').nth(1))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    for folder in folders
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        let name = folder
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if !kept.contains(&name) {
            std::fs::remove_dir_all(folder).expect("removed");
        }
    }
    lab.write("r/quickstart/.writing-abc", "half a figure");
    let before = files_below(&lab.path("r"));
    let said = clean(&["--dry-run"]).done();
    assert_eq!(
        said.matches("(a stage that no run refers to)").count(),
        2,
        "{said}"
    );
    assert_eq!(
        said.matches("(left by a process that was killed while writing)")
            .count(),
        1,
        "{said}"
    );
    let json: serde_json::Value = serde_json::from_str(&clean(&["--json"]).done()).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(3));
    let unasked = clean(&[]);
    assert_eq!(
        unasked.failed(2),
        "error: stdin is not a terminal, so nothing was deleted"
    );
    assert!(
        files_below(&lab.path("r")) == before,
        "something was removed"
    );

    assert!(clean(&["--yes"]).done().ends_with(" freed\n"));
    let after = files_below(&lab.path("r"));
    let lost: Vec<&String> = whole
        .keys()
        .filter(|name| !after.contains_key(*name))
        .collect();
    assert_eq!(lost, [""; 0], "what a run refers to stays");
    assert!(!after.keys().any(|name| name.contains(".writing-")));

    // Runs of points that a file no longer has go when it is named.
    let file = lab.finetuning("experiments/few", "");
    let run = |seeds: &str| {
        let seeds = format!("seeds={seeds}");
        lab.attnlab(&["run", &file, "--results", &results, "--set", &seeds])
            .done()
    };
    run("[1, 2]");
    let said = clean(&[&file, "--yes"]).done();
    assert_eq!(
        said.matches("(a point or seed that the experiment no longer has)")
            .count(),
        1,
        "{said}"
    );
    assert_eq!(
        said.matches("(a stage that no run refers to)").count(),
        2,
        "{said}"
    );
    let runs = lab.attnlab(&["list", "runs", "--results", &results]).done();
    assert!(
        runs.contains("few/base-") && !runs.contains("seed-2"),
        "{runs}"
    );
}

#[test]
fn results_that_are_kept_without_their_run_are_no_run() {
    let lab = Lab::new();
    lab.write("r/reference/vanilla/resolved.toml", "seeds = [1]");
    lab.write("r/reference/vanilla/summary.csv", "point,label\n");
    let results = lab.text("r");
    let said = lab.attnlab(&["list", "runs", "--results", &results]).done();
    assert_eq!(said, format!("no runs in {results}\n"));
}

#[test]
fn provenance_says_what_made_a_run() {
    let lab = Lab::new();
    // Without a PATH there is no git.
    let variables = [("ATTNLAB_MODEL__DROPOUT", "0.1"), ("PATH", "")];
    let said = lab.quickstart_with("run", "r", &[], &variables);
    let note = "note: commit unknown: git is not on the PATH";
    assert_eq!(said.err.matches(note).count(), 1, "{}", said.err);
    said.done();
    let text = read(&lab.run_folder("r", 1).join("provenance.json"));
    let entries: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        entries.as_array().map(Vec::len),
        Some(1),
        "it was begun once"
    );
    let all = &entries[0];
    assert_eq!(all["seed"], 1);
    assert_eq!(all["experiment"], "experiments/quickstart.toml");
    let command: Vec<&str> = all["command"]
        .as_array()
        .expect("words")
        .iter()
        .filter_map(|word| word.as_str())
        .collect();
    assert_eq!(command[1..3], ["run", "experiments/quickstart.toml"]);
    assert_eq!(all["environment"]["ATTNLAB_MODEL__DROPOUT"], "0.1");
    assert!(all["git"].is_null());
    assert_eq!(all["commit_unknown"], "git is not on the PATH");
    assert_eq!(all["program"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        all["program"]["rustc"]
            .as_str()
            .expect("a version")
            .starts_with("rustc 1.")
    );
    assert_eq!(all["program"]["blake3"].as_str().expect("a sum").len(), 64);
    assert!(all["machine"]["logical_cores"].as_u64().expect("cores") > 0);
    for part in ["documents", "train", "dev", "characters"] {
        let sum = all["data"][part]
            .as_str()
            .unwrap_or_else(|| panic!("no {part}: {text}"));
        assert!(sum.starts_with("blake3 ") && sum.len() == 71, "{sum}");
    }
}
