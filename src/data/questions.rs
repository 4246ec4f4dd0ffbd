//! Questions and answers: parsing, and prompts.

use std::path::Path;

use super::Question;
use super::ragged::MASK;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Problem, Result};

/// The prompt of a question: its text and a mask.
///
/// It is the same for every split. (The public solution keeps a newline before the mask of test questions,
/// which training never shows.)
///
/// # Errors
/// The question is empty, or has a character outside the vocabulary; the message quotes it.
pub fn prompt(question: &Question, vocabulary: &Vocabulary) -> Result<Vec<u32>> {
    if question.text.is_empty() {
        return Err(Error::data("a question is empty"));
    }
    let mut tokens = encode(&question.text, question, vocabulary)?;
    tokens.push(MASK);
    Ok(tokens)
}

/// Encodes the question or its answer; an error quotes the question.
pub(super) fn encode(text: &str, question: &Question, vocabulary: &Vocabulary) -> Result<Vec<u32>> {
    vocabulary.encode(text).map_err(|error| match error {
        Error::Failure(_, Problem { message, .. }) => {
            let part = if text == question.text {
                "question"
            } else {
                "the answer to question"
            };
            Error::data(format!("{part} '{}': {message}", question.text))
        }
        other => other,
    })
}

/// The columns of a file of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// `QUESTION<TAB>ANSWER`.
    Answered,
    /// `QUESTION`.
    Unanswered,
}

/// Parses questions, one per line. `file` is only used in messages.
///
/// # Errors
/// A line has the wrong number of tabs, an empty question or an empty place; the message names file and line.
pub fn parse(text: &str, file: &Path, rows: Rows) -> Result<Vec<Question>> {
    let row = |(i, line): (usize, &str)| {
        question(line, rows)
            .map_err(|what| Error::data(format!("{}:{}: {what}", file.display(), i + 1)))
    };
    text.lines().enumerate().map(row).collect()
}

fn question(line: &str, rows: Rows) -> Result<Question, &'static str> {
    let fields: Vec<&str> = line.split('\t').collect();
    let (text, place) = match (rows, fields.as_slice()) {
        (_, [""]) => return Err("the row is empty"),
        (Rows::Unanswered, [text]) => (text, None),
        (Rows::Unanswered, _) => {
            return Err("the row has a tab, where a question alone is expected");
        }
        (Rows::Answered, [text, place]) => (text, Some(place)),
        (Rows::Answered, [_]) => return Err("the row has no tab between question and answer"),
        (Rows::Answered, _) => return Err("the row has more than one tab"),
    };
    if text.trim().is_empty() {
        return Err("the question is empty");
    }
    if place.is_some_and(|place| place.trim().is_empty()) {
        return Err("the answer is empty");
    }
    Ok(Question {
        text: (*text).to_owned(),
        answer: place.map(|&place| place.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::of("Where was Ada Moss born? Lima").expect("a vocabulary")
    }

    fn asked(text: &str, place: Option<&str>) -> Question {
        Question {
            text: text.to_owned(),
            answer: place.map(str::to_owned),
        }
    }

    #[test]
    fn a_prompt_ends_with_the_mask() {
        let ids = prompt(&asked("Where?", None), &vocabulary()).expect("a prompt");
        assert_eq!(vocabulary().decode(&ids), "Where?⁇");
    }

    #[test]
    fn rows_are_read_with_and_without_a_place() {
        let read = |text, rows| parse(text, Path::new("q.tsv"), rows).expect("readable");
        let two = [
            asked("Who?", Some("Lima")),
            asked("Where?", Some("New Delhi")),
        ];
        assert_eq!(read("Who?\tLima\nWhere?\tNew Delhi\n", Rows::Answered), two);
        assert_eq!(read("Who?\tLima\r\nWhere?\tNew Delhi", Rows::Answered), two);
        assert_eq!(read("Who?\n", Rows::Unanswered), [asked("Who?", None)]);
        assert_eq!(read("", Rows::Answered), []);
    }

    #[test]
    fn a_bad_row_is_named_by_file_and_line() {
        let message = |line: &str, rows| {
            let text = format!(
                "Who?{}\n{line}\n",
                if rows == Rows::Answered { "\tLima" } else { "" }
            );
            parse(&text, Path::new("d/q.tsv"), rows)
                .expect_err("refused")
                .to_string()
        };
        for (line, rows, expected) in [
            (
                "Who?",
                Rows::Answered,
                "the row has no tab between question and answer",
            ),
            (
                "Who?\tLima\tOslo",
                Rows::Answered,
                "the row has more than one tab",
            ),
            ("\tLima", Rows::Answered, "the question is empty"),
            ("Who?\t ", Rows::Answered, "the answer is empty"),
            ("", Rows::Answered, "the row is empty"),
            ("", Rows::Unanswered, "the row is empty"),
            ("  ", Rows::Unanswered, "the question is empty"),
            (
                "Who?\tLima",
                Rows::Unanswered,
                "the row has a tab, where a question alone is expected",
            ),
        ] {
            assert_eq!(message(line, rows), format!("error: d/q.tsv:2: {expected}"));
        }
    }
}
