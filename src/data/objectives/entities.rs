//! The entities that a document mentions: names, or answers to training questions.

use std::collections::HashSet;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Corpus;
use crate::data::vocabulary::Vocabulary;

/// What counts as an entity.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Entities {
    /// Runs of capitalised words: in most text about people and places, their names.
    #[default]
    Capitalised,
    /// The answers to training questions, wherever a document mentions one; in a document that mentions none, the former.
    Answers,
}

/// Finds the entities of documents.
pub(super) struct Finder {
    vocabulary: Vocabulary,
    /// The answers to training questions, if these are looked for.
    answers: HashSet<String>,
    /// The most borders of words behind the start of one of them.
    most_borders: usize,
}

impl Finder {
    pub(super) fn new(corpus: &Corpus, entities: Entities) -> Self {
        let all = corpus.train.iter().filter_map(|one| one.answer.clone());
        let answers: HashSet<String> = match entities {
            Entities::Capitalised => HashSet::new(),
            Entities::Answers => all.collect(),
        };
        let most_borders = answers.iter().map(|answer| borders(answer).len()).max();
        Self {
            vocabulary: corpus.vocabulary.clone(),
            most_borders: most_borders.unwrap_or(0),
            answers,
        }
    }

    /// The entities in some tokens that are wanted, as ranges of tokens, in order; they do not overlap.
    pub(super) fn find(
        &self,
        tokens: &[u32],
        is_wanted: impl Fn(&Range<usize>) -> bool,
    ) -> Vec<Range<usize>> {
        let mut found = self.find_answers(tokens);
        found.retain(&is_wanted);
        if found.is_empty() {
            found = capitalised(tokens, &self.vocabulary);
            found.retain(&is_wanted);
        }
        found
    }

    /// The longest answers at the starts of words, except at the very start and at the very end, which may have been cut.
    fn find_answers(&self, tokens: &[u32]) -> Vec<Range<usize>> {
        if self.answers.is_empty() {
            return vec![];
        }
        let text = TextOfTokens::new(tokens, &self.vocabulary);
        let borders = borders(&text.text);
        let (mut found, mut free) = (vec![], 1);
        for (i, &start) in borders.iter().enumerate() {
            let within = borders[i + 1..].iter().take(self.most_borders);
            let is_answer = |end: &&usize| self.answers.contains(&text.text[start..**end]);
            let Some(&end) = within.rev().find(is_answer) else {
                continue;
            };
            if start >= free && (text.is_cut || end < text.text.len()) {
                found.extend(text.tokens_of(start..end));
                free = end;
            }
        }
        found
    }
}

/// Where words may begin and end: everywhere but between two letters or digits.
fn borders(text: &str) -> Vec<usize> {
    let is_inside = |at: usize| {
        let [before, behind] = [text[..at].chars().next_back(), text[at..].chars().next()];
        let mut beside = [before, behind].into_iter();
        beside.all(|c| c.is_some_and(char::is_alphanumeric))
    };
    let places = (0..=text.len()).filter(|&at| text.is_char_boundary(at));
    places.filter(|&at| !is_inside(at)).collect()
}

/// Some tokens as text.
pub(super) struct TextOfTokens {
    pub(super) text: String,
    /// Where each token ends in it.
    ends: Vec<usize>,
    /// Whether the tokens end within a character, which is left out.
    is_cut: bool,
}

impl TextOfTokens {
    pub(super) fn new(tokens: &[u32], vocabulary: &Vocabulary) -> Self {
        let (bytes, ends) = text_of(tokens, vocabulary);
        let (text, is_cut) = match String::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let mut bytes = error.into_bytes();
                bytes.truncate(valid);
                let text = String::from_utf8(bytes);
                (text.expect("it is valid up to here"), true)
            }
        };
        Self { text, ends, is_cut }
    }

    /// See [`tokens_of`].
    fn tokens_of(&self, bytes: Range<usize>) -> Option<Range<usize>> {
        tokens_of(bytes, self.text.as_bytes(), &self.ends)
    }

    /// The text of some of the tokens.
    pub(super) fn of(&self, tokens: &Range<usize>) -> &str {
        let start = tokens
            .start
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        let end = tokens.end.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The number of tokens that end at or before this byte.
    pub(super) fn tokens_before(&self, byte: usize) -> usize {
        self.ends.partition_point(|&end| end <= byte)
    }
}

