//! `plan`: what a run would do and why, without doing any of it.

use serde_json::Value;

use crate::lab::{Lab, QUICKSTART, files_below, read};

fn plan(lab: &Lab, results: &str, more: &[&str]) -> Value {
    let out = lab
        .quickstart("plan", results, &[more, &["--json"]].concat())
        .done();
    serde_json::from_str(&out).expect("JSON")
}

/// `pretrained/pretrain: run: new, because …` for each stage.
fn actions(plan: &Value) -> Vec<String> {
    let runs = plan["runs"].as_array().expect("runs");
    let text = |value: &Value| {
        value
            .as_str()
            .map_or(String::new(), |text| format!(": {text}"))
    };
    let stage = |run: &Value, stage: &Value| {
        let (label, name) = (
            run["label"].as_str().expect("a label"),
            stage["stage"].as_str().expect("a stage"),
        );
        format!(
            "{label}/{name}{}{}",
            text(&stage["action"]),
            text(&stage["reason"])
        )
    };
    let of = |run: &Value| -> Vec<String> {
        let stages = run["stages"].as_array().expect("stages");
        stages.iter().map(|one| stage(run, one)).collect()
    };
    runs.iter().flat_map(of).collect()
}

#[test]
fn plan_names_every_stage_and_writes_nothing() {
    let lab = Lab::new();
    let planned = plan(&lab, "r", &[]);
    assert_eq!(
        actions(&planned),
        [
            "no pretraining/finetune: run: new",
            "no pretraining/evaluate: run: new",
            "pretrained/pretrain: run: new",
            "pretrained/finetune: run: new",
            "pretrained/evaluate: run: new",
        ]
    );
    let stage = &planned["runs"][1]["stages"][0];
    assert_eq!(planned["runs"][1]["parameters"], 116_480);
    assert_eq!(stage["steps"], 4);
    let tokens = stage["tokens"].as_u64().expect("tokens");
    assert!(
        (1000..20_000).contains(&tokens),
        "{tokens} tokens of 96 short documents"
    );
    assert!(stage["seconds"].as_f64().expect("seconds") > 0.0);
    assert!(stage["memory_bytes"].as_u64().expect("bytes") > 10_000_000);
    let evaluation = &planned["runs"][1]["stages"][2];
    let tokens = evaluation["tokens"].as_u64().expect("tokens");
    let (questions, context) = (48 * 2 / 5, 128);
    assert!(
        (questions * 20..questions * context).contains(&tokens),
        "{tokens} tokens of {questions} questions, each read once"
    );

    let text = lab.quickstart("run --dry-run", "r", &[]).done();
    assert!(
        text.starts_with("quickstart: 2 runs, 5 stages, 5 to do: one after another about "),
        "{text}"
    );
    assert!(
        text.contains("\npretrained, seed 1, 116,480 parameters\n"),
        "{text}"
    );
    assert!(!lab.path("r").exists(), "something was written");
}

/// Questions are read one by one, and count like steps.
#[test]
fn plan_and_run_count_the_same_steps() {
    let lab = Lab::new();
    let planned = plan(&lab, "r", &[]);
    let text = lab.quickstart("plan", "r", &[]).done();
    assert!(text.contains("19 questions"), "{text}");
    let runs = planned["runs"].as_array().expect("runs");
    let stages = runs
        .iter()
        .flat_map(|run| run["stages"].as_array().expect("stages"));
    let steps: u64 = stages.filter_map(|stage| stage["steps"].as_u64()).sum();
    let said = lab.quickstart("run", "r", &[]);
    let all = format!("2/2 runs  {steps}/{steps} steps");
    assert!(said.err.contains(&all), "{all}: {}", said.err);
    said.done();
}

#[test]
fn runs_with_other_settings_are_not_replaced_without_a_word() {
    let lab = Lab::new();
    let note = "note: tables and figures in TMP/r/quickstart will show only runs with these settings; \
                use --results FOLDER to keep the others\n";
    let run = |more: &[&str]| {
        let said = lab.quickstart("run", "r", more);
        let is_noted = lab.filtered(&said.err).contains(note);
        said.done();
        is_noted
    };
    assert!(!run(&[]), "nothing is there");
    assert!(!run(&["--set", "seeds=[1, 2]"]), "all are shown");
    assert!(run(&["--set", "data.seed=5"]));
}

