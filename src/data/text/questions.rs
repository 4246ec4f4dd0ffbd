//! Tables of questions: TSV or CSV with a header.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Opener, Role};
use crate::data::{Corpus, Question, Split};
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

impl QuestionsSpec {
    /// Reads the tables into a corpus, with notes on what inflates scores.
    ///
    /// # Errors
    /// A table is not one, or a question or answer has a character that is not among the tokens.
    pub(super) fn read(&self, opener: &mut Opener<'_>, corpus: &mut Corpus) -> Result<()> {
        let splits = [
            (Split::Train, &self.train, &mut corpus.train),
            (Split::Dev, &self.dev, &mut corpus.dev),
            (Split::Test, &self.test, &mut corpus.test),
        ];
        let mut notes = vec![];
        let mut asked: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (split, path, questions) in splits {
            let Some(path) = path else { continue };
            let text = opener.read(path, Role::Questions(split))?;
            let needs_answers = split != Split::Test;
            let columns = [self.question.as_str(), &self.answer];
            *questions = table(&text, path, columns, needs_answers)?;
            for question in questions.iter() {
                let texts = [Some(&question.text), question.answer.as_ref()];
                for text in texts.into_iter().flatten() {
                    let wrong = |message: String| {
                        Error::data(format!("{}: '{text}': {message}", path.display()))
                    };
                    let ids = corpus.vocabulary.encode(text);
                    let ids = ids.map_err(|error| wrong(error.message()))?;
                    let decoded = corpus.vocabulary.decode(&ids);
                    if decoded != *text {
                        let message = format!("decoded from its tokens it is '{decoded}'");
                        let help = "choose a tokenizer that keeps every character, or `data.tokens` = \"bytes\"";
                        return Err(wrong(message).help(help));
                    }
                }
            }
            let texts: Vec<String> = questions.iter().map(|one| one.text.clone()).collect();
            notes.extend(repeated(split.name(), &texts));
            asked.insert(split.name(), texts);
        }
        for (one, other) in [("dev", "train"), ("test", "train"), ("test", "dev")] {
            let (Some(one_asked), Some(other_asked)) = (asked.get(one), asked.get(other)) else {
                continue;
            };
            let known: HashSet<&String> = other_asked.iter().collect();
            let mut both = one_asked.iter().filter(|text| known.contains(text));
            if let Some(first) = both.next() {
                let count = 1 + both.count();
                notes.push(format!(
                    "{count} of {} {one} questions are also {other} questions, which inflates scores; the first is '{first}'",
                    one_asked.len()
                ));
            }
        }
        corpus.notes.extend(notes);
        Ok(())
    }
}

/// A note on questions that a table has more than once.
fn repeated(split: &str, texts: &[String]) -> Option<String> {
    let mut seen = HashSet::new();
    let mut again = texts.iter().filter(|text| !seen.insert(*text));
    let first = again.next()?;
    let count = 1 + again.count();
    Some(format!(
        "{count} of {} {split} questions are asked more than once; the first is '{first}'",
        texts.len()
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
