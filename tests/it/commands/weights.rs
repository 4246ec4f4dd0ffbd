//! `export`, and starting from an exported file.

use attnlab::model::weights;

use crate::lab::{Lab, Said, read};

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

fn finetune_from(lab: &Lab, results: &str, file: &str) -> Said {
    let init = format!("finetune.init={file}");
    lab.quickstart("run", results, &["--set", &init])
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
    finetune_from(&lab, "started", &file).done();
    let answers = |results, epochs| {
        read(
            &lab.run_folder(results, epochs)
                .join("predictions/dev-model.tsv"),
        )
    };
    assert_eq!(answers("started", 0), answers("whole", 1));
    assert_ne!(answers("whole", 0), answers("whole", 1));
    let weights = |results, epochs| {
        std::fs::read(
            lab.run_folder(results, epochs)
                .join("checkpoints/finetune.safetensors"),
        )
        .expect("weights")
    };
    assert!(weights("started", 0) == weights("whole", 1));
}

#[test]
fn a_file_of_another_shape_is_refused_by_name() {
    let (lab, file) = exported();
    let (mut loaded, notes) = weights::read(file.as_ref()).expect("weights");
    let wide = loaded
        .iter_mut()
        .find(|w| w.shape == [64, 256])
        .expect("a wide weight");
    let name = wide.name.clone();
    (wide.shape, wide.values) = (vec![64, 255], vec![0.0; 64 * 255]);
    let other = lab.path("other.safetensors");
    weights::write(&other, &loaded, &notes).expect("written");
    let message = finetune_from(&lab, "r", &lab.text("other.safetensors")).failed(5);
    for part in [&name, "[64, 255]", "[64, 256]", "other.safetensors"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn a_file_of_another_corpus_is_refused() {
    let (lab, file) = exported();
    let (loaded, mut notes) = weights::read(file.as_ref()).expect("weights");
    notes.insert("vocabulary".to_owned(), "\nab".to_owned());
    weights::write(&lab.path("other.safetensors"), &loaded, &notes).expect("written");
    let message = finetune_from(&lab, "r", &lab.text("other.safetensors")).failed(5);
    let says = "error: TMP/other.safetensors was trained with other characters than the data has";
    assert_eq!(lab.filtered(&message), says);
}

#[test]
fn a_file_that_is_cut_or_something_else_is_refused_by_name() {
    let (lab, file) = exported();
    let bytes = std::fs::read(&file).expect("the file");
    for (name, bytes) in [
        ("cut-in-the-weights", &bytes[..bytes.len() - 1]),
        ("cut-in-the-header", &bytes[..100]),
        ("empty", &[]),
        ("text", b"this is no file of weights at all\n".as_slice()),
        ("zeros", &[0; 4096]),
        ("ones", &[0xff; 4096]),
    ] {
        let broken = lab.write(name, bytes);
        let message = lab.filtered(&finetune_from(&lab, "r", &broken).failed(5));
        let start = format!("error: cannot read TMP/{name}: not a safetensors file (");
        assert!(message.starts_with(&start), "{message}");
    }
    let said = finetune_from(&lab, "r", &lab.text("gone"));
    let code = said.code;
    let message = lab.filtered(&said.failed(code));
    assert!(code == 5 || code == 3, "exit {code}: {message}");
    assert!(message.contains("TMP/gone"), "{message}");
}
