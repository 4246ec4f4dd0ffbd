//! Tests of the whole room: text in, experiment or problems out.
#![allow(clippy::unwrap_used)]

mod choices;
mod differences;
mod errors;
mod exploration;
mod garbage;
mod golden;
mod helps;
mod identity;
mod labels;
mod layering;
mod manual;
mod order;
mod origins;
mod random;
mod repository;
mod rules;
mod start;
mod suites;
mod sweeps;
mod syntax;

use std::path::{Path, PathBuf};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::{Experiment, load_with};
use crate::error::Result;

/// A valid experiment, to be broken by each test.
const VALID: &str = r#"seeds = [1, 2]
device = "cpu"

[data]
kind = "synthetic"
people = 40
places = 5

[model]
layers = 2
embed = 64
heads = 4
head_dim = 16
hidden = 256
vocabulary = 64
context = 64
attention = { kind = "vanilla" }

[pretrain]
objective = "span-corruption"
epochs = 3
batch_documents = 8
learning_rate = 6e-3
optimiser = { betas = [0.9, 0.95], clip_norm = 1.0 }
schedule = { form = "cosine", warmup_tokens = 100, final_tokens = 9000 }

[finetune]
epochs = 2
batch_documents = 8
learning_rate = 6e-4

[evaluate]
constant_answer = "London"
reported = { accuracy = 0.21, source = "a paper" }

[figures.bars]
kind = "accuracy-bars"
"#;

/// A folder that holds files for one test.
struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of an error, with the folder's own name taken out.
    fn error<T>(&self, result: Result<T>) -> String {
        let text = match result {
            Ok(_) => "valid".to_owned(),
            Err(error) => error.to_string(),
        };
        let folder = format!("{}/", self.folder.path().display());
        text.replace('\\', "/").replace(&folder, "")
    }
}

fn load(path: &Path) -> Result<Experiment> {
    load_with(path, &[], &[])
}

/// Loads a text as `experiments/x.toml`.
fn load_text(text: &str) -> Result<Experiment> {
    load(&Scratch::new(&[("experiments/x.toml", text)]).path("experiments/x.toml"))
}

/// The problems of a text as `experiments/x.toml`.
fn problems_of(text: &str) -> String {
    let scratch = Scratch::new(&[("experiments/x.toml", text)]);
    scratch.error(load(&scratch.path("experiments/x.toml")))
}

/// [`VALID`] with one piece of text replaced.
fn valid_with(old: &str, new: &str) -> String {
    assert_eq!(VALID.matches(old).count(), 1, "{old:?} must occur once");
    VALID.replace(old, new)
}

/// Property test on `cases` generated values; a failure is shrunk to a minimal value. The values are the
/// same each time.
#[track_caller]
fn for_all<S: Strategy>(cases: u32, values: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0),
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&values, |value| {
        test(value);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
