//! `export`, and starting from an exported file.

use std::path::PathBuf;

use attnlab::model::weights::{self, WeightsFile};

use crate::lab::{Lab, QUICKSTART, Said, files_below, program, read};

/// A lab with a file of pretrained weights.
fn exported() -> (Lab, String) {
    let lab = Lab::new();
    let pretrained_alone = ["--set", "finetune.epochs=0"];
    lab.quickstart("run", "pretrained", &pretrained_alone)
        .done();
    let file = lab.text("pretrained.safetensors");
    let run = lab.run_text("pretrained", 1);
    let out = lab.attnlab(&["export", &run, &file]).done();
    assert!(
        out.contains(": 37 tensors, 116,480 parameters, from "),
        "{out}"
    );
    (lab, file)
}

#[test]
fn an_export_replaces_nothing_unasked_and_makes_no_folder() {
    let (lab, file) = exported();
    let run = lab.run_text("pretrained", 1);
    let export = |file: &str, more: &[&str]| lab.attnlab(&[&["export", &run, file], more].concat());
    let before = std::fs::read(&file).expect("exported");
    let message = lab.filtered(&export(&file, &[]).failed(2));
    assert_eq!(message, "error: TMP/pretrained.safetensors already exists");
    lab.write("pretrained.safetensors", "something else");
    export(&file, &["--force"]).done();
    assert_eq!(std::fs::read(&file).expect("exported"), before);

    let message = lab.filtered(&export(&lab.text("gone/x.safetensors"), &[]).failed(2));
    let none = "error: cannot write TMP/gone/x.safetensors: there is no folder TMP/gone";
    assert_eq!(message, none);
    assert!(!lab.path("gone").exists());
    let message = lab.filtered(&export(&lab.text("pretrained"), &[]).failed(2));
    assert_eq!(message, "error: TMP/pretrained is a folder");

    let here = lab.path("here");
    std::fs::create_dir(&here).expect("a folder");
    let mut program = program(&["export", &run, "bare.safetensors"]);
    Said::from(program.current_dir(&here).output().expect("it starts")).done();
    assert_eq!(
        std::fs::read(here.join("bare.safetensors")).expect("exported"),
        before
    );
}

/// The only run folder below `results`.
fn only_run(lab: &Lab, results: &str) -> PathBuf {
    let folder = lab.path(results);
    let files = files_below(&folder);
    let mut runs = files.keys().filter_map(|f| f.strip_suffix("/status.json"));
    let run = runs.next().expect("a run");
    assert_eq!(runs.next(), None, "several runs");
    folder.join(run)
}

#[test]
fn finetuning_from_an_exported_file_is_going_on_from_pretraining() {
    let (lab, file) = exported();
    let run = lab.run_folder("pretrained", 1);
    let own = std::fs::read(run.join("checkpoints/pretrain.safetensors")).expect("weights");
    assert!(
        std::fs::read(&file).expect("the file") == own,
        "exported as they are"
    );

    lab.quickstart("run", "whole", &[]).done();
    lab.finetune_from("started", &file).done();
    let WeightsFile {
        weights: mut wrapped,
        notes,
        ..
    } = weights::read(file.as_ref()).expect("weights");
    for weight in &mut wrapped {
        weight.name = format!("module._orig_mod.{}", weight.name);
    }
    let path = lab.path("wrapped.safetensors");
    weights::write(&path, &wrapped, &notes).expect("written");
    let said = lab.finetune_from("unwrapped", &lab.text("wrapped.safetensors"));
    let note = "note: TMP/wrapped.safetensors: removed `module.` and `_orig_mod.`, added by PyTorch \
                wrappers, from the names of the weights\n";
    assert_eq!(
        lab.filtered(&said.err).matches(note).count(),
        1,
        "{}",
        said.err
    );
    said.done();
    let (without, whole) = (lab.run_folder("whole", 0), lab.run_folder("whole", 1));
    let started = only_run(&lab, "started");
    let answers = |run: &PathBuf| read(&run.join("predictions/dev-model.tsv"));
    assert_eq!(answers(&started), answers(&whole));
    assert_ne!(answers(&without), answers(&whole));
    let weights = |run: &PathBuf| {
        std::fs::read(run.join("checkpoints/finetune.safetensors")).expect("weights")
    };
    assert!(weights(&started) == weights(&whole));
    assert!(weights(&only_run(&lab, "unwrapped")) == weights(&whole));
}

