use super::*;
use crate::eval::measures::Unit;
use crate::metrics::measured::{MeasuredPoint, MeasuredRun};
use crate::metrics::rows::MeasureRow;
use crate::metrics::table;
use crate::plot::tests::drawn;
use crate::plot::tests::gallery::{Label, chance};

/// A sweep of these factors: what the points are, and the value of each run.
struct Sweep {
    factors: Factors,
    seeds: u64,
    keys: Keys,
    measure: Named<Measure>,
}

impl Sweep {
    /// Every combination of the values of these keys.
    fn grid(keys: &[(String, Vec<String>)], seeds: u64) -> Self {
        let start = vec![vec![]];
        let points = keys.iter().fold(start, |points, (key, values)| {
            let with = |point: &Vec<(String, String)>| {
                let point = point.clone();
                values.iter().map(move |value| {
                    let own = [(key.clone(), value.clone())];
                    [&point[..], &own].concat()
                })
            };
            points.iter().flat_map(with).collect()
        });
        Self::of(&points, seeds)
    }

    fn of(points: &[Vec<(String, String)>], seeds: u64) -> Self {
        Self {
            factors: Factors::of(points),
            seeds,
            keys: Keys::default(),
            measure: Named::default(),
        }
    }

    /// What the figure shows if the value of a run is this function of its levels and its index.
    fn figure(&self, value: impl Fn(&[usize], usize) -> f64) -> EffectsFigure {
        let seeds = self.seeds as usize;
        let model = self.keys.model(&self.factors, seeds).expect("a model");
        let design = self.factors.design(seeds);
        let values = design.runs.iter().enumerate();
        let values: Vec<f64> = values.map(|(i, run)| value(run, i)).collect();
        EffectsFigure {
            measure: self.measure,
            factors: self.factors.clone(),
            seeds: (1..=self.seeds).collect(),
            questions: BTreeSet::from([500]),
            has_interactions: self.keys.has_interactions(),
            most_interactions: self.keys.interactions,
            effects: model.fit(&values),
            inestimable: model.inestimable(),
            aliased: model.aliased(),
            shared: vec![],
        }
    }
}

/// Made-up values: factors matter less and less, and the first two interact.
fn made_up_value(levels: &[usize], run: usize) -> f64 {
    let main = levels.iter().enumerate().map(|(factor, &level)| {
        let size = 0.12 / (factor + 1) as f64;
        size * (chance(factor, level) - 0.4) * f64::from(u8::from(level > 0))
    });
    let both = f64::from(u8::from(
        levels.len() > 1 && levels[0] == 1 && levels[1] == 1,
    ));
    0.5 + main.sum::<f64>() + 0.05 * both + 0.02 * chance(run, 3)
}

fn key(name: &str, values: &[&str]) -> (String, Vec<String>) {
    let values = values.iter().map(|value| (*value).to_owned());
    (name.to_owned(), values.collect())
}

/// A factor with a level for each point, and some with two levels.
pub fn one_long_factor(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    let long = (
        "model.attention.kind".to_owned(),
        (0..points.max(2)).map(label).collect(),
    );
    let others = [
        "model.attention.qk_norm",
        "model.heads",
        "pretrain.learning_rate",
    ];
    let others = others.map(|name| key(name, &["1", "2"]));
    let sweep = Sweep::grid(&[&[long], &others[..]].concat(), seeds);
    drawn(&sweep.figure(made_up_value), "A figure of effects")
}

/// Factors with two levels each, named like points, in more runs than there are factors.
pub fn many_factors(points: usize, label: Label<'_>) -> Figure {
    let factors = points.max(2);
    let value = |run: usize, factor: usize| {
        if chance(run, factor) < 0.5 {
            "off"
        } else {
            "on"
        }
    };
    let run = |run| {
        let own = |factor| (label(factor), value(run, factor).to_owned());
        (0..factors).map(own).collect()
    };
    let runs: Vec<Vec<(String, String)>> = (0..2 * factors + 8).map(run).collect();
    let mut sweep = Sweep::of(&runs, 2);
    sweep.keys.terms = Terms::Main;
    drawn(&sweep.figure(made_up_value), "A figure of many keys")
}

fn nats() -> Named<Measure> {
    let mut all = Measure::all().iter();
    Named(all.find(|one| one.unit == Unit::Nats).expect("one in nats"))
}

/// A measure in nats, where lower is better, with two seeds.
pub fn losses(points: usize, label: Label<'_>) -> Figure {
    let long = (
        "model.attention.kind".to_owned(),
        (0..points.max(2)).map(label).collect(),
    );
    let mut sweep = Sweep::grid(&[long, key("layers", &["2", "4"])], 2);
    sweep.measure = nats();
    drawn(
        &sweep.figure(|levels, run| 2.0 - made_up_value(levels, run)),
        "Effects on log loss",
    )
}

