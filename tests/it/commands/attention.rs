//! Attention maps: `attention_maps.csv`, and the figures that are drawn of it.

use std::collections::BTreeMap;

use attnlab::metrics::rows::{AttentionRow, PredictionRow};
use attnlab::metrics::table;

use crate::lab::{Lab, files_below, read};

const LOOK: [&str; 2] = [
    "--set",
    "evaluate.attention_maps={ questions = [\"Where was Ada born?\"], numbers = [2] }",
];

const FIGURES: [&str; 4] = [
    "--set",
    "figures.maps={ kind = \"attention-maps\", question = 2 }",
    "--set",
    "figures.looks={ kind = \"answer-attention\" }",
];

#[test]
fn every_head_has_a_map_and_nothing_is_retrained() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let before = lab.run_folder("r", 1);
    assert!(!before.join("attention_maps.csv").exists());
    let planned = lab.quickstart("plan", "r", &LOOK).done();
    let stale = "new, because evaluate.attention_maps.numbers not set -> [2], \
                 evaluate.attention_maps.questions not set -> ";
    assert!(planned.contains("5 stages, 2 to do"), "{planned}");
    assert!(planned.contains(stale), "{planned}");

    lab.quickstart("run", "s", &LOOK).done();
    let run = lab.run_folder("s", 1);
    let predictions = "predictions/dev-model.tsv";
    assert_eq!(
        read(&before.join(predictions)),
        read(&run.join(predictions))
    );
    let answers: Vec<PredictionRow> = table::read(&run.join(predictions)).expect("predictions");
    let rows: Vec<AttentionRow> = table::read(&run.join("attention_maps.csv")).expect("maps");

    let mut sums: BTreeMap<[usize; 4], f32> = BTreeMap::new();
    let mut texts: BTreeMap<usize, BTreeMap<usize, String>> = BTreeMap::new();
    for row in &rows {
        assert!(row.key_position <= row.query_position, "{row:?}");
        let place = [row.question, row.layer, row.head, row.query_position];
        *sums.entry(place).or_default() += row.weight;
        let character = row.query_character.clone().expect("a token");
        let text = texts.entry(row.question).or_default();
        text.insert(row.query_position, character);
    }
    assert!(
        sums.values().all(|sum| (sum - 1.0).abs() < 1e-4),
        "{sums:?}"
    );
    let heads = |question: usize| {
        let own = sums
            .keys()
            .filter(|place| place[0] == question && place[3] == 1);
        own.count()
    };
    assert_eq!([heads(1), heads(2)], [2 * 4; 2]);
    let read =
        |question: usize| -> String { texts[&question].values().map(String::as_str).collect() };
    assert!(
        read(1).starts_with("Where was Ada born?\u{2047}"),
        "{}",
        read(1)
    );
    let answered = format!("{}\u{2047}{}", answers[1].question, answers[1].predicted);
    // An answer that does not end by itself: its last character is not read.
    assert!(answered.starts_with(&read(2)), "{answered}, {}", read(2));
    assert!(answered.chars().count() <= read(2).chars().count() + 1);

    // Put together from the cache, it is the same.
    std::fs::remove_file(run.join("attention_maps.csv")).expect("removed");
    lab.quickstart("run", "s", &LOOK).done();
    let again: Vec<AttentionRow> = table::read(&run.join("attention_maps.csv")).expect("maps");
    assert_eq!(again, rows);
}

#[test]
fn figures_of_maps_come_from_files_alone() {
    let lab = Lab::new();
    let more = [&LOOK[..], &FIGURES].concat();
    lab.quickstart("run", "r", &more).done();
    let folder = lab.path("r/quickstart");
    let before = files_below(&folder);
    std::fs::remove_dir_all(folder.join("figures")).expect("removed");
    lab.quickstart("plot", "r", &more).done();
    let after = files_below(&folder);
    for name in ["maps", "looks"] {
        for extension in ["svg", "png", "csv"] {
            let file = format!("figures/{name}.{extension}");
            assert!(after[&file] == before[&file], "{file} is not the same");
        }
    }
    let shown = String::from_utf8_lossy(&before["figures/looks.csv"]).into_owned();
    // Both points, 2 layers of 4 heads, the places of a question of 19 characters and its mask.
    assert_eq!(shown.lines().count(), 1 + 2 * 8 * 20);
}

#[test]
fn without_maps_their_figures_are_refused_before_anything_runs() {
    let lab = Lab::new();
    for (name, kind, figure) in [
        ("maps", "attention-maps", &FIGURES[..2]),
        ("looks", "answer-attention", &FIGURES[2..]),
    ] {
        let message = lab.quickstart("run", "r", figure).failed(3);
        let why = format!(
            "`figures.{name}.kind` = {kind:?} has nothing to show: no point records attention weights"
        );
        assert!(message.ends_with(&why), "{message}");
    }
    assert!(!lab.path("r/quickstart").exists());
}

#[test]
fn questions_that_cannot_be_asked_are_refused_before_anything_runs() {
    let lab = Lab::new();
    let refused = |spec: &str, code: i32, start: &str| {
        let setting = format!("evaluate.attention_maps={spec}");
        let message = lab
            .quickstart("run", "r", &["--set", &setting])
            .failed(code);
        assert!(message.starts_with(start), "{message}");
        assert!(!lab.path("r/quickstart").exists());
    };
    refused(
        "{ numbers = [1000] }",
        3,
        "error: `evaluate.attention_maps.numbers` has 1000, but dev has ",
    );
    refused(
        "{ questions = [\"Where was \u{e4} born?\"] }",
        5,
        "error: question 'Where was \u{e4} born?': character '\u{e4}' (U+00E4) at position 11",
    );
    let long = format!("{{ questions = [\"{}\"] }}", "Where? ".repeat(20));
    refused(&long, 3, "error: a question with its longest answer has ");
}
