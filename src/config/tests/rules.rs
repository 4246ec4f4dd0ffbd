//! Rules about values: each broken one has its text, and nothing else is reported with it.

use super::{Scratch, VALID, golden, problems_of, valid_with};
use crate::config::load_with;

#[test]
fn each_broken_rule_has_its_text() {
    let evaluate =
        "constant_answer = \"London\"\nreported = { accuracy = 0.21, source = \"a paper\" }";
    let bars = "kind = \"accuracy-bars\"";
    let evaluated = "reported = { accuracy = 0.21, source = \"a paper\" }\n\n[figures.bars]\nkind = \"accuracy-bars\"";
    let with = |key: &str, figure: &str| format!("{key}\n\n[figures.bars]\n{figure}");
    let excerpt = |n: i32| format!("objective = \"span-corruption\"\nlongest_excerpt = {n}");
    let (short, long) = (excerpt(3), excerpt(61));
    let cases = [
        ("heads do not fit", "heads = 4", "heads = 5"),
        (
            "head_dim overflows",
            "heads = 4",
            "heads = 9223372036854775807",
        ),
        ("layers", "layers = 2", "layers = 0"),
        (
            "precision on the CPU",
            "device = \"cpu\"",
            "device = \"cpu\"\nprecision = \"tf32\"",
        ),
        ("embed", "embed = 64", "embed = 0"),
        ("heads", "heads = 4", "heads = 0"),
        ("head_dim", "head_dim = 16", "head_dim = 0"),
        ("hidden", "hidden = 256", "hidden = 0"),
        ("vocabulary", "vocabulary = 64", "vocabulary = 0"),
        ("context", "context = 64", "context = 7"),
        ("dropout 1", "context = 64", "context = 64\ndropout = 1.0"),
        (
            "dropout below 0",
            "context = 64",
            "context = 64\ndropout = -0.1",
        ),
        (
            "batch_documents",
            "batch_documents = 8\nlearning_rate = 6e-3",
            "batch_documents = 0\nlearning_rate = 6e-3",
        ),
        (
            "learning_rate 0",
            "learning_rate = 6e-3",
            "learning_rate = 0",
        ),
        (
            "learning_rate NaN",
            "learning_rate = 6e-3",
            "learning_rate = nan",
        ),
        (
            "learning_rate infinite",
            "learning_rate = 6e-4",
            "learning_rate = inf",
        ),
        ("betas", "betas = [0.9, 0.95]", "betas = [-0.1, 1.0]"),
        ("epsilon", "clip_norm = 1.0", "epsilon = 0.0"),
        ("weight_decay", "clip_norm = 1.0", "weight_decay = -0.1"),
        ("clip_norm", "clip_norm = 1.0", "clip_norm = -1.0"),
        (
            "excerpt too short",
            "objective = \"span-corruption\"",
            &short,
        ),
        ("excerpt too long", "objective = \"span-corruption\"", &long),
        ("final_tokens", "final_tokens = 9000", "final_tokens = 100"),
        ("no seeds", "seeds = [1, 2]", "seeds = []"),
        ("seed twice", "seeds = [1, 2]", "seeds = [1, 2, 1]"),
        (
            "seed too large",
            "seeds = [1, 2]",
            "seeds = [9007199254740992]",
        ),
        ("accuracy in percent", "accuracy = 0.21", "accuracy = 21.0"),
        ("no source", "source = \"a paper\"", "source = \" \""),
        ("people", "people = 40", "people = 7"),
        ("places", "places = 5", "places = 41"),
        (
            "biographies_per_person",
            "places = 5",
            "biographies_per_person = 0",
        ),
        ("data seed", "places = 5", "seed = 9007199254740992"),
        (
            "synthetic keys",
            "kind = \"synthetic\"",
            "kind = \"cs224n\"\nseed = 1\nbiographies_per_person = 1",
        ),
        (
            "empty constant answer",
            "constant_answer = \"London\"",
            "constant_answer = \" \"",
        ),
        ("nothing to evaluate", evaluate, "ask_model = false"),
        ("no measure", evaluate, "measures = []"),
        (
            "a measure twice",
            evaluate,
            "measures = [\"log-loss\", \"log-loss\"]",
        ),
        (
            "a measure without a model",
            evaluate,
            "constant_answer = \"London\"\nask_model = false\nmeasures = [\"log-loss\"]",
        ),
        (
            "a measure that only a figure has",
            evaluate,
            "measures = [\"exact-match\"]\n\n[figures.other]\nkind = \"accuracy-bars\"\nmeasure = \"log-loss\"",
        ),
        ("answer_characters 0", evaluate, "answer_characters = 0"),
        ("answer_characters", evaluate, "answer_characters = 64"),
        (
            "stage of bars",
            bars,
            "kind = \"accuracy-bars\"\nstage = \"pretrain\"",
        ),
        (
            "examples of bars",
            bars,
            "kind = \"accuracy-bars\"\nexamples = 3",
        ),
        (
            "labels",
            "seeds = [1, 2]",
            "seeds = [1, 2]\nlabels = [\"a\", \"b\"]",
        ),
        (
            "a label twice",
            "seeds = [1, 2]",
            "seeds = [1, 2]\nlabels = [\"a\", \"a\"]\nsweep.\"pretrain.epochs\" = [1, 2]",
        ),
        (
            "no examples",
            bars,
            "kind = \"corruption-examples\"\nexamples = 0",
        ),
        (
            "too many examples",
            bars,
            "kind = \"corruption-examples\"\nexamples = 13",
        ),
        (
            "quantity of bars",
            bars,
            "kind = \"accuracy-bars\"\nx = \"parameters\"",
        ),
        (
            "quantity that no point has",
            bars,
            "kind = \"accuracy-scatter\"\nx = \"pretrain.epochs\"",
        ),
        (
            "bins of bars",
            bars,
            "kind = \"accuracy-bars\"\nbins = 10\nanswers = 8",
        ),
        (
            "too many bins",
            bars,
            "kind = \"reliability-diagram\"\nbins = 21",
        ),
        (
            "no answers",
            evaluated,
            &with(
                "invented = { names = 9 }",
                "kind = \"commonest-answers\"\nanswers = 0",
            ),
        ),
        ("nobody invented", evaluate, "invented = { names = 0 }"),
        (
            "too many invented",
            evaluate,
            "invented = { names = 5001, seed = 9007199254740992 }",
        ),
        (
            "invented people and no model",
            evaluate,
            "constant_answer = \"London\"\nask_model = false\ninvented = { names = 5 }",
        ),
        ("no map", evaluate, "attention_maps = {}"),
        (
            "too many maps, and an empty question",
            evaluate,
            "attention_maps = { questions = [\" \"], numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0] }",
        ),
        (
            "maps and no model",
            evaluate,
            "constant_answer = \"London\"\nask_model = false\nattention_maps = { numbers = [1] }",
        ),
        (
            "question of bars",
            bars,
            "kind = \"accuracy-bars\"\nquestion = 1",
        ),
        (
            "no question of maps",
            evaluated,
            &with(
                "attention_maps = { numbers = [1] }",
                "kind = \"attention-maps\"\nquestion = 0",
            ),
        ),
        (
            "question beyond the most",
            evaluated,
            &with(
                "attention_maps = { numbers = [1] }",
                "kind = \"answer-attention\"\nquestion = 13",
            ),
        ),
        (
            "question that is not mapped",
            evaluated,
            &with(
                "attention_maps = { numbers = [1] }",
                "kind = \"attention-maps\"\nquestion = 2",
            ),
        ),
        ("figure's name", "[figures.bars]", "[figures.\"../bars\"]"),
        (
            "blank title",
            bars,
            "kind = \"accuracy-bars\"\ntitle = \" \"",
        ),
    ];
    let text = |(name, old, new): (&str, &str, &str)| {
        let problems = problems_of(&valid_with(old, new));
        (name.to_owned(), format!("{old:?} -> {new:?}\n{problems}"))
    };
    let mut sections: Vec<(String, String)> = cases.into_iter().map(text).collect();
    sections.push(("nobody trains".into(), problems_of(&without_stages())));
    golden::check("config_rules", &golden::sections(sections));
}

