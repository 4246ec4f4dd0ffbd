//! What points are called: labels tied to values, labels in order, labels of their own, and the axes of a base.

use super::{Experiment, Scratch, golden, load_text, load_with, problems_of, valid_with};

/// [`super::VALID`] with labels and a sweep.
fn text(labels: &str, sweep: &str) -> String {
    let top = format!("seeds = [1, 2]\n{labels}");
    format!("{}\n[sweep]\n{sweep}\n", valid_with("seeds = [1, 2]", &top))
}

fn labels(experiment: &Experiment) -> Vec<&str> {
    let points = experiment.points.iter();
    points.map(|point| point.label.as_str()).collect()
}

/// The labels of the points, separated by lines.
fn labelled(names: &str, sweep: &str) -> String {
    let experiment = load_text(&text(names, sweep)).unwrap();
    labels(&experiment).join("\n")
}

const TWO_AXES: &str = "'pretrain.epochs' = [0, 60]\n'model.attention.kind' = ['vanilla', 'rope']";

#[test]
fn a_label_goes_with_its_value_whatever_the_order_of_the_axes() {
    let tied = "labels = { 'pretrain.epochs = 60' = 'pretrained', 'pretrain.epochs=0' = 'from scratch', \
                'model.attention.kind = rope' = 'RoPE' }";
    let wanted = "model.attention.kind = vanilla, from scratch\n\
                  model.attention.kind = vanilla, pretrained\nRoPE, from scratch\nRoPE, pretrained";
    assert_eq!(labelled(tied, TWO_AXES), wanted);
    let whole = "labels = { 'pretrain.epochs = 0' = 'from scratch', \
                 'pretrain.epochs = 0, model.attention.kind = \"rope\"' = 'baseline' }";
    let wanted = "model.attention.kind = vanilla, from scratch\n\
                  model.attention.kind = vanilla, pretrain.epochs = 60\nbaseline\n\
                  model.attention.kind = rope, pretrain.epochs = 60";
    assert_eq!(labelled(whole, TWO_AXES), wanted);
}

#[test]
fn a_value_may_be_written_as_in_the_sweep() {
    let sweep = "'pretrain.learning_rate' = [1e-3, 6e-3]\nrandom = { draws = 2, 'model.dropout' = { uniform = [0.0, 0.3] } }";
    let tied = "labels = { 'pretrain.learning_rate = 1e-3' = 'slow', 'pretrain.learning_rate = 0.006, draw = 2' = 'best' }";
    let wanted = "slow, draw 1\nslow, draw 2\npretrain.learning_rate = 0.006, draw 1\nbest";
    assert_eq!(labelled(tied, sweep), wanted);
    let zipped = "_ = [{ 'model.attention' = { kind = 'grouped-query', kv_heads = 2 }, 'pretrain.epochs' = 1 },\n\
         { 'model.attention' = { kind = 'vanilla' }, 'pretrain.epochs' = 2 }]";
    let tied = "labels = { 'model.attention = { kind = \"grouped-query\", kv_heads = 2 }, pretrain.epochs = 1' = 'grouped' }";
    let wanted = "grouped\nmodel.attention = { kind = \"vanilla\" }, pretrain.epochs = 2";
    assert_eq!(labelled(tied, zipped), wanted);
}

#[test]
fn one_label_can_be_set_from_the_command_line() {
    let scratch = Scratch::new(&[("experiments/x.toml", &text("", TWO_AXES))]);
    let set = [
        "labels.\"pretrain.epochs = 0\"=from scratch",
        "labels={ \"model.attention.kind = rope\" = \"RoPE\" }",
    ];
    let loaded = load_with(
        &scratch.path("experiments/x.toml"),
        &set.map(str::to_owned),
        &[],
    );
    assert_eq!(
        labels(&loaded.unwrap())[2..],
        ["RoPE, from scratch", "RoPE, pretrain.epochs = 60"]
    );
}

#[test]
fn what_all_points_share_is_left_out_and_told_once() {
    let sweep = "'pretrain.epochs' = [0, 60]\n'model.dropout' = [0.2]";
    let experiment = load_text(&text("", sweep)).unwrap();
    assert_eq!(
        labels(&experiment),
        ["pretrain.epochs = 0", "pretrain.epochs = 60"]
    );
    assert_eq!(experiment.context, ["model.dropout = 0.2"]);
    let named = load_text(&text("labels = { 'model.dropout = 0.2' = 'wet' }", sweep)).unwrap();
    assert_eq!(
        labels(&named),
        ["wet, pretrain.epochs = 0", "wet, pretrain.epochs = 60"]
    );
    assert!(named.context.is_empty());
    let only = load_text(&text("", "'model.dropout' = [0.2]")).unwrap();
    assert_eq!(
        (labels(&only), only.context.len()),
        (vec!["model.dropout = 0.2"], 0)
    );
}

