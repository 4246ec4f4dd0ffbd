//! base <- file <- environment <- `--set`, and where each value is said to come from.

use std::ffi::OsString;

use super::{Scratch, VALID, golden};
use crate::config::Experiment;
use crate::config::load_with;
use crate::error::Result;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let pair = |(name, text): &(&str, &str)| (name.into(), text.into());
    pairs.iter().map(pair).collect()
}

pub(super) fn load(
    scratch: &Scratch,
    set: &[&str],
    environment: &[(&str, &str)],
) -> Result<Experiment> {
    let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
    load_with(
        &scratch.path("experiments/x.toml"),
        &set,
        &variables(environment),
    )
}

fn layered(file: &str) -> Scratch {
    Scratch::new(&[
        ("experiments/x.toml", file),
        (
            "experiments/base/a.toml",
            "base = \"b.toml\"\n[model]\nlayers = 3\ncontext = 40\n",
        ),
        ("experiments/base/b.toml", VALID),
    ])
}

#[test]
fn later_layers_win() {
    let file = "base = 'base/a.toml'\n[model]\ncontext = 48\n";
    let scratch = layered(file);
    let model = |set: &[&str], environment: &[(&str, &str)]| {
        let spec = load(&scratch, set, environment).unwrap().points[0]
            .settings
            .training()
            .unwrap()
            .model
            .clone();
        (spec.embed, spec.layers, spec.context)
    };
    assert_eq!(model(&[], &[]), (64, 3, 48));
    let environment = [
        ("ATTNLAB_MODEL__LAYERS", "5"),
        ("ATTNLAB_MODEL__CONTEXT", "96"),
    ];
    assert_eq!(model(&[], &environment), (64, 5, 96));
    assert_eq!(
        model(&["model.layers=6", "model.layers = 7"], &environment),
        (64, 7, 96)
    );
}

#[test]
fn reserved_variables_are_not_settings() {
    let scratch = layered("base = 'base/a.toml'");
    let own = [
        ("ATTNLAB_DATA", "x"),
        ("ATTNLAB_TEST_SLOW", "1"),
        ("PATH", "z"),
    ];
    assert!(load(&scratch, &[], &own).is_ok());
    let places = [("ATTNLAB_DATA__PLACES", "7")];
    let experiment = load(&scratch, &[], &places).unwrap();
    assert_eq!(
        experiment.points[0]
            .settings
            .training()
            .unwrap()
            .data
            .number("places"),
        Some(7)
    );
}

#[test]
fn set_takes_toml_values_and_other_text_as_strings() {
    let scratch = layered("base = 'base/a.toml'");
    let set = [
        "seeds=[4, 5]",
        "evaluate.constant_answer=New York",
        "device=auto",
        "pretrain.schedule={ form = \"constant\" }",
        "figures.bars.title=\"a = b\"",
        "sweep.pretrain.epochs=[1, 2]",
    ];
    let experiment = load(
        &scratch,
        &set,
        &[("ATTNLAB_SWEEP__FINETUNE__EPOCHS", "[3]")],
    )
    .unwrap();
    assert_eq!(experiment.seeds, [4, 5]);
    let title = experiment.figures["bars"].title.as_deref();
    assert_eq!(title, Some("a = b"));
    let evaluate = experiment.points[0].settings.training().unwrap();
    let evaluate = evaluate.evaluate.as_ref().unwrap();
    assert_eq!(evaluate.constant_answer.as_deref(), Some("New York"));
    let slugs: Vec<&str> = experiment
        .points
        .iter()
        .map(|point| point.slug.as_str())
        .collect();
    assert_eq!(
        slugs,
        [
            "finetune-epochs-3-pretrain-epochs-1",
            "finetune-epochs-3-pretrain-epochs-2"
        ]
    );
}

#[test]
fn problems_name_the_layer_that_caused_them() {
    let swept =
        "base = 'base/a.toml'\n[sweep]\n'pretrain.epochs' = [1, 2]\n_ = [{ 'model.layers' = 0 }]\n";
    let wrong = "base = 'base/c.toml'\n[model]\nheads = 3\n";
    let bad_base = VALID.replace("hidden = 256", "hiden = 256\nembedd = 1");
    let scratch = |file: &str| {
        Scratch::new(&[
            ("experiments/x.toml", file),
            ("experiments/base/a.toml", VALID),
            ("experiments/base/c.toml", &bad_base),
        ])
    };
    let plain = "base = 'base/a.toml'\n";
    // Name, file, `--set`, environment.
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: [Case; 14] = [
        ("base and file", wrong, &[], &[]),
        ("unknown --set", plain, &["model.layres=3"], &[]),
        (
            "unknown variable",
            plain,
            &[],
            &[("ATTNLAB_MODEL__LAYRES", "3"), ("ATTNLAB_FOO", "1")],
        ),
        (
            "one underscore in a variable",
            plain,
            &[],
            &[("ATTNLAB_FINETUNE_EPOCHS", "3")],
        ),
        ("wrong type of --set", plain, &["model.layers=many"], &[]),
        (
            "wrong type of a variable",
            plain,
            &[],
            &[("ATTNLAB_MODEL__LAYERS", "many")],
        ),
        ("broken rule of --set", plain, &["model.heads=3"], &[]),
        (
            "not KEY=VALUE",
            plain,
            &["model.heads", "=3", "a..b=1"],
            &[],
        ),
        ("precision of the CPU", plain, &["--precision=tf32"], &[]),
        ("no option of its own", plain, &["--model.heads=3"], &[]),
        ("base by --set", plain, &["base=other.toml"], &[]),
        ("value of a sweep", swept, &[], &[]),
        (
            "--set against the sweep",
            swept,
            &["pretrain.epochs=3", "model.layers=1"],
            &[],
        ),
        (
            "variable against the sweep",
            swept,
            &["sweep._=[{ \"model.layers\" = 1 }]"],
            &[("ATTNLAB_PRETRAIN__EPOCHS", "3")],
        ),
    ];
    let sections = cases.map(|(name, file, set, environment)| {
        let scratch = scratch(file);
        (
            name.to_owned(),
            scratch.error(load(&scratch, set, environment)),
        )
    });
    golden::check("config_layers", &golden::sections(sections));
}

