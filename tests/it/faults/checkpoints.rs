//! Damaged and foreign checkpoints are refused by name, and the one before is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::tree::{assert_same_tree, tree};
use crate::lab::{Lab, Said, files_below};

/// One point that pretrains for 32 steps with a checkpoint after every second.
const PRETRAINING: [&str; 8] = [
    "--set",
    "sweep.pretrain.epochs=[8]",
    "--set",
    "labels=[]",
    "--set",
    "pretrain.checkpoint_steps=2",
    "--set",
    "model.dropout=0.1",
];

/// Kills the run once it has so many checkpoints behind it; then its checkpoints, oldest first.
fn killed_in_the_middle(lab: &Lab, results: &str, more: &[&str]) -> Vec<PathBuf> {
    let mut program = lab.quickstart_program("run", results, &[&PRETRAINING, more].concat());
    let mut child = program
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let started = Instant::now();
    while checkpoints(&lab.path(results))
        .last()
        .is_none_or(|last| name(last) < "step-00000012")
    {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended too early"
        );
        assert!(started.elapsed() < Duration::from_secs(60), "it hangs");
        std::thread::sleep(Duration::from_micros(300));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    let found = checkpoints(&lab.path(results));
    assert!(found.len() >= 2, "{found:?}");
    found
}

fn checkpoints(results: &Path) -> Vec<PathBuf> {
    let stages = std::fs::read_dir(results.join(".cache/pretrain"))
        .into_iter()
        .flatten()
        .flatten();
    let files = stages.flat_map(|stage| {
        std::fs::read_dir(stage.path().join("checkpoints"))
            .into_iter()
            .flatten()
            .flatten()
    });
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| name(path).starts_with("step-"))
        .collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
}

fn step(path: &Path) -> usize {
    let digits = name(path)
        .trim_start_matches("step-")
        .trim_end_matches(".safetensors");
    digits.parse().expect("a step")
}

fn copy(from: &BTreeMap<String, Vec<u8>>, to: &Path) {
    for (name, bytes) in from {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().expect("below it")).expect("a folder");
        std::fs::write(path, bytes).expect("written");
    }
}

fn go_on(lab: &Lab, results: &str) -> Said {
    lab.quickstart("run", results, &PRETRAINING)
}