#[test]
fn every_mistake_in_a_table_of_labels_has_its_line() {
    let two = "'pretrain.epochs' = [0, 60]\n'model.attention.kind' = ['vanilla', 'rope']";
    let cases = [
        ("no such axis", "'pretrain.epoch = 0' = 'a'", two),
        ("no axis like it", "'data.people = 0' = 'a'", two),
        ("no such value", "'pretrain.epochs = 6' = 'a'", two),
        ("no value at all", "rope = 'a'", two),
        ("a dotted key", "model.attention.kind = 'a'", two),
        ("not a name", "'pretrain.epochs = 0' = 3", two),
        ("an empty name", "'pretrain.epochs = 0' = ''", two),
        (
            "one name for two values",
            "'pretrain.epochs = 0' = 'a'\n'pretrain.epochs = 60' = 'a'",
            two,
        ),
        (
            "the same value twice",
            "'pretrain.epochs = 0' = 'a'\n'pretrain.epochs = 0.0' = 'b'",
            two,
        ),
        (
            "two names for one point",
            "'model.attention.kind = rope, pretrain.epochs = 0' = 'a'\n'pretrain.epochs = 0, model.dropout = 0.1' = 'b'",
            "'pretrain.epochs' = [0, 60]\n'model.attention.kind' = ['vanilla', 'rope']\n'model.dropout' = [0.1, 0.2]",
        ),
        (
            "values of no point together",
            "'pretrain.epochs = 1, finetune.epochs = 4' = 'a'",
            "_ = [{ 'pretrain.epochs' = 1, 'finetune.epochs' = 3 }, { 'pretrain.epochs' = 2, 'finetune.epochs' = 4 }]",
        ),
        ("no sweep", "'pretrain.epochs = 0' = 'a'", ""),
    ];
    let sections = cases.map(|(name, labels, sweep)| {
        let text = format!("{}\n[labels]\n{labels}\n[sweep]\n{sweep}\n", super::VALID);
        (name.to_owned(), format!("{labels}\n{}", problems_of(&text)))
    });
    golden::check("config_labels", &golden::sections(sections));
    let number = problems_of(&text("labels = 3", two));
    assert!(
        number.contains("`labels` must be a list or a table"),
        "{number}"
    );
}

#[test]
fn a_list_that_names_another_points_value_is_doubted() {
    let kinds = "'model.attention.kind' = ['vanilla', 'rope']\n'pretrain.epochs' = [1, 2]";
    let doubt = |names: &str| {
        load_text(&text(&format!("labels = {names}"), kinds))
            .unwrap()
            .notes
    };
    // The order of the file's lines, as if epochs varied slowest.
    let swapped = doubt("['vanilla 1', 'RoPE 1', 'vanilla 2', 'RoPE 2']");
    assert_eq!(swapped.len(), 1);
    let says =
        "calls the point with model.attention.kind = vanilla \"RoPE 1\" (name 2 of the list)";
    assert!(swapped[0].contains(says), "{swapped:?}");
    for sound in [
        "['vanilla 1', 'vanilla 2', 'RoPE 1', 'RoPE 2']",
        "['plain', 'plain, twice', 'rotated', 'rotated, twice']",
        "['vanilla, one head', 'vanilla 2', 'a rope, 1 epoch of 2', 'rope']",
    ] {
        assert_eq!(doubt(sound), [""; 0], "{sound}");
    }
}

#[test]
fn axes_of_a_base_are_told_and_can_be_dropped() {
    let base = format!("{}\n[sweep]\n'model.dropout' = [0.1, 0.2]\n", super::VALID);
    let file = |more: &str| {
        let text = format!("base = 'base/b.toml'\n[sweep]\n{more}");
        Scratch::new(&[
            ("experiments/base/b.toml", &base),
            ("experiments/x.toml", &text),
        ])
    };
    let load = |more: &str, set: &[&str]| {
        let scratch = file(more);
        let set: Vec<String> = set.iter().map(|one| (*one).to_owned()).collect();
        let loaded = load_with(&scratch.path("experiments/x.toml"), &set, &[]);
        let folder = format!("{}/", scratch.path("").display()).replace("//", "/");
        loaded
            .map(|one| (one.points.len(), one.notes.join("\n").replace(&folder, "")))
            .map_err(|error| error.to_string().replace(&folder, ""))
    };
    let own = "'pretrain.epochs' = [1, 2, 3]\n";
    let (points, note) = load(own, &[]).unwrap();
    assert_eq!(points, 6);
    assert_eq!(
        note,
        "the sweep of experiments/x.toml is multiplied by `sweep.\"model.dropout\"` of experiments/base/b.toml, \
         6 points in all; to drop an axis write \"model.dropout\" = [] in [sweep], or --set 'sweep.model.dropout=[]'"
    );
    // What the note proposes works, and nothing else of the sweep changes.
    let dropped = Ok((3, String::new()));
    assert_eq!(load(&format!("{own}'model.dropout' = []"), &[]), dropped);
    assert_eq!(load(own, &["sweep.model.dropout=[]"]), dropped);
    // A key whose axis is dropped can be set.
    assert_eq!(
        load(own, &["sweep.model.dropout=[]", "model.dropout=0.3"]),
        dropped
    );
    assert_eq!(load("", &[]), Ok((2, String::new())));
    assert_eq!(load("'model.dropout' = []", &[]), Ok((1, String::new())));
    let wrong = load("'model.dropuot' = []", &[]).unwrap_err();
    assert_eq!(
        wrong,
        "error: experiments/x.toml:3:1: `sweep.\"model.dropuot\"` = [] drops an axis that no base has\n  \
         help: did you mean `sweep.\"model.dropout\"`?"
    );
}
