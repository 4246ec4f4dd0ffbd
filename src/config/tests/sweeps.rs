//! The points of a sweep: order, names, and what is no axis.

use super::{VALID, golden, load_text, problems_of};

fn sweep(text: &str) -> String {
    format!("{VALID}\n[sweep]\n{text}")
}

#[test]
fn axes_go_by_the_alphabet_the_zipped_one_last_and_the_last_varies_fastest() {
    let text = sweep(
        "_ = [{ 'finetune.epochs' = 1, 'model.layers' = 1 }, { 'finetune.epochs' = 2, 'model.layers' = 2 }]\n\
         'pretrain.epochs' = [7, 5]\n'model.dropout' = [0.0, 0.25]\n",
    );
    let points = load_text(&text).unwrap().points;
    let line = |axes: &[(String, String)]| {
        axes.iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines: Vec<String> = points.iter().map(|point| line(&point.axes)).collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(
        lines[0],
        "model.dropout=0.0 pretrain.epochs=7 finetune.epochs=1 model.layers=1"
    );
    assert_eq!(
        lines[1],
        "model.dropout=0.0 pretrain.epochs=7 finetune.epochs=2 model.layers=2"
    );
    assert_eq!(
        lines[2],
        "model.dropout=0.0 pretrain.epochs=5 finetune.epochs=1 model.layers=1"
    );
    assert_eq!(
        lines[4],
        "model.dropout=0.25 pretrain.epochs=7 finetune.epochs=1 model.layers=1"
    );
    let third = &points[2].settings.training().unwrap();
    assert_eq!(
        (third.pretrain.as_ref().unwrap().epochs, third.model.layers),
        (5, 1)
    );
}

#[test]
fn a_whole_table_can_be_an_axis() {
    let points = load_text(&sweep("'model.attention' = [{ kind = 'vanilla' }]"))
        .unwrap()
        .points;
    assert_eq!(
        points[0].axes,
        [(
            "model.attention".to_owned(),
            "{ kind = \"vanilla\" }".to_owned()
        )]
    );
    assert_eq!(points[0].slug, "model-attention-kind-vanilla");
}

#[test]
fn slugs_are_safe_and_short() {
    let slug = |text: &str| load_text(&sweep(text)).unwrap().points[0].slug.clone();
    assert_eq!(load_text(VALID).unwrap().points[0].slug, "base");
    assert_eq!(slug("'pretrain.epochs' = [60]"), "pretrain-epochs-60");
    assert_eq!(
        slug("'pretrain.learning_rate' = [6e-3]"),
        "pretrain-learning_rate-0.006"
    );
    assert_eq!(
        slug("'evaluate.constant_answer' = ['../São Paulo: \"x\"?.']"),
        "evaluate-constant_answer-s-o-paulo-x"
    );
    let long = slug(&format!(
        "'evaluate.constant_answer' = ['{}']",
        "Llan".repeat(50)
    ));
    assert!(
        long.len() <= 60 && long.starts_with("evaluate-constant_answer-llan"),
        "{long}"
    );
    let folder = load_text(VALID).unwrap().points[0].folder();
    assert!(
        folder.starts_with("base-") && folder.len() == 13,
        "{folder}"
    );
}

#[test]
fn what_is_no_axis_is_named() {
    let many = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
    let many = format!(
        "'model.layers' = {many}\n'pretrain.epochs' = {many}\n'finetune.epochs' = {many}\n'data.seed' = {many}\n"
    );
    let cases = [
        ("no values", "'pretrain.epochs' = []"),
        ("not a list", "'pretrain.epochs' = 3"),
        ("not quoted", "pretrain.epochs = [1, 2]"),
        ("no such setting", "'pretrain.epoch' = [1, 2]"),
        ("no such table", "'pretrian.epochs' = [1, 2]"),
        ("wrong type", "'pretrain.epochs' = [1, 'two']"),
        ("broken rule", "'model.dropout' = [0.5, 1.5]"),
        (
            "rule between a value and the file",
            "'model.heads' = [4, 6]",
        ),
        ("same value twice", "'pretrain.epochs' = [1, 2, 1]"),
        (
            "same value in two spellings",
            "'pretrain.learning_rate' = [1, 1.0]",
        ),
        ("seeds", "seeds = [[1], [2]]"),
        ("empty part", "'pretrain..epochs' = [1]"),
        (
            "overlapping axes",
            "'model.attention' = [{ kind = 'vanilla' }]\n'model.attention.kind' = ['vanilla']",
        ),
        (
            "axis also zipped",
            "'pretrain.epochs' = [1]\n_ = [{ 'pretrain.epochs' = 2 }]",
        ),
        ("zipped is no list", "_ = 3"),
        ("zipped element is no table", "_ = [3]"),
        ("zipped element is empty", "_ = [{}]"),
        (
            "zipped elements differ",
            "_ = [{ 'pretrain.epochs' = 2 }, { 'finetune.epochs' = 2 }]",
        ),
        ("too many points", many.as_str()),
        (
            "two at once, and a rule elsewhere",
            "'pretrain.epochs' = []\n'finetune.epochs' = 3\n'model.layres' = [1]",
        ),
    ];
    let sections = cases.map(|(name, text)| {
        let shown = if text.len() > 200 { "…" } else { text };
        (
            name.to_owned(),
            format!("{shown}\n{}", problems_of(&sweep(text))),
        )
    });
    golden::check("config_sweep", &golden::sections(sections));
}

#[test]
fn a_key_that_only_the_sweep_sets_is_not_missing() {
    let text = sweep("'pretrain.epochs' = [1, 2]").replace("epochs = 3\n", "");
    assert_eq!(problems_of(&text), "valid");
    let broken = sweep("'pretrain.epochs' = []").replace("epochs = 3\n", "");
    assert_eq!(problems_of(&broken).matches("error:").count(), 1);
}