#[test]
fn a_copied_file_is_told_that_run_assembles_its_results() {
    let lab = Lab::new();
    let (file, copy) = (lab.finetuning("mine", ""), lab.finetuning("copy", ""));
    let results = lab.text("r");
    let call = |command: &str, file: &str| lab.attnlab(&[command, file, "--results", &results]);
    let said = call("plot", &copy);
    assert!(said.err.contains("\n  help: `attnlab run "), "{}", said.err);
    assert!(
        said.err.contains("` makes one; a run with --set"),
        "{}",
        said.err
    );
    call("run", &file).done();
    let said = call("plot", &copy);
    let help = format!(
        "\n  help: `attnlab run {copy}` assembles its runs from the cache without training\n"
    );
    assert!(said.err.ends_with(&help), "{}", said.err);
    said.failed(2);
    let said = call("run", &copy);
    assert!(!said.err.contains("finetune 2/2"), "{}", said.err);
    said.done();
    call("plot", &copy).done();
}

#[test]
fn what_is_done_is_reused_and_what_has_changed_is_named() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let before = files_below(&lab.path("r"));
    let all_reused = |more: &[&str]| {
        let planned = plan(&lab, "r", more);
        assert_eq!(planned["stages_to_do"], 0, "{more:?}: {planned:#}");
    };
    all_reused(&[]);
    // No stage reads the checkpoint interval, reported numbers or labels.
    all_reused(&["--set", "pretrain.checkpoint_steps=3"]);
    all_reused(&[
        "--set",
        "evaluate.reported={ accuracy = 0.5, source = \"a paper\" }",
    ]);
    all_reused(&["--set", "labels=[\"a\", \"b\"]"]);

    let changed = actions(&plan(&lab, "r", &["--set", "pretrain.learning_rate=3e-3"]));
    assert_eq!(
        changed,
        [
            "no pretraining/finetune: reuse",
            "no pretraining/evaluate: reuse",
            "pretrained/pretrain: run: new, because pretrain.learning_rate 0.008 -> 0.003",
            "pretrained/finetune: run: new, because its pretrain changed",
            "pretrained/evaluate: run: new, because its finetune changed",
        ]
    );
    let changed = actions(&plan(&lab, "r", &["--set", "finetune.learning_rate=2e-3"]));
    assert_eq!(changed[2], "pretrained/pretrain: reuse");
    assert_eq!(
        changed[3],
        "pretrained/finetune: run: new, because finetune.learning_rate 0.001 -> 0.002"
    );
    let changed = actions(&plan(&lab, "r", &["--set", "data.seed=5"]));
    assert_eq!(
        changed[2],
        "pretrained/pretrain: run: new, because data.documents changed"
    );
    // Another seed makes nothing stale: it is new.
    let changed = actions(&plan(&lab, "r", &["--set", "seeds=[1, 2]"]));
    assert_eq!(
        changed[1..3],
        [
            "no pretraining/evaluate: reuse",
            "no pretraining/finetune: run: new"
        ]
    );
    let changed = actions(&plan(&lab, "r", &["--again"]));
    assert!(
        changed
            .iter()
            .all(|one| one.ends_with(": run: asked for by --again")),
        "{changed:?}"
    );
    assert!(files_below(&lab.path("r")) == before, "a file has changed");
}

#[test]
fn comments_formatting_and_the_order_of_keys_make_nothing_stale() {
    let lab = Lab::new();
    let text = read(QUICKSTART.as_ref());
    let small = [
        "--set",
        "data.people=48",
        "--set",
        "finetune.epochs=1",
        "--set",
        "sweep.pretrain.epochs=[0,1]",
    ];
    let results = lab.text("r");
    let call = |command: &str, file: &str| {
        lab.attnlab(&[&[command, file, "--results", &results][..], &small].concat())
    };
    let file = lab.write("experiments/mine.toml", &text);
    call("run", &file).done();
    let (frame, tables) = text.split_once("\n[data]\n").expect("a table");
    let tables = format!("[data]\n{tables}");
    let mut parts: Vec<&str> = tables.split("\n[").collect();
    parts.reverse();
    let reversed: Vec<String> = parts
        .iter()
        .map(|part| {
            let (head, lines) = part.split_once('\n').unwrap_or((part, ""));
            let mut lines: Vec<&str> = lines
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            lines.reverse();
            format!(
                "# Another comment.\n[{}\n  {}\n",
                head.trim_start_matches('['),
                lines.join("\n\n  ")
            )
        })
        .collect();
    lab.write(
        "experiments/mine.toml",
        format!("{frame}\n{}", reversed.join("\n")),
    );
    let planned = call("plan", &file).done();
    assert!(
        planned.starts_with("mine: 2 runs, 5 stages, all already finished\n"),
        "{planned}"
    );
}