fn without_stages() -> String {
    let (before, rest) = VALID.split_once("[pretrain]").unwrap();
    let (_, evaluate) = rest.split_once("[evaluate]").unwrap();
    format!("{before}[evaluate]{evaluate}")
}

#[test]
fn values_at_the_edge_of_a_rule_are_valid() {
    let edges = [
        ("layers = 2", "layers = 1"),
        ("context = 64", "context = 64\ndropout = 0.0"),
        ("epochs = 3", "epochs = 0"),
        (
            "objective = \"span-corruption\"",
            "objective = \"span-corruption\"\nlongest_excerpt = 60",
        ),
        (
            "objective = \"span-corruption\"",
            "objective = \"span-corruption\"\nlongest_excerpt = 4",
        ),
        (
            "objective = \"span-corruption\"",
            "objective = \"span-corruption\"\nshortest_excerpt = 56",
        ),
        ("final_tokens = 9000", "final_tokens = 101"),
        ("seeds = [1, 2]", "seeds = [9007199254740991]"),
        ("accuracy = 0.21", "accuracy = 1"),
        ("clip_norm = 1.0", "clip_norm = 0"),
        ("places = 5", "places = 2"),
        (
            "constant_answer = \"London\"",
            "constant_answer = \"London\"\nask_model = false",
        ),
        ("constant_answer = \"London\"", "answer_characters = 63"),
        (
            "kind = \"accuracy-bars\"",
            "kind = \"corruption-examples\"\nexamples = 12",
        ),
    ];
    for (old, new) in edges {
        assert_eq!(problems_of(&valid_with(old, new)), "valid", "{new}");
    }
}