/// At one point of a sweep is enough: that point would pretrain for nothing.
#[test]
fn weights_from_a_file_and_from_pretraining_exclude_each_other() {
    let lab = Lab::new();
    let says = "`finetune.init` replaces the weights that `[pretrain]` makes";
    let help = "\n  help: set `pretrain.epochs = 0`, or leave `init` out\n";
    let pretrain = "\n[pretrain]\nobjective = \"span-corruption\"\nepochs = 1\n\
                    batch_documents = 24\nlearning_rate = 1e-3\n";
    let file = lab.finetuning("both", pretrain);
    let results = lab.text("r");
    let said = lab.attnlab(&[
        "run",
        &file,
        "--results",
        &results,
        "--set",
        "finetune.init=weights.safetensors",
    ]);
    assert!(said.err.ends_with(help), "{}", said.err);
    assert_eq!(
        said.failed(3),
        format!("error: --set finetune.init: {says}")
    );

    let said = lab.quickstart("run", "r", &["--set", "finetune.init=weights.safetensors"]);
    assert!(said.err.ends_with(help), "{}", said.err);
    assert_eq!(
        said.failed(3),
        format!("error: --set finetune.init: {says}")
    );
    let written = read(QUICKSTART.as_ref()).replace("[finetune]\n", "[finetune]\ninit = \"w\"\n");
    let line = 1 + written
        .lines()
        .position(|l| l == "init = \"w\"")
        .expect("it");
    let file = lab.write("written.toml", written);
    let said = lab.attnlab(&["check", &file]);
    assert!(said.err.ends_with(help), "{}", said.err);
    assert_eq!(
        lab.filtered(&said.failed(3)),
        format!("error: TMP/written.toml:{line}:1: {says}")
    );
    assert!(!lab.path("r").exists(), "a wrong setting starts nothing");
}

#[test]
fn a_file_of_another_shape_is_refused_by_name() {
    let (lab, file) = exported();
    let WeightsFile {
        weights: mut loaded,
        notes,
        ..
    } = weights::read(file.as_ref()).expect("weights");
    let wide = loaded
        .iter_mut()
        .find(|w| w.shape == [64, 256])
        .expect("a wide weight");
    let name = wide.name.clone();
    (wide.shape, wide.values) = (vec![64, 255], vec![0.0; 64 * 255]);
    let other = lab.path("other.safetensors");
    weights::write(&other, &loaded, &notes).expect("written");
    let message = lab
        .finetune_from("r", &lab.text("other.safetensors"))
        .failed(5);
    assert_eq!(
        lab.filtered(&message),
        format!(
            "error: TMP/other.safetensors: the weights hold `{name}` of shape [64, 255], the \
             model needs [64, 256]"
        )
    );
}

#[test]
fn a_file_of_another_corpus_is_refused() {
    let (lab, file) = exported();
    let WeightsFile {
        weights: loaded,
        mut notes,
        ..
    } = weights::read(file.as_ref()).expect("weights");
    notes.insert("vocabulary".to_owned(), "\nab".to_owned());
    weights::write(&lab.path("other.safetensors"), &loaded, &notes).expect("written");
    let message = lab
        .finetune_from("r", &lab.text("other.safetensors"))
        .failed(5);
    let says = "error: TMP/other.safetensors was trained with a different vocabulary or tokenizer than the data has";
    assert_eq!(lab.filtered(&message), says);
}

#[test]
fn a_file_that_is_cut_or_something_else_is_refused_by_name() {
    let (lab, file) = exported();
    let bytes = std::fs::read(&file).expect("the file");
    for (name, bytes, says) in [
        (
            "cut",
            &bytes[..100],
            "the file is truncated: its 100 bytes end within the header",
        ),
        ("empty", &[], "the file is empty"),
        ("zeros", &[0; 4096], "not a safetensors file ("),
        ("ones", &[0xff; 4096], "not a safetensors file ("),
    ] {
        let broken = lab.write(name, bytes);
        let message = lab.filtered(&lab.finetune_from("r", &broken).failed(5));
        let start = format!("error: cannot read TMP/{name}: {says}");
        assert!(message.starts_with(&start), "{message}");
    }
    let said = lab.finetune_from("r", &lab.text("gone"));
    let message = lab.filtered(&said.failed(5));
    assert_eq!(
        message,
        "error: --set finetune.init: `finetune.init` = \"TMP/gone\" does not exist"
    );
}

