//! A run killed at any moment resumes and ends with the same bytes as an uninterrupted one.
//!
//! Each trial starts the program on an empty folder, waits until it has reached a certain point,
//! kills it (SIGKILL) a random moment later, starts it again until it is done, and compares the
//! folder byte by byte with that of an uninterrupted run. `ATTNLAB_TEST_KILLS=200` makes the
//! campaign long; `scripts/fault_campaign.sh` does.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::tree::{assert_same_tree, tree};
use crate::lab::{Lab, files_below};

/// Kills of the short form.
const KILLS: usize = 15;

/// Longer than any run here takes: then something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stages long enough to be hit, with a checkpoint at every second step; one point pretrains, the
/// other does not.
const LONGER: [&str; 10] = [
    "--set",
    "sweep.pretrain.epochs=[0,8]",
    "--set",
    "pretrain.checkpoint_steps=2",
    "--set",
    "finetune.epochs=12",
    "--set",
    "finetune.checkpoint_steps=2",
    "--set",
    "model.dropout=0.1",
];

/// How far a run is, as its folder shows it.
const MILESTONES: [&str; 5] = [
    "before its first stage",
    "in pretraining",
    "in finetuning",
    "in evaluation",
    "in drawing",
];

/// The milestone that a folder of results has reached, up to 5: everything is there.
fn milestone(results: &Path) -> usize {
    let exists = |stage: &str, file: &str, at_least: usize| {
        let folders = std::fs::read_dir(results.join(".cache").join(stage))
            .into_iter()
            .flatten();
        folders
            .flatten()
            .filter(|folder| folder.path().join(file).is_file())
            .count()
            >= at_least
    };
    let last_figure = results.join("quickstart/figures/pretraining.csv");
    let reached = [
        exists("pretrain", "stage.json", 1),
        exists("pretrain", "done.json", 1),
        exists("finetune", "done.json", 2),
        exists("evaluate", "done.json", 2),
        last_figure.is_file(),
    ];
    reached
        .iter()
        .rposition(|&reached| reached)
        .map_or(0, |last| last + 1)
}

fn start(lab: &Lab, results: &str) -> Child {
    let mut program = lab.quickstart_program("run", results, &LONGER);
    program.stdout(Stdio::null()).stderr(Stdio::null());
    program.spawn().expect("the program starts")
}

/// Waits until the run has reached a milestone or has ended; whether it is still alive.
fn wait_for(child: &mut Child, results: &Path, wanted: usize) -> bool {
    let started = Instant::now();
    loop {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        if milestone(results) >= wanted {
            return true;
        }
        assert!(started.elapsed() < PATIENCE, "it hangs");
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// An uninterrupted run: its tree, and how long each phase takes.
fn reference(lab: &Lab) -> (BTreeMap<String, Vec<u8>>, Vec<Duration>) {
    let folder = lab.path("whole");
    let mut child = start(lab, "whole");
    let mut at = Instant::now();
    let mut phases = vec![];
    for next in 1..=MILESTONES.len() {
        wait_for(&mut child, &folder, next);
        phases.push(at.elapsed());
        at = Instant::now();
    }
    assert!(child.wait().expect("a child").success());
    (tree(&folder), phases)
}

#[test]
fn a_killed_run_resumes_and_ends_with_the_same_bytes() {
    let kills = std::env::var("ATTNLAB_TEST_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let lab = Lab::new();
    let (whole, phases) = reference(&lab);
    assert!(whole.len() > 30, "{} files", whole.len());

    let mut random = ChaCha8Rng::seed_from_u64(kills as u64);
    let (mut hit, mut while_writing, mut too_late) = ([0; MILESTONES.len()], 0, 0);
    let mut done = 0;
    while done < kills {
        let folder = lab.path("trial");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("removed");
        }
        // Two thirds of the runs are killed a second time, after they were started again.
        let mut story = String::new();
        for _ in 0..random.gen_range(1..=3).min(2) {
            let wanted = random.gen_range(0..MILESTONES.len());
            let mut child = start(&lab, "trial");
            let alive = wait_for(&mut child, &folder, wanted);
            std::thread::sleep(phases[wanted].mul_f64(random.gen_range(0.0..1.0)));
            child.kill().expect("a child");
            let ended = child.wait().expect("a child").code().is_some();
            if ended || !alive {
                too_late += 1;
                continue;
            }
            done += 1;
            let reached = milestone(&folder).min(MILESTONES.len() - 1);
            hit[reached] += 1;
            story = format!("{story}killed {}; ", MILESTONES[reached]);
            let files = if folder.exists() {
                files_below(&folder)
            } else {
                BTreeMap::new()
            };
            while_writing += usize::from(files.keys().any(|name| name.contains("/.writing-")));
        }
        let ended = start(&lab, "trial").wait().expect("a child");
        assert!(ended.success(), "{story}then {ended}");
        assert_same_tree(&whole, &folder, &story);
    }
    for (phase, hit) in MILESTONES.iter().zip(hit) {
        eprintln!("{hit:4} kills {phase}");
    }
    eprintln!("{while_writing:4} of them while a file was being written");
    eprintln!("{too_late:4} more came after the end of the run and are not counted");
    eprintln!(
        "{done} kills, each followed by a run to the end: every tree the same as uninterrupted"
    );
}
