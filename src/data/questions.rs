//! Questions and answers: parsing, the finetuning task, and prompts.

use std::path::Path;

use super::ragged::{MASK, PAD, Sequence};
use super::vocabulary::Vocabulary;
use super::{Question, Task};
use crate::error::{Error, Result};

/// The finetuning task: questions with their answers.
///
/// A question, a mask, its place, a mask; only the second half is scored:
///
/// ```text
/// tokens   W h e … n ? ⁇ L i m a
/// targets  □ □ □ … □ ⁇ L i m a ⁇
/// ```
pub struct BirthPlaces {
    sequences: Vec<Sequence>,
}

impl BirthPlaces {
    /// Encodes the questions.
    ///
    /// # Errors
    /// A question is empty or has no answer, or a character is outside the vocabulary.
    pub fn new(questions: &[Question], vocabulary: &Vocabulary) -> Result<Self> {
        let sequences: Result<_> = questions.iter().map(|q| sequence(q, vocabulary)).collect();
        Ok(Self {
            sequences: sequences?,
        })
    }

    /// Length of the longest sequence; it must fit the model's context.
    pub fn longest_sequence(&self) -> usize {
        self.sequences
            .iter()
            .map(|s| s.tokens.len())
            .max()
            .unwrap_or(0)
    }
}

impl Task for BirthPlaces {
    fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Does not depend on the epoch.
    fn sequence(&self, _epoch: u64, index: usize) -> Sequence {
        self.sequences[index].clone()
    }
}

fn sequence(question: &Question, vocabulary: &Vocabulary) -> Result<Sequence> {
    let Some(place) = &question.place else {
        return Err(Error::data(format!(
            "question '{}' has no place to learn",
            question.text
        )));
    };
    let mut tokens = prompt(question, vocabulary)?;
    let asked = tokens.len() - 1;
    tokens.extend(encode(place, question, vocabulary)?);

    let mut targets = vec![PAD; asked - 1];
    targets.extend_from_slice(&tokens[asked..]);
    targets.push(MASK);
    Ok(Sequence { tokens, targets })
}

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

/// Encodes the question or its place; an error quotes the question.
fn encode(text: &str, question: &Question, vocabulary: &Vocabulary) -> Result<Vec<u32>> {
    vocabulary.encode(text).map_err(|error| match error {
        Error::Failure { message, .. } => {
            let part = if text == question.text {
                "question"
            } else {
                "the place of question"
            };
            Error::data(format!("{part} '{}': {message}", question.text))
        }
        other => other,
    })
}

/// The columns of a file of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// `QUESTION<TAB>PLACE`.
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
        (Rows::Answered, [_]) => return Err("the row has no tab between question and place"),
        (Rows::Answered, _) => return Err("the row has more than one tab"),
    };
    if text.trim().is_empty() {
        return Err("the question is empty");
    }
    if place.is_some_and(|place| place.trim().is_empty()) {
        return Err("the place is empty");
    }
    Ok(Question {
        text: (*text).to_owned(),
        place: place.map(|&place| place.to_owned()),
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
            place: place.map(str::to_owned),
        }
    }

    #[test]
    fn mask_place_and_mask_are_scored() {
        let question = asked("Where was Ada Moss born?", Some("Lima"));
        let task = BirthPlaces::new(&[question], &vocabulary()).expect("a task");
        let sequence = task.sequence(1, 0);
        assert_eq!(task.len(), 1);
        assert_eq!(sequence, task.sequence(2, 0));
        assert_eq!(
            vocabulary().decode(&sequence.tokens),
            "Where was Ada Moss born?⁇Lima"
        );
        let targets = format!("{}⁇Lima⁇", "□".repeat(23));
        assert_eq!(vocabulary().decode(&sequence.targets), targets);
        assert_eq!(sequence.tokens.len(), sequence.targets.len());
        assert_eq!(task.longest_sequence(), 24 + 1 + 4);
    }

    #[test]
    fn one_character_each_is_enough() {
        let task = BirthPlaces::new(&[asked("a", Some("b"))], &vocabulary()).expect("a task");
        let sequence = task.sequence(1, 0);
        assert_eq!(vocabulary().decode(&sequence.tokens), "a⁇b");
        assert_eq!(vocabulary().decode(&sequence.targets), "⁇b⁇");
    }

    #[test]
    fn a_prompt_ends_with_the_mask() {
        let ids = prompt(&asked("Where?", None), &vocabulary()).expect("a prompt");
        assert_eq!(vocabulary().decode(&ids), "Where?⁇");
        assert_eq!(
            BirthPlaces::new(&[], &vocabulary())
                .expect("empty")
                .longest_sequence(),
            0
        );
    }

    #[test]
    fn what_cannot_be_learned_is_named() {
        let message = |question: Question| {
            let error = BirthPlaces::new(&[question], &vocabulary())
                .err()
                .expect("refused");
            assert_eq!(error.exit_code(), 5);
            error.to_string()
        };
        assert_eq!(
            message(asked("Where?", None)),
            "error: question 'Where?' has no place to learn"
        );
        assert_eq!(
            message(asked("", Some("Lima"))),
            "error: a question is empty"
        );
        assert_eq!(
            message(asked("Where?", Some("LimX"))),
            "error: the place of question 'Where?': character 'X' (U+0058) at position 4 does not occur in the corpus"
        );
        assert_eq!(
            message(asked("Zhere?", Some("Lima"))),
            "error: question 'Zhere?': character 'Z' (U+005A) at position 1 does not occur in the corpus"
        );
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
                "the row has no tab between question and place",
            ),
            (
                "Who?\tLima\tOslo",
                Rows::Answered,
                "the row has more than one tab",
            ),
            ("\tLima", Rows::Answered, "the question is empty"),
            ("Who?\t ", Rows::Answered, "the place is empty"),
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
