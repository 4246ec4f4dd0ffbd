//! Texts kept in `tests/golden/cli_*.txt`; `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::path::Path;

use crate::lab::{Lab, QUICKSTART, REPOSITORY, Said, read};

/// Compares with `tests/golden/cli_NAME.txt`.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(REPOSITORY).join(format!("tests/golden/cli_{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let golden = golden.replace("\r\n", "\n");
    let mut lines = golden.lines().zip(text.lines()).enumerate();
    if let Some((i, (old, new))) = lines.find(|(_, (old, new))| old != new) {
        let place = format!("cli_{name}.txt:{}", i + 1);
        panic!("{place}:\n  golden: {old}\n  now:    {new}\nUPDATE_GOLDEN=1 accepts it");
    }
    assert_eq!(
        golden, text,
        "cli_{name}.txt; UPDATE_GOLDEN=1 accepts the new text"
    );
}

/// One section for each case: its name, then its text.
fn sections(cases: &[(&str, String)]) -> String {
    cases
        .iter()
        .map(|(name, text)| format!("## {name}\n{}\n\n", text.trim_end()))
        .collect()
}

/// Exit code and error, without progress, temporary folders, hashes, lines of the quickstart and
/// the system's own words.
fn error(lab: &Lab, said: Said) -> String {
    let text = lab.filtered(&said.err);
    let start = text
        .find("error: ")
        .unwrap_or_else(|| panic!("no error: {text}"));
    let mut text = format!("exit {}\n{}", said.code, &text[start..]);
    for epochs in [0, 1] {
        let name = format!("/pretrain-epochs-{epochs}-");
        let pieces: Vec<&str> = text.split(&name).collect();
        let rest = pieces[1..]
            .iter()
            .map(|piece| format!("{name}HASH{}", &piece[8..]));
        text = pieces[..1]
            .iter()
            .map(|&piece| piece.to_owned())
            .chain(rest)
            .collect();
    }
    let place = format!("{QUICKSTART}:");
    let pieces = text.split(&place).enumerate();
    text = pieces
        .map(|(i, piece)| match i {
            0 => piece.to_owned(),
            _ => {
                let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{place}LINE{rest}")
            }
        })
        .collect();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(" (os error ") {
            Some((before, _)) => {
                let (before, _) = before.rsplit_once(": ").unwrap_or((before, ""));
                format!("{before}: CAUSE")
            }
            None => line.to_owned(),
        })
        .collect();
    lines.dedup();
    lines.join("\n")
}

#[test]
fn errors_before_anything_runs() {
    let lab = Lab::new();
    let results = lab.text("r");
    let set = |setting: &str| {
        let arguments = ["run", QUICKSTART, "--results", &results, "--set", setting];
        error(&lab, lab.attnlab(&arguments))
    };
    let data = |arguments: &[&str]| {
        let into = lab.text("data");
        error(&lab, lab.attnlab(&[arguments, &["--data", &into]].concat()))
    };
    for name in ["wiki.txt", "birth_dev.tsv"] {
        lab.write(&format!("wrong/{name}"), "Where was Ada born?\tLondon\n");
    }
    let (wrong, gone) = (lab.text("wrong"), lab.text("gone"));
    let run = |arguments: &[&str]| error(&lab, lab.attnlab(arguments));
    let london = [
        "run",
        "experiments/birthplace/london.toml",
        "--results",
        &results,
    ];
    let cases = [
        ("unknown command", run(&["rum"])),
        ("unknown option", run(&["shapes", "--wide"])),
        ("no such experiment: run", run(&["run", &gone])),
        ("no such experiment: check", run(&["check", &gone])),
        ("unknown key", set("finetune.epoch=3")),
        ("a key of the sweep", set("pretrain.epochs=3")),
        (
            "weights for a point that pretrains",
            set("finetune.init=weights.safetensors"),
        ),
        ("more names than points", set("sweep.pretrain.epochs=[0]")),
        (
            "plotting before running",
            run(&["plot", QUICKSTART, "--results", &results]),
        ),
        ("no such shape", set("model.embed=128")),
        ("a shape that is not compiled in", set("model.hidden=37")),
        ("no run", run(&["ask", &gone, "Where?"])),
        ("missing corpus", data(&london)),
        (
            "fetching wrong files",
            data(&["data", "fetch", "cs224n", "--from", &wrong]),
        ),
        (
            "fetching from nowhere",
            data(&["data", "fetch", "cs224n", "--from", &gone]),
        ),
        (
            "another scheme",
            data(&["data", "fetch", "cs224n", "--from", "ftp://x"]),
        ),
    ];
    check("errors", &sections(&cases));
}

