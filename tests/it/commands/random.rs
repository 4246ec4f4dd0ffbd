//! A random search from its draws to its figure.

use serde_json::Value;

use crate::lab::{Lab, column, files_below, read};

/// What the program draws of seed 0, worked out elsewhere.
const RATES: [&str; 3] = ["0.0067393", "0.000348239", "0.00111619"];

const SEARCH: &str = "
[sweep.random]
draws = 2
\"finetune.learning_rate\" = { log_uniform = [1e-4, 2e-2] }

[figures.rates]
kind = \"accuracy-scatter\"
x    = \"finetune.learning_rate\"
";

/// The folder of a draw in the results `r`.
fn folder(lab: &Lab, draw: usize) -> std::path::PathBuf {
    let start = format!("draw-{draw}-");
    let entries = std::fs::read_dir(lab.path("r/search")).expect("an experiment's folder");
    let mut folders = entries.map(|entry| entry.expect("an entry").path());
    let named = |path: &std::path::PathBuf| {
        (path.file_name()).is_some_and(|name| name.to_string_lossy().starts_with(&start))
    };
    folders.find(named).expect("the draw's folder")
}

#[test]
fn draws_are_recorded_and_each_can_be_run_again_alone() {
    let lab = Lab::new();
    let (file, results) = (lab.finetuning("search", SEARCH), lab.text("r"));
    let attnlab = |command: &str, more: &[&str]| {
        let arguments = [&[command, &file], more].concat();
        lab.attnlab(&arguments).done()
    };
    let shown = attnlab("show", &[]);
    for (draw, rate) in RATES[..2].iter().enumerate() {
        let line = format!("  finetune.learning_rate = {rate}");
        let start = format!("#   draw-{}-", draw + 1);
        let mut lines = shown.lines();
        let said = lines.any(|one| one.starts_with(&start) && one.ends_with(&line));
        assert!(said, "{shown}");
    }
    let json: Value = serde_json::from_str(&attnlab("show", &["--json"])).expect("JSON");
    let point = &json["points"][1];
    assert_eq!(point["draw"], 2);
    assert_eq!(point["values"]["finetune.learning_rate"], 0.000348239);
    let planned = attnlab("plan", &["--results", &results]);
    assert!(planned.contains("\ndraw 2, seed 1, "), "{planned}");

    let two_seeds = ["--results", &results, "--set", "seeds=[1, 2]"];
    attnlab("run", &two_seeds);
    let draws = format!(
        "draw,finetune.learning_rate\n1,{}\n2,{}\n",
        RATES[0], RATES[1]
    );
    assert_eq!(read(&lab.path("r/search/draws.csv")), draws);
    let summary = read(&lab.path("r/search/summary.csv"));
    let labels = ["draw 1", "draw 1", "draw 2", "draw 2"];
    assert_eq!(column(&summary, "label"), labels);
    let plotted = read(&lab.path("r/search/figures/rates.csv"));
    let of_seeds = column(&plotted, "x")
        .iter()
        .filter(|x| *x == RATES[1])
        .count();
    assert_eq!(of_seeds, 3, "a mean and two seeds: {plotted}");
    let compared = lab.attnlab(&[
        "compare",
        &folder(&lab, 1).display().to_string(),
        &folder(&lab, 2).display().to_string(),
    ]);
    let compared = compared.done();
    assert!(
        compared.contains("finetune.learning_rate") && compared.contains(RATES[0]),
        "{compared}"
    );

    // A third draw changes nothing of the others.
    let before = files_below(&lab.path("r/search"));
    let said = lab.attnlab(
        &[
            &["run", &file][..],
            &two_seeds,
            &["--set", "sweep.random.draws=3"],
        ]
        .concat(),
    );
    assert_eq!(
        said.err.matches("already finished").count(),
        4,
        "{}",
        said.err
    );
    let draws = format!("{draws}3,{}\n", RATES[2]);
    assert_eq!(read(&lab.path("r/search/draws.csv")), draws);
    let after = files_below(&lab.path("r/search"));
    let of_runs = before.iter().filter(|(name, _)| name.starts_with("draw-"));
    for (name, bytes) in of_runs {
        assert!(after.get(name) == Some(bytes), "{name} has changed");
    }

    // The resolved file is the same point without the search, so nothing is trained for it.
    let resolved = folder(&lab, 2).join("seed-2/resolved.toml");
    let text = read(&resolved);
    assert!(text.contains("learning_rate = 0.000348239"), "{text}");
    assert!(!text.contains("sweep"), "{text}");
    let alone = resolved.display().to_string();
    let planned = lab.attnlab(&["plan", &alone, "--results", &results, "--json"]);
    let planned: Value = serde_json::from_str(&planned.done()).expect("JSON");
    assert_eq!(planned["stages_to_do"], 0, "{planned}");

    // Without the search there are no draws to tell of.
    let one_rate = lab.finetuning("search", "");
    let run = ["run", &one_rate, "--results", &results];
    lab.attnlab(&run).done();
    assert!(!lab.path("r/search/draws.csv").exists());
}

#[test]
fn draws_are_recorded_before_the_first_run_starts() {
    let lab = Lab::new();
    let (file, results) = (lab.finetuning("search", SEARCH), lab.text("r"));
    // Diverges in its first steps.
    let said = lab.attnlab(&[
        "run",
        &file,
        "--results",
        &results,
        "--set",
        "finetune.optimiser.clip_norm=0",
        "--set",
        "sweep.random.finetune.learning_rate.log_uniform=[1e30, 1e31]",
        "--set",
        "finetune.epochs=9",
    ]);
    said.failed(1);
    let draws = read(&lab.path("r/search/draws.csv"));
    assert_eq!(column(&draws, "draw"), ["1", "2"]);
    assert!(!lab.path("r/search/summary.csv").exists());
}

#[test]
fn a_mistake_has_its_place_and_nothing_is_run() {
    let lab = Lab::new();
    let text = SEARCH.replace("[1e-4, 2e-2]", "[0.0, 2e-2]");
    let file = lab.finetuning("search", &text);
    let lines = read(std::path::Path::new(&file));
    let line = lines.lines().position(|line| line.contains("log_uniform"));
    let line = line.expect("written") + 1;
    let said = lab.attnlab(&["run", &file, "--results", &lab.text("r")]);
    assert_eq!(
        said.failed(3),
        format!(
            "error: {file}:{line}:30: `log_uniform` of `finetune.learning_rate` must be above 0, \
             but is [0.0, 0.02]"
        )
    );
    assert!(!lab.path("r").exists());
}