#[test]
fn one_pretraining_serves_every_finetuning() {
    let lab = Lab::new();
    let sweep = [
        "--set",
        "sweep.pretrain.epochs=[1]",
        "--set",
        "sweep.finetune.learning_rate=[1e-3, 2e-3, 4e-3]",
        "--set",
        "labels=[]",
    ];
    let planned = plan(&lab, "r", &sweep);
    assert_eq!(
        (&planned["stages"], &planned["stages_to_do"]),
        (&7.into(), &7.into())
    );
    let shared = actions(&planned)
        .into_iter()
        .filter(|one| one.contains("/pretrain: shared: with "));
    assert_eq!(shared.count(), 2);
    let said = lab.quickstart("run", "r", &sweep);
    assert_eq!(said.err.matches("pretrain 4/4").count(), 1, "{}", said.err);
    assert_eq!(said.err.matches("finetune 1/1").count(), 3, "{}", said.err);
    said.done();
    let files = files_below(&lab.path("r/quickstart"));
    let pretrained: Vec<&Vec<u8>> = files
        .iter()
        .filter(|(name, _)| name.ends_with("/checkpoints/pretrain.safetensors"))
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(pretrained.len(), 3);
    assert!(pretrained.iter().all(|bytes| *bytes == pretrained[0]));
}

#[test]
fn a_damaged_result_is_made_anew() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let before = files_below(&lab.path("r"));
    let cached = before.keys().find(|name| {
        name.starts_with(".cache/pretrain/") && name.ends_with("/weights.safetensors")
    });
    let path = lab.path("r").join(cached.expect("weights"));
    let mut bytes = std::fs::read(&path).expect("weights");
    bytes[5000] ^= 4;
    std::fs::write(&path, bytes).expect("written");
    let planned = actions(&plan(&lab, "r", &[]));
    // The run's folder has the same file under another name.
    let shared = lab
        .run_folder("r", 1)
        .join("checkpoints/pretrain.safetensors");
    let expected = format!(
        "pretrained/pretrain: run: its weights.safetensors has changed since it was written, and {} has \
         changed since it was written",
        shared.display()
    );
    assert_eq!(planned[2], expected);
    assert_eq!(planned[3], "pretrained/finetune: reuse");
    lab.quickstart("run", "r", &["--jobs", "2"]).done();
    // One stage was left to do, so it had the machine to itself.
    let provenance = read(&path.with_file_name("provenance.json"));
    assert!(provenance.contains("\"stages_at_once\": 1"), "{provenance}");
    let restored = std::fs::read(&path).expect("weights");
    assert!(
        restored == before[cached.expect("weights")],
        "the same weights again"
    );
}

