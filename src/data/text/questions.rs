//! Tables of questions: TSV or CSV with a header.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Opener, Role};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Question, Split};
use crate::error::{Error, Result};
use crate::kinds::joined;
use crate::metrics::foreign::ForeignTable;

/// The tables of questions, and the names of their columns.
///
/// A file whose name ends in `.csv` has commas between columns, any other has tabs; a field that begins with a quote ends with
/// one (RFC 4180). Empty lines are skipped.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionsSpec {
    /// Questions that finetuning learns from. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// Questions for validation and model selection. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<PathBuf>,
    /// Questions to evaluate on at the end, with or without answers. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Name of the column of questions.
    #[serde(default = "question_column")]
    pub question: String,
    /// Name of the column of answers.
    #[serde(default = "answer_column")]
    pub answer: String,
}

fn question_column() -> String {
    "question".to_owned()
}

fn answer_column() -> String {
    "answer".to_owned()
}

/// The questions of each split.
pub(super) type Tables = BTreeMap<Split, Vec<Question>>;

impl QuestionsSpec {
    /// Reads the tables.
    ///
    /// # Errors
    /// A table is not one, or has a character that stands for padding or the mask.
    pub(super) fn read(&self, opener: &mut Opener<'_>) -> Result<Tables> {
        let mut tables = Tables::new();
        for (split, path) in self.paths() {
            let text = opener.read(path, Role::Questions(split))?;
            let columns = [self.question.as_str(), &self.answer];
            let questions = table(&text, path, columns, split != Split::Test)?;
            for text in questions.iter().flat_map(texts) {
                let wrong = |error: Error| {
                    Error::data(format!("{}: '{text}': {}", path.display(), error.message()))
                };
                text.chars()
                    .try_for_each(Vocabulary::check_character)
                    .map_err(wrong)?;
            }
            tables.insert(split, questions);
        }
        Ok(tables)
    }

    fn paths(&self) -> impl Iterator<Item = (Split, &PathBuf)> {
        let all = [
            (Split::Train, &self.train),
            (Split::Dev, &self.dev),
            (Split::Test, &self.test),
        ];
        all.into_iter()
            .filter_map(|(split, path)| Some((split, path.as_ref()?)))
    }

    /// Refuses a question or answer that is not the same after it was encoded and decoded.
    ///
    /// # Errors
    /// There is one, or one has a character that is not among the tokens.
    pub(super) fn check(&self, tables: &Tables, vocabulary: &Vocabulary) -> Result<()> {
        for (split, path) in self.paths() {
            for text in tables.get(&split).into_iter().flatten().flat_map(texts) {
                let wrong = |message: String| {
                    Error::data(format!("{}: '{text}': {message}", path.display()))
                };
                let ids = vocabulary.encode(text);
                let ids = ids.map_err(|error| wrong(error.message()))?;
                let decoded = vocabulary.decode(&ids);
                if decoded != *text {
                    let message = format!("decoded from its tokens it is '{decoded}'");
                    let help = "choose a tokenizer that keeps every character, or `data.tokens` = \"bytes\"";
                    return Err(wrong(message).help(help));
                }
            }
        }
        Ok(())
    }
}

/// A question, and its answer if it has one.
fn texts(question: &Question) -> impl Iterator<Item = &String> {
    std::iter::once(&question.text).chain(&question.answer)
}

/// The distinct characters of questions and answers, in order.
pub(super) fn characters(tables: &Tables) -> String {
    let all = tables.values().flatten().flat_map(texts);
    let all: BTreeSet<char> = all.flat_map(|text| text.chars()).collect();
    all.into_iter().collect()
}

/// Notes on what inflates scores: questions that are asked more than once, within a split or in two.
pub(super) fn notes(tables: &Tables) -> Vec<String> {
    let asked = |split: Split| {
        tables
            .get(&split)
            .into_iter()
            .flatten()
            .map(|one| &one.text)
    };
    let splits = [Split::Train, Split::Dev, Split::Test];
    let within = splits.map(|split| repeated(split.name(), asked(split)));
    let between = [
        (Split::Dev, Split::Train),
        (Split::Test, Split::Train),
        (Split::Test, Split::Dev),
    ];
    let between = between.map(|(one, other)| {
        let known: HashSet<&String> = asked(other).collect();
        let mut both = asked(one).filter(|text| known.contains(text));
        let first = both.next()?;
        let (count, of) = (1 + both.count(), asked(one).count());
        let (one, other) = (one.name(), other.name());
        Some(format!(
            "{count} of {of} {one} questions are also {other} questions, which inflates scores; the first is '{first}'"
        ))
    });
    within.into_iter().chain(between).flatten().collect()
}

/// A note on questions that a table has more than once.
fn repeated<'a>(split: &str, asked: impl Iterator<Item = &'a String> + Clone) -> Option<String> {
    let mut seen = HashSet::new();
    let of = asked.clone().count();
    let mut again = asked.filter(|text| !seen.insert(*text));
    let first = again.next()?;
    let count = 1 + again.count();
    Some(format!(
        "{count} of {of} {split} questions are asked more than once; the first is '{first}'"
    ))
}

/// The questions of a table.
fn table(
    text: &str,
    path: &Path,
    [question, answer]: [&str; 2],
    needs_answers: bool,
) -> Result<Vec<Question>> {
    let is_csv = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    let (separator, between) = if is_csv {
        (b',', "commas")
    } else {
        (b'\t', "tabs")
    };
    let shown = path.display();
    let wrong = |(line, what): (u64, String)| Error::data(format!("{shown}:{line}: {what}"));
    let table = ForeignTable::parse(text, separator).map_err(wrong)?;
    let missing = |name: &str| {
        let own = joined(table.header.iter().map(|own| format!("`{own}`")), "and");
        let alone = match table.header.len() {
            1 => format!(" alone, without {between}"),
            _ => String::new(),
        };
        let what = format!("the header has no column `{name}`, but {own}{alone}");
        wrong((1, what)).help(format!(
            "name the columns in `data.questions`, and see whether there are {between} between them"
        ))
    };
    let at_question = table.column(question).ok_or_else(|| missing(question))?;
    let at_answer = table.column(answer);
    if needs_answers && at_answer.is_none() {
        return Err(missing(answer));
    }
    let row = |(line, fields): &(u64, Vec<String>)| {
        let empty = |what: &str| Err(wrong((*line, format!("the {what} is empty"))));
        let text = fields[at_question].clone();
        let answer = at_answer
            .map(|at| fields[at].clone())
            .filter(|answer| !answer.is_empty());
        match (text.is_empty(), needs_answers && answer.is_none()) {
            (true, _) => empty("question"),
            (_, true) => empty("answer"),
            _ => Ok(Question { text, answer }),
        }
    };
    let questions: Vec<Question> = table.rows.iter().map(row).collect::<Result<_>>()?;
    match questions.is_empty() {
        true => Err(Error::data(format!(
            "{shown} has a header but no questions"
        ))),
        false => Ok(questions),
    }
}