#[test]
fn errors_of_runs_and_of_what_they_leave() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let run = lab.run_text("r", 1);
    let ask = |question: &str| error(&lab, lab.attnlab(&["ask", &run, question]));
    let score = |name: &str, bytes: &[u8]| {
        let text = lab.write(name, bytes);
        error(&lab, lab.attnlab(&["score", &run, "--text", &text]))
    };
    let init = |bytes: &[u8]| {
        let file = lab.write("file.safetensors", bytes);
        error(&lab, lab.finetune_from("init", &file))
    };
    let settings = [
        "--set",
        "pretrain.learning_rate=1e30",
        "--set",
        "pretrain.optimiser.clip_norm=0",
    ];
    let diverged = lab.quickstart("run", "diverged", &settings);
    let digits = |text: String| {
        let (start, rest) = text.split_once("(loss_nats was ").expect("the loss before");
        let (_, end) = rest.split_once(" the step").expect("the step before");
        format!("{start}(loss_nats was LOSS the step{end}")
    };
    lab.write("file", "");
    let weights = std::fs::read(
        lab.run_folder("r", 1)
            .join("checkpoints/finetune.safetensors"),
    );
    let weights = weights.expect("weights");
    let other_shape = {
        let attnlab::model::weights::WeightsFile {
            weights: mut loaded,
            notes,
            ..
        } = attnlab::model::weights::read(
            &lab.run_folder("r", 1)
                .join("checkpoints/finetune.safetensors"),
        )
        .expect("weights");
        let wide = loaded.iter_mut().find(|w| w.shape == [64, 256]);
        let wide = wide.expect("a wide weight");
        (wide.shape, wide.values) = (vec![64, 255], vec![0.0; 64 * 255]);
        let path = lab.path("other.safetensors");
        attnlab::model::weights::write(&path, &loaded, &notes).expect("written");
        std::fs::read(&path).expect("the file")
    };
    let not_finite = {
        let path = lab
            .run_folder("r", 1)
            .join("checkpoints/finetune.safetensors");
        let attnlab::model::weights::WeightsFile {
            weights: mut loaded,
            notes,
            ..
        } = attnlab::model::weights::read(&path).expect("weights");
        loaded[0].values[..3].fill(f32::NAN);
        loaded[1].values[0] = f32::INFINITY;
        let path = lab.path("not-finite.safetensors");
        attnlab::model::weights::write(&path, &loaded, &notes).expect("written");
        std::fs::read(&path).expect("the file")
    };
    // One step on all data at once, at a learning rate that makes the weights overflow.
    let overflow = [
        "--set",
        "pretrain.learning_rate=1e39",
        "--set",
        "pretrain.batch_documents=1000",
    ];
    let overflow = lab.quickstart("run", "overflow", &overflow);
    // Weights that are still finite, but whose outputs are not.
    let huge = [
        "--set",
        "finetune.learning_rate=1e38",
        "--set",
        "finetune.batch_documents=1000",
    ];
    let huge = lab.quickstart("run", "huge", &huge);
    let several = error(&lab, lab.attnlab(&["ask", &lab.text("r"), "Where?"]));
    let cases = [
        ("unknown character", ask("Where was Ad\u{e4} born?")),
        ("empty question", ask("")),
        ("a question that is too long", ask(&"Where? ".repeat(20))),
        ("several runs", several),
        ("a text that is not UTF-8", score("latin.txt", b"caf\xe9")),
        (
            "a text with an unknown character",
            score("other.txt", "a\nb\u{e4}".as_bytes()),
        ),
        (
            "weights that are text",
            init(b"this is no file of weights at all\n"),
        ),
        ("weights that are cut", init(&weights[..weights.len() - 1])),
        ("weights of another shape", init(&other_shape)),
        ("weights that are not finite", init(&not_finite)),
        (
            "weights that are a Git LFS pointer",
            init(b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"),
        ),
        (
            "weights that are a web page",
            init(b"<!DOCTYPE html><html>"),
        ),
        (
            "weights that are a pickle in a zip archive",
            init(b"PK\x03\x04\0\0\x08\x08"),
        ),
        ("a run that diverges", digits(error(&lab, diverged))),
        ("a last step that overflows", error(&lab, overflow)),
        ("a model whose output is not finite", error(&lab, huge)),
        (
            "results that are a file",
            error(&lab, lab.quickstart("run", "file", &[])),
        ),
    ];
    check("run_errors", &sections(&cases));
}

#[test]
fn headers_of_the_tables() {
    let lab = Lab::new();
    let more = [
        "evaluate.invented={ names = 9 }",
        "figures.confidence={ kind = \"confidence\" }",
        "figures.reliability={ kind = \"reliability-diagram\" }",
        "figures.answers={ kind = \"commonest-answers\" }",
        "evaluate.attention_maps={ numbers = [1] }",
        "figures.maps={ kind = \"attention-maps\" }",
        "figures.looks={ kind = \"answer-attention\" }",
    ];
    let more: Vec<&str> = more.iter().flat_map(|set| ["--set", set]).collect();
    lab.quickstart("run", "r", &more).done();
    let run = lab.run_folder("r", 1);
    let text = lab.write("lines.txt", "Ada Moss\n");
    let scores = lab.attnlab(&["score", &lab.run_text("r", 1), "--text", &text]);
    let header = |csv: String| csv.lines().next().expect("a header").replace('\t', "<tab>");
    let mut cases = vec![
        ("metrics.csv", header(read(&run.join("metrics.csv")))),
        ("timings.csv", header(read(&run.join("timings.csv")))),
        (
            "summary.csv",
            header(read(&lab.path("r/quickstart/summary.csv"))),
        ),
        (
            "groups.csv",
            header(read(&lab.path("r/quickstart/groups.csv"))),
        ),
        (
            "predictions/*.tsv",
            header(read(&run.join("predictions/dev-model.tsv"))),
        ),
        (
            "corruption_examples.csv",
            header(read(&run.join("corruption_examples.csv"))),
        ),
        (
            "calibration.csv",
            header(read(&lab.path("r/quickstart/calibration.csv"))),
        ),
        (
            "predictions/invented.tsv",
            header(read(&run.join("predictions/invented.tsv"))),
        ),
        (
            "training_answers.csv",
            header(read(&run.join("training_answers.csv"))),
        ),
        (
            "attention_maps.csv",
            header(read(&run.join("attention_maps.csv"))),
        ),
        ("score", header(scores.done())),
    ];
    for name in [
        "accuracy",
        "pretraining",
        "finetuning",
        "corruption",
        "confidence",
        "reliability",
        "answers",
        "maps",
        "looks",
    ] {
        let file = lab.path(&format!("r/quickstart/figures/{name}.csv"));
        cases.push((name, header(read(&file))));
    }
    check("headers", &sections(&cases));
}
