//! What stops a run, and what stays of it.

use crate::lab::{Lab, QUICKSTART, column, files_below, read};

const DIVERGING: [&str; 4] = [
    "--set",
    "pretrain.learning_rate=1e30",
    "--set",
    "pretrain.optimiser.clip_norm=0",
];

#[cfg(not(feature = "cuda"))]
#[test]
fn a_binary_without_cuda_says_so_before_anything_is_done() {
    let lab = Lab::new();
    let folder = lab.text("r");
    for command in [
        &["run", QUICKSTART, "--results", &folder][..],
        &["bench", QUICKSTART],
    ] {
        let said = lab.attnlab(&[command, &["--device", "cuda"]].concat());
        let help = "rebuild with `--features cuda`, or set `device = \"cpu\"`";
        assert!(said.err.contains(help), "{}", said.err);
        assert_eq!(
            said.failed(3),
            "error: `device` is \"cuda\", but this program was built without CUDA"
        );
    }
    assert!(!lab.path("r/quickstart").exists());
}

/// `MATMUL_KERNEL` simulates a processor without AVX512_BF16.
#[test]
fn bf16_on_an_unsupported_cpu_fails_before_anything_is_done() {
    let lab = Lab::new();
    let folder = lab.text("r");
    let asked = [
        "run",
        QUICKSTART,
        "--results",
        &folder,
        "--precision",
        "bf16",
    ];
    let said = lab.attnlab_with(&asked, &[("MATMUL_KERNEL", "avx2")]);
    let help = "use AMD Zen 4, Intel Sapphire Rapids or later, a GPU, or `precision = \"f32\"`";
    assert!(said.err.contains(help), "{}", said.err);
    assert_eq!(
        said.failed(3),
        "error: `precision` is \"bf16\", but MATMUL_KERNEL is avx2"
    );
    assert!(!lab.path("r/quickstart").exists());
}

#[test]
fn a_run_that_diverges_keeps_what_was_before_the_step() {
    let lab = Lab::new();
    let said = lab.quickstart("run", "r", &DIVERGING);
    let help = "\n  help: lower `pretrain.learning_rate`, or clip with \
                `pretrain.optimiser.clip_norm = 1.0`\n";
    assert!(said.err.ends_with(help), "{}", said.err);
    let kept = "/metrics.csv (1 row of pretrain), ";
    assert!(said.err.contains(kept), "{}", said.err);
    let message = said.failed(1);
    assert!(
        message.starts_with("error: pretrain stopped at step 2: loss_nats is "),
        "{message}"
    );

    let run = lab.run_folder("r", 1);
    let metrics = read(&run.join("metrics.csv"));
    assert_eq!(column(&metrics, "step"), ["1"]);
    let kept = run.join("checkpoints/pretrain-before-step-2.safetensors");
    let attnlab::model::weights::WeightsFile { weights, .. } =
        attnlab::model::weights::read(&kept).expect("weights");
    assert!(
        weights
            .iter()
            .flat_map(|w| &w.values)
            .all(|v| v.is_finite())
    );
    assert!(!run.join("checkpoints/pretrain.safetensors").exists());
    let status: serde_json::Value =
        serde_json::from_str(&read(&run.join("status.json"))).expect("JSON");
    assert_eq!(status["state"], "failed");
    let reason = status["reason"].as_str().expect("a reason");
    let start = "pretrain stopped at step 2: loss_nats is ";
    assert!(reason.starts_with(start), "{reason}");
    assert!(!reason.contains("help: "), "{reason}");

    // The point before it is done and stays; what failed is tried again.
    assert!(read(&lab.run_folder("r", 0).join("status.json")).contains("\"done\""));
    let said = lab.quickstart("run", "r", &DIVERGING);
    assert_eq!(
        said.err.matches("already finished").count(),
        1,
        "{}",
        said.err
    );
    said.failed(1);
    let ask = lab
        .attnlab(&["ask", &lab.run_text("r", 1), "Where?"])
        .failed(2);
    assert!(ask.ends_with(" holds no weights"), "{ask}");
}

