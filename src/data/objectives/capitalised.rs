//! Runs of capitalised words: in most text about people and places, their names.

use std::ops::Range;

use crate::data::vocabulary::Vocabulary;

/// The runs of capitalised words in some tokens, as ranges of tokens. A run at the very start is left out, since every
/// sentence begins with one, and so is one at the very end, which may have been cut.
///
/// A word is a run of letters, digits, apostrophes and hyphens; it is capitalised if it begins with an upper-case letter.
/// Only spaces lie between the words of a run. A token belongs to a run if all its characters do, ignoring leading spaces.
pub fn runs(tokens: &[u32], vocabulary: &Vocabulary) -> Vec<Range<usize>> {
    let (mut text, mut ends) = (vec![], vec![]);
    for &token in tokens {
        text.extend(vocabulary.bytes(token));
        ends.push(text.len());
    }
    let token_at = |byte: usize| ends.partition_point(|&end| end <= byte);
    let runs = byte_runs(&text).into_iter();
    let runs = runs.filter(|run| run.start > 0 && run.end < text.len());
    let runs = runs.map(|run| {
        let first = token_at(run.start);
        let start = if first == 0 { 0 } else { ends[first - 1] };
        let spaces_alone = text[start..run.start].iter().all(|&byte| byte == b' ');
        // A token that begins before the run, or ends behind it, does not belong to it.
        let first = first + usize::from(!spaces_alone);
        first..ends.partition_point(|&end| end <= run.end)
    });
    runs.filter(|run| run.start > 0 && run.start < run.end)
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
        let runs = runs(&tokens, vocabulary).into_iter();
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
