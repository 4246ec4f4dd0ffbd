//! The user's own text: trained on, validated, asked about, and refused in one line.

use std::path::Path;

use crate::faults::tree::{assert_same_tree, tree};
use crate::lab::{Lab, REPOSITORY, column, read};

/// Two hundred sentences of few words.
fn sentences() -> String {
    let names = ["Ada", "Bo", "Cleo", "Dan", "Eve", "Finn", "Gil"];
    let verbs = ["sees", "hears", "meets", "likes"];
    let places = ["Lima", "Oslo", "Rio", "Bern", "Kiel"];
    let sentence = |i: usize| {
        let (name, verb, other) = (names[i % 7], verbs[i % 4], names[(i / 3) % 7]);
        format!("{name} {verb} {other} in {}.\n", places[(i / 7) % 5])
    };
    (0..200).map(sentence).collect()
}

/// An experiment on these sentences, of which a tenth is held out; `more` follows `[pretrain]`.
fn experiment(lab: &Lab, more: &str) -> String {
    let text = lab.write("notes.txt", sentences());
    let data = format!("kind = \"text\"\ndocuments = {text:?}\nheld_out = 0.1");
    let stages = format!(
        "[pretrain]\nobjective = \"language-model\"\nepochs = 20\nbatch_documents = 20\nlearning_rate = 1e-2\n\
         checkpoint_steps = 5\n{more}"
    );
    lab.experiment("notes", &data, &stages)
}

/// The folder of the only run.
fn run_folder(lab: &Lab, results: &str) -> std::path::PathBuf {
    let points = std::fs::read_dir(lab.path(results).join("notes")).expect("results");
    let mut points = points.map(|one| one.expect("an entry").path().join("seed-1"));
    points.find(|path| path.is_dir()).expect("a run")
}

const EVALUATE: &str = "\n[evaluate]\nmeasures = [\"loss\", \"bits-per-character\", \"perplexity\", \"token-accuracy\"]\n";

#[test]
fn a_text_is_learned_and_measured_on_what_is_held_out() {
    let lab = Lab::new();
    let file = experiment(&lab, &format!("validate = {{}}\n{EVALUATE}"));
    let said = lab.attnlab(&["run", &file, "--results", &lab.text("r")]);
    assert!(
        said.err.contains("best of 20 validations, after step "),
        "{}",
        said.err
    );
    let out = said.done();
    assert!(out.contains("held-out loss per token "), "{out}");
    assert!(out.contains(" over 20 dev items"), "{out}");

    let summary = read(&lab.path("r/notes/summary.csv"));
    let value = |measure: &str| -> f64 {
        let row = column(&summary, "measure")
            .iter()
            .position(|one| one == measure);
        let values = column(&summary, "value");
        values[row.expect("a row")].parse().expect("a number")
    };
    assert!(value("loss") < 1.0, "{summary}");
    assert!((value("perplexity") - value("loss").exp()).abs() < 1e-6);
    // The mask at the end of each document is predicted, but is no character.
    assert!(value("bits-per-character") > value("loss") / 2f64.ln());
    assert!(value("token-accuracy") > 0.7);

    // The evaluation starts from the weights of the best validation, on the same documents.
    let validation = read(&run_folder(&lab, "r").join("validation.csv"));
    let losses = column(&validation, "value");
    assert_eq!(losses.len(), 20);
    let losses = losses
        .iter()
        .map(|one| one.parse::<f64>().expect("a number"));
    let best = losses.min_by(f64::total_cmp).expect("some");
    assert!((best - value("loss")).abs() < 1e-9, "{best} {summary}");
    let held_out = read(&run_folder(&lab, "r").join("held_out/dev.csv"));
    assert_eq!(held_out.lines().count(), 21);

    let provenance = read(&run_folder(&lab, "r").join("provenance.json"));
    assert!(
        provenance.contains("notes.txt\": \"sha256 "),
        "{provenance}"
    );
    let shown = lab
        .attnlab(&["data", "show", &file, "--results", &lab.text("r")])
        .done();
    assert!(shown.contains("in 180 documents"), "{shown}");
    assert!(
        shown.contains("held out, and not counted above: 20 dev, 0 test"),
        "{shown}"
    );
    assert!(
        shown.contains("language model, as training shows it (x: input, y: targets):"),
        "{shown}"
    );
}

