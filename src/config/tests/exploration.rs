//! Files that explore: what each question takes, and what is not for them.

use super::{Scratch, VALID, golden, layering, load_text, problems_of};
use crate::config::{Point, PointSettings, to_toml};

/// A valid exploration, to be broken.
const EXPLORES: &str = r#"seeds = [1]

[explore]
question = "noisy-averaging"
dimension = 16
keys = 5
betas = [1, 2.5]
alpha = 1e-8
samples = 10

[figures.curves]
kind = "exploration-curves"
"#;

#[test]
fn each_mistake_of_an_exploration_has_its_text() {
    let cases = [
        ("misspelled key", "samples = 10", "sampels = 10"),
        ("misspelled question", "noisy-averaging", "noisy-average"),
        ("misspelled table", "[explore]", "[explor]"),
        (
            "key of another question",
            "samples = 10",
            "samples = 10\nmargins = [1]",
        ),
        (
            "keys that another question takes",
            "noisy-averaging",
            "copying",
        ),
        ("missing key", "alpha = 1e-8\n", ""),
        ("missing dimension", "dimension = 16\n", ""),
        ("negative variance", "alpha = 1e-8", "alpha = -1"),
        ("more keys than dimensions", "keys = 5", "keys = 17"),
        ("no other keys", "keys = 5", "keys = 2"),
        ("empty grid", "betas = [1, 2.5]", "betas = []"),
        (
            "grid that does not ascend",
            "betas = [1, 2.5]",
            "betas = [2, 2]",
        ),
        ("infinite grid", "betas = [1, 2.5]", "betas = [1, inf]"),
        (
            "grid below its least",
            "betas = [1, 2.5]",
            "betas = [-1, 2.5]",
        ),
        ("one sample", "samples = 10", "samples = 1"),
        ("no dimension", "dimension = 16", "dimension = 0"),
        ("string for a list", "betas = [1, 2.5]", "betas = \"1\""),
        (
            "data",
            "[figures.curves]",
            "[data]\nkind = \"synthetic\"\n\n[figures.curves]",
        ),
        ("device", "seeds = [1]", "seeds = [1]\ndevice = \"cuda\""),
        (
            "figure of training",
            "exploration-curves",
            "learning-curves",
        ),
    ];
    let text = |(name, old, new): (&str, &str, &str)| {
        assert_eq!(EXPLORES.matches(old).count(), 1, "{old:?} must occur once");
        let problems = problems_of(&EXPLORES.replace(old, new));
        (name.to_owned(), format!("{old:?} -> {new:?}\n{problems}"))
    };
    let mut texts: Vec<_> = cases.into_iter().map(text).collect();
    let bars = VALID.replace("\"accuracy-bars\"", "\"exploration-distribution\"");
    let of_training = ("figure of an exploration".to_owned(), problems_of(&bars));
    let bases =
        "[explore]\nquestion = \"extraction\"\ndimension = 9\nbases = [0, 4, 5]\nsamples = 3\n";
    let large = ("bases that do not fit".to_owned(), problems_of(bases));
    let beta = "[explore]\nquestion = \"swing\"\ndimension = 9\nkeys = 3\nbeta = 0\nalpha = 0\nsamples = 3\n";
    let zero = ("factor of nothing".to_owned(), problems_of(beta));
    texts.extend([of_training, large, zero]);
    golden::check("config_exploration", &golden::sections(texts));
}

#[test]
fn an_exploration_is_swept_and_written_as_any_experiment() {
    let swept = format!("{EXPLORES}\n[sweep]\n'explore.keys' = [3, 5]\n");
    let experiment = load_text(&swept).unwrap();
    assert!(experiment.explores() && experiment.points.len() == 2);
    let keys = |point: &Point| point.settings.exploration().unwrap().sizes().keys;
    assert_eq!(keys(&experiment.points[0]), Some(3));
    for point in &experiment.points {
        let again = load_text(&to_toml(&point.settings, 7)).unwrap();
        assert_eq!(again.points[0].settings, point.settings);
        assert_eq!(again.points[0].hash(), point.hash());
        assert!(matches!(point.settings, PointSettings::Exploration(_)));
    }
    let error = experiment.points[0]
        .settings
        .needed("x.toml", "model to ask");
    let says = "x.toml is an exploration: it has no model to ask";
    assert_eq!(error.unwrap_err().message(), says);
    let trains = load_text(VALID).unwrap();
    assert!(!trains.explores());
    assert!(trains.points[0].settings.needed("x.toml", "model").is_ok());
}

#[test]
fn a_placement_that_an_exploration_does_not_use_must_still_be_one() {
    let scratch = Scratch::new(&[("experiments/x.toml", EXPLORES)]);
    let found = |set: &[&str], environment: &[(&str, &str)]| {
        scratch.error(layering::load(&scratch, set, environment))
    };
    assert_eq!(found(&["device=auto", "precision=tf32"], &[]), "valid");
    assert_eq!(
        found(&["device=gpu"], &[("ATTNLAB_PRECISION", "32")]),
        "error: --set device: `device` = \"gpu\" is not one of `cpu`, `cuda` and `auto`; did you mean `cuda`?\n\
         error: environment ATTNLAB_PRECISION: `precision` = 32 is not one of `f32`, `bf16`, `tf32` and `tf32x3`"
    );
}