/// The problems of an experiment with settings from outside, each on a line.
fn problems(scratch: &Scratch, set: &[&str], environment: &[(&str, &str)]) -> String {
    scratch.error(load(scratch, set, environment))
}

#[test]
fn a_figure_is_refused_for_what_its_file_or_its_own_setting_lacks_alone() {
    let reported = "reported = { accuracy = 0.21, source = \"a paper\" }\n";
    let text = VALID.replace(reported, "");
    let scratch = Scratch::new(&[("experiments/x.toml", &text)]);
    let unanswered = "evaluate.split=test";
    assert!(load(&scratch, &[unanswered], &[]).is_ok());
    let kind = "figures.bars.kind=accuracy-bars";
    let told = problems(&scratch, &[unanswered, kind], &[]);
    assert!(told.contains("has nothing to show"), "{told}");
}

#[test]
fn a_rule_that_a_setting_from_outside_breaks_names_that_setting() {
    let scratch = Scratch::new(&[("experiments/x.toml", VALID)]);
    for (set, message) in [
        (
            "model.embed=128",
            "`model.heads` = 4 and `model.head_dim` = 16 must multiply to `model.embed` = 128",
        ),
        (
            "model.context=32",
            "`evaluate.answer_characters` = 32 must be below `model.context` = 32",
        ),
        (
            "data.kind=cs224n",
            "`data.people` applies only to `data.kind` = \"synthetic\"",
        ),
        ("evaluate.ask_model=false", ""),
    ] {
        let found = problems(&scratch, &[set], &[]);
        let (key, value) = set.split_once('=').unwrap();
        match message {
            "" => assert_eq!(found, "valid"),
            _ => assert!(
                found.contains(&format!("error: --set {key}: {message}")),
                "{found}"
            ),
        }
        let variable = format!("ATTNLAB_{}", key.replace('.', "__").to_uppercase());
        let found = problems(&scratch, &[], &[(&variable, value)]);
        let place = format!("error: environment {variable}: {message}");
        assert!(found == "valid" || found.contains(&place), "{found}");
    }
    // A mistake of the file stays one.
    let scratch = Scratch::new(&[(
        "experiments/x.toml",
        &VALID.replace("heads = 4", "heads = 5"),
    )]);
    let found = problems(&scratch, &["pretrain.epochs=1"], &[]);
    assert!(
        found.starts_with("error: experiments/x.toml:12:1: "),
        "{found}"
    );
}

#[test]
fn a_key_is_missing_where_the_axis_of_a_base_that_set_it_is_dropped_or_replaced() {
    let base = VALID
        .replace("layers = 2\n", "")
        .replace("people = 40\n", "");
    let base = format!(
        "{base}[sweep]\n'model.layers' = [1, 2]\n_ = [{{ 'model.hidden' = 256 }}, {{ 'model.hidden' = 128 }}]\n"
    )
    .replace("hidden = 256\n", "");
    let file =
        "base = 'base/a.toml'\n[sweep]\n'model.layers' = []\n_ = [{ 'model.dropout' = 0.2 }]\n";
    let scratch = Scratch::new(&[
        ("experiments/x.toml", file),
        ("experiments/base/a.toml", &base),
    ]);
    assert_eq!(
        problems(&scratch, &[], &[]),
        "error: experiments/x.toml:3:1: missing keys `layers` and `hidden` in `[model]`: the sweep of \
         experiments/base/a.toml sets `model.layers`, and `sweep.\"model.layers\"` = [] drops that axis\n  \
         help: set `model.layers`, or keep the axis"
    );
    let found = problems(&scratch, &["model.layers=2"], &[]);
    assert_eq!(
        found,
        "error: experiments/x.toml:4:1: missing key `hidden` in `[model]`: the sweep of \
         experiments/base/a.toml sets `model.hidden`, and `sweep._` here replaces that axis\n  \
         help: set `model.hidden`, or keep the axis"
    );
    let swept = VALID.replace("layers = 2\n", "") + "[sweep]\n'model.layers' = [1, 2]\n";
    let scratch = Scratch::new(&[("experiments/x.toml", &swept)]);
    assert_eq!(
        problems(&scratch, &["sweep.model.layers=[]"], &[]),
        "error: --set sweep.model.layers: missing key `layers` in `[model]`: the sweep of \
         experiments/x.toml sets `model.layers`, and `sweep.\"model.layers\"` = [] drops that axis\n  \
         help: set `model.layers`, or keep the axis"
    );
}
