//! Points drawn at random: what is drawn, what changes it, and what cannot be drawn.

use std::collections::BTreeMap;

use super::{Scratch, VALID, golden, load_text, problems_of};
use crate::config::tests::layering::load;
use crate::config::{Experiment, load_alone, to_toml};

/// Every kind of distribution.
const KEYS: [&str; 4] = [
    "'model.dropout' = { uniform = [0.0, 0.3] }",
    "'pretrain.learning_rate' = { log_uniform = [1e-4, 1e-2] }",
    "'finetune.epochs' = { integers = [5, 15] }",
    "'model.attention.kind' = { choice = ['vanilla', 'rope', 'alibi'] }",
];

fn search(draws: usize, lines: &[&str]) -> String {
    format!(
        "{VALID}\n[sweep.random]\ndraws = {draws}\n{}\n",
        lines.join("\n")
    )
}

/// The values of each key, draw by draw.
fn drawn(experiment: &Experiment) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for point in &experiment.points {
        let draw = point.draw.as_ref().unwrap();
        for (key, value) in &draw.values {
            found.entry(key.clone()).or_default().push(value.clone());
        }
    }
    found
}

fn values(text: &str) -> BTreeMap<String, Vec<String>> {
    drawn(&load_text(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// The values of one key as numbers.
fn numbers(text: &str, key: &str) -> Vec<f64> {
    let values = &values(text)[key];
    values.iter().map(|value| value.parse().unwrap()).collect()
}

/// Worked out apart from this program, with another SHA-256 and another logarithm.
#[test]
fn what_is_drawn_is_the_same_on_every_machine_and_day() {
    let first = values(&search(4, &KEYS));
    assert_eq!(
        first["model.dropout"],
        ["0.115634", "0.22154", "0.239332", "0.139738"]
    );
    assert_eq!(
        first["pretrain.learning_rate"],
        ["0.00466687", "0.000208658", "0.000869523", "0.0004542"]
    );
    assert_eq!(first["finetune.epochs"], ["11", "7", "11", "5"]);
    let kinds = ["alibi", "vanilla", "rope", "alibi"];
    assert_eq!(first["model.attention.kind"], kinds);

    let seeded = values(&search(2, &[&KEYS[..], &["seed = 1"]].concat()));
    assert_eq!(seeded["model.dropout"], ["0.0197749", "0.125116"]);
    assert_eq!(
        seeded["pretrain.learning_rate"],
        ["0.000277779", "0.000155262"]
    );
    assert_eq!(seeded["finetune.epochs"], ["8", "14"]);
}

#[test]
fn more_draws_change_none_that_was_there() {
    let few = load_text(&search(5, &KEYS)).unwrap();
    let many = load_text(&search(40, &KEYS)).unwrap();
    assert_eq!((few.points.len(), many.points.len()), (5, 40));
    assert_eq!(few.points[..], many.points[..5]);
}

#[test]
fn keys_beside_it_and_their_order_change_nothing_of_a_key() {
    let all = values(&search(9, &KEYS));
    let reversed: Vec<&str> = KEYS.into_iter().rev().collect();
    assert_eq!(values(&search(9, &reversed)), all);
    for (at, line) in KEYS.iter().enumerate() {
        // One that repeats no value, so that every draw is there.
        let other = "'data.seed' = { integers = [0, 9007199254740991] }";
        let alone = values(&search(9, &[line, other]));
        let key = line.split('\'').nth(1).unwrap();
        assert_eq!(alone[key], all[key], "{at}");
    }
}

#[test]
fn seeds_keys_and_draws_are_unrelated() {
    let line = |key: &str| format!("'{key}' = {{ uniform = [0.0, 0.9] }}");
    let [one, other] = ["model.dropout", "finetune.optimiser.clip_norm"].map(line);
    let both = values(&search(200, &[&one, &other]));
    let seeded = values(&search(200, &[&one, "seed = 1"]));
    let mut all = both["model.dropout"].clone();
    all.extend(both["finetune.optimiser.clip_norm"].clone());
    all.extend(seeded["model.dropout"].clone());
    all.sort();
    all.dedup();
    // Of a million values, a few of 600 may be the same.
    assert!(all.len() > 590, "{}", all.len());
}

#[test]
fn values_stay_within_their_ends_and_have_few_digits() {
    let narrow = "'finetune.learning_rate' = { uniform = [0.00123456789, 0.00123456799] }";
    let (low, high) = (0.00123456789, 0.00123456799);
    let all = numbers(&search(50, &[narrow, KEYS[2]]), "finetune.learning_rate");
    assert!(all.iter().all(|x| (low..=high).contains(x)), "{all:?}");

    for (line, low, high) in [(KEYS[0], 0.0, 0.3), (KEYS[1], 1e-4, 1e-2)] {
        let key = line.split('\'').nth(1).unwrap();
        let all = numbers(&search(2000, &[line]), key);
        assert!(all.iter().all(|x| (low..=high).contains(x)));
        for x in all {
            let digits = format!("{x:e}");
            let digits = digits.split('e').next().unwrap().replace('.', "");
            assert!(digits.len() <= 6, "{x}");
        }
    }
}

/// The share of values below a limit.
fn below(values: &[f64], limit: f64) -> f64 {
    values.iter().filter(|&&x| x < limit).count() as f64 / values.len() as f64
}

#[test]
fn each_distribution_has_its_quantiles() {
    // The standard deviation of a share of 4,000 is at most 0.8 %.
    let near = |share: f64, expected: f64| (share - expected).abs() < 0.03;
    let uniform = numbers(&search(4000, &KEYS[..1]), "model.dropout");
    for part in [0.1, 0.25, 0.5, 0.9] {
        let share = below(&uniform, 0.3 * part);
        assert!(near(share, part), "{share} is not {part}");
    }
    let factors = numbers(&search(4000, &KEYS[1..2]), "pretrain.learning_rate");
    for part in [0.1, 0.25, 0.5, 0.9] {
        let share = below(&factors, 1e-4 * 100f64.powf(part));
        assert!(near(share, part), "{share} is not {part}");
    }
    // A number beside it, so that no draw repeats another.
    let epochs = numbers(&search(4000, &[KEYS[2], KEYS[0]]), "finetune.epochs");
    for epoch in 5..=15 {
        let share = below(&epochs, f64::from(epoch) + 0.5);
        let expected = f64::from(epoch - 4) / 11.0;
        assert!(near(share, expected), "{epoch}: {share} is not {expected}");
    }
    let kinds = &values(&search(4000, &[KEYS[3], KEYS[0]]))["model.attention.kind"];
    for kind in ["vanilla", "rope", "alibi"] {
        let number = kinds.iter().filter(|one| *one == kind).count();
        assert!(near(number as f64 / 4000.0, 1.0 / 3.0), "{kind}: {number}");
    }
}

#[test]
fn whole_numbers_reach_both_ends_and_the_limits_of_their_type() {
    let wide = "'data.seed' = { integers = [0, 9007199254740991] }";
    let seeds = numbers(&search(400, &[wide]), "data.seed");
    let middle = below(&seeds, 4503599627370496.0);
    assert!((0.4..0.6).contains(&middle), "{middle}");
    let few = "'finetune.epochs' = { integers = [1, 3] }";
    let mut epochs = values(&search(60, &[few]))["finetune.epochs"].clone();
    epochs.sort();
    assert_eq!(epochs, ["1", "2", "3"]);
}

#[test]
fn a_draw_that_repeats_an_earlier_one_is_left_out_and_its_number_stays_free() {
    let few = "'finetune.epochs' = { integers = [5, 15] }";
    let points = load_text(&search(4, &[few])).unwrap().points;
    let draw = |point: &crate::config::Point| point.draw.clone().unwrap();
    let numbers: Vec<usize> = points.iter().map(|point| draw(point).number).collect();
    // The third is 11 epochs again.
    assert_eq!(numbers, [1, 2, 4]);
}

#[test]
fn draws_go_with_every_point_of_a_grid_and_vary_fastest() {
    let text = search(2, &KEYS[..2])
        + "[sweep]\n'finetune.epochs' = [1, 2]\n_ = [{ 'data.people' = 40 }, { 'data.people' = 60 }]\n";
    let experiment = load_text(&text).unwrap();
    let said: Vec<String> = experiment
        .points
        .iter()
        .map(|point| {
            let settings = point.settings.training().unwrap();
            let (people, dropout) = (
                settings.data.number("people").unwrap(),
                settings.model.dropout,
            );
            let slug = &point.slug;
            format!("{people} {dropout} {slug}")
        })
        .collect();
    assert_eq!(
        said[..3],
        [
            "40 0.115634 finetune-epochs-1-data-people-40-draw-1",
            "40 0.22154 finetune-epochs-1-data-people-40-draw-2",
            "60 0.115634 finetune-epochs-1-data-people-60-draw-1",
        ]
    );
    assert_eq!(said.len(), 8);
    assert_eq!(
        said[7],
        "60 0.22154 finetune-epochs-2-data-people-60-draw-2"
    );
}

#[test]
fn folders_bear_the_number_of_the_draw_and_stay_short() {
    let points = load_text(&search(12, &KEYS)).unwrap().points;
    assert!(points[11].folder().starts_with("draw-12-"));
    let name = "Llan".repeat(50);
    let long = search(12, &KEYS) + &format!("[sweep]\n'evaluate.constant_answer' = ['{name}']\n");
    let points = load_text(&long).unwrap().points;
    let slug = &points[11].slug;
    assert!(
        slug.len() == 60 && slug.ends_with("-llanllanllanllanllanllanlla-draw-12"),
        "{slug}"
    );
}

#[test]
fn each_point_can_be_run_again_without_the_search() {
    for point in load_text(&search(20, &KEYS)).unwrap().points {
        let text = to_toml(&point.settings, 0);
        let scratch = Scratch::new(&[("resolved.toml", &text)]);
        let again = load_alone(&scratch.path("resolved.toml")).unwrap();
        assert_eq!(again.points[0].settings, point.settings);
        assert_eq!(again.points[0].hash(), point.hash());
    }
}

#[test]
fn what_is_drawn_has_its_origin_and_is_not_missing() {
    let text = search(2, &[KEYS[1]]).replace("learning_rate = 6e-3\n", "");
    let scratch = Scratch::new(&[("x.toml", &text)]);
    let origins = crate::config::origins::origins_with(&scratch.path("x.toml"), &[], &[]).unwrap();
    let mut settings = origins.settings.iter();
    let rate = settings.find(|one| one.key == "pretrain.learning_rate");
    let rate = rate.unwrap();
    assert_eq!(rate.value, serde_json::json!([0.00466687, 0.000208658]));
    let line = text.lines().position(|line| line == KEYS[1]).unwrap() + 1;
    assert!(
        rate.origin.starts_with("sweep, ") && rate.origin.ends_with(&format!("x.toml:{line}")),
        "{}",
        rate.origin
    );
}

#[test]
fn set_and_variables_change_it_key_by_key() {
    let scratch = Scratch::new(&[("experiments/x.toml", &search(9, &KEYS[..2]))]);
    let load = |set: &[&str], variables: &[(&str, &str)]| {
        drawn(&load(&scratch, set, variables).unwrap_or_else(|error| panic!("{error}")))
    };
    let plain = load(&[], &[]);
    let fewer = load(&["sweep.random.draws=2"], &[]);
    assert_eq!(fewer["model.dropout"], plain["model.dropout"][..2]);
    let other = load(&[], &[("ATTNLAB_SWEEP__RANDOM__SEED", "1")]);
    assert_eq!(other["model.dropout"][0], "0.0197749");
    // The same random bits, of another range.
    let wider = load(&["sweep.random.model.dropout.uniform=[0.0, 0.6]"], &[]);
    assert_eq!(wider["model.dropout"][0], "0.231269");
    let whole = "sweep.random.finetune.epochs={ integers = [5, 15] }";
    for set in [whole, "sweep.random.\"finetune.epochs\".integers=[5, 15]"] {
        assert_eq!(load(&[set], &[])["finetune.epochs"][0], "11", "{set}");
    }
    assert_eq!(load(&[whole], &[])["model.dropout"], plain["model.dropout"]);
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let key = |line: &str| format!("draws = 4\n{line}");
    let dropout = |distribution: &str| key(&format!("'model.dropout' = {distribution}"));
    let cases = [
        ("no table", "no table".to_owned()),
        ("no draws", "'model.dropout' = { uniform = [0.0, 0.3] }".to_owned()),
        (
            "draws below 1",
            "draws = 0\n'model.dropout' = { uniform = [0.0, 0.3] }".to_owned(),
        ),
        (
            "draws and seed are no numbers",
            "draws = 'four'\nseed = -1\n'model.dropout' = { uniform = [0.0, 0.3] }".to_owned(),
        ),
        ("nothing to draw", "draws = 4".to_owned()),
        ("misspelt setting", dropout("{ uniform = [0.0, 0.3] }\nsed = 1")),
        ("misspelt key", key("'model.droput' = { uniform = [0.0, 0.3] }")),
        ("misspelt table", key("'modle.dropout' = { uniform = [0.0, 0.3] }")),
        ("not quoted", key("pretrain.epochs = { integers = [1, 2] }\npretrain.learning_rate = { log_uniform = [1e-3, 1e-2] }")),
        ("belongs to all", key("'seeds' = { integers = [1, 5] }")),
        ("a list", dropout("[0.0, 0.3]")),
        ("a number", dropout("0.3")),
        ("empty", dropout("{}")),
        ("no such distribution", dropout("{ normal = [0.0, 0.3] }")),
        ("two distributions", dropout("{ uniform = [0.0, 0.3], choice = [0.0] }")),
        ("one end", dropout("{ uniform = [0.3] }")),
        ("ends that are no numbers", dropout("{ uniform = ['a', 'b'] }")),
        ("ends in the wrong order", dropout("{ uniform = [0.3, 0.1] }")),
        ("the same ends", key("'pretrain.epochs' = { integers = [3, 3] }")),
        ("infinite end", dropout("{ uniform = [0.0, inf] }")),
        ("logarithm of 0", key("'pretrain.learning_rate' = { log_uniform = [0, 1e-2] }")),
        ("whole ends that are not", key("'pretrain.epochs' = { integers = [1, 2.5] }")),
        ("no choice", dropout("{ choice = [] }")),
        ("a choice twice", dropout("{ choice = [0.1, 0.2, 0.1] }")),
        ("whole numbers of a float", dropout("{ integers = [0, 1] }")),
        ("floats of a whole number", key("'pretrain.epochs' = { uniform = [1, 5] }")),
        ("numbers of text", key("'evaluate.split' = { integers = [1, 5] }")),
        ("an end that is not allowed", dropout("{ uniform = [0.0, 1.0] }")),
        ("both ends are not allowed", dropout("{ uniform = [-0.5, 1.5] }")),
        ("choices that are not allowed", dropout("{ choice = [0.0, 1.0, 'no'] }")),
        (
            "a choice that needs another key",
            key("'model.attention.kind' = { choice = ['perceiver', 'vanilla'] }"),
        ),
        (
            "an end against another key",
            key("'pretrain.longest_excerpt' = { integers = [10, 100] }"),
        ),
        (
            "set by the grid",
            dropout("{ uniform = [0.0, 0.3] }\n[sweep]\n'model.dropout' = [0.1]"),
        ),
        (
            "overlaps",
            key("'model.attention' = { choice = [{ kind = 'rope' }] }\n'model.attention.kind' = { choice = ['alibi'] }"),
        ),
        ("too many points", "draws = 10000\n'model.dropout' = { uniform = [0.0, 0.3] }\n[sweep]\n'pretrain.epochs' = [1, 2]".to_owned()),
    ];
    let sections = cases.map(|(name, text)| {
        let file = match text.as_str() {
            "no table" => format!("{VALID}\n[sweep]\nrandom = 3"),
            text => format!("{VALID}\n[sweep.random]\n{text}"),
        };
        (name.to_owned(), format!("{text}\n{}", problems_of(&file)))
    });
    let swept = Scratch::new(&[("experiments/x.toml", &search(9, &KEYS[..2]))]);
    let set = [
        "pretrain.learning_rate=1e-3",
        "sweep.random.model.dropout={ choice = [0.1] }",
    ];
    let said = set.map(|set| {
        let said = swept.error(load(&swept, &[set], &[]));
        (format!("--set {set}"), said)
    });
    golden::check(
        "config_random",
        &golden::sections(sections.into_iter().chain(said)),
    );
}