/// Where the norm is clipped, clipping is no way out.
#[test]
fn a_run_that_diverges_although_it_clips_is_told_to_go_slower() {
    let lab = Lab::new();
    let said = lab.quickstart("run", "r", &["--set", "pretrain.learning_rate=1e30"]);
    let help = "\n  help: lower `pretrain.learning_rate`\n";
    assert!(said.err.ends_with(help), "{}", said.err);
    said.failed(1);
}

#[test]
fn results_that_are_a_file_stop_the_run() {
    let lab = Lab::new();
    lab.write("r", "a file");
    let message = lab.filtered(&lab.quickstart("run", "r", &[]).failed(1));
    assert!(
        message.starts_with("error: cannot write TMP/r/quickstart/"),
        "{message}"
    );
    assert_eq!(read(&lab.path("r")), "a file");
}

#[cfg(unix)]
#[test]
fn results_that_are_read_only_stop_the_run() {
    use std::os::unix::fs::PermissionsExt as _;

    let lab = Lab::new();
    let folder = lab.path("r");
    std::fs::create_dir(&folder).expect("a folder");
    let set = |mode| {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("set")
    };
    set(0o555);
    let closed = std::fs::write(folder.join("probe"), "").is_err();
    if closed {
        let message = lab.filtered(&lab.quickstart("run", "r", &[]).failed(1));
        assert!(
            message.starts_with("error: cannot write TMP/r/quickstart/"),
            "{message}"
        );
    } else {
        eprintln!("skipped: this user may write everywhere");
    }
    set(0o755);
    assert!(!closed || files_below(&folder).is_empty());
}

#[test]
fn an_experiment_that_is_not_there_is_a_configuration_error() {
    let lab = Lab::new();
    let gone = lab.text("gone.toml");
    for command in [
        vec!["run"],
        vec!["check"],
        vec!["plot"],
        vec!["data", "show"],
    ] {
        let message = lab
            .attnlab(&[command.clone(), vec![&gone]].concat())
            .failed(3);
        assert!(
            lab.filtered(&message).contains("TMP/gone.toml"),
            "{command:?}: {message}"
        );
    }
}

#[test]
fn a_setting_that_is_wrong_is_named_with_its_source() {
    let lab = Lab::new();
    let results = lab.text("r");
    let run = |set: &str| {
        lab.attnlab(&["run", QUICKSTART, "--results", &results, "--set", set])
            .failed(3)
    };
    let message = run("pretrain.epochs=3");
    assert!(
        message.contains("the sweep of the file sets `pretrain.epochs`"),
        "{message}"
    );
    assert!(run("finetune.epoch=3").contains("--set finetune.epoch: unknown key"));
    assert!(run("no_value").contains("this is not KEY=VALUE"));
    let message = run("model.embed=72");
    assert!(message.contains("72"), "{message}");

    let variables = [("ATTNLAB_FINETUNE__EPOCHS", "many")];
    let said = lab.attnlab_with(&["run", QUICKSTART, "--results", &results], &variables);
    let message = said.failed(3);
    assert!(
        message.contains("environment ATTNLAB_FINETUNE__EPOCHS: "),
        "{message}"
    );
    assert!(!lab.path("r").exists(), "a wrong setting starts nothing");
}

#[test]
fn a_run_folder_with_damaged_weights_is_refused() {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let weights = lab
        .run_folder("r", 1)
        .join("checkpoints/finetune.safetensors");
    std::fs::write(&weights, "gone").expect("written");
    let message = lab
        .attnlab(&["ask", &lab.run_text("r", 1), "Where?"])
        .failed(5);
    assert!(
        message.contains("finetune.safetensors: not a safetensors file"),
        "{message}"
    );
}
