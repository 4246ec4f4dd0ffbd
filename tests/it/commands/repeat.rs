//! The same again: reused where it is done, and the same bits where it is not.

use std::path::Path;
use std::time::SystemTime;

use crate::lab::{Lab, column, files_below, read};

/// The bytes that a seed decides: losses, weights and answers, for both points.
fn decided(lab: &Lab, results: &str) -> Vec<Vec<u8>> {
    let mut all = vec![];
    for epochs in [0, 1] {
        let run = lab.run_folder(results, epochs);
        let losses = column(&read(&run.join("metrics.csv")), "loss_nats");
        let weights = std::fs::read(run.join("checkpoints/finetune.safetensors"));
        all.push(losses.join(" ").into_bytes());
        all.push(weights.expect("weights"));
        all.push(read(&run.join("predictions/dev-model.tsv")).into_bytes());
    }
    all
}

#[track_caller]
fn assert_same_bits(one: &[Vec<u8>], two: &[Vec<u8>]) {
    let differ: Vec<usize> = (0..6).filter(|&i| one[i] != two[i]).collect();
    assert!(
        one.len() == 6 && differ.is_empty(),
        "parts {differ:?} differ"
    );
}

fn written(path: &Path) -> SystemTime {
    let metadata = std::fs::metadata(path).expect("a file");
    metadata.modified().expect("a time")
}

#[test]
fn a_run_that_is_done_is_reused_and_again_gives_the_same_bits() {
    let lab = Lab::new();
    let first = lab.quickstart("run", "r", &[]).done();
    let (metrics, weights) = (
        lab.run_folder("r", 1).join("metrics.csv"),
        lab.run_folder("r", 1)
            .join("checkpoints/finetune.safetensors"),
    );
    let (files, bits) = (files_below(&lab.path("r")), decided(&lab, "r"));
    let times = (written(&metrics), written(&weights));

    let said = lab.quickstart("run", "r", &[]);
    assert_eq!(
        said.err
            .matches("already finished (`--again` reruns it)")
            .count(),
        2
    );
    assert!(!said.err.contains("finetune 1/1"), "{}", said.err);
    assert_eq!(said.done(), first);
    assert!(files_below(&lab.path("r")) == files, "a file has changed");
    assert_eq!((written(&metrics), written(&weights)), times);

    // As a spreadsheet saves it in a country whose decimals have commas.
    let right = read(&metrics);
    let saved = right.replace(',', ";").replace('.', ",");
    std::fs::write(&metrics, saved).expect("written");
    let message = lab.quickstart("plot", "r", &[]).failed(5);
    let says = "metrics.csv: its cells are separated by `;`, not `,`; a spreadsheet may have saved it again";
    assert!(message.ends_with(says), "{message}");
    let said = lab.quickstart("run", "r", &[]);
    let note = "metrics.csv is missing or has been changed; it is restored from the cache\n";
    assert!(said.err.contains(note), "{}", said.err);
    assert!(!said.err.contains("finetune 1/1"), "{}", said.err);
    assert_eq!(said.done(), first);
    assert_eq!(read(&metrics), right);

    let said = lab.quickstart("run", "r", &["--again"]);
    assert!(said.err.contains("finetune 1/1"), "{}", said.err);
    assert_eq!(said.done(), first);
    assert!(written(&weights) > times.1, "nothing was trained");
    assert_same_bits(&decided(&lab, "r"), &bits);
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let lab = Lab::new();
    let dropout = ["--set", "model.dropout=0.1"];
    for threads in ["1", "2"] {
        lab.quickstart_with("run", threads, &dropout, &[("RAYON_NUM_THREADS", threads)])
            .done();
    }
    assert_same_bits(&decided(&lab, "1"), &decided(&lab, "2"));
}

#[test]
fn another_seed_gives_other_weights() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &["--set", "seeds=[1, 2]"])
        .done();
    let one = lab.run_folder("r", 1);
    let two = one.with_file_name("seed-2");
    let weights = |run: &Path| std::fs::read(run.join("checkpoints/finetune.safetensors"));
    assert!(weights(&one).expect("weights") != weights(&two).expect("weights"));
    let summary = read(&lab.path("r/quickstart/summary.csv"));
    let of_both_points = ["1", "2", ""].repeat(2);
    assert_eq!(
        column(&summary, "seed"),
        of_both_points,
        "no seed changes the constant answer"
    );
}

#[test]
fn a_changed_setting_is_another_point() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let said = lab.quickstart("run", "r", &["--set", "finetune.learning_rate=2e-3"]);
    assert!(!said.err.contains("already finished"), "{}", said.err);
    said.done();
    let folders = std::fs::read_dir(lab.path("r/quickstart")).expect("a folder");
    let points = folders
        .filter(|e| e.as_ref().is_ok_and(|e| e.path().join("seed-1").is_dir()))
        .count();
    assert_eq!(points, 4);
}

/// Losses of the short quickstart with dropout, recorded on an AVX-512 processor. Other processors
/// add up in another order, hence the tolerance. What changes them further changes what stages
/// make: then raise the stage's code version in `src/pipeline/stage/mod.rs` and record them anew, so
/// that nobody's old results are taken for new ones.
#[test]
fn the_first_losses_are_those_of_the_recorded_code_version() {
    let recorded = [
        (0, &[4.547_830_581_665_039][..]),
        (
            1,
            &[
                4.492_814_064_025_879,
                3.651_863_574_981_689_5,
                3.367_903_470_993_042,
                3.117_459_535_598_755,
                3.242_181_539_535_522_5,
            ],
        ),
    ];
    let lab = Lab::new();
    lab.quickstart("run", "r", &["--set", "model.dropout=0.1"])
        .done();
    for (epochs, recorded) in recorded {
        let losses = column(
            &read(&lab.run_folder("r", epochs).join("metrics.csv")),
            "loss_nats",
        );
        let losses: Vec<f64> = losses
            .iter()
            .map(|loss| loss.parse().expect("a number"))
            .collect();
        assert_eq!(losses.len(), recorded.len());
        for (loss, recorded) in losses.iter().zip(recorded) {
            assert!(
                (loss / recorded - 1.0).abs() < 1e-4,
                "{losses:?} are not the recorded ones"
            );
        }
    }
}
