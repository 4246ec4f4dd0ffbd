//! Whatever a file says, loading it ends in an experiment or in problems.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{Scratch, VALID, for_all};
use crate::config::load_with;
use crate::config::origins::origins_with;
use crate::error::{Error, Problem};

static VALUES: [&str; 25] = [
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
    "{ integers = [1, 3] }",
    "{ choice = [1, 2] }",
    "{ draws = 2, \"model.dropout\" = { uniform = [0.0, 0.5] } }",
];

static KEYS: [&str; 19] = [
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
    "sweep.random",
    "sweep.random.draws",
    "sweep.random.\"pretrain.epochs\"",
    "sweep.\"model.layers\"",
    "model.attention",
    "pretrain.optimiser.betas",
    "figures.\"a.b\".kind",
    "\"\"",
    "device",
];

/// What kind of change, the lines concerned, and a value and a key to use.
type Change = (u8, Index, Index, &'static str, &'static str);

fn change() -> impl Strategy<Value = Change> {
    let line = any::<Index>;
    (
        0..7u8,
        line(),
        line(),
        select(&VALUES[..]),
        select(&KEYS[..]),
    )
}

/// A valid file with lines removed, swapped, added, and values exchanged.
fn mutated(changes: Vec<Change>) -> String {
    let mut lines: Vec<String> = VALID.lines().map(str::to_owned).collect();
    for (kind, at, other, value, new_key) in changes {
        let (at, other) = (at.index(lines.len()), other.index(lines.len()));
        let key = lines[at].split(" =").next().unwrap_or_default().to_owned();
        match kind {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            2..=4 => lines[at] = format!("{key} = {value}"),
            5 => lines.insert(0, format!("{new_key} = {value}")),
            _ => lines.push(format!("[sweep]\n{new_key} = [{value}, {value}]")),
        }
    }
    lines.join("\n")
}

/// Mutated files; characters that mean something to TOML, in no order; any characters.
fn file() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(change(), 1..8).prop_map(mutated),
        1 => "[ab=\\[\\]{}\"'.,#\n _0\\-é\\\\\u{0}]{0,80}",
        1 => any::<String>(),
    ]
}

/// At most one `--set`.
fn set() -> impl Strategy<Value = Vec<String>> {
    let one = (select(&KEYS[..]), select(&VALUES[..]));
    vec(one.prop_map(|(key, value)| format!("{key}={value}")), 0..2)
}

#[test]
fn garbage_never_panics_and_every_problem_has_a_place_and_a_text() {
    let scratch = Scratch::new(&[]);
    let path = scratch.path("x.toml");
    let (valid, read) = (Cell::new(0), Cell::new(0));
    for_all(1500, (file(), set()), |(text, set)| {
        std::fs::write(&path, &text).unwrap();
        match load_with(&path, &set, &[]) {
            Ok(experiment) => {
                valid.set(valid.get() + 1);
                assert!(!experiment.points.is_empty());
                let origins = origins_with(&path, &set, &[]).unwrap();
                assert_eq!(origins.experiment, experiment);
            }
            Err(Error::Problems(problems)) => {
                assert!(!problems.is_empty(), "refused without a problem");
                let is_toml = !problems[0].message.contains("not TOML");
                read.set(read.get() + usize::from(is_toml));
                problems.iter().for_each(assert_is_for_users);
            }
            Err(other) => panic!("{other}"),
        }
    });
    let (valid, read) = (valid.get(), read.get());
    assert!(
        valid > 5 && read > 300,
        "{valid} valid and {read} readable files are too few to mean much"
    );
}

/// A place, one line of text, and no word of serde or Rust.
fn assert_is_for_users(problem: &Problem) {
    assert!(
        !problem.place.is_empty() && !problem.message.is_empty(),
        "{problem}"
    );
    assert!(!problem.message.contains('\n'), "{problem}");
    for internal in [
        "struct ",
        "variant ",
        "default.",
        "invalid type",
        "``",
        "usize",
    ] {
        assert!(!problem.message.contains(internal), "{problem}");
    }
}