#[test]
fn a_checkpoint_that_is_damaged_anywhere_is_refused_and_the_one_before_is_used() {
    let lab = Lab::new();
    lab.quickstart("run", "whole", &PRETRAINING).done();
    let whole = tree(&lab.path("whole"));
    let kept = killed_in_the_middle(&lab, "killed", &[]);
    let killed = files_below(&lab.path("killed"));
    let below = |path: &PathBuf| {
        path.strip_prefix(lab.path("killed"))
            .expect("below")
            .to_owned()
    };
    let (last, before) = (kept[kept.len() - 1].clone(), kept[kept.len() - 2].clone());
    let good = std::fs::read(&last).expect("a checkpoint");
    let older = std::fs::read(&before).expect("a checkpoint");
    let other = killed_in_the_middle(&lab, "other", &["--set", "model.dropout=0.2"]);
    let other = other
        .iter()
        .find(|path| name(path) == name(&last))
        .or(other.last())
        .expect("one");
    let foreign = std::fs::read(other).expect("a checkpoint");

    let header = 8 + u64::from_le_bytes(good[..8].try_into().expect("eight")) as usize;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = "the checkpoint is damaged (its BLAKE3 checksum does not match)";
    let (of_older, found) = (step(&before), step(&last));
    let swapped = format!("it is that of step {of_older}, not of step {found}");
    let classes: Vec<(&str, Vec<u8>, &str)> = vec![
        ("the header's length", flipped(3), damaged),
        ("the header", flipped(header / 2), damaged),
        ("the first tensor", flipped(header), damaged),
        (
            "a tensor in the middle",
            flipped((header + good.len()) / 2),
            damaged,
        ),
        ("the last byte", flipped(good.len() - 1), damaged),
        ("a cut in the header", good[..header / 2].to_vec(), damaged),
        (
            "a cut in the tensors",
            good[..good.len() / 2].to_vec(),
            damaged,
        ),
        (
            "a cut of the last byte",
            good[..good.len() - 1].to_vec(),
            damaged,
        ),
        ("a tail too long", [&good[..], b"\n"].concat(), damaged),
        ("nothing in it", vec![], "the file is empty"),
        ("zeros", vec![0; good.len()], damaged),
        ("the one before under its name", older, &swapped),
        (
            "one of another stage",
            foreign,
            "it belongs to another stage",
        ),
    ];
    for (class, bytes, why) in classes {
        let folder = lab.path("trial");
        let _ = std::fs::remove_dir_all(&folder);
        copy(&killed, &folder);
        let path = folder.join(below(&last));
        std::fs::write(&path, bytes).expect("written");
        let said = go_on(&lab, "trial");
        let refused = said.err.lines().find(|line| line.contains(" is refused: "));
        let refused = refused.unwrap_or_else(|| panic!("{class}: {}", said.err));
        assert!(
            refused.contains(&format!("the checkpoint {} is refused: ", path.display())),
            "{refused}"
        );
        assert!(refused.contains(why), "{class}: {refused}");
        let on = format!("pretrain resumes after step {of_older}\n");
        assert!(said.err.contains(&on), "{class}: {}", said.err);
        said.done();
        assert_same_tree(&whole, &folder, class);
    }

    // Where none can be used, it begins anew.
    let folder = lab.path("trial");
    let _ = std::fs::remove_dir_all(&folder);
    copy(&killed, &folder);
    for path in checkpoints(&folder) {
        std::fs::write(path, "nothing of use").expect("written");
    }
    let said = go_on(&lab, "trial");
    assert_eq!(
        said.err.matches(" is refused: ").count(),
        kept.len(),
        "{}",
        said.err
    );
    assert!(!said.err.contains("resumes after"), "{}", said.err);
    said.done();
    assert_same_tree(&whole, &folder, "none can be used");
}

/// Rows past the checkpoint are dropped, a row that was cut as well; a table that lost rows which
/// the checkpoint counts on makes it useless.
#[test]
fn tables_are_brought_back_to_the_checkpoint() {
    let lab = Lab::new();
    lab.quickstart("run", "whole", &PRETRAINING).done();
    let whole = tree(&lab.path("whole"));
    let kept = killed_in_the_middle(&lab, "killed", &[]);
    let killed = files_below(&lab.path("killed"));
    let stage = kept[0].ancestors().nth(2).expect("a stage").to_owned();
    let table = |name: &str| {
        let path = stage.join(name);
        path.strip_prefix(lab.path("killed"))
            .expect("below")
            .display()
            .to_string()
    };
    let (metrics, timings) = (table("metrics.csv"), table("timings.csv"));
    let last = step(&kept[kept.len() - 1]);
    let lines = |text: &[u8], n: usize| -> Vec<u8> {
        text.split_inclusive(|&byte| byte == b'\n')
            .take(n)
            .flatten()
            .copied()
            .collect()
    };
    let long = |name: &str| [&killed[name][..], b"pretrain,1,2,3\npretr"].concat();
    // The header and a row for each step but the last.
    let short = |name: &str| lines(&killed[name], last);
    let edited =
        String::from_utf8_lossy(&killed[&metrics]).replacen("pretrain,1,1,", "pretrain,1,9,", 1);
    let (goes_on, refused) = (true, false);
    for (story, name, bytes, expected) in [
        ("rows too many", &metrics, long(&metrics), goes_on),
        ("times too many", &timings, long(&timings), goes_on),
        ("a row too few", &metrics, short(&metrics), refused),
        ("a time too few", &timings, short(&timings), refused),
        ("another number", &metrics, edited.into_bytes(), refused),
    ] {
        let folder = lab.path("trial");
        let _ = std::fs::remove_dir_all(&folder);
        copy(&killed, &folder);
        std::fs::write(folder.join(name), bytes).expect("written");
        let said = go_on(&lab, "trial");
        let on = said.err.contains(&format!("resumes after step {last}\n"));
        assert_eq!(on, expected, "{story}: {}", said.err);
        said.done();
        assert_same_tree(&whole, &folder, story);
    }
}