/// The bytes of some tokens, and where each token ends in them.
fn text_of(tokens: &[u32], vocabulary: &Vocabulary) -> (Vec<u8>, Vec<usize>) {
    let (mut text, mut ends) = (vec![], vec![]);
    for &token in tokens {
        text.extend(vocabulary.bytes(token));
        ends.push(text.len());
    }
    (text, ends)
}

/// The tokens within a range of bytes, if there are any: a token whose characters do not all lie in it, ignoring leading spaces,
/// is left out.
fn tokens_of(bytes: Range<usize>, text: &[u8], ends: &[usize]) -> Option<Range<usize>> {
    let first = ends.partition_point(|&end| end <= bytes.start);
    let start = if first == 0 { 0 } else { ends[first - 1] };
    let spaces_alone = text[start..bytes.start].iter().all(|&byte| byte == b' ');
    let first = first + usize::from(!spaces_alone);
    let range = first..ends.partition_point(|&end| end <= bytes.end);
    (range.start > 0 && range.start < range.end).then_some(range)
}

/// The runs of capitalised words in some tokens, as ranges of tokens. A run at the very start is left out, since every
/// sentence begins with one, and so is one at the very end, which may have been cut.
///
/// A word is a run of letters, digits, apostrophes and hyphens; it is capitalised if it begins with an upper-case letter.
/// Only spaces lie between the words of a run. A token belongs to a run if all its characters do, ignoring leading spaces.
fn capitalised(tokens: &[u32], vocabulary: &Vocabulary) -> Vec<Range<usize>> {
    let (text, ends) = text_of(tokens, vocabulary);
    let runs = byte_runs(&text).into_iter();
    let runs = runs.filter(|run| run.start > 0 && run.end < text.len());
    runs.filter_map(|run| tokens_of(run, &text, &ends))
        .collect()
}

/// The runs in text that may not be UTF-8 throughout, as ranges of bytes.
fn byte_runs(text: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = vec![];
    let mut word: Option<(usize, bool)> = None;
    let mut is_joined = false;
    let mut end_word = |word: &mut Option<(usize, bool)>, at: usize, is_joined: &mut bool| {
        let Some((start, is_capitalised)) = word.take() else {
            return;
        };
        match runs.last_mut().filter(|_| *is_joined && is_capitalised) {
            Some(run) => run.end = at,
            None if is_capitalised => runs.push(start..at),
            None => {}
        }
        *is_joined = is_capitalised;
    };
    let mut at = 0;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_inside = word.is_some() && (c == '\'' || c == '-');
            if c.is_alphanumeric() || is_inside {
                word.get_or_insert((at, c.is_uppercase()));
            } else {
                end_word(&mut word, at, &mut is_joined);
                is_joined &= c == ' ';
            }
            at += c.len_utf8();
        }
        at += chunk.invalid().len();
    }
    end_word(&mut word, at, &mut is_joined);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, vocabulary: &Vocabulary) -> Vec<String> {
        let tokens = vocabulary.encode(text).expect("known");
        let runs = capitalised(&tokens, vocabulary).into_iter();
        runs.map(|run| vocabulary.decode(&tokens[run])).collect()
    }

    #[test]
    fn runs_are_words_that_begin_with_a_capital() {
        for (text, expected) in [
            (
                "Ada Moss was born in New Delhi, far from Port-au-Prince.",
                vec!["New Delhi", "Port-au-Prince"],
            ),
            (
                "He met Élodie O'Hara and Bo. Then he left.",
                vec!["Élodie O'Hara", "Bo", "Then"],
            ),
            ("in Lima (Peru) in 1999, in Oslo", vec!["Lima", "Peru"]),
            ("Lima", vec![]),
            ("", vec![]),
            ("nothing here", vec![]),
        ] {
            let characters = Vocabulary::of(text).expect("a vocabulary");
            assert_eq!(found(text, &characters), expected, "{text}");
            assert_eq!(
                found(text, &Vocabulary::Bytes),
                expected,
                "{text}, by bytes"
            );
        }
    }
}
