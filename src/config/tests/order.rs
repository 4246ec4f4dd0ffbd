//! The order of tables and of keys within them means nothing.

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{Scratch, VALID, for_all, load};
use crate::error::Error;

const SWEEP: &str = "
[sweep]
'pretrain.epochs' = [1, 2]
'model.dropout' = [0.0, 0.1]
_ = [{ 'data.people' = 40, 'data.places' = 5 }, { 'data.people' = 60, 'data.places' = 6 }]
";

/// One line of [`VALID`] or [`SWEEP`] and what to make of it.
static MISTAKES: [(&str, &str); 14] = [
    ("seeds = [1, 2]", "seeds = [1, 1]"),
    ("device = \"cpu\"", "device = \"cup\"\nlabels = [\"one\"]"),
    ("kind = \"synthetic\"", "kind = 3"),
    ("layers = 2", "layres = 2"),
    ("embed = 64", "embed = 65"),
    ("context = 64", "dropout = 1.5"),
    ("objective = \"span-corruption\"", "init = \"w\""),
    ("learning_rate = 6e-3", "learning_rate = 0"),
    ("batch_documents = 8", "batch_documents = \"8\""),
    ("constant_answer = \"London\"", "answer_characters = 0"),
    ("[figures.bars]", "[figures.\"a b\"]"),
    (
        "kind = \"accuracy-bars\"",
        "kind = \"bars\"\nstage = \"pretrain\"",
    ),
    ("'pretrain.epochs' = [1, 2]", "'pretrain.epochs' = [1, 1]"),
    (
        "'model.dropout' = [0.0, 0.1]",
        "'model.droput' = [0.0, 0.1]",
    ),
];

/// The text with some mistakes, each where its line first occurs.
fn with(mistakes: &[(&str, &str)]) -> String {
    let text = format!("{VALID}{SWEEP}");
    mistakes.iter().fold(text, |text, (line, wrong)| {
        assert!(text.contains(line), "{line:?} must be there");
        text.replacen(line, wrong, 1)
    })
}

/// The lines of each table, its heading apart; first those that are in none.
fn tables(text: &str) -> Vec<(String, Vec<String>)> {
    let mut tables = vec![(String::new(), Vec::new())];
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.starts_with('[') {
            true => tables.push((line.to_owned(), Vec::new())),
            false => tables.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    tables
}

/// The same text with its tables, and the keys of each, in any order. Keys in no table stay first.
fn reordered(text: &str) -> impl Strategy<Value = String> + use<> {
    let mut tables = tables(text);
    let first = Just(tables.remove(0).1).prop_shuffle();
    let table = |(heading, lines)| (Just(heading), Just(lines).prop_shuffle());
    let tables: Vec<_> = tables.into_iter().map(table).collect();
    let tables = tables.prop_flat_map(|tables| Just(tables).prop_shuffle());
    (first, tables).prop_map(|(first, tables)| {
        let tables = tables
            .into_iter()
            .map(|(heading, lines)| format!("{heading}\n{}", lines.join("\n")));
        let tables: Vec<String> = tables.collect();
        format!("{}\n{}", first.join("\n"), tables.join("\n"))
    })
}

/// Everything that loading says: the points with their folders, or the problems, each with the
/// text of the line that it names, since the line's number is the one thing that may change.
fn outcome(scratch: &Scratch, text: &str) -> Vec<String> {
    let path = scratch.path("x.toml");
    std::fs::write(&path, text).unwrap();
    let mut said: Vec<String> = match load(&path) {
        Ok(experiment) => {
            let header = format!(
                "{:?} {:?} {:?}",
                experiment.seeds, experiment.labels, experiment.figures
            );
            let points = experiment.points.iter();
            let points = points.map(|point| format!("{} {:?}", point.folder(), point.settings));
            return [header].into_iter().chain(points).collect();
        }
        Err(Error::Problems(problems)) => problems
            .iter()
            .map(|problem| {
                let mut place = problem.place.rsplitn(3, ':');
                let (column, line) = (place.next().unwrap(), place.next().map(str::parse::<usize>));
                let line = line.and_then(|line| text.lines().nth(line.ok()? - 1));
                format!("{line:?}:{column}: {} {:?}", problem.message, problem.help)
            })
            .collect(),
        Err(other) => panic!("{other}"),
    };
    said.sort();
    said
}

#[test]
fn the_order_of_tables_and_keys_changes_neither_points_nor_hashes() {
    let (scratch, text) = (Scratch::new(&[]), with(&[]));
    let expected = outcome(&scratch, &text);
    assert_eq!(expected.len(), 1 + 8, "{expected:#?}");
    for_all(100, reordered(&text), |text| {
        assert_eq!(outcome(&scratch, &text), expected);
    });
}

#[test]
fn the_order_of_tables_and_keys_changes_no_problem_and_each_names_the_same_line() {
    let scratch = Scratch::new(&[]);
    let some = subsequence(&MISTAKES[..], 1..5);
    let both = some.prop_flat_map(|mistakes| {
        let text = with(&mistakes);
        (reordered(&text), Just(text))
    });
    for_all(400, both, |(reordered, text)| {
        let expected = outcome(&scratch, &text);
        assert!(expected[0].contains(": "), "{expected:?}");
        assert_eq!(outcome(&scratch, &reordered), expected);
    });
}
