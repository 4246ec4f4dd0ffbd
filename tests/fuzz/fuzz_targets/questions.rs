//! A text is questions, one a line, or an error that names a line.
#![no_main]

use std::path::Path;

use attnlab::data::questions::{Rows, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = text.lines().count();
    for rows in [Rows::Answered, Rows::Unanswered] {
        match parse(text, Path::new("q.tsv"), rows) {
            Ok(questions) => assert_eq!(questions.len(), lines),
            Err(error) => assert!(error.message().starts_with("q.tsv:"), "{error}"),
        }
    }
});