#[test]
fn training_ends_when_a_value_is_reached_or_nothing_gets_better() {
    let lab = Lab::new();
    for (validate, ended, most) in [
        ("{ every_steps = 2, stop_at = 2.0 }", "stop_at", 60),
        (
            "{ every_epochs = 2, measure = \"token-accuracy\", patience = 1 }",
            "patience",
            180,
        ),
    ] {
        let file = experiment(&lab, &format!("validate = {validate}\n{EVALUATE}"));
        let said = lab.attnlab(&["run", &file, "--results", &lab.text(ended)]);
        assert!(
            said.err.contains(&format!("stopped early by `{ended}`")),
            "{}",
            said.err
        );
        said.done();
        let metrics = read(&run_folder(&lab, ended).join("metrics.csv"));
        let steps = metrics.lines().count() - 1;
        assert!(steps < most, "{steps} steps");
    }
}

#[cfg(unix)]
#[test]
fn validation_of_a_resumed_run_is_the_same_to_the_byte() {
    use crate::faults::processes::{ended, signal, wait_for_a_checkpoint};
    use crate::lab::program;
    use std::process::Stdio;

    for keep in ["last", "best"] {
        let lab = Lab::new();
        let more = format!(
            "validate = {{ every_steps = 3, items = 12, keep = {keep:?} }}\nshuffle = true\nmix = [{{ objective = \
                \"masked-entities\", share = 0.2 }}]\n"
        );
        let file = experiment(&lab, &format!("{more}{EVALUATE}"));
        let arguments = |results: &str| -> Vec<String> {
            [
                "run",
                &file,
                "--results",
                &lab.text(results),
                "--set",
                "pretrain.epochs=60",
            ]
            .map(str::to_owned)
            .to_vec()
        };
        let run = |results: &str| {
            let arguments = arguments(results);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            lab.attnlab(&arguments)
        };
        run("whole").done();
        let whole = tree(&lab.path("whole"));
        // Otherwise the best weights are those that the stage hands on.
        let best = "checkpoints/pretrain-best.safetensors";
        let has_best = whole.keys().any(|name| name.ends_with(best));
        assert_eq!(has_best, keep == "last", "{keep}");
        let stopped = arguments("stopped");
        let stopped: Vec<&str> = stopped.iter().map(String::as_str).collect();
        let mut child = program(&stopped);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("it starts");
        wait_for_a_checkpoint(&lab.path("stopped"));
        signal(&child, "-INT");
        ended(child).failed(130);
        let said = run("stopped");
        assert!(
            said.err.contains("pretrain resumes after step "),
            "{}",
            said.err
        );
        said.done();
        assert_same_tree(&whole, &lab.path("stopped"), keep);
    }
}

#[test]
fn questions_about_a_text_are_learned_and_answered() {
    let lab = Lab::new();
    let text = lab.write("notes.txt", sentences() + "Where is x?");
    let train = lab.write(
        "train.tsv",
        "q\ta\nWhere is Ada?\tLima\nWhere is Bo?\tOslo\n",
    );
    let dev = lab.write("dev.csv", "q,a\nWhere is Ada?,Lima\nWhere is Dan?,Rio\n");
    let data = format!(
        "kind = \"text\"\ndocuments = {text:?}\n\
         questions = {{ train = {train:?}, dev = {dev:?}, question = \"q\", answer = \"a\" }}"
    );
    let stages =
        "[finetune]\nepochs = 30\nbatch_documents = 2\nlearning_rate = 1e-2\n\n[evaluate]\n";
    let file = lab.experiment("asked", &data, stages);
    let said = lab.attnlab(&["run", &file, "--results", &lab.text("r")]);
    let note = "1 of 2 dev questions are also train questions, which inflates scores; the first is 'Where is Ada?'";
    assert!(said.err.contains(note), "{}", said.err);
    let out = said.done();
    assert!(out.contains(" of 2 dev questions"), "{out}");
    let long = lab.attnlab(&[
        "run",
        &file,
        "--results",
        &lab.text("r"),
        "--set",
        "evaluate.answer_characters=3",
    ]);
    assert_eq!(
        long.failed(3),
        "error: the longest dev answer, 'Lima', has 4 tokens, but `evaluate.answer_characters` is 3"
    );
}