#[test]
fn keys_that_change_together_are_one_factor_and_values_keep_their_order() {
    let point = |kind: &str, heads: &str, reported: &str| {
        let values = [
            ("data.seed", "0"),
            ("model.attention.kind", kind),
            ("model.heads", heads),
            ("model.head_dim", if heads == "8" { "8" } else { "16" }),
            ("evaluate.reported.accuracy", reported),
        ];
        Vec::from(values.map(|(key, value)| (key.to_owned(), value.to_owned())))
    };
    let points = [
        point("rope", "8", "0.1"),
        point("rope", "4", "0.2"),
        point("alibi", "8", "0.3"),
        point("alibi", "4", "0.4"),
    ];
    let factors = Factors::of(&points);
    let names: Vec<&str> = factors.all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        ["model.attention.kind", "model.heads, model.head_dim"]
    );
    assert_eq!(factors.all[0].levels, ["rope", "alibi"]);
    assert_eq!(factors.all[1].levels, ["8, 8", "4, 16"]);
    assert_eq!(factors.points, [[0, 0], [0, 1], [1, 0], [1, 1]]);
    assert_eq!(factors.design(2).blocks, [0, 1, 0, 1, 0, 1, 0, 1]);
    assert!(Factors::of(&[]).all.is_empty());
}

/// Two keys with three seeds, of which the one with numbers has three values.
fn two_keys(seeds: u64) -> Sweep {
    let keys = [
        key("model.layers", &["2", "4"]),
        key("pretrain.learning_rate", &["1e-3", "3e-3", "1e-2"]),
    ];
    Sweep::grid(&keys, seeds)
}

fn caption_of(figure: &EffectsFigure) -> String {
    let caption = figure.explained(Caption::default(), &figure.shown());
    caption.finish()
}

#[test]
fn the_table_has_every_effect_with_its_intervals() {
    let figure = two_keys(3).figure(made_up_value);
    let shown = figure.shown();
    let rows = figure.rows(&shown);
    let of = |row: &EffectRow<'_>| (row.kind, row.key.to_owned(), row.to.to_owned());
    let main: Vec<_> = rows.iter().take(3).map(of).collect();
    let expected = [
        ("model.layers", "4"),
        ("pretrain.learning_rate", "3e-3"),
        ("pretrain.learning_rate", "1e-2"),
    ];
    let expected = expected.map(|(key, to)| ("main", key.to_owned(), to.to_owned()));
    assert_eq!(main, expected);
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[4].other_key, Some("pretrain.learning_rate"));
    for row in &rows {
        // 18 runs, 6 cells and 2 more seeds.
        assert_eq!(row.degrees_of_freedom, 10);
        let ends = [
            row.joint_low_95,
            row.low_95,
            row.effect,
            row.high_95,
            row.joint_high_95,
        ];
        let ends: Vec<f64> = ends.into_iter().flatten().collect();
        assert!(
            ends.len() == 5 && ends.windows(2).all(|two| two[0] < two[1]),
            "{row:?}"
        );
        assert!(row.is_shown);
    }
}

#[test]
fn the_largest_key_comes_first_and_numbers_keep_their_order() {
    let figure = two_keys(2).figure(|levels, run| {
        [0.0, -0.2, -0.4][levels[1]] + 0.1 * levels[0] as f64 + 0.001 * chance(run, 1)
    });
    let order = |group: &Vec<&Effect>| -> Vec<Contrast> {
        group.iter().map(|effect| effect.contrast).collect()
    };
    let main = |factor, level| Contrast::Main(Change { factor, level });
    let shown = figure.shown();
    let groups: Vec<Vec<Contrast>> = shown.main.iter().map(order).collect();
    assert_eq!(groups, [vec![main(1, 1), main(1, 2)], vec![main(0, 1)]]);
    let mut kinds = Sweep::grid(&[key("kind", &["rope", "alibi", "linear"])], 2);
    let figure = kinds.figure(|levels, run| [0.0, -0.4, 0.1][levels[0]] + 0.001 * chance(run, 1));
    assert_eq!(order(&figure.shown().main[0]), [main(0, 2), main(0, 1)]);
    kinds.measure = nats();
    let figure = kinds.figure(|levels, run| [0.5, 0.1, 0.6][levels[0]] + 0.001 * chance(run, 1));
    let best_first = order(&figure.shown().main[0]);
    assert_eq!(best_first, [main(0, 1), main(0, 2)], "lower is better");
}