#[test]
fn the_default_excerpt_leaves_room_for_the_masks() {
    let experiment = super::load_text(super::VALID).unwrap();
    let pretrain = experiment.points[0].settings.training().unwrap();
    let pretrain = pretrain.pretrain.as_ref().unwrap();
    assert_eq!(
        [8, 16, 32, 128].map(|context| pretrain.longest_excerpt(context)),
        [4, 12, 28, 112]
    );
}

#[test]
fn a_figure_that_no_point_can_fill_is_refused() {
    let text = VALID.replace("reported = { accuracy = 0.21, source = \"a paper\" }\n", "");
    let without = |stage: &str| {
        let (before, rest) = text.split_once(stage).unwrap();
        let (_, after) = rest.split_once("\n[").unwrap();
        format!("{before}[{after}")
    };
    let unasked = without("[finetune]").replace("[evaluate]", "[evaluate]\nask_model = false");
    let unanswered = text.replace("constant_answer = \"London\"", "split = \"test\"");
    // Epochs and learning rates of finetuning, point by point.
    let swept = |points: &[(usize, &str)]| {
        let point = |(epochs, rate): &(usize, &str)| {
            format!(r#"{{ "finetune.epochs" = {epochs}, "finetune.learning_rate" = {rate} }}"#)
        };
        let points: Vec<String> = points.iter().map(point).collect();
        format!("{text}\n[sweep]\n_ = [{}]\n", points.join(", "))
    };
    let cases = [
        ("accuracy-bars", &unanswered),
        ("accuracy-scatter", &unanswered),
        ("paired-matrix", &text),
        ("effects", &text),
        ("effects\"\ninteractions = 41\nterms = \"all", &text),
        ("effects", &swept(&[(1, "1e-3"), (2, "1e-3"), (1, "2e-3")])),
        (
            "effects\"\nterms = \"main",
            &swept(&[(1, "1e-3"), (2, "1e-3"), (1, "2e-3")]),
        ),
        ("learning-curves", &without("[pretrain]")),
        (
            "learning-curves\"\nstage = \"finetune",
            &without("[finetune]"),
        ),
        ("corruption-examples", &without("[pretrain]")),
        ("confidence", &unasked),
        ("reliability-diagram", &unanswered),
        ("commonest-answers", &text),
        ("attention-maps", &text),
        ("answer-attention", &text),
    ];
    let section = |(kind, text): (&str, &String)| {
        (
            kind.to_owned(),
            problems_of(&text.replace("accuracy-bars", kind)),
        )
    };
    let mut sections: Vec<(String, String)> = cases.into_iter().map(section).collect();
    let explored = |question: &str, kind: &str| {
        let question = format!("[explore]\nquestion = {question}\ndimension = 9\nkeys = 3\n");
        let text = format!("{question}\n[figures.bars]\nkind = {kind:?}\n");
        (kind.to_owned(), problems_of(&text))
    };
    sections.extend([
        explored(
            "\"swing\"\nbeta = 2\nalpha = 0\nsamples = 3",
            "exploration-curves",
        ),
        explored("\"copying\"\nmargins = [1]", "exploration-distribution"),
    ]);
    golden::check("config_figures", &golden::sections(sections));
}

#[test]
fn keys_that_nothing_reads_are_noted() {
    let scratch = Scratch::new(&[("x.toml", VALID)]);
    let notes = |set: &[&str]| {
        let set: Vec<String> = set.iter().map(|&one| one.to_owned()).collect();
        let loaded = load_with(&scratch.path("x.toml"), &set, &[]);
        loaded.unwrap().notes.join("\n")
    };
    let (cue, momentum) = ("pretrain.cue_words=3", "pretrain.optimiser.momentum=0.9");
    for (set, expected) in [
        (
            &[cue][..],
            "`pretrain.cue_words` changes nothing here: it is for `cued-recall`",
        ),
        (
            &[momentum],
            "`pretrain.optimiser.momentum` changes nothing here: it is for `muon`",
        ),
        (&[cue, "pretrain.objective=cued-recall"], ""),
        (
            &[
                cue,
                "pretrain.mix=[{ objective = 'cued-recall', share = 0.1 }]",
            ],
            "",
        ),
        (
            &[
                cue,
                "sweep.pretrain.objective=['span-corruption', 'cued-recall']",
            ],
            "",
        ),
        (&[momentum, "pretrain.optimiser.kind=muon"], ""),
    ] {
        assert_eq!(notes(set), expected, "{set:?}");
    }
}
