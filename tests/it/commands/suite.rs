//! Suites: members in order under a profile, one report, and what fails.

use serde_json::Value;

use crate::lab::{Lab, Said, files_below, read};

const SUITE: &str = r#"# What does a suite do?
title   = "Two small ones"
profile = "tiny"

[profiles.tiny]
about = "one epoch & no more"

[profiles.longer]
about = "two epochs"
set   = { "finetune.epochs" = 2 }

[[members]]
question   = "1 b"
heading    = "Asked with a baseline"
experiment = "second.toml"
reported   = "Much more."
figures    = { accuracy = "Figure 4 elsewhere" }

[[members]]
question   = "1 a"
heading    = "Asked alone"
experiment = "first.toml"
text       = "It shares what it trains."
"#;

/// The suite with its two members, whose finetuning is the same; `more` goes to the first of them.
fn suite(lab: &Lab, more: &str) -> String {
    let figure = "\n[figures.accuracy]\nkind = \"accuracy-bars\"\n";
    let baseline = "constant_answer = \"London\"\n";
    lab.finetuning("second", &format!("{baseline}{figure}{more}"));
    lab.finetuning("first", figure);
    lab.write("suite.toml", SUITE)
}

fn attnlab(lab: &Lab, command: &str, file: &str, more: &[&str]) -> Said {
    let results = lab.text("r");
    lab.attnlab(&[&[command, file, "--results", &results][..], more].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The one run below a folder of results.
fn run_of(lab: &Lab, folder: &str) -> String {
    let files = files_below(&lab.path(folder));
    let mut runs = files
        .keys()
        .filter_map(|name| name.strip_suffix("/status.json"));
    let run = runs.next().expect("a run").to_owned();
    assert_eq!(runs.next(), None, "one run");
    format!("{folder}/{run}")
}

#[test]
fn a_suite_runs_its_members_in_order_and_tells_them_in_one_report() {
    let lab = Lab::new();
    let file = suite(&lab, "");
    let said = attnlab(&lab, "run", &file, &[]).done();
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(
        at("1 b  Asked with a baseline\n") < at("1 a  Asked alone\n"),
        "{said}"
    );
    let page = lab.path("r/suite/tiny/report/index.html");
    assert!(
        said.ends_with(&format!("\nreport  {}\n", page.display())),
        "{said}"
    );

    // The last of each: titles of figures stand in the list of contents as well.
    let html = read(&page);
    let at = |text: &str| {
        html.rfind(text)
            .unwrap_or_else(|| panic!("{text} is not in the page"))
    };
    let order = [
        "Two small ones</h1>",
        "Profile tiny: one epoch &#38; no more",
        "1 b  Asked with a baseline</h2>",
        "Much more.",
        "Figure 4 elsewhere",
        "1 a  Asked alone</h2>",
        "It shares what it trains.",
    ];
    assert!(order.map(at).is_sorted(), "{:?}", order.map(at));
    assert!(html.contains("suite/tiny/second (profile tiny, finetune 1 epoch)"));
    let svg = read(&lab.path("r/suite/tiny/second/figures/accuracy.svg"));
    assert!(svg.contains("profile tiny"), "the caption says the profile");
    let run = run_of(&lab, "r/suite/tiny/first");
    let origin = json(&read(&lab.path(&format!("{run}/provenance.json"))));
    assert_eq!(origin[0]["profile"], "tiny");

    // The same report by its own command, and the figures again.
    let before = files_below(&lab.path("r/suite/tiny/report"));
    attnlab(&lab, "report", &file, &["--profile", "tiny"]).done();
    assert!(files_below(&lab.path("r/suite/tiny/report")) == before);
    std::fs::remove_dir_all(lab.path("r/suite/tiny/second/figures")).expect("removed");
    attnlab(&lab, "plot", &file, &[]).done();
    assert!(files_below(&lab.path("r/suite/tiny/report")) == before);
}

#[test]
fn nothing_of_a_suite_is_done_twice_or_cleaned_away() {
    let lab = Lab::new();
    let file = suite(&lab, "");
    let plan =
        |more: &[&str]| json(&attnlab(&lab, "plan", &file, &[&["--json"], more].concat()).done());
    let planned = plan(&[]);
    assert_eq!(
        (&planned["profile"], &planned["stages"]),
        (&"tiny".into(), &3.into())
    );
    assert_eq!(planned["stages_to_do"], 3, "the finetuning counts once");
    let shared = &planned["members"][1]["runs"][0]["stages"][0];
    assert_eq!(shared["action"], "shared");
    assert_eq!(shared["reason"], "with suite/tiny/second");
    let text = attnlab(&lab, "plan", &file, &[]).done();
    let start = "suite, profile tiny: 2 experiments, 2 runs, 3 stages, 3 to do: one after another ";
    assert!(text.starts_with(start), "{text}");

    let first = attnlab(&lab, "run", &file, &[]);
    assert!(!first.err.contains("already finished"), "{}", first.err);
    first.done();
    let again = attnlab(&lab, "run", &file, &[]);
    assert_eq!(
        again.err.matches("already finished").count(),
        2,
        "{}",
        again.err
    );
    again.done();
    assert_eq!(plan(&[])["stages_to_do"], 0);
    assert_eq!(plan(&["--profile", "longer"])["stages_to_do"], 3);

    let clean = |more: &[&str]| attnlab(&lab, "clean", &file, more).done();
    assert!(clean(&["--dry-run"]).starts_with("nothing to free"));
    let alone = lab
        .attnlab(&["clean", "--yes", "--results", &lab.text("r")])
        .done();
    assert!(alone.starts_with("nothing to free"), "{alone}");
    // Runs with other settings than those of the profile are the suite's own to free.
    attnlab(&lab, "run", &file, &["--set", "finetune.epochs=2"]).done();
    let freed = clean(&["--yes"]);
    assert_eq!(
        freed.matches("that the experiment no longer has").count(),
        2,
        "{freed}"
    );
    assert_eq!(plan(&[])["stages_to_do"], 0);
}

#[test]
fn a_member_that_fails_is_named_and_the_others_finish_if_asked_to() {
    let lab = Lab::new();
    let diverging = "[finetune.optimiser]\nclip_norm = 0.0\n";
    let file = suite(&lab, diverging);
    let second =
        read(&lab.path("second.toml")).replace("learning_rate = 1e-3", "learning_rate = 1e30");
    lab.write("second.toml", second);
    let epochs = ["--set", "finetune.epochs=4"];

    let message = lab.filtered(&attnlab(&lab, "run", &file, &epochs).failed(1));
    assert!(
        message.starts_with("error: TMP/second.toml: finetune stopped at step "),
        "{message}"
    );
    assert!(
        !lab.path("r/suite/tiny/first").exists(),
        "the first failure ends it"
    );
    assert!(!lab.path("r/suite/tiny/report").exists());

    let said = attnlab(
        &lab,
        "run",
        &file,
        &[&epochs[..], &["--keep-going"]].concat(),
    );
    let all = lab.filtered(&said.err);
    assert!(
        all.contains("\n  TMP/second.toml: finetune stopped at step "),
        "{all}"
    );
    assert!(said.out.contains("1 a  Asked alone\n"), "{}", said.out);
    assert_eq!(said.failed(4), "error: 1 of 2 members failed");
    let html = read(&lab.path("r/suite/tiny/report/index.html"));
    let command = format!("attnlab run {file} --profile tiny");
    assert!(
        html.contains(&command),
        "what is missing is said with its command"
    );

    let all = [
        &epochs[..],
        &["--keep-going", "--set", "finetune.learning_rate=1e30"],
    ]
    .concat();
    let all = [&all[..], &["--set", "finetune.optimiser.clip_norm=0"]].concat();
    assert_eq!(
        attnlab(&lab, "run", &file, &all).failed(1),
        "error: 2 of 2 members failed"
    );
}

#[test]
fn commands_for_one_experiment_refuse_a_suite() {
    let lab = Lab::new();
    let file = suite(&lab, "");
    for command in [&["show"][..], &["bench"], &["data", "show"]] {
        let said = lab.attnlab(&[command, &[&file]].concat()).failed(2);
        let message = "error: TMP/suite.toml is a suite of experiments";
        assert_eq!(lab.filtered(&said), message, "{command:?}");
    }
    let first = lab.text("first.toml");
    let said = attnlab(&lab, "run", &first, &["--profile", "tiny"]).failed(2);
    assert!(
        said.ends_with("first.toml is not a suite, so it has no profile \"tiny\""),
        "{said}"
    );
    let both = attnlab(&lab, "report", &file, &[&first]).failed(2);
    assert_eq!(both, "error: a suite has its own report");
    // A folder stands for its experiments.
    let none = attnlab(&lab, "report", &lab.text(""), &[]).failed(2);
    assert!(none.contains("first has no finished run in "), "{none}");
}

#[test]
fn list_and_check_tell_what_a_suite_is() {
    let lab = Lab::new();
    let file = suite(&lab, "");
    let list = lab.attnlab(&["list", "experiments", &lab.text("")]).done();
    let line =
        "suite.toml  (a suite of 2 experiments; profiles longer, tiny)\n    What does a suite do?";
    assert!(list.contains(line), "{list}");
    let list = json(
        &lab.attnlab(&["list", "experiments", &lab.text(""), "--json"])
            .done(),
    );
    assert_eq!(list[2]["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(list[0]["points"], 1);
    let said = lab.attnlab(&["check", &file]).done();
    assert_eq!(
        said,
        format!("{file}: a suite of 2 experiments, 2 profiles\n")
    );
}
