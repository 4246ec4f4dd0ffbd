//! What two points differ in.

use super::{VALID, load_text, valid_with};
use crate::config::{Difference, differences};

/// `key: a | b` of the valid experiment and of another; absent is `-`.
fn between(a: &str, b: &str) -> Vec<String> {
    let settings = |text: &str| {
        load_text(text).unwrap().points[0]
            .settings
            .training()
            .unwrap()
            .clone()
    };
    let value = |value: Option<serde_json::Value>| value.map_or("-".into(), |v| v.to_string());
    let line = |Difference { key, a, b }| format!("{key}: {} | {}", value(a), value(b));
    differences(&settings(a), &settings(b))
        .into_iter()
        .map(line)
        .collect()
}

#[test]
fn the_same_settings_differ_in_nothing_whatever_their_seeds_and_spelling() {
    let other = valid_with("seeds = [1, 2]", "seeds = [7]");
    assert_eq!(between(VALID, &other), [""; 0]);
    let other = valid_with("learning_rate = 6e-3", "learning_rate = 0.006");
    assert_eq!(between(VALID, &other), [""; 0]);
}

#[test]
fn each_key_has_both_values_with_defaults_spelled_out() {
    let other = valid_with("learning_rate = 6e-3", "learning_rate = 1e-3")
        .replace("context = 64", "context = 64\ndropout = 0.5")
        .replace("betas = [0.9, 0.95]", "betas = [0.9, 0.99]")
        .replace("\"London\"", "\"Lima\"");
    assert_eq!(
        between(VALID, &other),
        [
            "evaluate.constant_answer: \"London\" | \"Lima\"",
            "model.dropout: 0.1 | 0.5",
            "pretrain.learning_rate: 0.006 | 0.001",
            "pretrain.optimiser.betas: [0.9,0.95] | [0.9,0.99]",
        ]
    );
}

#[test]
fn a_key_or_table_that_one_does_not_have_is_absent_there() {
    let other = valid_with("places = 5\n", "");
    assert_eq!(between(VALID, &other), ["data.places: 5 | -"]);
    let (start, rest) = VALID.split_once("[finetune]").unwrap();
    let (_, end) = rest.split_once("[evaluate]").unwrap();
    let lines = between(VALID, &format!("{start}[evaluate]{end}"));
    assert!(
        lines.contains(&"finetune.epochs: 2 | -".to_owned()),
        "{lines:?}"
    );
    let of_the_table = |line: &String| line.starts_with("finetune.") && line.ends_with(" | -");
    assert!(lines.iter().all(of_the_table), "{lines:?}");
}
