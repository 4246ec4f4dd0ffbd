//! The repository's own files are the fixture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::value::Value;

use crate::config::schema::KindOfAttention;
use crate::config::shape::{ModelShape, QUICKSTART};
use crate::config::{json_schema, layers, load_with};
use crate::kinds::{Listed as _, Named};

fn experiments() -> PathBuf {
    crate::sources().join("experiments")
}

/// Every runnable experiment; an empty walk is a failure, not a success.
fn files() -> Vec<PathBuf> {
    let mut files = layers::toml_files(&experiments()).unwrap();
    files.retain(|file| !layers::is_base(file) && !crate::config::is_suite(file));
    assert!(
        files.len() >= 4,
        "the walk found only {} files",
        files.len()
    );
    files
}

#[test]
fn every_experiment_is_valid() {
    for file in files() {
        let experiment = load_with(&file, &[], &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            !experiment.figures.is_empty(),
            "{} draws nothing",
            file.display()
        );
    }
    crate::config::check(&[experiments()]).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_experiment_opens_with_its_question_expectation_command_and_run_time() {
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let comment: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        let name = load_with(&file, &[], &[]).unwrap().name;
        let command = format!("attnlab run experiments/{name}.toml");
        assert!(
            comment[0].contains('?') || comment[1].contains('?'),
            "{name} asks nothing"
        );
        for wanted in ["# Expected: ", &command, "# Run time: "] {
            assert!(
                comment.iter().any(|line| line.contains(wanted)),
                "{name} lacks {wanted:?}"
            );
        }
    }
}

#[test]
fn every_program_has_the_shape_of_the_quickstart() {
    let experiment = load_with(&experiments().join("quickstart.toml"), &[], &[]).unwrap();
    let shapes: Vec<ModelShape> = experiment
        .trainings()
        .map(|one| one.model.shape())
        .collect();
    assert!(!shapes.is_empty() && shapes.iter().all(|shape| *shape == QUICKSTART));
}

#[test]
fn kinds_of_attention_are_read_by_their_names() {
    let value = |name: &str| Value::from(name);
    let Err(error) = value("no such kind").deserialize::<Named<KindOfAttention>>() else {
        panic!("a kind that cannot be was read");
    };
    let Kind::UnknownVariant(_, kinds) = error.kind else {
        panic!("{error}");
    };
    assert_eq!(kinds, KindOfAttention::names());
    assert!(kinds.is_sorted());
    for name in KindOfAttention::names() {
        let read: Named<KindOfAttention> = value(name).deserialize().unwrap();
        assert_eq!(read.0.name, name);
    }
}

#[test]
fn only_files_below_a_base_folder_are_for_others() {
    let base = |path: &str| layers::is_base(Path::new(path));
    assert!(
        base("experiments/base/a.toml")
            && base("experiments/x/base/y/a.toml")
            && base("base/a.toml")
    );
    assert!(!base("experiments/a.toml") && !base("base/lab/experiments/a.toml") && !base("a.toml"));
    assert!(!base("experiments/base.toml") && !base("base/lab/a.toml"));
}

/// The names of all keys, whatever their table.
fn schema_fields() -> BTreeSet<String> {
    fn collect(schema: &serde_json::Value, names: &mut BTreeSet<String>) {
        let keys = schema["properties"].as_object().into_iter().flatten();
        for (name, schema) in keys {
            names.insert(name.clone());
            collect(schema, names);
        }
        if schema["additionalProperties"].is_object() {
            collect(&schema["additionalProperties"], names);
        }
    }
    let mut tree = json_schema::tree().clone();
    // How an axis is spelled is shown by examples.
    tree["properties"]["sweep"].take();
    let mut names = BTreeSet::new();
    collect(&tree, &mut names);
    names
}

#[test]
fn the_readme_of_the_experiments_names_every_key() {
    let fields = schema_fields();
    assert!(
        fields.len() >= 40,
        "only {} fields found in the schema",
        fields.len()
    );
    let readme = std::fs::read_to_string(experiments().join("README.md")).unwrap();
    let unnamed: Vec<&String> = fields
        .iter()
        .filter(|field| !readme.contains(&format!("`{field}`")))
        .collect();
    assert!(
        unnamed.is_empty(),
        "experiments/README.md does not explain {unnamed:?}"
    );
}

#[test]
fn the_readme_of_the_experiments_invents_no_key() {
    let fields = schema_fields();
    let readme = std::fs::read_to_string(experiments().join("README.md")).unwrap();
    for row in readme.lines().filter(|line| line.starts_with("| `")) {
        let key = row.split('`').nth(1).unwrap_or_default();
        let known = fields.contains(key) || key == "sweep";
        assert!(
            known,
            "experiments/README.md explains `{key}`, which the schema does not have"
        );
    }
}

#[test]
fn a_shape_is_read_as_it_is_written() {
    let written = QUICKSTART.to_string();
    assert_eq!(written.parse(), Ok(QUICKSTART));
    for other in [
        "",
        "embed=64",
        "embed=64 hidden=256 vocabulary=64 context=0",
        &written.replace("=", " "),
    ] {
        let refused = other.parse::<ModelShape>().expect_err("not a shape");
        assert!(refused.contains(&written), "{refused}");
    }
    assert!(format!("{written} layers=2").parse::<ModelShape>().is_err());
}