#[test]
fn what_cannot_be_is_refused_in_one_line_before_anything_is_written() {
    let lab = Lab::new();
    let file = experiment(&lab, EVALUATE);
    for (set, code, expected) in [
        (
            "data.documents=\"nowhere.txt\"",
            5,
            "error: no file or folder at nowhere.txt",
        ),
        (
            "data.held_out=0",
            3,
            "\"perplexity\" and \"token-accuracy\", which need held-out data, but \"text\" data has none",
        ),
        (
            "pretrain.objective=\"answers\"",
            3,
            "`pretrain.objective` = \"answers\" learns from questions, but \"text\" data has none",
        ),
        (
            "pretrain.epoch_documents=5",
            3,
            "`pretrain.epoch_documents` would select the same sequences in every epoch",
        ),
        (
            "pretrain.validate.stop_at=-1",
            3,
            "`pretrain.validate.stop_at` = -1 must be at least 0, as every value of \"loss\" is",
        ),
        (
            "pretrain.validate.measure=\"exact-match\"",
            3,
            "scores training questions by \"exact-match\", and \"text\" data has none",
        ),
        (
            "data.tokens=\"words\"",
            3,
            "`data.tokens` is \"words\", which is not \"characters\", \"bytes\"",
        ),
        (
            "data.tokens=\"bytes\"",
            3,
            "`model.vocabulary` = 64 is too small: the data has 258 token ids",
        ),
        (
            "data.sha256.documents=\"0000\"",
            3,
            "`data.sha256` has \"0000\" for documents, which is not a SHA-256 checksum",
        ),
        (
            "pretrain.mix=[{ objective = \"masked-entities\", share = 0.6 }, { objective = \"span-corruption\", share = 0.5 }]",
            3,
            "the shares of `pretrain.mix` add up to 1.1",
        ),
    ] {
        let said = lab.attnlab(&["run", &file, "--results", &lab.text("r"), "--set", set]);
        let message = said.err.clone();
        said.failed(code);
        assert!(message.contains(expected), "{set}: {message}");
        assert!(!lab.path("r").exists(), "{set} has written something");
    }
}

/// As the manual tells it, in "From your own text to a report", with fewer villages and epochs.
#[test]
fn the_experiment_of_the_manual_goes_from_a_text_to_a_report() {
    let manual = read(&Path::new(REPOSITORY).join("experiments/README.md"));
    let (_, section) = manual
        .split_once("## From your own text to a report")
        .expect("the section");
    let (_, toml) = section.split_once("```toml\n").expect("a TOML");
    let (toml, _) = toml.split_once("```").expect("its end");
    assert!(toml.lines().count() <= 10, "ten lines");
    let lab = Lab::new();
    let base = read(&Path::new(REPOSITORY).join("experiments/base/text.toml"));
    lab.write("experiments/base/text.toml", base);
    let file = lab.write("experiments/villages.toml", toml);
    let (mut text, mut tables) = (String::new(), ["question\tanswer\n"; 2].map(str::to_owned));
    for (i, name) in ["Ashby", "Bexham", "Culford", "Denley", "Elsworth", "Farton"]
        .iter()
        .enumerate()
    {
        let river = ["Glime", "Harn"][i % 2];
        text += &format!("{name} is a village on the river {river}.\n");
        tables[i / 3] += &format!("Which river is {name} on?\t{river}\n");
    }
    lab.write("villages.txt", text);
    lab.write("train.tsv", tables[0].clone());
    lab.write("dev.tsv", tables[1].clone());
    let (data, results) = (lab.text("."), lab.text("r"));
    let few = ["sweep.pretrain.epochs=[0,1]", "finetune.epochs=1"];
    let few: Vec<&str> = few.iter().flat_map(|set| ["--set", set]).collect();
    let run = [
        &["run", &file, "--data", &data, "--results", &results][..],
        &few,
    ]
    .concat();
    lab.attnlab(&run).done();
    let report = [&["report", &file, "--results", &results][..], &few].concat();
    lab.attnlab(&report).done();
    let page = read(&lab.path("r/villages/report/report.md"));
    assert!(
        page.contains("3 dev questions") || page.contains("Questions: 3"),
        "{page}"
    );
}
