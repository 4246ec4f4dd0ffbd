//! Tests on the real corpus, if it is available. Its text never enters this repository.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::cs224n::Cs224n;
use super::objectives::{Answering, ObjectiveSettings, SpanCorruption, Spans};
use super::questions::{self, Rows};
use super::*;
use crate::kinds::Kinded;

/// The directory that holds `cs224n/`; `None`, with a note on stderr, if it does not exist.
pub(super) fn real_data() -> Option<PathBuf> {
    let beside = crate::sources().join("../shared/data");
    let directory = std::env::var_os("ATTNLAB_TEST_DATA").map_or(beside, PathBuf::from);
    let there = directory.join("cs224n/wiki.txt").is_file();
    if !there {
        // Not `eprintln!`, which the test harness captures.
        let place = directory.display();
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no cs224n data in {place} (ATTNLAB_TEST_DATA)"
        );
    }
    there.then_some(directory)
}

#[test]
fn the_real_corpus_has_the_reported_numbers() {
    let Some(directory) = real_data() else { return };
    let corpus = Cs224n {}.open(Some(&directory)).expect("the corpus");
    assert_eq!(corpus.vocabulary.size(), 256);
    assert_eq!(corpus.characters, 418_352);
    assert_eq!(corpus.documents.len(), 2_938);
    assert_eq!(corpus.documents.tokens(2_937), 0);
    assert_eq!(corpus.documents.longest(), 516);
    let lengths = (0..corpus.documents.len()).map(|document| corpus.documents.tokens(document));
    assert_eq!(lengths.filter(|&length| length < 112).count(), 996);
    assert_eq!(
        (corpus.train.len(), corpus.dev.len(), corpus.test.len()),
        (2_000, 500, 437)
    );
    let london = |questions: &[Question]| {
        questions
            .iter()
            .filter(|q| q.answer.as_deref() == Some("London"))
            .count()
    };
    assert_eq!(london(&corpus.dev), 25);
    assert_eq!(corpus.vocabulary.encode("\n ").expect("known"), [2, 3]);
    assert!(corpus.train.iter().all(|q| q.text.is_ascii()));
    assert!(!corpus.dev.iter().all(|q| q.text.is_ascii()));
    assert!(
        corpus
            .test
            .iter()
            .all(|q| q.answer.is_none() && q.text.ends_with("born?"))
    );
    let inner = Cs224n {}.open(Some(&directory.join("cs224n")));
    let identity = |corpus: &Corpus| corpus.documents.identity(&corpus.vocabulary).expect("read");
    assert_eq!(
        identity(&inner.expect("the folder itself")),
        identity(&corpus)
    );
}

#[test]
fn the_real_corpus_gives_the_reported_batches() {
    let Some(directory) = real_data() else { return };
    let corpus = Cs224n {}.open(Some(&directory)).expect("the corpus");

    let pretrain = SpanCorruption::new(
        &corpus,
        ObjectiveSettings {
            shortest_excerpt: 4,
            longest_excerpt: 112,
            terminated: true,
            seed: 0,
            ..ObjectiveSettings::default()
        },
        Spans::Uniform,
    )
    .expect("a task");
    assert_eq!(pretrain.longest_sequence(), 114);
    let first = batches(&pretrain, 1, 128, false, 0);
    assert_eq!(first.len(), 23);
    let (tokens, longest) = (0..first.len())
        .map(|index| first.batch(index).expect("made"))
        .fold((0, 0), |(t, l), b| (t + b.len(), l.max(b.longest())));
    assert!(longest <= 114, "{longest}");
    // The reference was measured at 7,475 tokens per step, without padding.
    let per_step = tokens as f64 * 128.0 / 2_938.0;
    assert!((per_step - 7_475.0).abs() < 150.0, "{per_step}");

    let finetune = Answering::new(&corpus.train, &corpus.vocabulary).expect("a task");
    // The longest string is 70 characters, the last of which is only a target.
    assert_eq!((finetune.len(), finetune.longest_sequence()), (2_000, 69));
    let batches = batches(&finetune, 1, 256, false, 0);
    let sizes = (0..batches.len()).map(|index| batches.batch(index).expect("made").documents());
    let sizes: Vec<usize> = sizes.collect();
    assert_eq!(sizes, [256, 256, 256, 256, 256, 256, 256, 208]);
    for question in corpus.dev.iter().chain(&corpus.test) {
        questions::prompt(question, &corpus.vocabulary).expect("characters of the corpus");
    }
}