#[test]
fn a_run_that_cannot_start_touches_nothing_of_the_one_before() {
    let (lab, file) = exported();
    lab.finetune_from("r", &file).done();
    let before = files_below(&lab.path("r"));
    std::fs::remove_file(&file).expect("the weights are gone");
    let message = lab.finetune_from("r", &file).failed(5);
    assert!(message.contains("pretrained.safetensors"), "{message}");
    assert_eq!(before, files_below(&lab.path("r")));
    assert!(read(&only_run(&lab, "r").join("status.json")).contains("done"));
}

/// Its settings are the same, so it is the same run, which has to run again.
#[test]
fn a_run_is_stale_when_its_weights_file_has_changed() {
    let (lab, file) = exported();
    lab.finetune_from("r", &file).done();
    let mut bytes = std::fs::read(&file).expect("the file");
    *bytes.last_mut().expect("a weight") ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let (experiment, init) = (lab.text("started.toml"), format!("finetune.init={file}"));
    let results = lab.text("r");
    let planned = lab.attnlab(&["plan", &experiment, "--results", &results, "--set", &init]);
    let planned = planned.done();
    let stale = "stale, because its weights file changed";
    assert!(planned.contains(stale), "{planned}");
}

/// Such a run has no weights of its own: its model is the file, as long as that is unchanged.
#[test]
fn a_run_that_only_evaluates_a_file_can_be_asked_scored_and_exported() {
    let (lab, file) = exported();
    let experiment = lab.finetuning("evaluated", "");
    let (results, init) = (lab.text("r"), format!("finetune.init={file}"));
    let settings = ["--set", "finetune.epochs=0", "--set", &init];
    let run = [&["run", &experiment, "--results", &results], &settings[..]].concat();
    lab.attnlab(&run).done();
    let run = only_run(&lab, "r").display().to_string();
    let pretrained = lab.run_text("pretrained", 1);
    let question = "Where was Ada Moss born?";
    let text = lab.write("lines.txt", "Ada Moss was born in London.\n");
    let ask = |run: &str| lab.attnlab(&["ask", run, question]);
    let score = |run: &str| lab.attnlab(&["score", run, "--text", &text]);
    assert_eq!(ask(&run).done(), ask(&pretrained).done());
    assert_eq!(score(&run).done(), score(&pretrained).done());
    let copy = lab.text("copy.safetensors");
    lab.attnlab(&["export", &run, &copy]).done();
    let bytes = |file: &str| std::fs::read(file).expect("weights");
    assert!(bytes(&copy) == bytes(&file), "exported as they are");

    let WeightsFile {
        mut weights, notes, ..
    } = weights::read(file.as_ref()).expect("weights");
    for weight in &mut weights {
        weight.name = format!("module.{}", weight.name);
    }
    let wrapped = lab.text("wrapped.safetensors");
    weights::write(wrapped.as_ref(), &weights, &notes).expect("written");
    let (foreign, init) = (lab.text("foreign"), format!("finetune.init={wrapped}"));
    let settings = [
        "--results",
        &foreign,
        "--set",
        "finetune.epochs=0",
        "--set",
        &init,
    ];
    lab.attnlab(&[&["run", &experiment], &settings[..]].concat())
        .done();
    let foreign = only_run(&lab, "foreign").display().to_string();
    let copy = lab.text("unwrapped.safetensors");
    let note = "note: TMP/wrapped.safetensors: removed `module.`, added by PyTorch wrappers, from the names of the weights\n";
    for said in [
        ask(&foreign),
        score(&foreign),
        lab.attnlab(&["export", &foreign, &copy]),
    ] {
        assert_eq!(lab.filtered(&said.err), note);
        said.done();
    }
    assert!(
        bytes(&copy) == bytes(&file),
        "under the names of this project"
    );

    let mut other = bytes(&file);
    *other.last_mut().expect("a weight") ^= 1;
    lab.write("pretrained.safetensors", other);
    assert_eq!(
        lab.filtered(&ask(&run).failed(5)),
        "error: TMP/pretrained.safetensors has changed since the run evaluated it"
    );
    std::fs::remove_file(&file).expect("removed");
    let said = ask(&run);
    let help = "help: the run evaluates the weights of `finetune.init`: put the file back\n";
    assert!(said.err.ends_with(help), "{}", said.err);
    let start = "error: cannot read TMP/pretrained.safetensors: ";
    assert!(lab.filtered(&said.failed(5)).starts_with(start));
}
