//! Errors of reading: unknown keys, wrong types, missing keys, names that do not exist.

use super::{Scratch, golden, load, problems_of, valid_with};
use crate::config::check;
use crate::data::DataKind;
use crate::kinds::Listed as _;
use crate::plot::FigureKind;

#[test]
fn each_mistake_has_its_text() {
    let cases = [
        ("misspelled key", "layers = 2", "layres = 2"),
        (
            "key that is like no other",
            "layers = 2",
            "layers = 2\nzzzzzz = 1",
        ),
        ("misspelled table", "[pretrain]", "[pretrian]"),
        (
            "misspelled top-level key",
            "seeds = [1, 2]",
            "seds = [1, 2]",
        ),
        (
            "top-level key that is like no other",
            "seeds = [1, 2]",
            "colour = \"red\"",
        ),
        (
            "unknown key in an inline table",
            "clip_norm = 1.0",
            "clip_nrom = 1.0",
        ),
        (
            "unknown key of a figure",
            "kind = \"accuracy-bars\"",
            "kind = \"accuracy-bars\"\nlabel = []",
        ),
        ("string for a number", "layers = 2", "layers = \"two\""),
        ("float for a whole number", "layers = 2", "layers = 2.5"),
        ("negative number", "layers = 2", "layers = -2"),
        (
            "list for a number",
            "learning_rate = 6e-4",
            "learning_rate = [6e-4]",
        ),
        (
            "number for a string",
            "constant_answer = \"London\"",
            "constant_answer = 3",
        ),
        (
            "number for a flag",
            "constant_answer = \"London\"",
            "ask_model = 1",
        ),
        ("date for a number", "layers = 2", "layers = 2020-01-01"),
        (
            "number for a table",
            "attention = { kind = \"vanilla\" }",
            "attention = 3",
        ),
        (
            "number of another kind",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"delta\", window = 3 }",
        ),
        (
            "rotation without keys",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"synthesizer\", rotary = {} }",
        ),
        (
            "rotation of no channel of half a head",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"differential\", rotary = { fraction = 0.1 } }",
        ),
        (
            "bias of feature maps",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"linear\", bias = \"alibi\" }",
        ),
        (
            "rotation of no channel",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"softmax\", rotary = { fraction = 0.01 } }",
        ),
        (
            "no rotation",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"rope\", rotary = { fraction = 0.0 } }",
        ),
        (
            "sink of sigmoids",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"sigmoid\", sink = \"zero\" }",
        ),
        (
            "layers that are not described",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\", \"globl\"]\nattention = { kind = \"vanilla\", local = { window = 8 }, global = {} }",
        ),
        (
            "key that a layer does not take",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"state\"]\nattention = { kind = \"vanilla\", window = 8, state = { kind = \"delta\", window = 4 } }",
        ),
        (
            "misspelled key of a layer",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\"]\nattention = { kind = \"vanilla\", local = { windw = 4 } }",
        ),
        (
            "layers of another network",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\"]\nattention = { kind = \"perceiver\", bottleneck = 4, local = {} }",
        ),
        (
            "network as a layer",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\"]\nattention = { kind = \"vanilla\", local = { kind = \"perceiver\" } }",
        ),
        (
            "layer of the wrong type",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\"]\nattention = { kind = \"vanilla\", local = 3 }",
        ),
        (
            "layer that lacks what its kind needs",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\"]\nattention = { kind = \"vanilla\", local = { kind = \"sliding-window\" } }",
        ),
        (
            "misspelled part",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"vanilla\", rotery = {} }",
        ),
        (
            "table of no layer",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"vanilla\", local = { window = 8 } }",
        ),
        (
            "bound that is too small",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"vanilla\", softcap = 1e-40 }",
        ),
        (
            "layers that are described",
            "attention = { kind = \"vanilla\" }",
            "pattern = [\"local\", \"global\"]\nattention = { kind = \"vanilla\", local = { window = 8 }, global = {} }",
        ),
        (
            "swept kind without its number",
            "[evaluate]",
            "[sweep]\n\"model.attention\" = [{ kind = \"vanilla\" }, { kind = \"sliding-window\" }]\n\n[evaluate]",
        ),
        (
            "more layers than anybody has",
            "layers = 2",
            "layers = 1025",
        ),
        (
            "kind without its number",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"sliding-window\" }",
        ),
        (
            "kind with a number of nothing",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"sliding-window\", window = 0 }",
        ),
        (
            "more latents than tokens",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"perceiver\", bottleneck = 4000 }",
        ),
        (
            "groups of unequal size",
            "attention = { kind = \"vanilla\" }",
            "attention = { kind = \"grouped-query\", kv_heads = 3 }",
        ),
        (
            "list for a table",
            "attention = { kind = \"vanilla\" }",
            "attention = [\"vanilla\"]",
        ),
        ("string for a list", "seeds = [1, 2]", "seeds = \"1\""),
        (
            "wrong element of a list",
            "seeds = [1, 2]",
            "seeds = [1, \"two\", -3]",
        ),
        ("list too short", "betas = [0.9, 0.95]", "betas = [0.9]"),
        (
            "list too long",
            "betas = [0.9, 0.95]",
            "betas = [0.9, 0.95, 0.99]",
        ),
        ("misspelled name", "kind = \"vanilla\"", "kind = \"vanila\""),
        (
            "name that is like no other",
            "device = \"cpu\"",
            "device = \"abacus\"",
        ),
        ("name as its number", "device = \"cpu\"", "device = 1"),
        (
            "name as a number out of range",
            "device = \"cpu\"",
            "device = 7",
        ),
        ("name as a flag", "device = \"cpu\"", "device = true"),
        (
            "name as a table",
            "device = \"cpu\"",
            "device = { cpu = 1 }",
        ),
        ("missing key", "layers = 2\n", ""),
        ("missing keys of one table", "layers = 2\nembed = 64\n", ""),
        (
            "missing key of an inline table",
            "{ kind = \"vanilla\" }",
            "{}",
        ),
        (
            "missing table",
            "[data]\nkind = \"synthetic\"\npeople = 40\nplaces = 5\n",
            "",
        ),
        (
            "empty table",
            "[data]\nkind = \"synthetic\"\npeople = 40\nplaces = 5\n",
            "[data]\n",
        ),
        ("not TOML", "layers = 2", "layers = = 2"),
        (
            "a number too large",
            "layers = 2",
            "layers = 99999999999999999999",
        ),
        ("key twice", "layers = 2", "layers = 2\nlayers = 3"),
        (
            "kind in place of its table",
            "attention = { kind = \"vanilla\" }",
            "attention = \"rope\"",
        ),
        (
            "another word for a name",
            "device = \"cpu\"",
            "device = \"gpu\"",
        ),
        (
            "date for a string",
            "constant_answer = \"London\"",
            "constant_answer = 2024-01-01",
        ),
        ("number in quotes", "layers = 2", "layers = \"2\""),
        ("number for a list", "seeds = [1, 2]", "seeds = 1"),
        (
            "flag in quotes",
            "constant_answer = \"London\"",
            "ask_model = \"True\"",
        ),
        (
            "key of another table",
            "constant_answer = \"London\"",
            "dropout = 0.1",
        ),
        (
            "tables joined by one underscore",
            "seeds = [1, 2]",
            "finetune_epochs = 3",
        ),
        (
            "too many passes",
            "epochs = 3",
            "epochs = 9223372036854775807",
        ),
        (
            "name for a list of names",
            "constant_answer = \"London\"",
            "measures = \"log-loss\"",
        ),
        (
            "misspelled name for a list of names",
            "constant_answer = \"London\"",
            "measures = \"logloss\"",
        ),
        (
            "other word for a measure",
            "constant_answer = \"London\"",
            "measures = [\"log-loss\", \"accuracy\"]",
        ),
        (
            "first word of a name",
            "constant_answer = \"London\"",
            "measures = [\"brier\"]",
        ),
        (
            "other word for a kind",
            "kind = \"vanilla\"",
            "kind = \"GQA\"",
        ),
        ("number for labels", "device = \"cpu\"", "labels = 3"),
        ("sweep is not a table", "device = \"cpu\"", "sweep = 3"),
        ("base is not a path", "device = \"cpu\"", "base = 3"),
    ];
    let text = |(name, old, new): (&str, &str, &str)| {
        let problems = problems_of(&valid_with(old, new));
        (name.to_owned(), format!("{old:?} -> {new:?}\n{problems}"))
    };
    golden::check("config_errors", &golden::sections(cases.map(text)));
}