#[test]
fn the_caption_counts_runs_and_intervals() {
    let caption = caption_of(&two_keys(3).figure(made_up_value));
    for words in [
        "n = 18 runs: 6 points with seeds 1, 2, 3, 500 questions a run.",
        "main effects, all two-way interactions and an effect of each seed, sum-coded.",
        "95 % t-interval of each effect, not adjusted for multiple comparisons",
        "95 % for all 5 effects together (Bonferroni); 10 residual degrees of freedom",
    ] {
        assert!(caption.contains(words), "{words}: {caption}");
    }
    let saturated = caption_of(&two_keys(1).figure(made_up_value));
    let why = "No intervals: the model has as many coefficients as there are runs";
    assert!(saturated.contains(why), "{saturated}");
    let equal = caption_of(&two_keys(2).figure(|_, _| 0.25));
    let why = "No intervals: the model fits all runs exactly, with 5 residual degrees of freedom.";
    assert!(equal.contains(why), "{equal}");
}

/// Half of the settings of four keys: the last is the product of the others.
fn half_of_four() -> Sweep {
    let point = |bits: usize| {
        let mut on = vec![bits & 1, bits >> 1 & 1, bits >> 2 & 1];
        on.push((on.iter().sum::<usize>() + 1) % 2);
        let names = ["a", "b", "c", "d"].into_iter().zip(on);
        names
            .map(|(name, on)| (name.to_owned(), on.to_string()))
            .collect()
    };
    Sweep::of(&(0..8).map(point).collect::<Vec<_>>(), 2)
}

#[test]
fn what_is_aliased_is_named_in_caption_and_table() {
    let figure = half_of_four().figure(made_up_value);
    let caption = caption_of(&figure);
    let words = "Not shown, because these points cannot tell them apart (aliased): a × b and c × d; a × c and \
                 b × d; a × d and b × c.";
    assert!(caption.contains(words), "{caption}");
    let rows = figure.rows(&figure.shown());
    let aliased: Vec<&EffectRow<'_>> = rows.iter().filter(|row| row.effect.is_none()).collect();
    assert_eq!((rows.len(), aliased.len()), (10, 6));
    assert_eq!((aliased[0].key, aliased[0].other_key), ("a", Some("b")));
    assert_eq!(aliased[0].aliased_with, "c × d");
}

#[test]
fn impossible_ends_of_intervals_are_cut() {
    let figure =
        two_keys(2).figure(|levels, run| f64::from(u8::from(chance(run, levels[1]) < 0.5)));
    let rows = figure.rows(&figure.shown());
    let within = |end: Option<f64>, most: f64| end.is_some_and(|end| end.abs() <= most);
    assert!(rows.iter().all(|row| {
        let most = if row.kind == "main" { 1.0 } else { 2.0 };
        within(row.joint_low_95, most) && within(row.joint_high_95, most)
    }));
}

#[test]
fn extremes_are_drawn() {
    let long = "a_key.that_is_much_too_long.for_its_place.and_goes_on".repeat(4);
    let lengthy = Sweep::grid(&[key(&long, &["1", &long]), key("b", &["1", "2"])], 2);
    let mut figures = vec![
        two_keys(1).figure(|_, _| 0.0),
        two_keys(2).figure(|levels, _| levels[0] as f64),
        half_of_four().figure(made_up_value),
        lengthy.figure(made_up_value),
        EffectsFigure::default(),
    ];
    figures.push(EffectsFigure {
        most_interactions: 0,
        ..figures[3].clone()
    });
    for figure in &figures {
        let drawn = figure.draw(Caption::default()).unwrap();
        assert_eq!(drawn, figure.draw(Caption::default()).unwrap());
        assert!(!drawn.svg.contains("<text"));
    }
}

/// An experiment of two points with two seeds, and its `summary.csv` with these values; a run without one is missing.
fn measured(folder: &std::path::Path, values: [Option<f64>; 4]) -> Measured {
    let point = |i: usize| MeasuredPoint {
        folder: format!("point-{i}"),
        label: format!("model.layers = {i}"),
        values: vec![("model.layers".to_owned(), i.to_string())],
        ..MeasuredPoint::default()
    };
    let row = |(i, value): (usize, Option<f64>)| {
        value.map(|value| MeasureRow {
            point: format!("point-{}", i / 2),
            seed: Some(1 + i as u64 % 2),
            subject: "model".to_owned(),
            questions: Some(60),
            measure: "exact-match".to_owned(),
            value,
            ..MeasureRow::default()
        })
    };
    let rows: Vec<MeasureRow> = values.into_iter().enumerate().filter_map(row).collect();
    let bytes = table::to_bytes(&rows, b',').unwrap();
    std::fs::write(folder.join("summary.csv"), bytes).unwrap();
    Measured {
        name: "sweep".to_owned(),
        folder: folder.to_owned(),
        seeds: vec![1, 2],
        origin: "sweep".to_owned(),
        splits: "dev".to_owned(),
        measure: Named::default(),
        timed_on: std::sync::Arc::new(std::sync::LazyLock::new(Box::new(String::new))),
        has_labels: false,
        choice: None,
        exploration: None,
        points: (0..2).map(point).collect(),
    }
}

