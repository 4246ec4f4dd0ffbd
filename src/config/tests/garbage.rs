//! Whatever a file says, loading it ends in an experiment or in problems.

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Scratch, VALID};
use crate::config::load_with;
use crate::error::Error;

const VALUES: [&str; 22] = [
    "0",
    "1",
    "-1",
    "3.5",
    "nan",
    "-inf",
    "9223372036854775807",
    "\"\"",
    "\"vanilla\"",
    "\"x\"",
    "true",
    "[]",
    "[1]",
    "[[1], {}]",
    "{}",
    "{ kind = \"vanilla\" }",
    "{ kind = 0 }",
    "[0.9, 0.95, 1, 2]",
    "2020-01-01",
    "[{ \"model.layers\" = 1 }]",
    "\"\\u0000\"",
    "{ a.b.c = 1 }",
];

const KEYS: [&str; 16] = [
    "base",
    "seeds",
    "figures",
    "sweep",
    "data",
    "model",
    "pretrain",
    "evaluate",
    "figures.a",
    "sweep._",
    "sweep.\"model.layers\"",
    "model.attention",
    "pretrain.optimiser.betas",
    "figures.\"a.b\".kind",
    "\"\"",
    "device",
];

/// A valid file with lines removed, doubled, swapped, and values and keys exchanged.
fn mutated(random: &mut ChaCha8Rng) -> String {
    let mut lines: Vec<String> = VALID.lines().map(str::to_owned).collect();
    for _ in 0..random.gen_range(1..8) {
        let (at, other) = (
            random.gen_range(0..lines.len()),
            random.gen_range(0..lines.len()),
        );
        let value = VALUES.choose(random).unwrap();
        let key = lines[at].split(" =").next().unwrap_or_default().to_owned();
        match random.gen_range(0..7) {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            2..=4 => lines[at] = format!("{key} = {value}"),
            5 => lines.insert(0, format!("{} = {value}", KEYS.choose(random).unwrap())),
            _ => lines.push(format!(
                "[sweep]\n{} = [{value}, {value}]",
                KEYS.choose(random).unwrap()
            )),
        }
    }
    lines.join("\n")
}

/// Characters that mean something to TOML, in no order.
fn noise(random: &mut ChaCha8Rng) -> String {
    let letters: Vec<char> = "ab=[]{}\"'.,#\n\n _0-é\\\u{0}".chars().collect();
    (0..random.gen_range(0..80))
        .map(|_| *letters.choose(random).unwrap())
        .collect()
}

#[test]
fn garbage_never_panics_and_every_problem_has_a_place_and_a_text() {
    let scratch = Scratch::new(&[]);
    let path = scratch.path("x.toml");
    let (mut valid, mut read) = (0, 0);
    for seed in 0..1500 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let text = if seed % 5 == 0 {
            noise(&mut random)
        } else {
            mutated(&mut random)
        };
        std::fs::write(&path, &text).unwrap();
        let set = [format!(
            "{}={}",
            KEYS.choose(&mut random).unwrap(),
            VALUES.choose(&mut random).unwrap()
        )];
        let set = if seed % 3 == 0 { &set[..] } else { &[] };
        match load_with(&path, set, &[]) {
            Ok(experiment) => {
                valid += 1;
                assert!(!experiment.points.is_empty(), "seed {seed}");
            }
            Err(Error::Problems(problems)) => {
                assert!(!problems.is_empty(), "seed {seed}: no problem\n{text}");
                read += usize::from(!problems[0].message.contains("not TOML"));
                for problem in &problems {
                    assert!(
                        !problem.place.is_empty() && !problem.message.is_empty(),
                        "seed {seed}\n{text}"
                    );
                    assert!(
                        !problem.message.contains('\n'),
                        "seed {seed}: {problem}\n{text}"
                    );
                    let internal = [
                        "struct ",
                        "variant ",
                        "default.",
                        "invalid type",
                        "``",
                        "usize",
                    ];
                    let leaks = internal.iter().any(|word| problem.message.contains(word));
                    assert!(!leaks, "seed {seed}: {problem}\n{text}");
                }
            }
            Err(other) => panic!("seed {seed}: {other}\n{text}"),
        }
    }
    assert!(
        valid > 5 && read > 300,
        "{valid} valid and {read} readable files are too few to mean much"
    );
}
