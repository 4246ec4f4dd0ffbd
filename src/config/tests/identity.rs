//! The hash of a point: what changes it and what does not.

use super::{Scratch, VALID, load, load_text, valid_with};
use crate::config::{load_with, to_toml};

fn hash(text: &str) -> String {
    load_text(text).unwrap().points[0].hash()
}

#[test]
fn comments_spelling_defaults_seeds_and_what_is_only_shown_do_not_matter() {
    let same = [
        ("seeds = [1, 2]", "seeds = [7]"),
        ("people = 40", "# few\n  people = 40 # enough"),
        ("learning_rate = 6e-3", "learning_rate = 0.006"),
        ("clip_norm = 1.0", "clip_norm = 1, epsilon = 1e-8"),
        ("context = 64", "context = 64\ndropout = 0.1"),
        ("device = \"cpu\"\n", ""),
        ("[figures.bars]", "[figures.other]"),
        // What no result depends on.
        ("accuracy = 0.21", "accuracy = 0.22"),
        ("epochs = 2\n", "epochs = 2\ncheckpoint_steps = 9\n"),
    ];
    for (old, new) in same {
        assert_eq!(hash(&valid_with(old, new)), hash(VALID), "{new}");
    }
}

#[test]
fn the_spelling_of_a_layer_does_not_matter() {
    let of_local = |local: &str| {
        let tables = format!(
            "pattern = [\"local\", \"global\"]\nattention = {{ kind = \"vanilla\", gate = \"head\", global = {{}}, local = {{ {local} }} }}"
        );
        hash(&valid_with("attention = { kind = \"vanilla\" }", &tables))
    };
    let plain = of_local("softcap = 50.0, gate = \"none\", window = 8");
    assert_eq!(of_local("window = 8, softcap = 50, gate = \"none\""), plain);
    assert_ne!(of_local("window = 8, softcap = 50"), plain);
    assert_eq!(of_local("softcap = 0"), of_local("softcap = 0.0"));
    assert_eq!(
        of_local("rotary = { base = 500 }"),
        of_local("rotary = { fraction = 1, base = 500.0 }")
    );
}

#[test]
fn every_setting_matters() {
    let other = [
        ("people = 40", "people = 41"),
        ("layers = 2", "layers = 3"),
        ("learning_rate = 6e-3", "learning_rate = 6.0001e-3"),
        (
            "constant_answer = \"London\"",
            "constant_answer = \"london\"",
        ),
        ("context = 64", "context = 64\ndropout = 0.2"),
    ];
    for (old, new) in other {
        assert_ne!(hash(&valid_with(old, new)), hash(VALID), "{new}");
    }
}

#[test]
fn the_hash_of_a_file_is_the_same_on_every_machine_and_day() {
    assert_eq!(hash(VALID), "86a0f214");
}

#[test]
fn the_resolved_settings_are_an_experiment_with_the_same_hash() {
    let swept = format!("{VALID}\n[sweep]\n'pretrain.epochs' = [1, 2]");
    for point in load_text(&swept).unwrap().points {
        let again = load_text(&to_toml(&point.settings, 0)).unwrap();
        assert_eq!(again.points[0].settings, point.settings);
        assert_eq!(again.points[0].hash(), point.hash());
    }
}

#[test]
fn the_name_is_the_path_below_experiments() {
    let scratch = Scratch::new(&[
        ("experiments/a/b.toml", VALID),
        ("experiments/old/experiments/c.d.toml", VALID),
        ("elsewhere/e.toml", VALID),
    ]);
    let name = |path: &str| load(&scratch.path(path)).unwrap().name;
    assert_eq!(name("experiments/a/b.toml"), "a/b");
    assert_eq!(name("experiments/a/../a/b.toml"), "a/b");
    assert_eq!(name("experiments/old/experiments/c.d.toml"), "c.d");
    assert_eq!(name("elsewhere/e.toml"), "e");
}

#[test]
fn loading_twice_gives_the_same() {
    let scratch = Scratch::new(&[("x.toml", VALID)]);
    let load = || load_with(&scratch.path("x.toml"), &["model.layers=3".into()], &[]).unwrap();
    assert_eq!(load(), load());
}