#[test]
fn a_missing_run_is_named_and_no_effect_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let gather =
        |values| EffectsFigure::gather(&Keys::default(), &measured(folder.path(), values)).unwrap();
    let Gathered::Nothing(why) = gather([Some(0.1), Some(0.2), Some(0.3), None]) else {
        panic!("a figure of incomplete runs");
    };
    assert_eq!(
        why,
        "no exact-match of 1 of 4 runs, such as `model.layers = 1` with seed 2; an effect averages over all runs: \
         finish them, or remove that seed or value from the sweep"
    );
    let Gathered::Figure(figure) = gather([0.1, 0.2, 0.3, 0.5].map(Some)) else {
        panic!("no figure");
    };
    assert!((figure.effects.effects[0].estimate - 0.25).abs() < 1e-12);
    assert_eq!(figure.effects.freedom, 1);
    let impossible = measured(folder.path(), [0.1, 0.2, 0.3, 1.5].map(Some));
    let error = EffectsFigure::gather(&Keys::default(), &impossible);
    assert!(error.is_err_and(|error| error.to_string().contains("exact-match = 1.5")));
}

#[test]
fn runs_that_share_a_pretrained_model_are_no_independent_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut measured = measured(folder.path(), [None; 4]);
    let run = MeasuredRun {
        seed: 1,
        folder: folder.path().to_owned(),
    };
    measured.points[0].runs = vec![run];
    let both = Sweep::grid(
        &[
            key("finetune.epochs", &["1", "2"]),
            key("model.layers", &["2", "4"]),
        ],
        2,
    );
    let shared = |measured: &Measured| shared_training(&both.factors, measured);
    assert!(shared(&measured).is_empty(), "nothing was pretrained");
    std::fs::create_dir(folder.path().join("checkpoints")).unwrap();
    std::fs::write(folder.path().join("checkpoints/pretrain.safetensors"), b"").unwrap();
    assert_eq!(shared(&measured), ["finetune.epochs"]);
    assert!(shared_training(&two_keys(1).factors, &measured).is_empty());
    let figure = EffectsFigure {
        shared: shared(&measured),
        ..both.figure(made_up_value)
    };
    let caption = caption_of(&figure);
    let words = "Runs that differ only in finetune.epochs share a pretrained model";
    assert!(caption.contains(words), "{caption}");
}

fn broken(keys: &Keys, values: Vec<Vec<(String, String)>>) -> Option<(String, Option<String>)> {
    let points = Points {
        values,
        made: Some(BTreeSet::from([Need::JudgedPairs])),
        ..Points::default()
    };
    let broken = EffectsFigure::check(keys, &points);
    broken.map(|rule| (rule.message, rule.help))
}

#[test]
fn a_sweep_that_can_estimate_no_effect_is_refused_before_it_runs() {
    let point = |a: &str, b: &str| {
        vec![
            ("a".to_owned(), a.to_owned()),
            ("b".to_owned(), b.to_owned()),
        ]
    };
    let corner = vec![point("1", "1"), point("1", "2"), point("2", "1")];
    let (message, help) = broken(&Keys::default(), corner.clone()).expect("refused");
    assert_eq!(
        message,
        "= \"effects\" has nothing to show: no main effect can be estimated: over 3 points these are aliased: a, b and a × b"
    );
    assert_eq!(
        help.as_deref(),
        Some(
            "add points to the `[sweep]`, or set `terms` = \"main\" to assume that there are no interactions, or remove the figure"
        )
    );
    let main = Keys {
        terms: Terms::Main,
        ..Keys::default()
    };
    assert_eq!(broken(&main, corner), None);
    let many = |i: usize| point(&i.to_string(), &(i * 7 % 30).to_string());
    let (message, _) = broken(
        &Keys::default(),
        (0..30).map(many).chain([point("0", "1")]).collect(),
    )
    .expect("refused");
    assert!(
        message.ends_with("its model has 900 coefficients, more than 500"),
        "{message}"
    );
    let one = vec![point("1", "1")];
    let (message, _) = broken(&main, one).expect("refused");
    assert!(
        message.ends_with("no key of the sweep has two values"),
        "{message}"
    );
    assert_eq!(broken(&main, vec![]), None, "points that could not be read");
}
