//! Folders of runs in, numbers out.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;
use crate::config::{load_alone, to_toml};
use crate::metrics::statistics::{mcnemar_exact, paired_difference_95, wilson_95};

const SETTINGS: &str = r#"
[data]
kind = "synthetic"

[model]
layers = 2
embed = 64
heads = 4
head_dim = 16
hidden = 256
vocabulary = 64
context = 128
attention = { kind = "vanilla" }

[pretrain]
objective = "span-corruption"
epochs = 2
batch_documents = 32
learning_rate = 1e-3

[evaluate]
split = "dev"
"#;

/// Written as well by the program before the columns of time moved; they are not read.
const METRICS: &str = "\
stage,epoch,step,documents,tokens,loss_nats,learning_rate,gradient_norm,tokens_per_second,step_ms
pretrain,1,1,32,900,9.0,1e-3,1.0,1000,900
pretrain,1,2,32,900,8.0,1e-3,1.0,1000,900
pretrain,2,3,32,900,2.0,1e-3,1.0,1000,900
pretrain,2,4,32,900,1.5,1e-3,1.0,1000,900
";

/// A folder of results for one test.
struct Results(tempfile::TempDir);

impl Results {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    /// A run that is done, with these answers: question, right answer, given answer.
    fn run(&self, point: &str, seed: u64, settings: &str, answers: &[(String, &str, &str)]) {
        self.write("settings.toml", settings);
        let experiment = load_alone(&self.path("settings.toml")).expect("valid");
        let folder = format!("{point}/seed-{seed}");
        let resolved = to_toml(&experiment.points[0].settings, seed);
        self.write(&format!("{folder}/resolved.toml"), &resolved);
        self.write(&format!("{folder}/status.json"), "{\"state\": \"done\"}");
        self.write(&format!("{folder}/metrics.csv"), METRICS);
        let mut rows = "question\tgold\tpredicted\tcorrect\tlog_probability\n".to_owned();
        for (question, gold, given) in answers {
            let correct = match gold.is_empty() {
                true => "",
                false if gold == given => "true",
                false => "false",
            };
            writeln!(rows, "{question}\t{gold}\t{given}\t{correct}\t-1.5").expect("text");
        }
        self.write(&format!("{folder}/predictions/dev-model.tsv"), &rows);
    }