#[test]
fn everything_wrong_with_a_file_comes_at_once_in_the_order_of_its_lines() {
    let text = r#"
seeds = [1, 1]
devise = "cpu"
[data]
people = "many"
[model]
layers = 0
embed = 64
heads = 5
head_dim = 16
hidden = 256
vocabulary = "x"
context = 64
attention = { kind = "vanilla", latents = 3 }
dropout = 1.5
[pretrain]
epochs = 3
batch_documents = 0
learning_rate = nan
schedule = { form = "cosine", warmup = 3 }
[evaluate]
reported = { accuracy = 21.0 }
[sweep]
"pretrain.epoch" = [1, 2]
[figures.f]
title = "bars"
"#;
    golden::check("config_everything", &format!("{}\n", problems_of(text)));
}

#[test]
fn an_unknown_kind_lists_all_kinds() {
    let of_data = super::VALID.replace("\"synthetic\"", "\"synthetik\"");
    let of_figure = super::VALID.replace("\"accuracy-bars\"", "\"acuracy-bars\"");
    for (text, names, meant) in [
        (of_data, DataKind::names(), "synthetic"),
        (of_figure, FigureKind::names(), "accuracy-bars"),
    ] {
        let problems = problems_of(&text);
        let suggestion = format!("did you mean `{meant}`?");
        assert!(problems.ends_with(&suggestion), "{problems}");
        let listed = |name: &&str| problems.contains(&format!("`{name}`"));
        assert!(names.iter().all(listed), "{problems}");
    }
}