#[test]
fn questions_that_are_kept_out_are_the_same_for_all_and_never_trained_on() {
    let kept = |kept_out| {
        let biographies = r#"{"kind": "synthetic", "people": 150}"#;
        let data: Kinded<DataKind> = serde_json::from_str(biographies).expect("a table");
        let mut corpus = data.open(None).expect("synthetic");
        let (before, dev) = (corpus.train.clone(), corpus.dev.clone());
        corpus.keep_out(kept_out);
        let Corpus {
            train, validate, ..
        } = &corpus;
        // Both in their order, and every question is in one of them.
        let mut rest = validate.iter().peekable();
        let mut trained = train.iter();
        for question in &before {
            let is_kept = rest.next_if(|kept| *kept == question).is_some();
            assert!(is_kept || trained.next() == Some(question));
        }
        assert_eq!((rest.count(), trained.count()), (0, 0));
        assert_eq!(corpus.dev, dev);
        corpus.validate
    };
    assert_eq!(kept(KeptOut::Count(0)), []);
    let (nine, twelve) = (kept(KeptOut::Share(0.15)), kept(KeptOut::Count(12)));
    assert_eq!((nine.len(), twelve.len()), (9, 12));
    assert!(nine.iter().all(|question| twelve.contains(question)));
    assert_eq!(kept(KeptOut::Count(99)).len(), 60);

    let Some(directory) = real_data() else { return };
    let mut corpus = Cs224n {}.open(Some(&directory)).expect("the corpus");
    corpus.keep_out(KeptOut::Share(0.15));
    assert_eq!((corpus.train.len(), corpus.validate.len()), (1_700, 300));
    // Nine names are asked about twice.
    let is_known = |one: &Question| corpus.train.iter().any(|other| other.text == one.text);
    assert!(!corpus.validate.iter().any(is_known));
}

#[test]
fn a_data_table_opens_the_corpus_it_names() {
    let data = |text: &str| -> Kinded<DataKind> { serde_json::from_str(text).expect("a table") };
    let corpus = data(r#"{"kind": "synthetic", "people": 40}"#).open(None);
    let corpus = corpus.expect("biographies");
    assert_eq!(corpus.documents.len(), 320);
    assert_eq!(
        (corpus.train.len(), corpus.dev.len(), corpus.test.len()),
        (16, 16, 8)
    );
    let absent = Path::new("no such directory");
    let error = data(r#"{"kind": "cs224n"}"#).open(Some(absent));
    assert_eq!(error.err().expect("missing").exit_code(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_text_is_questions_or_an_error_that_names_its_line(
        text in prop_oneof!["[a?é \t\r\n\u{0}]{0,40}", "([A-Z]{1,3}\t[a-z]{1,3}\r?\n){0,5}", any::<String>()],
        answered: bool,
    ) {
        let rows = if answered { Rows::Answered } else { Rows::Unanswered };
        let lines: Vec<&str> = text.lines().collect();
        match questions::parse(&text, Path::new("q.tsv"), rows) {
            Ok(read) => {
                let back = |q: &Question| match &q.answer {
                    Some(place) => format!("{}\t{place}", q.text),
                    None => q.text.clone(),
                };
                prop_assert_eq!(read.iter().map(back).collect::<Vec<_>>(), lines);
                prop_assert!(read.iter().all(|q| q.answer.is_some() == answered));
            }
            Err(error) => {
                let message = error.message();
                let line = message.strip_prefix("q.tsv:").and_then(|rest| rest.split(':').next());
                let line: usize = line.and_then(|line| line.parse().ok()).unwrap_or_default();
                prop_assert!((1..=lines.len()).contains(&line), "{}", message);
            }
        }
    }
}
