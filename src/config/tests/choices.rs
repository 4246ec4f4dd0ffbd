//! `choose`: which points are candidates, what the chosen one is called, and what keeps a choice from being made.

use super::{Experiment, Scratch, load_text, load_with, problems_of};

/// A sweep over kinds and rates of a made task, scored on the test split.
fn text(choose: &str, sweep: &str) -> String {
    format!(
        r#"seeds = [1]
choose = "{choose}"

[data]
kind = "parity"

[model]
layers = 2
embed = 64
heads = 4
head_dim = 16
hidden = 256
vocabulary = 64
context = 128
attention = {{ kind = "vanilla" }}

[pretrain]
objective = "answers"
epochs = 3
batch_documents = 8
learning_rate = 6e-3
validate = {{}}

[evaluate]
split = "test"

[sweep]
{sweep}
"#
    )
}

const KINDS_AND_RATES: &str =
    "'model.attention.kind' = ['vanilla', 'linear']\n'pretrain.learning_rate' = [1e-3, 2e-3, 4e-3]";

fn groups(experiment: &Experiment) -> Vec<(&str, &[usize])> {
    let choice = experiment.choice.as_ref().unwrap();
    let groups = choice.groups.iter();
    groups
        .map(|one| (one.label.as_str(), &one.points[..]))
        .collect()
}

#[test]
fn candidates_differ_in_the_named_keys_alone() {
    for choose in [
        "best of learning_rate by dev",
        " best of pretrain.learning_rate by dev ",
    ] {
        let experiment = load_text(&text(choose, KINDS_AND_RATES)).unwrap();
        let expected: [(&str, &[usize]); 2] = [
            ("model.attention.kind = vanilla", &[0, 1, 2]),
            ("model.attention.kind = linear", &[3, 4, 5]),
        ];
        assert_eq!(groups(&experiment), expected, "{choose}");
    }
    let experiment =
        load_text(&text("best of learning_rate, kind by dev", KINDS_AND_RATES)).unwrap();
    assert_eq!(groups(&experiment), [("x", &[0, 1, 2, 3, 4, 5][..])]);
}

#[test]
fn an_axis_that_sets_several_keys_is_split_by_what_is_chosen() {
    let zipped = "_ = [{ 'data.longest_training' = 20, 'pretrain.learning_rate' = 1e-3 },
          { 'data.longest_training' = 20, 'pretrain.learning_rate' = 2e-3 },
          { 'data.longest_training' = 30, 'pretrain.learning_rate' = 1e-3 }]";
    let experiment = load_text(&text("best of learning_rate by dev", zipped)).unwrap();
    let expected: [(&str, &[usize]); 2] = [
        ("data.longest_training = 20", &[0, 1]),
        ("data.longest_training = 30", &[2]),
    ];
    assert_eq!(groups(&experiment), expected);
}

#[test]
fn a_whole_draw_can_be_chosen() {
    let drawn = "'model.attention.kind' = ['vanilla', 'linear']
        [sweep.random]
        draws = 3
        'pretrain.learning_rate' = { log_uniform = [1e-4, 1e-2] }
        'model.dropout' = { uniform = [0.0, 0.2] }";
    let experiment = load_text(&text("best of learning_rate, dropout by dev", drawn)).unwrap();
    let expected: [(&str, &[usize]); 2] = [
        ("model.attention.kind = vanilla", &[0, 1, 2]),
        ("model.attention.kind = linear", &[3, 4, 5]),
    ];
    assert_eq!(groups(&experiment), expected);
    let part = problems_of(&text("best of learning_rate by dev", drawn));
    assert!(
        part.contains("no two points differ only in `pretrain.learning_rate`"),
        "{part}"
    );
}

#[test]
fn labels_by_value_name_what_is_chosen() {
    let labels = "\n[labels]\n'model.attention.kind = linear' = 'linear attention'\n'pretrain.learning_rate = 0.001' = 'slow'\n";
    let experiment =
        load_text(&(text("best of learning_rate by dev", KINDS_AND_RATES) + labels)).unwrap();
    let labels: Vec<&str> = groups(&experiment)
        .into_iter()
        .map(|(label, _)| label)
        .collect();
    assert_eq!(
        labels,
        ["model.attention.kind = vanilla", "linear attention"]
    );
    assert_eq!(experiment.points[3].label, "linear attention, slow");
}

#[test]
fn groups_with_the_same_label_are_called_by_their_values() {
    let sweep = "_ = [{ 'model.attention.kind' = 'vanilla', 'pretrain.learning_rate' = 1e-3 },
          { 'model.attention.kind' = 'vanilla', 'pretrain.learning_rate' = 2e-3 },
          { 'model.attention.kind' = 'rope', 'pretrain.learning_rate' = 4e-3 }]";
    let labels = "\n[labels]\n'model.attention.kind = vanilla' = 'attention'\n'model.attention.kind = rope' = 'attention'\n";
    let experiment = load_text(&(text("best of learning_rate by dev", sweep) + labels)).unwrap();
    let expected: [(&str, &[usize]); 2] = [
        ("model.attention.kind = vanilla", &[0, 1]),
        ("model.attention.kind = rope", &[2]),
    ];
    assert_eq!(groups(&experiment), expected);
}

