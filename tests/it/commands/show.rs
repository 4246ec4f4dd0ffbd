//! `attnlab show` and `attnlab completions`.

use serde_json::{Value, json};

use crate::golden;
use crate::lab::{Lab, QUICKSTART, SHORT, Said};

const BASE: &str = r#"[data]
kind = "synthetic"

[model]
layers = 2
embed = 64
heads = 4
head_dim = 16
hidden = 256
vocabulary = 64
context = 64
attention = { kind = "vanilla" }

[finetune]
epochs = 1
batch_documents = 8
learning_rate = 1e-3
optimiser = { weight_decay = 0 }
"#;

const FILE: &str = r#"base = "base/shared.toml"
seeds = [1, 2]
labels = ["a, b", "c"]

[model]
dropout = 0.2

[finetune]
schedule.form = "constant"

[sweep]
_ = [
    { "finetune.epochs" = 2, "finetune.learning_rate" = 1e-3 },
    { "finetune.epochs" = 4, "finetune.learning_rate" = 1e-3 },
]

[figures.bars]
kind = "accuracy-bars"
"#;

/// A file on a base, with a variable and `--set` on top.
fn show(lab: &Lab, more: &[&str]) -> Said {
    lab.write("experiments/base/shared.toml", BASE);
    let file = lab.write("experiments/layers.toml", FILE);
    let set = ["show", &file, "--set", "finetune.shuffle=true"];
    let variables = [("ATTNLAB_MODEL__DROPOUT", "0.3")];
    lab.attnlab_with(&[&set, more].concat(), &variables)
}

#[test]
fn every_key_is_shown_with_the_layer_that_set_it() {
    let lab = Lab::new();
    let text = show(&lab, &[]).done();
    toml::from_str::<toml::Table>(&text).expect("what is shown is TOML");
    golden::check("show", &lab.filtered(&text));
}

#[test]
fn json_says_the_same_with_the_types_of_the_values() {
    let lab = Lab::new();
    let said: Value = serde_json::from_str(&show(&lab, &["--json"]).done()).expect("JSON");
    assert_eq!(said["name"], "layers");
    let settings = said["settings"].as_array().expect("a list");
    let of = |key: &str| {
        let setting = settings.iter().find(|one| one["key"] == key);
        let setting = setting.unwrap_or_else(|| panic!("no {key}"));
        let origin = lab.filtered(setting["origin"].as_str().expect("text"));
        (setting["value"].clone(), origin)
    };
    let at = |place: &str| format!("TMP/experiments/{place}");
    assert_eq!(of("seeds"), (json!([1, 2]), at("layers.toml:2")));
    assert_eq!(of("model.layers"), (json!(2), at("base/shared.toml:5")));
    let place = format!("sweep, {}", at("layers.toml:12"));
    assert_eq!(of("finetune.epochs"), (json!([2, 4]), place));
    assert_eq!(of("device"), (json!("cpu"), "default".into()));
    let points = said["points"].as_array().expect("a list");
    assert_eq!(points.len(), 2);
    assert_eq!(points[1]["values"]["finetune.epochs"], 4);
    assert_eq!(points[1]["label"], "c");
    assert_eq!(points[1]["seeds"], json!([1, 2]));
    let unset = said["unset"].as_array().expect("a list");
    assert!(unset.contains(&json!("evaluate")) && unset.contains(&json!("data.people")));
}

#[test]
fn device_and_precision_have_options_of_their_own() {
    let lab = Lab::new();
    let placement = ["--device", "auto", "--precision", "tf32"];
    let said = lab.attnlab(&[&["show", QUICKSTART][..], &placement].concat());
    let said = said.done();
    for (key, value) in [("device", "auto"), ("precision", "tf32")] {
        let line = said.lines().find(|line| line.starts_with(key));
        let line = line.unwrap_or_else(|| panic!("no {key} in {said}"));
        assert!(line.starts_with(&format!("{key} = \"{value}\"")), "{line}");
        assert!(line.ends_with(&format!("# --{key}")), "{line}");
    }
    // What a word on the command line may be, the program says; `gpu` is not a slip for `cpu`.
    for (device, code, says) in [
        ("abacus", 2, "[possible values: cpu, cuda, auto]"),
        ("gpu", 3, "did you mean `cuda`?"),
    ] {
        let said = lab.attnlab(&["show", QUICKSTART, "--device", device]);
        assert_eq!(said.code, code);
        assert!(said.err.contains(says), "{}", said.err);
    }
}

/// What `show` says is what `run` does.
#[test]
fn the_folders_that_are_shown_are_those_of_the_runs() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let set = SHORT.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["show", QUICKSTART].into_iter().chain(set).collect();
    let shown = lab.attnlab(&arguments).done();
    for epochs in [0, 1] {
        let run = lab.run_folder("r", epochs);
        let folder = run.parent().and_then(|point| point.file_name());
        let folder = folder
            .expect("a point's folder")
            .to_string_lossy()
            .into_owned();
        assert!(
            shown.contains(&format!("#   {folder}  pretrain.epochs = {epochs}")),
            "{shown}"
        );
    }
}

#[test]
fn a_mistake_is_told_as_by_check() {
    let lab = Lab::new();
    let file = lab.write("x.toml", "[finetune]\nepoch = 3\n");
    let said = lab.attnlab(&["show", &file]);
    assert_eq!(said.code, 3);
    assert_eq!(said.err, lab.attnlab(&["check", &file]).err);
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.attnlab(&["completions", shell]).done();
        for word in ["attnlab", "check", "fetch", "results"] {
            assert!(script.contains(word), "no {word} in the script of {shell}");
        }
    }
    assert!(
        lab.attnlab(&["completions", "tcsh"])
            .failed(2)
            .contains("'tcsh'")
    );
}