#[test]
fn an_empty_file_lacks_only_its_tables() {
    golden::check("config_empty", &format!("{}\n", problems_of("")));
}

#[test]
fn several_errors_of_syntax_come_together() {
    let problems = problems_of("a = = 1\n[b\nc = 'x\n");
    assert_eq!(
        problems.matches("error: experiments/x.toml:").count(),
        2,
        "{problems}"
    );
}

#[test]
fn files_that_are_not_there_or_not_text_are_named() {
    let scratch = Scratch::new(&[
        ("a.toml", "base = 'nowhere.toml'"),
        ("b.toml", "base = 'c.toml'"),
        ("c.toml", "\nbase = 'sub/../b.toml'"),
        ("d.toml", "base = 'sub'"),
        ("sub/e.toml", "x = ["),
        ("f.toml", "base = 'sub/e.toml'"),
    ]);
    std::fs::write(scratch.path("g.toml"), b"x = 1\n\xff").unwrap();
    let names = [
        "missing.toml",
        "sub",
        "a.toml",
        "b.toml",
        "d.toml",
        "f.toml",
        "g.toml",
    ];
    let sections = names.map(|name| (name.to_owned(), scratch.error(load(&scratch.path(name)))));
    golden::check("config_files", &golden::sections(sections));
}

#[test]
fn check_walks_folders_and_reports_every_file() {
    let base = "[model]\nlayers = 'x'\n";
    let scratch = Scratch::new(&[
        ("experiments/good.toml", super::VALID),
        ("experiments/base/shared.toml", base),
        ("experiments/base/deep/broken.toml", "x = ["),
        (
            "experiments/deep/er/bad.toml",
            "sedes = [1]\nbase = '../../good.toml'",
        ),
        ("experiments/deep/er/notes.md", "not TOML"),
        ("empty/notes.md", ""),
    ]);
    let run = |path: &str| scratch.error(check(&[scratch.path(path)]));
    golden::check(
        "config_check",
        &golden::sections(
            [
                "experiments",
                "experiments/base/shared.toml",
                "empty",
                "nowhere",
            ]
            .map(|path| (path.to_owned(), run(path))),
        ),
    );
    let checked = check(&[scratch.path("experiments/good.toml")]).unwrap();
    assert_eq!(checked[0].experiment.as_ref().unwrap().seeds, [1, 2]);
    let checked = check(&[scratch.path("experiments/base/shared.toml")]).unwrap();
    assert_eq!(checked[0].experiment, None);
}
