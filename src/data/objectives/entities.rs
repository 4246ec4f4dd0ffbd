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
            most_borders: most_borders.unwrap_or(0),
            answers,
        }
    }

    /// The entities in a text that are wanted, as ranges of its tokens, in order; they do not overlap. One at the very start is
    /// left out, since every sentence begins with a capital, and so is one at the very end, which may have been cut.
    pub(super) fn find(
        &self,
        text: &TextOfTokens,
        is_wanted: impl Fn(&Range<usize>) -> bool,
    ) -> Vec<Range<usize>> {
        let within = |found: Vec<Range<usize>>| -> Vec<Range<usize>> {
            let whole = found.into_iter().filter(|one| text.has_whole(one));
            let tokens = whole.filter_map(|one| text.tokens_of(one));
            tokens.filter(&is_wanted).collect()
        };
        let answers = within(self.answers_in(&text.text));
        match answers.is_empty() {
            true => within(capitalised(&text.text)),
            false => answers,
        }
    }

    /// The longest answers at the starts of words, as ranges of bytes.
    fn answers_in(&self, text: &str) -> Vec<Range<usize>> {
        if self.answers.is_empty() {
            return vec![];
        }
        let borders = borders(text);
        let (mut found, mut free) = (vec![], 0);
        for (i, &start) in borders.iter().enumerate() {
            let within = borders[i + 1..].iter().take(self.most_borders);
            let is_answer = |end: &&usize| self.answers.contains(&text[start..**end]);
            if let Some(&end) = within.rev().find(is_answer).filter(|_| start >= free) {
                found.push(start..end);
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
        let (mut bytes, mut ends) = (vec![], vec![]);
        for &token in tokens {
            bytes.extend(vocabulary.bytes(token));
            ends.push(bytes.len());
        }
        let all = bytes.len();
        let first = bytes.utf8_chunks().next();
        let text = first.map_or("", |chunk| chunk.valid()).to_owned();
        Self {
            is_cut: text.len() < all,
            text,
            ends,
        }
    }

    /// Whether something lies behind the start and before the end.
    fn has_whole(&self, bytes: &Range<usize>) -> bool {
        bytes.start > 0 && (self.is_cut || bytes.end < self.text.len())
    }

    /// The tokens within a range of bytes, if there are any: a token whose characters do not all lie in it, ignoring leading
    /// spaces, is left out.
    fn tokens_of(&self, bytes: Range<usize>) -> Option<Range<usize>> {
        let first = self.tokens_before(bytes.start);
        let start = first.checked_sub(1).map_or(0, |before| self.ends[before]);
        let spaces_alone = self.text[start..bytes.start]
            .bytes()
            .all(|byte| byte == b' ');
        let first = first + usize::from(!spaces_alone);
        let range = first..self.tokens_before(bytes.end);
        (range.start > 0 && range.start < range.end).then_some(range)
    }

    /// The text of some of the tokens.
    pub(super) fn of(&self, tokens: &Range<usize>) -> &str {
        let end_of = |count: usize| count.checked_sub(1).map_or(0, |last| self.ends[last]);
        let bytes = end_of(tokens.start)..end_of(tokens.end);
        self.text.get(bytes).unwrap_or_default()
    }

    /// The number of tokens that end at or before this byte.
    pub(super) fn tokens_before(&self, byte: usize) -> usize {
        self.ends.partition_point(|&end| end <= byte)
    }
}

/// The runs of capitalised words in a text, as ranges of bytes.
///
/// A word is a run of letters, digits, apostrophes and hyphens; it is capitalised if it begins with an upper-case letter.
/// Only spaces lie between the words of a run.
fn capitalised(text: &str) -> Vec<Range<usize>> {
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
    for (at, c) in text.char_indices() {
        let is_inside = word.is_some() && (c == '\'' || c == '-');
        if c.is_alphanumeric() || is_inside {
            word.get_or_insert((at, c.is_uppercase()));
        } else {
            end_word(&mut word, at, &mut is_joined);
            is_joined &= c == ' ';
        }
    }
    end_word(&mut word, text.len(), &mut is_joined);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, vocabulary: &Vocabulary) -> Vec<String> {
        let tokens = vocabulary.encode(text).expect("known");
        let corpus = Corpus::new(Vocabulary::Bytes);
        let finder = Finder::new(&corpus, Entities::Capitalised);
        let text = TextOfTokens::new(&tokens, vocabulary);
        let runs = finder.find(&text, |_| true).into_iter();
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

    #[test]
    fn a_character_that_is_cut_ends_the_text_and_no_name() {
        let tokens = Vocabulary::Bytes.encode("in Lima\u{2014}").expect("bytes");
        let text = TextOfTokens::new(&tokens[..tokens.len() - 1], &Vocabulary::Bytes);
        assert_eq!((text.text.as_str(), text.is_cut), ("in Lima", true));
        let corpus = Corpus::new(Vocabulary::Bytes);
        let found = Finder::new(&corpus, Entities::Capitalised).find(&text, |_| true);
        assert_eq!(found, vec![3..7]);
    }
}