/// Removing the cache, or a `--again` that does not finish, loses no finished results.
#[test]
fn results_of_an_earlier_run_stay_until_there_are_new_ones() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let run = lab.run_folder("r", 1);
    let before = files_below(&run);
    let provenance = read(&run.join("provenance.json"));
    let tables = read(&lab.path("r/quickstart/summary.csv"));

    // A file in the place of a folder: every stage fails before it begins.
    std::fs::remove_dir_all(lab.path("r/.cache/pretrain")).expect("removed");
    lab.write("r/.cache/pretrain", "in the way");
    let said = lab.quickstart("run", "r", &["--keep-going", "--again"]);
    assert_eq!(said.code, 4, "{}", said.err);
    let results = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
        let mut files = files.clone();
        files.retain(|name, _| !name.ends_with(".json") && name != ".lock");
        files
    };
    assert!(
        results(&files_below(&run)) == results(&before),
        "the earlier results are gone"
    );
    assert_eq!(read(&run.join("provenance.json")), provenance);
    let ask = lab.attnlab(&["ask", &lab.run_text("r", 1), "Where was Ada Moss born?"]);
    assert!(!ask.err.contains("did not end well"), "{}", ask.err);
    ask.done();
    let results_of = |command: &[&str]| {
        let results = lab.text("r");
        let said = lab.attnlab(&[command, &["--results", &results]].concat());
        said.done()
    };
    let listed = results_of(&["list", "runs"]);
    let failed = listed.lines().find(|line| line.starts_with("failed "));
    assert!(failed.is_some_and(|line| line.contains(" = ")), "{listed}");
    assert!(
        listed.ends_with("\n    its results are from an earlier run, which finished\n"),
        "{listed}"
    );
    lab.quickstart("plot", "r", &[]).done();
    assert_eq!(read(&lab.path("r/quickstart/summary.csv")), tables);
    lab.quickstart("report", "r", &[]).done();
    let page = read(&lab.path("r/quickstart/report/report.md"));
    assert!(
        page.contains("Its numbers are from the earlier run"),
        "{page}"
    );
    let sides = [lab.run_text("r", 0), lab.run_text("r", 1)];
    let compared = lab.attnlab(&["compare", &sides[0], &sides[1]]).done();
    assert!(
        compared.contains("B, seed 1 was started again and has not finished"),
        "{compared}"
    );

    std::fs::remove_file(lab.path("r/.cache/pretrain")).expect("removed");
    lab.quickstart("run", "r", &[]).done();
    assert!(read(&run.join("status.json")).contains("\"state\": \"done\""));
    let started = read(&run.join("provenance.json"))
        .matches("\"started\":")
        .count();
    assert_eq!(started, 3, "the first run, the failed attempt and the last");
    assert!(!run.join("attempt.json").exists());
}

/// Results that were copied without the hidden cache are as good as those that were not.
#[test]
fn stages_missing_from_the_cache_are_restored_from_the_runs() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let whole = crate::faults::tree::tree(&lab.path("r"));
    let lose_the_cache = || std::fs::remove_dir_all(lab.path("r/.cache")).expect("removed");
    lose_the_cache();
    let planned = actions(&plan(&lab, "r", &[]));
    assert!(
        planned.iter().all(|one| one.ends_with(": reuse")),
        "{planned:?}"
    );
    assert!(!lab.path("r/.cache").exists(), "a plan writes nothing");
    let said = lab.quickstart("run", "r", &[]);
    assert_eq!(
        said.err.matches("already finished").count(),
        2,
        "{}",
        said.err
    );
    assert_eq!(
        said.err
            .matches("stages missing or damaged in the cache were restored")
            .count(),
        2
    );
    said.done();
    crate::faults::tree::assert_same_tree(&whole, &lab.path("r"), "the cache is back");

    // A cache of which a part is lost is as good as none.
    let cached = |kind: &str| {
        let stages = std::fs::read_dir(lab.path("r/.cache").join(kind)).expect("stages");
        stages.map(|stage| stage.expect("a stage").path())
    };
    for stage in cached("pretrain") {
        std::fs::remove_file(stage.join("weights.safetensors")).expect("removed");
    }
    for stage in cached("finetune") {
        std::fs::write(stage.join("done.json"), "{").expect("written");
    }
    for stage in cached("evaluate") {
        std::fs::remove_file(stage.join("done.json")).expect("removed");
    }
    let planned = actions(&plan(&lab, "r", &[]));
    assert!(
        planned.iter().all(|one| one.ends_with(": reuse")),
        "{planned:?}"
    );
    lab.quickstart("run", "r", &[]).done();
    crate::faults::tree::assert_same_tree(&whole, &lab.path("r"), "the cache is whole");

    // What somebody has changed is not taken.
    lose_the_cache();
    let metrics = lab.run_folder("r", 1).join("metrics.csv");
    let changed = read(&metrics).replacen("pretrain,1,1,", "pretrain,1,9,", 1);
    std::fs::write(&metrics, changed).expect("written");
    let planned = actions(&plan(&lab, "r", &[]));
    let path = metrics.display();
    assert_eq!(
        planned[2],
        format!(
            "pretrained/pretrain: run: its results are no longer in the cache, and {path} has changed since it was written"
        )
    );
    assert_eq!(planned[3], "pretrained/finetune: reuse");
    lab.quickstart("run", "r", &[]).done();
    crate::faults::tree::assert_same_tree(&whole, &lab.path("r"), "made anew");
}