#[test]
fn reported_numbers_do_not_tell_candidates_apart() {
    let sweep = "_ = [
        { 'pretrain.learning_rate' = 1e-3, 'evaluate.reported' = { token-accuracy = 0.5, source = 'a' } },
        { 'pretrain.learning_rate' = 2e-3, 'evaluate.reported' = { token-accuracy = 0.6, source = 'b' } }]";
    let experiment = load_text(&text("best of learning_rate by dev", sweep)).unwrap();
    assert_eq!(groups(&experiment), [("x", &[0, 1][..])]);
}

#[test]
fn a_sweep_from_outside_may_leave_one_candidate_and_labels_without_points() {
    let labels = "\n[labels]\n'model.attention.kind = linear' = 'Linear'\n";
    let text = text("best of learning_rate by dev", KINDS_AND_RATES) + labels;
    let scratch = Scratch::new(&[("experiments/x.toml", &text)]);
    let set = [
        "sweep.model.attention.kind=[\"vanilla\"]",
        "sweep.pretrain.learning_rate=[1e-3]",
    ];
    let set = set.map(str::to_owned);
    let experiment = load_with(&scratch.path("experiments/x.toml"), &set, &[]).unwrap();
    let expected = [("model.attention.kind = vanilla", &[0][..])];
    assert_eq!(groups(&experiment), expected);
}

#[test]
fn a_choice_changes_no_point() {
    let with = text("best of learning_rate by dev", KINDS_AND_RATES);
    let without = with.replace("choose = \"best of learning_rate by dev\"\n", "");
    let folders = |text: &str| -> Vec<String> {
        let points = load_text(text).unwrap().points;
        points.iter().map(|point| point.folder()).collect()
    };
    assert_eq!(folders(&with), folders(&without));
}

#[test]
fn invalid_choices_are_reported_in_one_line() {
    let choose = "best of learning_rate by dev";
    let cases = [
        (
            text("the best one", KINDS_AND_RATES),
            "`choose` = \"the best one\" is not a choice",
        ),
        (
            text("best of learning_rate by test", KINDS_AND_RATES),
            "is not a choice",
        ),
        (
            text("best of learning_rat by dev", KINDS_AND_RATES),
            "`choose` names `learning_rat`, which the sweep does not set",
        ),
        (
            text(
                "best of kind by dev",
                "'model.attention.kind' = ['vanilla', 'linear']
'data.kind' = ['parity', 'even-pairs']",
            ),
            "`choose` names `kind`, which matches several keys of the sweep",
        ),
        (
            text("best of dropout by dev", KINDS_AND_RATES),
            "it sets `model.attention.kind` and `pretrain.learning_rate`",
        ),
        (text(choose, ""), "add it to `[sweep]`"),
        (
            text(choose, KINDS_AND_RATES).replace("validate = {}\n", ""),
            "`choose` needs validation during pretraining, and \"model.attention.kind = vanilla, pretrain.learning_rate = 0.001\" has none",
        ),
        (
            text(choose, KINDS_AND_RATES).replace("split = \"test\"", "split = \"dev\""),
            "`choose` selects on the dev split",
        ),
        (
            text("best of learning_rate by validate", KINDS_AND_RATES),
            "`choose` selects \"by validate\", but validations score the dev split",
        ),
        (
            text(
                "best of measure by dev",
                "'pretrain.validate.measure' = ['loss', 'token-accuracy']",
            ),
            "`choose` names `pretrain.validate.measure`, which changes how validation scores",
        ),
        (
            text(
                "best of longest_training by dev",
                "'data.longest_training' = [20, 30]",
            ),
            "`choose` names `data.longest_training`, which changes the data that validation scores",
        ),
        (
            text(
                "best of data by dev",
                "'data' = [{ kind = 'parity' }, { kind = 'even-pairs' }]",
            ),
            "`choose` names `data`, which changes the data that validation scores",
        ),
        (
            text(
                choose,
                &format!(
                    "{KINDS_AND_RATES}\n'pretrain.validate.measure' = ['loss', 'token-accuracy']"
                ),
            ),
            "but points are validated with `loss` and `token-accuracy`",
        ),
        (
            text(
                choose,
                "_ = [{ 'pretrain.learning_rate' = 1e-3, 'pretrain.epochs' = 2 },
                      { 'pretrain.learning_rate' = 2e-3, 'pretrain.epochs' = 3 }]",
            ),
            "name all keys that change together",
        ),
    ];
    for (text, expected) in cases {
        let problems = problems_of(&text);
        assert!(problems.contains(expected), "{expected}: {problems}");
        assert!(problems.contains("experiments/x.toml:2:1: "), "{problems}");
        assert_eq!(
            problems.matches("experiments/x.toml:").count(),
            1,
            "{problems}"
        );
    }
}