    fn compare(&self, a: &str, b: &str) -> Comparison {
        compare(&self.path(a), &self.path(b)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(&self, a: &str, b: &str) -> String {
        let error = compare(&self.path(a), &self.path(b)).expect_err("refused");
        assert!(error.exit_code() == 2 || error.exit_code() == 5, "{error}");
        error
            .to_string()
            .replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// As many questions as the text has letters: `r` is answered right, anything else wrong.
fn answers(rights: &str) -> Vec<(String, &'static str, &'static str)> {
    let answer = |(i, right)| {
        let given = if right == 'r' { "London" } else { "Lima" };
        (format!("Where was person {i} born?"), "London", given)
    };
    rights.chars().enumerate().map(answer).collect()
}

/// The only test of two runs with these answers, or why there is none.
fn only_test(a: &[(String, &str, &str)], b: &[(String, &str, &str)]) -> Result<PairedTest, String> {
    let results = Results::new();
    results.run("a", 1, SETTINGS, a);
    results.run("b", 1, SETTINGS, b);
    let mut pairs = results.compare("a", "b").pairs;
    assert_eq!(pairs.len(), 1);
    let pair = pairs.remove(0);
    pair.test.ok_or_else(|| pair.untested.expect("a reason"))
}

#[test]
fn two_runs_are_compared_by_settings_accuracy_loss_and_their_answers() {
    let results = Results::new();
    results.run("a", 1, SETTINGS, &answers("rrrw wwww ww"));
    let longer = SETTINGS.replace("epochs = 2", "epochs = 3");
    results.run("b", 1, &longer, &answers("rrww rrrr rr"));
    let comparison = results.compare("a", "b/seed-1");

    let keys: Vec<&str> = comparison.settings.iter().map(|d| d.key.as_str()).collect();
    assert_eq!(keys, ["pretrain.epochs"]);
    let (low_95, high_95) = wilson_95(3, 12);
    let expected = Accuracy {
        correct: 3,
        questions: 12,
        accuracy: 0.25,
        low_95,
        high_95,
    };
    assert_eq!(comparison.a.runs[0].accuracy, Some(expected));
    let losses = [(TrainingStage::Pretrain, 1.75)];
    assert_eq!(
        comparison.a.runs[0].final_loss_nats,
        losses.into(),
        "of the last epoch alone"
    );
    assert_eq!(comparison.a.accuracy, None, "one seed has no spread");

    let (low_95, high_95) = paired_difference_95(2, 1, 6, 3);
    let test = PairedTest {
        questions: 12,
        both_right: 2,
        only_a_right: 1,
        only_b_right: 6,
        neither_right: 3,
        p: mcnemar_exact(1, 6),
        difference: 5.0 / 12.0,
        low_95,
        high_95,
    };
    assert_eq!(comparison.pairs[0].test, Some(test));
    assert_eq!((comparison.difference, comparison.notes.len()), (None, 0));
}

#[test]
fn the_order_of_the_questions_does_not_matter() {
    let (a, b) = (answers("rrwwrwrw"), answers("rwrrrrwr"));
    let mut turned = b.clone();
    turned.reverse();
    turned.swap(1, 4);
    assert_eq!(only_test(&a, &b), only_test(&a, &turned));
    assert!(only_test(&a, &b).is_ok());
}

#[test]
fn different_questions_and_different_right_answers_are_reported() {
    let (a, mut b) = (answers("rrww"), answers("rrwwrr"));
    let message = "the questions are not the same: 0 are in A alone, 2 in B alone, 4 in both";
    assert_eq!(only_test(&a, &b), Err(message.to_owned()));
    b.truncate(4);
    b[0].1 = "Paris";
    let message = "1 of the 4 questions have another right answer in A than in B";
    assert_eq!(only_test(&a, &b), Err(message.to_owned()));
}

#[test]
fn a_question_that_is_asked_twice_is_refused_only_where_it_is_unclear_which_is_which() {
    let twice = |second: (&'static str, &'static str)| {
        let mut answers = answers("rwr");
        answers.push((answers[0].0.clone(), second.0, second.1));
        answers
    };
    // Another person of that name, born elsewhere.
    let namesake = twice(("Oslo", "London"));
    let mut turned = namesake.clone();
    turned.reverse();
    let test = only_test(&namesake, &turned).expect("two questions");
    assert_eq!(
        (test.questions, test.both_right, test.neither_right),
        (4, 2, 2)
    );
    // The same question again, with the same answer: either may be the partner of either.
    assert!(only_test(&twice(("London", "London")), &twice(("London", "London"))).is_ok());
    let unclear = twice(("London", "Lima"));
    let message =
        "A asks 'Where was person 0 born?' twice, and answers it right once and wrong once";
    assert_eq!(only_test(&unclear, &namesake), Err(message.to_owned()));
    let more = twice(("London", "London"));
    let message = "the questions are not the same: 1 are in A alone, 0 in B alone, 3 in both";
    assert_eq!(only_test(&more, &answers("rwr")), Err(message.to_owned()));
}

#[test]
fn answers_that_cannot_be_scored_are_reported() {
    let results = Results::new();
    let unknown: Vec<_> = answers("rrw")
        .into_iter()
        .map(|(q, _, given)| (q, "", given))
        .collect();
    results.run("a", 1, SETTINGS, &unknown);
    results.run("b", 1, SETTINGS, &answers("rrw"));
    let comparison = results.compare("a", "b");
    assert_eq!(comparison.a.runs[0].accuracy, None);
    let note = "A, seed 1: no right answer is known to its 3 dev questions";
    assert_eq!(comparison.notes, [note]);
    let reason = comparison.pairs[0].untested.as_deref();
    assert_eq!(reason, Some("no right answer is known in A"));

    let (settings, _) = SETTINGS.split_once("[evaluate]").expect("the last table");
    results.run("silent", 1, settings, &[]);
    let comparison = results.compare("b", "silent");
    assert_eq!(comparison.notes, ["B evaluates nothing"]);
    assert_eq!(
        comparison.pairs[0].untested.as_deref(),
        Some("B evaluates nothing")
    );
}

#[test]
fn seeds_are_paired_by_their_number_and_summed_up() {
    let results = Results::new();
    for (seed, a, b) in [
        (1, "rwww", "rrrw"),
        (2, "wwww", "rrww"),
        (3, "rrww", "rrrr"),
    ] {
        results.run("a", seed, SETTINGS, &answers(a));
        results.run("b", seed, SETTINGS, &answers(b));
    }
    results.run("b", 9, SETTINGS, &answers("rrrr"));
    let comparison = results.compare("a", "b");
    let pairs: Vec<_> = comparison
        .pairs
        .iter()
        .map(|p| (p.seed_a, p.seed_b))
        .collect();
    assert_eq!(pairs, [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(
        comparison.difference,
        Spread::of(&[0.5, 0.5, 0.5], -1.0..=1.0)
    );
    let note = "B, seed 9 has no partner: A has no finished run with that seed";
    assert_eq!(comparison.notes, [note]);

    let spread = comparison.a.accuracy.expect("three seeds");
    assert_eq!(
        (spread.seeds, spread.mean, spread.standard_deviation),
        (3, 0.25, 0.25)
    );
    assert_eq!(
        (spread.low_95, spread.interval),
        (0.0, IntervalKind::StudentT)
    );
    let loss = &comparison.b.final_loss_nats[&TrainingStage::Pretrain];
    assert_eq!((loss.seeds, loss.mean, loss.low_95), (4, 1.75, 1.75));
}

#[test]
fn an_interval_is_clipped_to_the_possible_values() {
    let spread = Spread::of(&[0.1, 0.9], 0.0..=1.0).expect("two values");
    assert_eq!((spread.low_95, spread.high_95), (0.0, 1.0));
    let spread = Spread::of(&[0.1, 0.9], 0.0..=f64::INFINITY).expect("two values");
    assert!(spread.low_95 == 0.0 && spread.high_95 > 5.0, "{spread:?}");
    assert_eq!(Spread::of(&[0.5], 0.0..=1.0), None);
}

#[test]
fn seeds_that_are_equally_often_right_get_the_interval_of_one() {
    let results = Results::new();
    results.run("a", 1, SETTINGS, &answers("rrww"));
    results.run("a", 2, SETTINGS, &answers("wwrr"));
    let spread = results.compare("a", "a").a.accuracy.expect("two seeds");
    assert_eq!((spread.low_95, spread.high_95), wilson_95(2, 4));
    assert_eq!(spread.interval, IntervalKind::Wilson);
}

#[test]
fn the_only_two_runs_are_a_pair_whatever_their_seeds() {
    let results = Results::new();
    results.run("a", 1, SETTINGS, &answers("rw"));
    results.run("b", 2, SETTINGS, &answers("rr"));
    let comparison = results.compare("a", "b");
    assert_eq!(
        (comparison.pairs[0].seed_a, comparison.pairs[0].seed_b),
        (1, 2)
    );
    assert!(comparison.pairs[0].test.is_some());
    assert_eq!(comparison.notes, [""; 0]);
}

#[test]
fn a_run_that_is_not_finished_has_no_numbers() {
    let results = Results::new();
    results.run("a", 1, SETTINGS, &answers("rw"));
    results.run("b", 1, SETTINGS, &answers("rr"));
    for status in [
        "{\"state\": \"failed\", \"reason\": \"it diverged\"}",
        "no JSON",
    ] {
        results.write("b/seed-1/status.json", status);
        let comparison = results.compare("a", "b");
        let note = "B, seed 1 is not finished: its numbers are left out";
        assert_eq!(comparison.notes, [note]);
        assert_eq!(comparison.b.runs[0].accuracy, None);
        assert!(comparison.b.runs[0].final_loss_nats.is_empty());
        assert!(comparison.pairs.is_empty());
        assert!(comparison.a.runs[0].accuracy.is_some());
    }
}

#[test]
fn a_folder_of_no_run_of_several_points_or_of_a_seed_twice_is_refused() {
    let results = Results::new();
    results.run("e/a", 1, SETTINGS, &answers("rw"));
    let longer = SETTINGS.replace("epochs = 2", "epochs = 3");
    results.run("e/b", 1, &longer, &answers("rr"));
    let message = results.error("e", "e/a");
    let start = "error: e holds runs of several points\n  e/a\n  e/b\n  help: ";
    assert!(message.starts_with(start), "{message}");
    let message = results.error("e/a", "gone");
    assert!(
        message.starts_with("error: gone holds no run\n  help: "),
        "{message}"
    );
    results.run("twice/e/a", 1, SETTINGS, &answers("rw"));
    results.run("twice/f/a", 1, SETTINGS, &answers("rw"));
    let message = results.error("e/a", "twice");
    let start = "error: twice holds seed 1 twice\n  twice/e/a/seed-1\n  twice/f/a/seed-1\n  help: ";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn a_file_of_a_finished_run_that_is_missing_or_damaged_is_named() {
    let results = Results::new();
    results.run("a", 1, SETTINGS, &answers("rw"));
    results.write("a/seed-1/metrics.csv", "stage,epoch\npretrain,many\n");
    let message = results.error("a", "a");
    assert!(
        message.starts_with("error: cannot read a/seed-1/metrics.csv: "),
        "{message}"
    );
    results.write("a/seed-1/metrics.csv", METRICS);
    std::fs::remove_file(results.path("a/seed-1/predictions/dev-model.tsv")).expect("removed");
    let message = results.error("a", "a");
    let start = "error: cannot read a/seed-1/predictions/dev-model.tsv: ";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn other_measures_are_compared_question_by_question() {
    let results = Results::new();
    let measured = format!("{SETTINGS}measures = [\"exact-match\", \"brier-score\"]\n");
    for seed in [1, 2] {
        results.run("a", seed, &measured, &answers("rrwwwwwwww"));
        results.run("b", seed, &measured, &answers("rrrrrrwwww"));
    }
    results.run("c", 1, SETTINGS, &answers("rrrrrrwwww"));
    let comparison = results.compare("a", "b");
    // Every answer has the probability e^-1.5: right costs (1 - p)², wrong p².
    let p = (-1.5f64).exp();
    let (right, wrong) = ((1.0 - p).powi(2), p.powi(2));
    let value = &comparison.a.runs[0].measures["brier-score"];
    assert_eq!(value.questions, 10);
    assert!((value.value - (0.2 * right + 0.8 * wrong)).abs() < 1e-12);
    assert!(value.low_95 < Some(value.value) && Some(value.value) < value.high_95);
    let spread = &comparison.a.measures["brier-score"];
    assert_eq!(
        (spread.seeds, spread.interval),
        (2, IntervalKind::Bootstrap)
    );
    let difference = &comparison.pairs[0].differences["brier-score"];
    assert!(
        (difference.difference - 0.4 * (right - wrong)).abs() < 1e-12,
        "{difference:?}"
    );
    assert!(difference.low_95 < difference.difference);
    assert_eq!(comparison.differences["brier-score"].seeds, 2);
    let other = results.compare("a", "c");
    assert!(other.differences.is_empty() && other.pairs[0].differences.is_empty());
}
